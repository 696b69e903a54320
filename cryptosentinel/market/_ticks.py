"""Puts points that lie anywhere in time on the bar grid, without looking ahead."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptosentinel.market.bars import Interval

MAX_AGE_INTERVALS = 2


def bars_from_ticks(prices: pd.Series, volumes_24h: pd.Series, interval: Interval, now_ms: int) -> pd.DataFrame:
    """Complete bars from irregular prices by previous-tick sampling (Dacorogna et al., An Introduction to
    High-Frequency Finance, 2001, section 3.2.1).

    The close of the bar ``[t, t + i)`` is the newest price at or before ``t + i``, no older than two intervals; its
    open is the close of the bar before; high and low span these two and the prices in between. A bar without a fresh
    enough price is absent, and so are the first one, whose open is unknown, and those after the newest price, which
    nothing vouches for yet. The first bar after a gap opens with its first price.

    Volume, in units of the asset, is an estimate: the rolling 24-hour volume at the bar's end, divided by price and
    bars per day. NaN where no volume is fresh enough.

    Args:
        prices: by time in ms since the epoch, ordered, unique.
        volumes_24h: traded in 24 hours, in the quote currency, by time as `prices`.
        interval: of the grid.
        now_ms: bars that end later are unfinished, hence absent.

    Returns:
        Columns ``open, high, low, close, volume`` and ``carried`` (no price fell into the bar), by bar open in ms.
    """  # noqa: D205  (the reference belongs to the first sentence)
    step = interval.seconds * 1000
    times = prices.index.to_numpy("int64")
    opens = _grid(times, step, now_ms)
    if not len(opens):
        return pd.DataFrame(columns=["open", "high", "low", "close", "volume", "carried"], dtype="float64")
    ends = opens + step
    close, fresh = _newest(prices, ends, step)
    within = pd.Series(prices.to_numpy()).groupby(_bar_of(times, step)).agg(["first", "max", "min"]).reindex(opens)
    before = np.r_[np.nan, np.where(fresh, close, np.nan)[:-1]]
    open_ = np.where(np.isnan(before), within["first"], before)
    volume_24h, has_volume = _newest(volumes_24h, ends, step)
    bars = pd.DataFrame(
        {
            "open": open_,
            "high": np.fmax(within["max"].to_numpy(), np.fmax(open_, close)),
            "low": np.fmin(within["min"].to_numpy(), np.fmin(open_, close)),
            "close": close,
            "volume": np.where(has_volume, volume_24h, np.nan) / close / interval.bars_per_day,
            "carried": within["first"].isna().to_numpy(),
        },
        index=opens,
    )
    return bars[fresh].iloc[1:]


def _bar_of(times: np.ndarray, step: int) -> np.ndarray:
    """The open of the bar whose close a price can be: one at ``t + i`` exactly belongs to the bar that ends there."""
    return -(-times // step) * step - step


def _grid(times: np.ndarray, step: int, now_ms: int) -> np.ndarray:
    if not len(times):
        return times
    first, newest = _bar_of(times[[0, -1]], step)
    last_complete = now_ms // step * step - step
    return np.arange(first, min(newest, last_complete) + step, step)


def _newest(values: pd.Series, at: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The newest value at or before each time, and whether it is fresh enough."""
    if values.empty:
        return np.full(len(at), np.nan), np.zeros(len(at), dtype=bool)
    times = values.index.to_numpy("int64")
    position = np.searchsorted(times, at, side="right") - 1
    fresh = (position >= 0) & (at - times[position] <= MAX_AGE_INTERVALS * step)
    return values.to_numpy("float64")[position], fresh
