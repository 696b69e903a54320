"""How good a trained field was on the last block: rows that no model was fitted on and no choice was made on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cryptosentinel.bundle import (
    BLEND,
    BOUNDS,
    DOMAIN_FILE,
    PROBABILITIES,
    RANDOM_WALK,
    REGIME,
    Champion,
    DataWindow,
    Domain,
    QuantileTable,
)
from cryptosentinel.config import ForecastSettings
from cryptosentinel.forecasting import baselines
from cryptosentinel.forecasting.blocks import issued_quantiles, last_block
from cryptosentinel.forecasting.choices import Choices, choose
from cryptosentinel.forecasting.dataset import Dataset
from cryptosentinel.forecasting.evidence import Block, Evidence, Incumbent, gather_evidence
from cryptosentinel.forecasting.losses import brier, log_loss, pinball
from cryptosentinel.forecasting.probability import (
    ReliabilityBin,
    calibration_error,
    perfect_calibration_error,
    reliability,
)
from cryptosentinel.forecasting.unseen import Unseen, read_parts

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHRUNK = "shrunk"


class _Figures(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Slice(_Figures):
    """The figures of some rows: those of a regime, an hour of the day (UTC), or a third by forecast volatility.

    Attributes:
        kind: `regime`, `hour` or `volatility`; `name` says which one.
        skill: squared error of the point forecast against the random walk's.
        accuracy: share of directions that were right, those not given or not taken left out; NaN without any.
    """

    kind: str
    name: str
    rows: int
    pinball_bp: float
    coverage_80: float
    coverage_95: float
    skill: float
    accuracy: float


class Evaluation(_Figures):
    """What was measured on the last block.

    Attributes:
        choices: made before it, on out-of-fold rows.
        evidence: what the gate goes by.
        candidates: by candidate, baseline, `blend` and `shrunk` (the blend as it is believed): `rmse`, `mae` and `r2`
            of the log return, `rmse_price` in the quote currency, `skill` (1 - squared error over the random walk's)
            and `direction_accuracy`.
        spread: as served where the `blend` speaks, where the `random_walk` does, and by baseline: `pinball_bp`,
            `coverage_80` and `coverage_95`, all with the same online calibration.
        direction: `accuracy`, `precision`, `recall`, `f1`, `base_rate`, `brier`, `brier_skill` against the base rate
            out of fold, `log_loss`, `calibration_error`, and `perfect_error`, what the last would be if every
            probability were right.
        reliability: what was said against what came.
        confusion: rows actual, columns predicted; order down, up.
        slices: broken down, by who speaks.
        regimes: share of the rows by regime.
        data: the rows of the training run.
        horizon_bars: how far the targets reach, and so how many of them overlap.
    """

    choices: Choices
    evidence: Evidence
    candidates: dict[str, dict[str, float]]
    spread: dict[str, dict[str, float]]
    direction: dict[str, float]
    reliability: list[ReliabilityBin]
    confusion: list[list[int]]
    slices: dict[Champion, list[Slice]]
    regimes: dict[str, float]
    data: DataWindow
    horizon_bars: int


def evaluate(
    folders: Sequence[Path],
    unseen: Unseen,
    settings: ForecastSettings,
    *,
    data_age_s: float,
    incumbent: Incumbent | None,
) -> Evaluation:
    """Makes the choices on the out-of-fold rows, and measures them on the last block.

    Args:
        folders: what `train_part` wrote, one folder a part.
        unseen: what `read_unseen` read from them.
        settings: of the online calibration.
        data_age_s: how old the newest row is.
        incumbent: the champion on the last block, from `blocks.incumbent_on`.

    Raises:
        PipelineError: as `read_parts`.
        NotEnoughDataError: models diverged on all out-of-fold rows.
    """
    parts = read_parts(folders)
    regime, folder = parts[REGIME]
    domain = Domain.model_validate_json((folder / DOMAIN_FILE).read_text(encoding="utf-8"))
    before, last = unseen.split()
    choices = choose(before)
    block = last_block(last, choices, domain, settings, BLEND)
    silent = last_block(last, choices, domain, settings, RANDOM_WALK) if choices.shrinkage else block
    blocks: dict[Champion, Block] = {BLEND: block, RANDOM_WALK: silent}
    candidates = _score_points(unseen, len(before), choices)
    accuracies = {
        name: figures["direction_accuracy"]
        for name, figures in candidates.items()
        if name in last.candidates and "direction_accuracy" in figures
    }
    known = block.pick(np.isfinite(block.p_up))  # elsewhere the classifier diverged, which the gate finds
    direction, confusion = score_direction(known.p_up, known.actual > 0, choices.base_rate, block.horizon_bars)
    return Evaluation(
        choices=choices,
        evidence=gather_evidence(blocks, data_age_s=data_age_s, accuracies=accuracies, incumbent=incumbent),
        candidates=candidates,
        spread=_score_spreads(unseen.rows, len(before), blocks, settings),
        direction=direction,
        reliability=reliability(known.p_up, known.actual > 0),
        confusion=confusion,
        slices={name: list(_slices(last, block, regime.regimes)) for name, block in blocks.items()},
        regimes={name: float((last.regime == number).mean()) for number, name in enumerate(regime.regimes)},
        data=regime.data,
        horizon_bars=block.horizon_bars,
    )


def baseline_history(rows: Dataset) -> dict[str, Array]:
    """What `baselines` need of rows."""
    feature = rows.X[:, rows.names.index(baselines.SINGLE_FEATURE)].astype(np.float64)
    own = {"actual": rows.y, "realised": rows.realised, "scale": rows.scale, baselines.SINGLE_FEATURE: feature}
    return {**rows.history, **own}


def score_returns(actual: Array, forecast: Array, close: Array) -> dict[str, float]:
    """Metrics of forecast log returns, all of shape (n,).

    R2 is against the mean of the actual returns, skill against the random walk (a forecast of 0). Direction accuracy
    leaves out rows where forecast or outcome is exactly 0, and is missing where none is left.
    """
    error = actual - forecast
    price_error = close * (np.exp(actual) - np.exp(forecast))
    squared = float((error**2).sum())
    scores = {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.abs(error).mean()),
        "r2": 1.0 - squared / _positive(((actual - actual.mean()) ** 2).sum()),
        "skill": 1.0 - squared / _positive((actual**2).sum()),
        "rmse_price": float(np.sqrt(np.mean(price_error**2))),
    }
    decided = (actual != 0) & (forecast != 0)
    if decided.any():
        scores["direction_accuracy"] = float((np.sign(actual) == np.sign(forecast))[decided].mean())
    return scores


def score_direction(
    p_up: Array, up: Mask, base_rate: float, horizon_bars: int
) -> tuple[dict[str, float], list[list[int]]]:
    """Metrics of the probability of a rise, and the confusion of the directions that it states.

    Args:
        p_up: calibrated, shape (n,).
        up: whether the price rose; a return of 0 counts as not up.
        base_rate: share of rises in the rows before, which a forecaster without skill would say.
        horizon_bars: how many labels overlap.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    predicted = p_up > 0.5
    precision, recall, f1, _ = precision_recall_fscore_support(up, predicted, average="binary", zero_division=0.0)
    loss = float(brier(p_up, up).mean())
    scores = {
        "accuracy": float(accuracy_score(up, predicted)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "base_rate": float(max(up.mean(), 1.0 - up.mean())),
        "brier": loss,
        "brier_skill": 1.0 - loss / _positive(brier(np.full(len(up), base_rate), up).mean()),
        "log_loss": float(log_loss(p_up, up).mean()),
        "calibration_error": calibration_error(p_up, up),
        "perfect_error": perfect_calibration_error(p_up, horizon_bars)[0],
    }
    return scores, confusion_matrix(up, predicted, labels=[False, True]).tolist()


def league_table(candidates: Mapping[str, Mapping[str, float]], served: str) -> str:
    """Point forecasts as a Markdown table, best first; `direction` is the share of signs that were right."""
    lines = [
        "| forecast | RMSE bp | MAE bp | R2 | skill | direction | RMSE price |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, m in sorted(candidates.items(), key=lambda item: np.nan_to_num(item[1]["rmse"], nan=np.inf)):
        direction = f"{m['direction_accuracy']:.1%}" if "direction_accuracy" in m else "-"
        label = f"**{name}**" if name == served else name
        lines.append(
            f"| {label} | {m['rmse'] * 1e4:.3f} | {m['mae'] * 1e4:.3f} | {m['r2']:+.4f} | {m['skill']:+.3%} "
            f"| {direction} | {m['rmse_price']:,.2f} |"
        )
    return "\n".join(lines)


def _score_points(unseen: Unseen, count: int, choices: Choices) -> dict[str, dict[str, float]]:
    """Candidates, baselines, the blend and the shrunk blend on the last block, which begins at row `count`."""
    rows, blend = unseen.rows, unseen.blend
    history = baseline_history(rows)
    forecasts = {name: rule(history, slice(0, count)) for name, rule in baselines.POINT.items()}
    forecasts |= {**unseen.candidates, BLEND: blend, SHRUNK: choices.mean(unseen)}
    last = slice(count, None)
    return {name: score_returns(rows.y[last], values[last], rows.close[last]) for name, values in forecasts.items()}


def _score_spreads(
    rows: Dataset, count: int, blocks: Mapping[Champion, Block], settings: ForecastSettings
) -> dict[str, dict[str, float]]:
    """The quantiles issued, and those of the baselines of the spread with the same calibration on top."""
    last = rows.rows(slice(count, None))
    quantiles: dict[str, Array] = {name: block.quantiles for name, block in blocks.items()}
    history, before = baseline_history(rows), slice(0, count)
    for name, rule in baselines.SPREAD.items():
        sigma = rule(history, before)
        table = QuantileTable.conformal(rows.y[before] / sigma[before])
        quantiles[name] = issued_quantiles(last, np.zeros(len(last)), sigma[count:], table, settings)
    return {name: _spread_figures(last.y, values) for name, values in quantiles.items()}


def _spread_figures(actual: Array, quantiles: Array) -> dict[str, float]:
    figures = {"pinball_bp": float(pinball(actual, quantiles, PROBABILITIES).mean() * 1e4)}
    for level in (80, 95):
        low, high = (quantiles[:, BOUNDS.index(f"{side}_{level}")] for side in ("lower", "upper"))
        figures[f"coverage_{level}"] = float(((low <= actual) & (actual <= high)).mean())
    return figures


def _slices(last: Unseen, block: Block, regimes: Sequence[str]) -> Iterator[Slice]:
    """The block broken down by regime, hour and forecast volatility."""
    hour = last.rows.timestamps.astype("datetime64[h]").astype(np.int64) % 24
    thirds = np.searchsorted(np.quantile(block.sigma, [1 / 3, 2 / 3]), block.sigma)
    groups = [
        ("regime", last.regime, regimes),
        ("volatility", thirds, ("low", "middle", "high")),
        ("hour", hour, [f"{number:02}" for number in range(24)]),
    ]
    for kind, numbers, names in groups:
        for number, name in enumerate(names):
            which = numbers == number
            if which.any():
                yield _slice(kind, name, block.pick(which))


def _slice(kind: str, name: str, rows: Block) -> Slice:
    decided = (rows.p_up != 0.5) & (rows.actual != 0)
    right = np.sign(rows.p_up - 0.5) == np.sign(rows.actual)
    error = rows.actual - rows.weight * rows.blend
    return Slice(
        kind=kind,
        name=name,
        rows=len(rows),
        **_spread_figures(rows.actual, rows.quantiles),
        skill=1.0 - float((error**2).sum()) / _positive((rows.actual**2).sum()),
        accuracy=float(right[decided].mean()) if decided.any() else float("nan"),
    )


def _positive(value: float) -> float:
    return float(value) if value > 0 else float("nan")
