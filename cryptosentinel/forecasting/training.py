"""Training one part of a bundle: a candidate, the direction classifier, or the regimes.

Each part is trained by a task of its own and leaves a folder: its model in native form and as ONNX, what it forecast
for the holdout rows, and `part.json`. Nobody else needs to know how it was made.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from cryptosentinel.bundle import (
    DIRECTION,
    RANDOM_WALK,
    REFERENCE_FILE,
    REGIME,
    DataWindow,
    ModelEntry,
    save_native,
    to_onnx,
)
from cryptosentinel.config import TrainingSettings
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.forecasting.candidates import (
    Setup,
    get_candidate,
    make_direction_classifier,
    predict_log_return,
)
from cryptosentinel.forecasting.dataset import Dataset, Snapshot, describe_rows
from cryptosentinel.forecasting.regimes import fit_regimes

PART_FILE, HOLDOUT_FILE, MODEL_ONNX = "part.json", "holdout.parquet", "model.onnx"
# Rows of features that travel with the bundle: the drift baseline, and the background of explanations.
REFERENCE_ROWS = 5_000


class Part(BaseModel):
    """What `part.json` says.

    Attributes:
        name: a candidate's name, `direction` or `regime`.
        model: its entry in the bundle's manifest.
        onnx_output: which output of its ONNX graph counts; empty where there is no graph.
        regimes: names by cluster number, of the part `regime`.
        fit_seconds: wall time of the fit alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    model: ModelEntry
    onnx_output: str = ""
    regimes: list[str] = []
    names: list[str]
    horizon_bars: int
    data: DataWindow
    fit_seconds: float


def part_names(settings: TrainingSettings) -> list[str]:
    """Every part of a bundle, the slowest to train first."""
    slow_first = ("gradient_boosting", "random_forest", "xgboost", "ridge", RANDOM_WALK)
    candidates = sorted(settings.candidates, key=slow_first.index)
    return [DIRECTION, *candidates, REGIME]


def train_part(name: str, rows: Dataset, snapshot: Snapshot, settings: TrainingSettings, folder: Path) -> Part:
    """Trains one part and writes its folder.

    Args:
        name: one of `part_names`.
        rows: all rows; the holdout is split off here and not fitted on.
        snapshot: where the rows came from.
        settings: preset, holdout share, seed and threads.
        folder: where to write; it may exist.

    Raises:
        NotEnoughDataError: fewer training rows than `settings.min_rows`, no holdout rows, or a market that moves one
            way only.
    """
    training, holdout = rows.split(settings.holdout_share)
    if len(training) < settings.min_rows or len(holdout) == 0:
        raise NotEnoughDataError(
            "Complete rows to train on",
            have=len(training),
            need=settings.min_rows,
            remedy="The random walk stays champion; collect more bars, or lengthen training.window_days.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    estimator, entry, onnx_output, regimes = _fit(name, training, settings)
    fit_seconds = time.perf_counter() - begin
    if estimator is not None:
        native = save_native(estimator, folder, name)
        entry = entry.model_copy(update={"file": f"models/{native.name}"})
        (folder / MODEL_ONNX).write_bytes(to_onnx(estimator, training.X.shape[1]).SerializeToString())
    _holdout_frame(name, holdout, estimator, settings).to_parquet(folder / HOLDOUT_FILE)
    if name == REGIME:
        _reference(training).to_parquet(folder / REFERENCE_FILE)
    part = Part(
        name=name,
        model=entry,
        onnx_output=onnx_output,
        regimes=regimes,
        names=list(rows.names),
        horizon_bars=rows.horizon_bars,
        data=_window(training, holdout, snapshot),
        fit_seconds=fit_seconds,
    )
    (folder / PART_FILE).write_text(part.model_dump_json(indent=2), encoding="utf-8")
    return part


def _fit(name: str, rows: Dataset, settings: TrainingSettings) -> tuple[Any, ModelEntry, str, list[str]]:
    setup = Setup(settings.preset, len(rows), settings.seed, settings.threads)
    if name == DIRECTION:
        up = rows.y > 0
        if up.all() or not up.any():
            raise NotEnoughDataError(
                f"Training rows after which the price {'does not rise' if up.any() else 'rises'}",
                have=0,
                need=1,
                remedy="The random walk stays champion until the market moves both ways.",
            )
        classifier = make_direction_classifier(setup)
        return classifier.fit(rows.X, up), ModelEntry(target="direction"), "probabilities", []
    if name == REGIME:
        pipeline, regimes = fit_regimes(rows.X, rows.names, settings.seed)
        return pipeline, ModelEntry(target="regime"), "label", regimes
    candidate = get_candidate(name)
    target: Literal["log_return", "standardised"] = candidate.target(settings.preset)
    if candidate.make is None:
        return None, ModelEntry(target=target), "", []
    y = rows.y / rows.scale if target == "standardised" else rows.y
    estimator = candidate.make(setup)
    return estimator.fit(rows.X, y), ModelEntry(target=target), "variable", []


def _holdout_frame(name: str, rows: Dataset, estimator: Any, settings: TrainingSettings) -> pd.DataFrame:
    """The holdout rows with this part's answer in the column `forecast`."""
    frame = describe_rows(rows)
    if name == DIRECTION:
        frame["forecast"] = estimator.predict_proba(rows.X)[:, 1]
    elif name == REGIME:
        frame["forecast"] = estimator.predict(rows.X)
    else:
        candidate = get_candidate(name)
        frame["forecast"] = predict_log_return(candidate, settings.preset, estimator, rows.X, rows.scale)
    return frame


def _reference(training: Dataset) -> pd.DataFrame:
    """An even sample of the training rows' features, in time order."""
    picked = np.unique(np.linspace(0, len(training) - 1, REFERENCE_ROWS).astype(int))
    frame = pd.DataFrame(training.X[picked], columns=list(training.names))
    frame.insert(0, "timestamp", pd.DatetimeIndex(training.timestamps[picked]).tz_localize("UTC"))
    return frame


def _window(training: Dataset, holdout: Dataset, snapshot: Snapshot) -> DataWindow:
    def at(stamp: np.datetime64) -> Any:
        return pd.Timestamp(stamp, tz="UTC").to_pydatetime()

    return DataWindow(
        start=at(training.timestamps[0]),
        holdout_start=at(holdout.timestamps[0]),
        end=at(holdout.timestamps[-1]),
        training_rows=len(training),
        holdout_rows=len(holdout),
        bars_version=snapshot.bars_version,
        features_version=snapshot.features_version,
    )
