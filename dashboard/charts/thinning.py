"""Long series made short before they become a figure: no screen has more columns than a few thousand.

A line drawn from the values that `thin` keeps looks as the whole one does: M4, of Jugel, Jerzak, Hackenbroich and
Markl, "M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

# What candles may last, so that they begin where people expect: on the hour, at midnight, on Mondays (UTC).
_NAMES = "1m 5m 15m 30m 1h 2h 4h 6h 12h 1D 2D 7D 14D 28D 56D 112D 224D 448D"
_STEPS = tuple(map(pd.Timedelta, _NAMES.split()))
_A_MONDAY = pd.Timestamp("1970-01-05", tz="UTC")


def thin(times: pd.Series | pd.DatetimeIndex, values: pd.Series | np.ndarray, points: int) -> np.ndarray:
    """Where the values lie that a line of the whole series can be drawn from.

    Time is cut into `points / 4` equal stretches; of each the first, last, lowest and highest value are kept. Where a
    value is missing between two that are kept, one that is missing is kept as well, so that the line is interrupted
    there. So are the two ends of the series, missing or not.

    Args:
        times: in order.
        values: of the same length; NaN where one is missing.
        points: how many values to keep, at least 4; those that are missing come on top, at most one between two.
            Four times the chart's width in pixels draws the same picture; fewer will usually do.

    Returns:
        Positions in order, each once; every one where there are no more than `points`.
    """
    numbers = np.asarray(values, dtype="float64")
    if len(numbers) <= points:
        return np.arange(len(numbers))
    begins = _begins(pd.DatetimeIndex(times).asi8, points // 4)
    ends = np.append(begins[1:], len(numbers))
    present = ~np.isnan(numbers)
    there = np.flatnonzero(present)
    first, behind = np.searchsorted(there, begins), np.searchsorted(there, ends)
    some = behind > first
    kept = [there[first[some]], there[behind[some] - 1]]
    for extreme in (np.fmin, np.fmax):
        among = extreme.reduceat(numbers, begins)
        hits = np.flatnonzero(numbers == np.repeat(among, ends - begins))
        kept.append(hits[np.searchsorted(hits, begins[some])])
    positions = np.unique(np.concatenate(kept))
    missing = np.flatnonzero(~present)
    if len(missing):
        # The first that is missing after each position, if that is before the next position.
        edges = np.append(positions, len(numbers))
        found = np.append(missing, len(numbers))[np.searchsorted(missing, positions)]
        positions = np.concatenate([positions, found[found < edges[1:]]])
    return np.unique(np.concatenate([positions, [0, len(numbers) - 1]]))


def _begins(stamps: np.ndarray, stretches: int) -> np.ndarray:
    """Where each stretch of time begins that has any value."""
    edges = np.linspace(0, stamps[-1] - stamps[0], stretches, endpoint=False)
    return np.unique(np.searchsorted(stamps, stamps[0] + np.ceil(edges).astype("int64")))


def candle_step(bars: pd.DataFrame, count: int) -> pd.Timedelta | None:
    """How long the candles of `thin_bars` last; None where the bars are few enough as they are."""
    if len(bars) <= count:
        return None
    ends = pd.DatetimeIndex(bars["timestamp"].iloc[[0, -1]]) - _A_MONDAY
    return next((step for step in _STEPS if ends[1] // step - ends[0] // step < count), _STEPS[-1])


def thin_bars(bars: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` candles that last as long as the bars do.

    Each begins where a clock in UTC is round: on the hour, at midnight, on a Monday (see `candle_step`).

    Args:
        bars: by time, with `timestamp`, `open`, `high`, `low`, `close`, `volume`.
        count: how many candles to show at most.

    Returns:
        Those columns. A candle opens at the first bar's open and closes at the last one's close; its volume is the sum
        of those known, NaN where none is.
    """
    step = candle_step(bars, count)
    if step is None:
        return bars[["timestamp", "open", "high", "low", "close", "volume"]].reset_index(drop=True)
    stamps = (pd.DatetimeIndex(bars["timestamp"]) - _A_MONDAY) // step
    begins = np.flatnonzero(np.diff(stamps, prepend=stamps[0] - 1))
    ends = np.append(begins[1:], len(bars))
    volume = bars["volume"].to_numpy()
    known = np.logical_or.reduceat(~np.isnan(volume), begins)
    return pd.DataFrame(
        {
            "timestamp": (_A_MONDAY + stamps[begins] * step).astype(bars["timestamp"].dtype),
            "open": bars["open"].to_numpy()[begins],
            "high": np.maximum.reduceat(bars["high"].to_numpy(), begins),
            "low": np.minimum.reduceat(bars["low"].to_numpy(), begins),
            "close": bars["close"].to_numpy()[ends - 1],
            "volume": np.where(known, np.add.reduceat(np.nan_to_num(volume), begins), np.nan),
        }
    )
