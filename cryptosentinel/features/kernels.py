"""The arithmetic behind the features: one `Run` of gapless bars, and what can be computed from it.

Every array is as long as the run; entries whose history does not reach far enough back are NaN. Nothing here looks
forward. Recursive averages (EMA, RSI, MACD) forget where they began; `spec` says after how many bars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import talib
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Volatility below this (0.01 basis points a bar) is rounding noise of a market that does not move.
VOLATILITY_FLOOR = 1e-6


@dataclass
class Run:
    """Bars without a gap between them, as float64 arrays of one length; `seconds` is the bar's open in Unix time."""

    seconds: NDArray[np.int64]
    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array
    bars_per_year: int
    _cache: dict[tuple[str, ...], tuple[Array, ...]] = field(default_factory=dict, repr=False)

    def _once(self, key: str, compute: Callable[[], tuple[Array, ...]]) -> tuple[Array, ...]:
        if (key,) not in self._cache:
            self._cache[key,] = compute()
        return self._cache[key,]

    # Averages and bands

    def sma(self, bars: int) -> Array:
        """Simple moving average of the close."""
        return _rolling(talib.SMA, self.close, bars)

    def ema(self, bars: int) -> Array:
        """Exponential moving average of the close, alpha = 2 / (bars + 1), begun with a simple average."""
        return _rolling(talib.EMA, self.close, bars)

    def macd(self, part: int) -> Array:
        """MACD 12/26/9 (Appel): its line (0), signal (1) or histogram (2), in price units."""
        return self._once("macd", lambda: _short_safe(talib.MACD, self.close, 34, 3))[part]

    def bollinger(self, part: int) -> Array:
        """Bollinger bands 20/2: upper (0), middle (1), lower (2).

        The standard deviation is taken window by window: TA-Lib's running sums of squared prices lose nine digits at
        today's price levels, and then a row's value would depend on where its history began.
        """

        def compute() -> tuple[Array, ...]:
            middle = self.sma(20)
            width = 2.0 * _window_std(self.close, 20)
            return middle + width, middle, middle - width

        return self._once("bollinger", compute)[part]

    def bollinger_position(self) -> Array:
        """Where the close lies between the bands: 0 lower, 1 upper; one half where they coincide."""
        upper, lower = self.bollinger(0), self.bollinger(2)
        width = upper - lower
        flat = width <= 1e-9 * self.close
        return np.where(flat, np.where(np.isnan(width), np.nan, 0.5), (self.close - lower) / np.where(flat, 1.0, width))

    # Momentum

    def rsi(self, bars: int) -> Array:
        """Relative strength index with Wilder's smoothing, 0 to 100."""
        return _rolling(talib.RSI, self.close, bars, need=bars + 1)

    def lag(self, values: Array, bars: int) -> Array:
        """What `values` was so many bars ago."""
        if bars == 0:
            return values
        shifted = np.full_like(values, np.nan)
        shifted[bars:] = values[:-bars]
        return shifted

    @cached_property
    def log_return(self) -> Array:
        """ln(close / previous close)."""
        return np.log(self.close / self.lag(self.close, 1))

    # Volatility: everything a bar, not annualised, unless it says so

    def volatility_annualised(self, bars: int) -> Array:
        """Sample standard deviation of the log returns, times the square root of a year's bars."""
        return _window_std(self.log_return, bars, ddof=1) * float(np.sqrt(self.bars_per_year))

    def realised_volatility(self, bars: int) -> Array:
        """Root mean square of the log returns (Andersen and Bollerslev 1998), at least `VOLATILITY_FLOOR`."""
        return _root(_mean_after_first(self.log_return**2, bars))

    def parkinson_volatility(self, bars: int) -> Array:
        """Range-based volatility (Parkinson 1980): sqrt(mean(ln(high / low)^2) / (4 ln 2))."""
        mean_square = _rolling(talib.SMA, self.log_range**2, bars) / (4.0 * np.log(2.0))
        return _root(mean_square)

    def garman_klass_volatility(self, bars: int) -> Array:
        """Range-based volatility (Garman and Klass 1980) from open, high, low and close."""
        body = np.log(self.close / self.open)
        mean_square = _rolling(talib.SMA, 0.5 * self.log_range**2 - (2.0 * np.log(2.0) - 1.0) * body**2, bars)
        return _root(mean_square)

    @cached_property
    def log_range(self) -> Array:
        """ln(high / low)."""
        return np.log(self.high / self.low)

    # Volume. Where it is unknown (NaN) it says nothing: a bar counts as usual, and as neither bought nor sold.

    @cached_property
    def relative_volume(self) -> Array:
        """Volume over its mean of the last 288 bars; NaN where either is unknown or there was none at all."""
        known = np.isfinite(self.volume)
        total = _rolling(talib.SUM, np.where(known, self.volume, 0.0), 288)
        count = _rolling(talib.SUM, known.astype(np.float64), 288)
        usable = known & (count >= 144) & (total > 1e-9)
        return np.divide(self.volume * count, total, out=np.full_like(self.volume, np.nan), where=usable)

    def volume_to_usual(self, bars: int) -> Array:
        """log2(1 + relative volume), averaged: 1 is usual, 0 is none."""
        level = np.log2(1.0 + np.where(np.isnan(self.relative_volume), 1.0, self.relative_volume))
        return _rolling(talib.SMA, level, bars)

    def volume_pressure(self, sign: Array, bars: int) -> Array:
        """Mean of relative volume times a sign in [-1, 1]: buying above 0, selling below."""
        known = np.isfinite(self.relative_volume) & np.isfinite(sign)
        return _rolling(talib.SMA, np.where(known, self.relative_volume * sign, 0.0), bars)

    @cached_property
    def close_location(self) -> Array:
        """Where the close lies in the bar's range: -1 low, 1 high, 0 where the bar has no range."""
        spread = self.high - self.low
        inside = np.where(spread > 0, spread, 1.0)
        return np.where(spread > 0, (2.0 * self.close - self.high - self.low) / inside, 0.0)

    # The clock

    def hour(self) -> Array:
        """Hour of the day (UTC) in which the bar opens, 0 to 23."""
        return ((self.seconds // 3600) % 24).astype(np.float64)

    def day_of_week(self) -> Array:
        """Monday 0 to Sunday 6 (UTC)."""
        return ((self.seconds // 86_400 + 3) % 7).astype(np.float64)

    def cyclic(self, period_s: int, wave: Callable[[Array], Array]) -> Array:
        """Sine or cosine of the position within a period that divides the week, Monday 00:00 UTC being 0."""
        since_monday = (self.seconds + 3 * 86_400) % (7 * 86_400)
        return wave(2.0 * np.pi * (since_monday % period_s) / period_s)


def _rolling(kernel: Callable[..., Array], values: Array, bars: int, *, need: int | None = None) -> Array:
    """A TA-Lib kernel, which refuses arrays shorter than its period."""
    return _short_safe(lambda v: (kernel(v, bars),), values, need or bars, 1)[0]


def _short_safe(
    kernel: Callable[[Array], tuple[Array, ...]], values: Array, need: int, parts: int
) -> tuple[Array, ...]:
    if len(values) < need:
        return tuple(np.full(len(values), np.nan) for _ in range(parts))
    return kernel(values)


def _root(mean_square: Array) -> Array:
    floored: Array = np.maximum(np.sqrt(np.maximum(mean_square, 0.0)), VOLATILITY_FLOOR)
    return floored


def _mean_after_first(values: Array, bars: int) -> Array:
    """Rolling mean of values whose first entry is NaN, which would poison a running sum."""
    result = np.full(len(values), np.nan)
    result[1:] = _rolling(talib.SMA, values[1:], bars)
    return result


def _window_std(values: Array, bars: int, ddof: int = 0) -> Array:
    result = np.full(len(values), np.nan)
    if len(values) >= bars:
        windows = np.lib.stride_tricks.sliding_window_view(values, bars)
        # In blocks: numpy's std makes a full copy of the windows, 20 times the data.
        for begin in range(0, len(windows), 65_536):
            block = windows[begin : begin + 65_536]
            result[bars - 1 + begin : bars - 1 + begin + len(block)] = block.std(axis=1, ddof=ddof)
    return result
