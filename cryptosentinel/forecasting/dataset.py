"""The rows a training run sees, and how they are split in time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cryptosentinel.config import Settings
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec, compute_target
from cryptosentinel.storage import FeatureStore


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
    """Complete rows, ordered in time: every model feature, the target and the scale are finite.

    Attributes:
        timestamps: when each row's bar opens, shape (n,).
        X: model features, float32 as the models and their ONNX form see them, shape (n, features).
        y: log return over the horizon, shape (n,).
        scale: volatility over the horizon as known at the row, shape (n,).
        close: shape (n,).
        names: the columns of X.
        horizon_bars: how many bars the target reaches ahead.
    """

    timestamps: NDArray[np.datetime64]
    X: NDArray[np.float32]
    y: NDArray[np.float64]
    scale: NDArray[np.float64]
    close: NDArray[np.float64]
    names: tuple[str, ...]
    horizon_bars: int

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, which: slice) -> Dataset:
        """Some of the rows."""
        return Dataset(
            self.timestamps[which],
            self.X[which],
            self.y[which],
            self.scale[which],
            self.close[which],
            self.names,
            self.horizon_bars,
        )

    def split(self, holdout_share: float) -> tuple[Dataset, Dataset]:
        """Training rows and, after a gap, holdout rows.

        The gap is one horizon: without it, the targets of the last training rows would reach into the holdout.

        Args:
            holdout_share: share of all rows that the holdout gets, rounded down.
        """
        first_holdout = len(self) - int(len(self) * holdout_share)
        return self.rows(slice(0, max(first_holdout - self.horizon_bars, 0))), self.rows(slice(first_holdout, None))


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
    """How many rows of a snapshot have every feature, and how many a training run needs, its holdout included."""
    slowest = max((f for f in spec.features if f.feeds_models), key=lambda feature: feature.warm_up_bars).name
    start = snapshot.end - timedelta(days=snapshot.window_days)
    column = store.read_features(
        asset, spec.hash, start, snapshot.end, columns=[slowest], version=snapshot.features_version
    )[slowest]
    # The newest rows have no target yet, and one horizon is left out between training and holdout.
    usable = int(column.notna().sum()) - settings.forecast.horizon_bars
    training = settings.training
    needed = math.ceil((training.min_rows + settings.forecast.horizon_bars) / (1 - training.holdout_share))
    return max(usable, 0), needed


def load_dataset(store: FeatureStore, spec: FeatureSpec, asset: str, snapshot: Snapshot, horizon_bars: int) -> Dataset:
    """Reads a snapshot's rows as they were when it was taken."""
    start = snapshot.end - timedelta(days=snapshot.window_days)
    features = store.read_features(
        asset, spec.hash, start, snapshot.end, columns=spec.model_names, version=snapshot.features_version
    )
    bars = store.read_bars(asset, start, snapshot.end, version=snapshot.bars_version)
    bars = bars[bars["timestamp"].isin(features["timestamp"])].reset_index(drop=True)
    if len(bars) != len(features):  # a bar that lost its feature row, or the other way round
        features = features[features["timestamp"].isin(bars["timestamp"])].reset_index(drop=True)
    y = compute_target(bars, spec.interval, horizon_bars)
    X = features[spec.model_names].to_numpy(np.float32)
    scale = features[SCALE_FEATURE].to_numpy(np.float64) * np.sqrt(horizon_bars)
    complete = np.isfinite(X).all(axis=1) & np.isfinite(y) & (scale > 0)
    return Dataset(
        timestamps=bars["timestamp"].to_numpy("datetime64[ms]")[complete],
        X=X[complete],
        y=y[complete],
        scale=scale[complete],
        close=bars["close"].to_numpy(np.float64)[complete],
        names=tuple(spec.model_names),
        horizon_bars=horizon_bars,
    )


def describe_rows(rows: Dataset) -> pd.DataFrame:
    """`timestamp`, `actual`, `scale` and `close` of each row, for what is measured on them."""
    return pd.DataFrame(
        {
            "timestamp": pd.DatetimeIndex(rows.timestamps).tz_localize("UTC"),
            "actual": rows.y,
            "scale": rows.scale,
            "close": rows.close,
        }
    )
