"""The promotion gate: may a bundle become champion, and why."""

from __future__ import annotations

import math

from cryptosentinel.bundle import RANDOM_WALK, Gate
from cryptosentinel.forecasting.evaluation import Evaluation

# Published honest figures for half an hour ahead are 51 to 54%. More than this on many rows is a leak, not a talent.
SUSPECT_ACCURACY = 0.58


def judge(evaluation: Evaluation) -> Gate:
    """Judges what was measured on the holdout.

    A bundle is refused when a candidate's figure is not finite, when its best candidate is worse than the random walk
    (which cannot happen while the random walk is a candidate), or when a direction accuracy is too good to be true. A
    bundle whose best candidate *is* the random walk is promoted: it brings intervals, regimes and direction learnt from
    data.
    """
    faults, reasons = [], []
    best = evaluation.candidates[evaluation.best]
    walk = evaluation.candidates[RANDOM_WALK]
    for name, metrics in evaluation.candidates.items():
        if broken := [metric for metric, value in metrics.items() if not math.isfinite(value)]:
            faults.append(f"{name} has no finite {' and '.join(broken)}: it diverged, or nothing moved in the holdout")
    if best["rmse"] > walk["rmse"]:
        faults.append(f"{evaluation.best} is worse than the random walk (RMSE {best['rmse']:.3g} > {walk['rmse']:.3g})")
    accuracies = {
        name: m["direction_accuracy"] for name, m in evaluation.candidates.items() if "direction_accuracy" in m
    }
    accuracies["direction classifier"] = evaluation.direction["accuracy"]
    for name, accuracy in accuracies.items():
        # Three standard errors of a coin, counting overlapping labels once a horizon: a short holdout proves nothing.
        slack = 3 * 0.5 / math.sqrt(max(evaluation.data.holdout_rows / evaluation.horizon_bars, 1))
        if accuracy > max(SUSPECT_ACCURACY, evaluation.direction["base_rate"]) + slack:
            faults.append(f"{name} gets {accuracy:.1%} of the directions right: a leak is suspected")
    if evaluation.best == RANDOM_WALK:
        reasons.append("no candidate beats the random walk on the holdout, so the forecast is that the price stays")
    else:
        reasons.append(f"{evaluation.best} has the lowest RMSE, skill {best['skill']:+.3%} against the random walk")
    reasons.append(f"measured on {evaluation.data.holdout_rows:,} rows that no model was fitted on")
    return Gate(promote=not faults, reasons=faults + reasons)
