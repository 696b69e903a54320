"""Scores of a backtest's settled forecasts: of some rows, of the spread, the middle and the side."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping

import numpy as np

from cryptosentinel.backtest.models import (
    Contestant,
    Direction,
    Estimate,
    Gain,
    Part,
    Point,
    ReliabilityBin,
    Spread,
)
from cryptosentinel.backtest.rows import BASELINES, Array, Mask, Rows
from cryptosentinel.bundle import BLEND, RANDOM_WALK
from cryptosentinel.forecasting.losses import log_loss
from cryptosentinel.forecasting.probability import calibration_error, perfect_calibration_error, reliability
from cryptosentinel.forecasting.significance import TestResult, clark_west, diebold_mariano, mean_interval

SERVED = "served"
POINT_BASELINES = ("continued", "reversed", "single_feature")
SIGNIFICANT_T = 2.0
NAN = math.nan
_CHUNK = 50_000  # texts that are parsed at once


def parts(rows: Rows, groups: Mapping[str, Mask]) -> list[Part]:
    """The figures of each group that has rows."""
    return [part(rows, name, where) for name, where in groups.items() if where.any()]


def part(rows: Rows, name: str, where: Mask) -> Part:
    """The figures of the rows in `where`."""
    actual = rows.actual[where]
    said, up = rows.stated & where, rows.up[where & rows.stated]
    return Part(
        name=name,
        rows=int(where.sum()),
        covered_80=float(rows.covered(80)[where].mean()),
        covered_95=float(rows.covered(95)[where].mean()),
        pinball_bp=float(rows.pinball[where].mean()),
        below={base: _gain(rows.pinball_of[base][where], rows.pinball[where]) for base in BASELINES},
        skill=_gain(actual**2, (actual - rows.forecast[where]) ** 2),
        accuracy=share(rows.right, said, rows.horizon_bars),
        majority=max(float(up.mean()), 1 - float(up.mean())) if len(up) else NAN,
        brier_skill=_gain(rows.brier_base[where], rows.brier[where]),
    )


def share(hit: Mask, where: Mask, horizon_bars: int) -> Estimate:
    """The share of `hit` among `where`, with its interval.

    `where` may be scattered in time: its mean is a ratio of two, and its error that of the ratio's linear term, summed
    in the order of time, so that labels that overlap are seen to, and those that a gap parts are not taken for
    neighbours.
    """
    positions = np.flatnonzero(where)
    if not len(positions):
        return Estimate(value=NAN, low=NAN, high=NAN)
    span = slice(positions[0], positions[-1] + 1)
    value = float(hit[positions].mean())
    deviation = np.where(where[span], hit[span] - value, 0.0)
    reach = mean_interval(deviation, horizon_bars)[1] * len(deviation) / len(positions)
    reach = reach if math.isfinite(reach) else NAN
    return Estimate(value=value, low=value - reach, high=value + reach)


def spread(rows: Rows) -> Spread:
    """Pinball losses beside the baselines'."""
    losses = {"model": rows.pinball, **rows.pinball_of}
    return Spread(
        pinball_bp={name: float(np.nanmean(loss)) for name, loss in losses.items()},
        gains={base: gain(losses[base], rows.pinball, rows.horizon_bars) for base in BASELINES},
    )


def gain(baseline: Array, ours: Array, horizon_bars: int) -> Gain:
    """How much less we lose than a baseline, over the rows that both have."""
    both = np.isfinite(baseline) & np.isfinite(ours)
    test = diebold_mariano(baseline[both], ours[both], horizon_bars)
    return Gain(share=_gain(baseline, ours), t=test.statistic if math.isfinite(test.standard_error) else NAN)


def point(rows: Rows) -> Point:
    """The forecast of the middle beside the random walk, the candidates and the simple rules."""
    price, actual_price, sigma = rows("price"), rows("actual_price"), rows("sigma")

    def information(forecast: Array) -> TestResult | None:
        known = np.isfinite(forecast) & (sigma > 0)
        f = forecast[known]
        return clark_west(rows.actual[known], f, rows.horizon_bars, sigma[known]) if f.any() else None

    def contestant(name: str, kind: str, forecast: Array) -> Contestant:
        known = np.isfinite(forecast)
        actual, f = rows.actual[known], forecast[known]
        signed = (f != 0) & (actual != 0)
        test = information(forecast)
        return Contestant.model_validate(
            {
                "name": name,
                "kind": kind,
                "rows": len(f),
                "rmse_bp": 1e4 * _root_mean_square(actual - f),
                "rmse": _root_mean_square(actual_price[known] - price[known] * np.exp(f)),
                "skill": _gain(actual**2, (actual - f) ** 2),
                "clark_west_t": test.statistic if test else NAN,
                "accuracy": float((np.sign(f) == np.sign(actual))[signed].mean()) if signed.any() else NAN,
            }
        )

    blend = rows("blend_return")
    test = information(blend)
    league = [
        contestant(SERVED, "served", rows.forecast),
        contestant(BLEND, "candidate", blend),
        contestant(RANDOM_WALK, "baseline", np.zeros(rows.count)),
        *(contestant(name, "baseline", rows(name)) for name in POINT_BASELINES),
        *(contestant(name, "candidate", forecast) for name, forecast in _candidates(rows, price)),
    ]
    served, walk = league[0], league[2]
    return Point(
        zero=not rows.forecast.any(),
        skill=served.skill,
        mean_weight=float(np.nanmean(rows("weight"))),
        clark_west_t=test.statistic if test else NAN,
        clark_west_p=test.p_value if test else NAN,
        rmse=served.rmse,
        rmse_walk=walk.rmse,
        league=sorted((row for row in league if row.rows), key=lambda row: row.rmse_bp),
    )


def direction(rows: Rows, overall: Part, seed: int) -> Direction:
    """The probability of a rise, and the side it states.

    Args:
        rows: the settled forecasts.
        overall: the figures of all of them.
        seed: of the simulated perfect forecaster.
    """
    known = np.isfinite(rows.p_up)
    p, up = rows.p_up[known], rows.up[known]
    brier_skill = gain(rows.brier_base, rows.brier, rows.horizon_bars)
    perfect, perfect_95 = perfect_calibration_error(p, rows.horizon_bars, seed=seed)
    return Direction(
        stated=float(rows.stated.mean()),
        accuracy=overall.accuracy,
        majority=overall.majority,
        brier=float(rows.brier[known].mean()),
        brier_skill=brier_skill,
        log_loss=float(log_loss(p, up).mean()),
        calibration_error=calibration_error(p, up),
        perfect_error=perfect,
        perfect_error_95=perfect_95,
        reliability=[
            ReliabilityBin(count=one.count, forecast=one.forecast, observed=one.observed) for one in reliability(p, up)
        ],
        told_from_chance=overall.accuracy.low > overall.majority and brier_skill.t >= SIGNIFICANT_T,
    )


def _candidates(rows: Rows, price: Array) -> Iterator[tuple[str, Array]]:
    """Each candidate's log returns, from `by_model`; the blend and the random walk have columns of their own."""
    texts = rows.texts("by_model")
    forecasts: dict[str, Array] = {}
    for start in range(0, len(texts), _CHUNK):
        chunk = json.loads(f"[{','.join(text or '{}' for text in texts[start : start + _CHUNK])}]")
        for name in sorted({name for models in chunk for name in models} - {BLEND, RANDOM_WALK}):
            column = forecasts.setdefault(name, np.full(len(texts), NAN))
            column[start : start + len(chunk)] = [models.get(name, NAN) for models in chunk]
    for name, prices in sorted(forecasts.items()):
        yield name, np.asarray(np.log(prices / price))


def _gain(baseline: Array, ours: Array) -> float:
    """1 - our sum over the baseline's, over the rows that both have; NaN where there is nothing to divide by."""
    both = np.isfinite(baseline) & np.isfinite(ours)
    total = float(baseline[both].sum())
    return 1.0 - float(ours[both].sum()) / total if total > 0 else NAN


def _root_mean_square(errors: Array) -> float:
    return float(np.sqrt(np.mean(errors**2))) if len(errors) else NAN
