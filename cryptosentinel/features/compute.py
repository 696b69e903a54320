"""From bars to feature rows and targets. One function serves training and one live row."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.features.kernels import Array, Run
from cryptosentinel.features.spec import FeatureSpec
from cryptosentinel.market.bars import Interval


def compute_features(bars: pd.DataFrame, spec: FeatureSpec) -> pd.DataFrame:
    """Computes the spec's features for every bar.

    A feature at t uses bars up to and including t. Bars on either side of a gap never meet in one value: after a gap,
    every feature warms up anew and is NaN until then.

    Args:
        bars: clean bars of one asset (`market.bars.COLUMNS`), ordered, on the grid.
        spec: what to compute.

    Returns:
        `asset`, `timestamp` and one float64 column a feature, a row a bar.
    """
    seconds = _unix_seconds(bars)
    columns = {name: bars[name].to_numpy(np.float64) for name in ("open", "high", "low", "close", "volume")}
    values = np.full((len(spec.features), len(bars)), np.nan)
    for begin, end in _gapless(seconds, spec.interval):
        run = Run(
            seconds[begin:end],
            **{name: column[begin:end] for name, column in columns.items()},
            bars_per_year=spec.interval.bars_per_year,
        )
        for row, feature in enumerate(spec.features):
            warm = feature.warm_up_bars - 1
            values[row, begin + warm : end] = feature.formula(run)[warm:]
    frame = pd.DataFrame(values.T, columns=spec.names, index=bars.index, copy=False)
    frame.insert(0, "asset", bars["asset"])
    frame.insert(1, "timestamp", bars["timestamp"])
    return frame


def compute_target(bars: pd.DataFrame, interval: Interval, horizon_bars: int) -> Array:
    """Log return from each close to the close `horizon_bars` later, shape (len(bars),).

    NaN where that bar is not there yet, or where a gap lies between the two.
    """
    seconds, close = _unix_seconds(bars), bars["close"].to_numpy(np.float64)
    target = np.full(len(bars), np.nan)
    if len(bars) > horizon_bars:
        gapless = seconds[horizon_bars:] - seconds[:-horizon_bars] == horizon_bars * interval.seconds
        target[:-horizon_bars] = np.where(gapless, np.log(close[horizon_bars:] / close[:-horizon_bars]), np.nan)
    return target


def _unix_seconds(bars: pd.DataFrame) -> NDArray[np.int64]:
    return np.asarray(bars["timestamp"].to_numpy("datetime64[s]"), dtype=np.int64)


def _gapless(seconds: NDArray[np.int64], interval: Interval) -> list[tuple[int, int]]:
    borders = np.flatnonzero(np.diff(seconds) != interval.seconds) + 1
    edges = [0, *borders.tolist(), len(seconds)]
    return [(begin, end) for begin, end in pairwise(edges) if end > begin]
