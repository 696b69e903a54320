"""The rows a training run sees, and how they are laid out in time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cryptosentinel.config import Settings, TrainingSettings
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec, compute_target
from cryptosentinel.forecasting.history import compute_history, compute_realised
from cryptosentinel.forecasting.walk_forward import Fold, walk_forward
from cryptosentinel.market.bars import Interval
from cryptosentinel.storage import FeatureStore

# The slowest baseline looks back a week.
HISTORY = timedelta(days=7)
# Of the rows before the last block, those that no fold forecasts.
FIRST_SHARE = 0.4


class Snapshot(BaseModel):
    """What exactly to train on: a time range and the table versions, so that it can be read again.

    Attributes:
        end: rows open before it.
        window_days: how far back the rows go.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    end: datetime
    window_days: float
    bars_version: int
    features_version: int


@dataclass(frozen=True)
class Dataset:
    """Rows ordered in time, one a bar.

    Attributes:
        timestamps: when each row's bar opens, shape (n,).
        X: model features, float32 as the models and their ONNX form see them, shape (n, features).
        y: log return over the horizon, shape (n,).
        realised: volatility realised over the horizon (root of the summed squared returns), shape (n,).
        scale: volatility over the horizon as known at the row, shape (n,).
        close: shape (n,).
        history: what baselines need of the past, see `history.compute_history`.
        names: the columns of X.
        interval: of the bars.
        horizon_bars: how many bars the target reaches ahead.
    """

    timestamps: NDArray[np.datetime64]
    X: NDArray[np.float32]
    y: NDArray[np.float64]
    realised: NDArray[np.float64]
    scale: NDArray[np.float64]
    close: NDArray[np.float64]
    history: Mapping[str, NDArray[np.float64]]
    names: tuple[str, ...]
    interval: Interval
    horizon_bars: int

    def __len__(self) -> int:
        return len(self.y)

    @property
    def horizon(self) -> timedelta:
        """How far the target reaches ahead."""
        return self.horizon_bars * self.interval.delta

    def rows(self, which: slice | NDArray[np.bool_]) -> Dataset:
        """Some of the rows."""
        return replace(
            self,
            timestamps=self.timestamps[which],
            X=self.X[which],
            y=self.y[which],
            realised=self.realised[which],
            scale=self.scale[which],
            close=self.close[which],
            history={name: values[which] for name, values in self.history.items()},
        )

    def complete(self) -> Dataset:
        """The rows in which every model feature, the target and the scale are finite."""
        return self.rows(np.isfinite(self.X).all(axis=1) & np.isfinite(self.y) & (self.scale > 0))


@dataclass(frozen=True)
class Layout:
    """Which rows serve for what.

    Attributes:
        folds: walk-forward folds. Every choice is made on forecasts of their test rows, by models fitted before them.
        last: its test rows are the newest ones, never used for a choice; its training rows are all that lie before. The
            models fitted on those are the ones that serve.
    """

    folds: tuple[Fold, ...]
    last: Fold


def lay_out(rows: Dataset, settings: TrainingSettings) -> Layout:
    """Splits rows in time: walk-forward folds, then the last block.

    Raises:
        NotEnoughDataError: fewer rows before the last block than `training_rows_needed`, or, where many are missing,
            none before a fold.
    """
    begin = end = 0
    if len(rows):
        cap = rows.timestamps[-1] - np.timedelta64(timedelta(days=settings.holdout_days))
        share = len(rows) - max(int(len(rows) * settings.holdout_share), 1)
        begin = max(share, int(np.searchsorted(rows.timestamps, cap, side="right")))
        gap = rows.horizon + settings.embargo_bars * rows.interval.delta
        end = int(np.searchsorted(rows.timestamps, rows.timestamps[begin] - np.timedelta64(gap), side="right"))
    needed = training_rows_needed(settings, rows.horizon_bars)
    if end < needed:
        raise NotEnoughDataError(
            "Complete rows to train on",
            have=end,
            need=needed,
            remedy="The random walk stays champion; collect more bars, or lengthen training.window_days.",
        )
    folds = walk_forward(
        rows.timestamps[:end],
        folds=settings.folds,
        purge=rows.horizon,
        embargo=settings.embargo_bars * rows.interval.delta,
        scheme=settings.scheme,
        first_share=FIRST_SHARE,
    )
    return Layout(tuple(folds), Fold(slice(0, end), slice(begin, len(rows))))


def training_rows_needed(settings: TrainingSettings, horizon_bars: int) -> int:
    """Rows before the last block that a training run needs: `min_rows`, or more where labels reach far.

    The first fold is fitted on at least as many rows as are then left out before its test rows.
    """
    return max(settings.min_rows, math.ceil(2 * (horizon_bars + settings.embargo_bars) / FIRST_SHARE))


def take_snapshot(store: FeatureStore, spec: FeatureSpec, asset: str, window_days: float) -> Snapshot:
    """Pins the newest state of the store.

    Raises:
        NotEnoughDataError: there are no features yet.
    """
    newest = store.last_timestamp(asset, spec.hash)
    if newest is None:
        raise NotEnoughDataError(
            f"Features of {asset}",
            have=0,
            need=1,
            remedy="Run the feature pipeline first: `cryptosentinel run feature`.",
        )
    return Snapshot(
        end=newest + spec.interval.delta,
        window_days=window_days,
        bars_version=store.version(),
        features_version=store.version(spec.hash),
    )


def enough_rows(
    store: FeatureStore, spec: FeatureSpec, asset: str, snapshot: Snapshot, settings: Settings
) -> tuple[int, int]:
    """How many rows of a snapshot have every feature, and how many a training run needs, its last block included."""
    slowest = max((f for f in spec.features if f.feeds_models), key=lambda feature: feature.warm_up_bars).name
    start = snapshot.end - timedelta(days=snapshot.window_days)
    column = store.read_features(
        asset, spec.hash, start, snapshot.end, columns=[slowest], version=snapshot.features_version
    )[slowest]
    # The newest rows have no target yet, and a gap is left out between training rows and the last block.
    usable = int(column.notna().sum()) - settings.forecast.horizon_bars
    training, horizon_bars = settings.training, settings.forecast.horizon_bars
    before = training_rows_needed(training, horizon_bars) + horizon_bars + training.embargo_bars
    return max(usable, 0), math.ceil(before / (1 - training.holdout_share))


def load_dataset(store: FeatureStore, spec: FeatureSpec, asset: str, snapshot: Snapshot, horizon_bars: int) -> Dataset:
    """Reads a snapshot's complete rows as they were when it was taken."""
    start = snapshot.end - timedelta(days=snapshot.window_days)
    features = store.read_features(
        asset, spec.hash, start, snapshot.end, columns=spec.model_names, version=snapshot.features_version
    )
    bars = store.read_bars(asset, start - HISTORY, snapshot.end, version=snapshot.bars_version)
    return make_dataset(bars, features, spec, horizon_bars).complete()


def make_dataset(bars: pd.DataFrame, features: pd.DataFrame, spec: FeatureSpec, horizon_bars: int) -> Dataset:
    """Puts bars and their features together: a row for each that has both, complete or not.

    Args:
        bars: ordered; those before the first feature row give the baselines their history.
        features: ordered, with the spec's model features.
        spec: of the features.
        horizon_bars: how far targets reach.
    """
    known = bars["timestamp"].isin(features["timestamp"]).to_numpy()
    if known.sum() != len(features):  # a bar that lost its feature row, or the other way round
        features = features[features["timestamp"].isin(bars["timestamp"])]
    X = features[spec.model_names].to_numpy(np.float32)
    return Dataset(
        timestamps=bars["timestamp"].to_numpy("datetime64[ms]")[known],
        X=X,
        y=compute_target(bars, spec.interval, horizon_bars)[known],
        realised=compute_realised(bars, spec.interval, horizon_bars)[known],
        scale=features[SCALE_FEATURE].to_numpy(np.float64) * np.sqrt(horizon_bars),
        close=bars["close"].to_numpy(np.float64)[known],
        history={name: v[known] for name, v in compute_history(bars, spec.interval, horizon_bars).items()},
        names=tuple(spec.model_names),
        interval=spec.interval,
        horizon_bars=horizon_bars,
    )
