"""Training one part of a bundle: a candidate, the direction classifier, the volatility, or the regimes.

Each part is trained by a task of its own and leaves a folder: its model in native form and as ONNX, what it forecast
for rows it was not fitted on, and `part.json`. Nobody else needs to know how it was made.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cryptosentinel.bundle import (
    DIRECTION,
    DOMAIN_FILE,
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
from cryptosentinel.forecasting.dataset import Dataset, Layout, Snapshot, lay_out
from cryptosentinel.forecasting.domain import fit_domain
from cryptosentinel.forecasting.regimes import fit_regimes
from cryptosentinel.forecasting.volatility import VOLATILITY_MODELS, volatility_target

PART_FILE, FORECASTS_FILE, MODEL_ONNX = "part.json", "forecasts.parquet", "model.onnx"
# In the column `block` of a part's forecasts: the number of a walk-forward fold, or this.
LAST_BLOCK = -1
# Rows of features that travel with the bundle: the drift baseline, and the background of explanations.
REFERENCE_ROWS = 5_000
# A standardised target beyond this counts as this: no single crash decides a fit.
WILDEST = 5.0
# A fit is not thinned below about as many rows.
FEW_ROWS = 5_000


class Part(BaseModel):
    """What `part.json` says.

    Attributes:
        name: a candidate's name, `direction`, `volatility` or `regime`.
        model: its entry in the bundle's manifest.
        onnx_output: which output of its ONNX graph counts; empty where there is no graph.
        regimes: names by cluster number, of the part `regime`.
        fit_seconds: wall time of all its fits.
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
    return [*VOLATILITY_MODELS, DIRECTION, *candidates, REGIME]


def train_part(name: str, rows: Dataset, snapshot: Snapshot, settings: TrainingSettings, folder: Path) -> Part:
    """Trains one part and writes its folder.

    The part is fitted once a walk-forward fold and forecasts that fold's test rows; then it is fitted on all rows
    before the last block and forecasts that. The last fit is the one that serves: the fit measured is the fit served.

    Args:
        name: one of `part_names`.
        rows: all rows, complete.
        snapshot: where the rows came from.
        settings: preset, layout, seed and threads.
        folder: where to write; it may exist.

    Raises:
        NotEnoughDataError: too few rows for the layout (`dataset.lay_out`), or a market that moves one way only.
    """
    from threadpoolctl import threadpool_limits

    layout = lay_out(rows, settings)
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    answers = []
    # Linear algebra on more threads adds up in another order: the same data and seed would not give the same digits.
    with threadpool_limits(limits=1):
        # Regimes are only reported on, so they need no forecasts out of fold.
        for number, fold in enumerate(() if name == REGIME else layout.folds):
            fitted = _fit(name, _thinned(rows.rows(fold.train), settings), settings)[0]
            answers.append(_answers(name, number, rows.rows(fold.test), fitted, settings))
        training, last = rows.rows(layout.last.train), rows.rows(layout.last.test)
        estimator, entry, onnx_output, regimes = _fit(name, _thinned(training, settings), settings)
        answers.append(_answers(name, LAST_BLOCK, last, estimator, settings))
    fit_seconds = time.perf_counter() - begin
    if estimator is not None:
        native = save_native(estimator, folder, name)
        entry = entry.model_copy(update={"file": f"models/{native.name}"})
        (folder / MODEL_ONNX).write_bytes(to_onnx(estimator, rows.X.shape[1]).SerializeToString())
    pd.concat(answers, ignore_index=True).to_parquet(folder / FORECASTS_FILE)
    if name == REGIME:  # what describes the training rows themselves comes with it
        _reference(training).to_parquet(folder / REFERENCE_FILE)
        (folder / DOMAIN_FILE).write_text(fit_domain(training.X, settings.seed).model_dump_json(), encoding="utf-8")
    part = Part(
        name=name,
        model=entry,
        onnx_output=onnx_output,
        regimes=regimes,
        names=list(rows.names),
        horizon_bars=rows.horizon_bars,
        data=_window(rows, layout, snapshot),
        fit_seconds=fit_seconds,
    )
    (folder / PART_FILE).write_text(part.model_dump_json(indent=2), encoding="utf-8")
    return part


def thinning_step(count: int, settings: TrainingSettings) -> int:
    """One in how many of `count` rows is fitted on: neighbouring targets are nearly the same, and cost as much to fit.

    Short histories are left whole.
    """
    return max(1, min(settings.thinning, count // FEW_ROWS))


def _thinned(rows: Dataset, settings: TrainingSettings) -> Dataset:
    return rows.rows(slice(None, None, thinning_step(len(rows), settings)))


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
        return make_direction_classifier(setup).fit(rows.X, up), ModelEntry(target="direction"), "probabilities", []
    if name in VOLATILITY_MODELS:
        model = VOLATILITY_MODELS[name](setup, rows.names).fit(rows.X, volatility_target(rows))
        return model, ModelEntry(target="log_volatility"), "variable", []
    if name == REGIME:
        pipeline, regimes = fit_regimes(rows.X, rows.names, settings.seed)
        return pipeline, ModelEntry(target="regime"), "label", regimes
    candidate = get_candidate(name)
    target: Literal["log_return", "standardised"] = candidate.target(settings.preset)
    if candidate.make is None:
        return None, ModelEntry(target=target), "", []
    y = rows.y
    if target == "standardised":
        y = np.clip(y / rows.scale, -WILDEST, WILDEST)
        # A month's drift says nothing of the next half hour, and no penalty would shrink it.
        y = y - y.mean()
    fitted = candidate.make(setup).fit(rows.X, y)
    if hasattr(fitted, "n_jobs"):
        fitted.n_jobs = 1  # a forest's threads would add up its trees' answers in the order in which they end
    return fitted, ModelEntry(target=target), "variable", []


def _answers(name: str, block: int, rows: Dataset, estimator: Any, settings: TrainingSettings) -> pd.DataFrame:
    """This part's answer for rows it was not fitted on."""
    answer: NDArray[Any]
    if name == DIRECTION:
        answer = estimator.predict_proba(rows.X)[:, 1]
    elif name in VOLATILITY_MODELS:
        answer = np.exp(np.asarray(estimator.predict(rows.X), dtype=np.float64).reshape(-1))
    elif name == REGIME:
        answer = estimator.predict(rows.X)
    else:
        answer = predict_log_return(get_candidate(name), settings.preset, estimator, rows.X, rows.scale)
    return pd.DataFrame(
        {"timestamp": pd.DatetimeIndex(rows.timestamps).tz_localize("UTC"), "block": block, "forecast": answer}
    )


def _reference(training: Dataset) -> pd.DataFrame:
    """An even sample of the training rows' features, in time order."""
    picked = np.unique(np.linspace(0, len(training) - 1, REFERENCE_ROWS).astype(int))
    frame = pd.DataFrame(training.X[picked], columns=list(training.names))
    frame.insert(0, "timestamp", pd.DatetimeIndex(training.timestamps[picked]).tz_localize("UTC"))
    return frame


def _window(rows: Dataset, layout: Layout, snapshot: Snapshot) -> DataWindow:
    def at(position: int) -> Any:
        return pd.Timestamp(rows.timestamps[position], tz="UTC").to_pydatetime()

    train, last = layout.last.train, layout.last.test
    return DataWindow(
        start=at(train.start),
        training_end=at(train.stop - 1),
        holdout_start=at(last.start),
        end=at(last.stop - 1),
        training_rows=train.stop - train.start,
        oof_rows=sum(fold.test.stop - fold.test.start for fold in layout.folds),
        holdout_rows=last.stop - last.start,
        bars_version=snapshot.bars_version,
        features_version=snapshot.features_version,
    )
