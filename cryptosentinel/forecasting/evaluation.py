"""How good the candidates were on rows that none of them was fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cryptosentinel.bundle import DIRECTION, RANDOM_WALK, REGIME, DataWindow, QuantileTable
from cryptosentinel.errors import PipelineError
from cryptosentinel.forecasting.training import HOLDOUT_FILE, PART_FILE, Part

Array = NDArray[np.float64]


class Evaluation(BaseModel):
    """What was measured on the holdout rows.

    Attributes:
        best: the candidate with the lowest RMSE; on a tie, the simpler one.
        candidates: by name, `rmse`, `mae` and `r2` of the log return, `rmse_price` in the quote currency, `skill` (1 -
            squared error over the random walk's) and `direction_accuracy`.
        direction: `accuracy`, `precision`, `recall` and `f1` of the direction classifier, and `base_rate`, the share of
            the more frequent direction.
        confusion: rows actual, columns predicted; order down, up.
        quantiles: of the best candidate's standardised errors.
        regimes: share of the holdout rows by regime.
        data: the rows it was measured on.
        horizon_bars: how far the targets reach, and so how many of them overlap.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    best: str
    candidates: dict[str, dict[str, float]]
    direction: dict[str, float]
    confusion: list[list[int]]
    quantiles: QuantileTable
    regimes: dict[str, float]
    data: DataWindow
    horizon_bars: int


def read_parts(folders: Sequence[Path]) -> dict[str, tuple[Part, Path]]:
    """The parts that training tasks left behind, by name.

    Raises:
        PipelineError: a folder holds no part, a part is missing, or two saw different rows.
    """
    parts: dict[str, tuple[Part, Path]] = {}
    for folder in folders:
        try:
            part = Part.model_validate_json((folder / PART_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PipelineError("evaluate", f"{folder} holds no trained part ({error}).") from error
        parts[part.name] = part, folder
    windows = {part.data for part, _ in parts.values()}
    if missing := {DIRECTION, RANDOM_WALK, REGIME} - parts.keys():
        raise PipelineError("evaluate", f"there is no trained {' and no '.join(sorted(missing))}.")
    if len(windows) != 1:
        raise PipelineError("evaluate", f"the parts were trained on {len(windows)} different sets of rows.")
    return parts


def evaluate(folders: Sequence[Path]) -> Evaluation:
    """Measures every candidate and the direction classifier, and picks the best candidate by RMSE.

    Args:
        folders: what `train_part` wrote, one folder a part.
    """
    parts = read_parts(folders)
    frames = {name: pd.read_parquet(folder / HOLDOUT_FILE) for name, (_, folder) in parts.items()}
    candidates = {name: score_returns(frame) for name, frame in frames.items() if name not in {DIRECTION, REGIME}}
    # Ties go to the random walk, then to whoever comes first by name: a rule, not an accident of order. NaN comes last.
    best = min(candidates, key=lambda n: (np.nan_to_num(candidates[n]["rmse"], nan=np.inf), n != RANDOM_WALK, n))
    winner = frames[best]
    direction, confusion = score_direction(frames[DIRECTION])
    labels = frames[REGIME]["forecast"].to_numpy(int)
    names = parts[REGIME][0].regimes
    return Evaluation(
        best=best,
        candidates=candidates,
        direction=direction,
        confusion=confusion,
        quantiles=QuantileTable.conformal(((winner["actual"] - winner["forecast"]) / winner["scale"]).to_numpy()),
        regimes={name: float((labels == number).mean()) for number, name in enumerate(names)},
        data=parts[best][0].data,
        horizon_bars=parts[best][0].horizon_bars,
    )


def score_returns(frame: pd.DataFrame) -> dict[str, float]:
    """Metrics of forecast log returns; `frame` has `actual`, `forecast` and `close`.

    R2 is against the mean of the actual returns, skill against the random walk (a forecast of 0). Direction accuracy
    leaves out rows where forecast or outcome is exactly 0, and is missing where none is left.
    """
    actual, forecast, close = (frame[name].to_numpy(np.float64) for name in ("actual", "forecast", "close"))
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


def score_direction(frame: pd.DataFrame) -> tuple[dict[str, float], list[list[int]]]:
    """Metrics of the classifier's probability of a rise; `up` is the positive class, a return of 0 counts as not up."""
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    actual, predicted = (frame["actual"] > 0).to_numpy(), (frame["forecast"] > 0.5).to_numpy()
    precision, recall, f1, _ = precision_recall_fscore_support(actual, predicted, average="binary", zero_division=0.0)
    up = float(actual.mean())
    scores = {
        "accuracy": float(accuracy_score(actual, predicted)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "base_rate": max(up, 1.0 - up),
    }
    return scores, confusion_matrix(actual, predicted, labels=[False, True]).tolist()


def league_table(candidates: Mapping[str, Mapping[str, float]], best: str) -> str:
    """The candidates as a Markdown table, best first; `way` is the share of directions that were right."""
    lines = [
        "| candidate | RMSE bp | MAE bp | R2 | skill | way | RMSE price |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, m in sorted(candidates.items(), key=lambda item: item[1]["rmse"]):
        direction = f"{m['direction_accuracy']:.1%}" if "direction_accuracy" in m else "-"
        label = f"**{name}**" if name == best else name
        lines.append(
            f"| {label} | {m['rmse'] * 1e4:.3f} | {m['mae'] * 1e4:.3f} | {m['r2']:+.4f} | {m['skill']:+.3%} "
            f"| {direction} | {m['rmse_price']:,.2f} |"
        )
    return "\n".join(lines)


def _positive(value: float) -> float:
    return float(value) if value > 0 else float("nan")
