"""The arithmetic behind the features: one `Run` of gapless bars, and what can be computed from it.

Every array is as long as the run; entries whose history does not reach far enough back are NaN. Nothing here looks
forward. Recursive averages (EMA, RSI, MACD) forget where they began; `spec` says after how many bars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import talib
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Volatility below this (0.01 basis points a bar) is rounding noise of a market that does not move.
VOLATILITY_FLOOR = 1e-6
# Added to a variance before its logarithm: below a third of a basis point a bar, all markets are equally quiet.
LOG_FLOOR = 1e-9


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

    # Averages and bands

    def sma(self, bars: int) -> Array:
        """Simple moving average of the close."""
        return talib.SMA(self.close, bars)

    def ema(self, bars: int) -> Array:
        """Exponential moving average of the close, alpha = 2 / (bars + 1), begun with a simple average."""
        return talib.EMA(self.close, bars)

    def macd(self, part: int) -> Array:
        """MACD 12/26/9 (Appel): its line (0), signal (1) or histogram (2), in price units."""
        return self._macd[part]

    @cached_property
    def _macd(self) -> tuple[Array, Array, Array]:
        return talib.MACD(self.close)

    def bollinger(self, part: int) -> Array:
        """Bollinger bands 20/2: upper (0), middle (1), lower (2)."""
        offset, deviation = self._close_moments
        return self.close + offset + (1 - part) * 2.0 * deviation

    def bollinger_position(self) -> Array:
        """Where the close lies between the bands: 0 lower, 1 upper; one half where they coincide."""
        offset, deviation = self._close_moments
        flat = deviation <= 1e-9 * self.close
        return 0.5 - np.where(flat, 0.0, offset) / np.where(flat, 1.0, 4.0 * deviation)

    @cached_property
    def _close_moments(self) -> tuple[Array, Array]:
        return _window_moments(self.close, 20)

    # Momentum

    def rsi(self, bars: int) -> Array:
        """Relative strength index with Wilder's smoothing (alpha = 1 / bars), 0 to 100; 50 where nothing moves.

        TA-Lib's own calls a market that does not move 0, as oversold as can be.
        """
        change = self.close - self.lag(self.close, 1)
        rise, move = (talib.EMA(values, 2 * bars - 1) for values in (np.maximum(change, 0.0), np.abs(change)))
        flat = move <= VOLATILITY_FLOOR * self.close
        return 100.0 * np.where(flat, 0.5, rise) / np.where(flat, 1.0, move)

    def lag(self, values: Array, bars: int) -> Array:
        """What `values` was so many bars ago."""
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
        _, deviation = _window_moments(self.log_return, bars)
        return deviation * float(np.sqrt(bars / (bars - 1) * self.bars_per_year))

    def realised_volatility(self, bars: int) -> Array:
        """Root mean square of the log returns (Andersen and Bollerslev 1998), at least `VOLATILITY_FLOOR`."""
        return _root(_window_mean(self.log_return**2, bars))

    def parkinson_volatility(self, bars: int) -> Array:
        """Range-based volatility (Parkinson 1980): sqrt(mean(ln(high / low)^2) / (4 ln 2))."""
        return _root(_window_mean(self.log_range**2, bars) / (4.0 * np.log(2.0)))

    def garman_klass_volatility(self, bars: int) -> Array:
        """Range-based volatility (Garman and Klass 1980) from open, high, low and close."""
        body = np.log(self.close / self.open)
        return _root(_window_mean(0.5 * self.log_range**2 - (2.0 * np.log(2.0) - 1.0) * body**2, bars))

    def log_volatility(self, bars: int) -> Array:
        """Logarithm of Garman and Klass's volatility, not below that of a third of a basis point."""
        return 0.5 * np.log(self.garman_klass_volatility(bars) ** 2 + LOG_FLOOR)

    def absolute_to_root_mean_square(self, bars: int) -> Array:
        """Mean size of the log returns over their root mean square: 0.8 where they are normal, less where some jump.

        0 where nothing moves.
        """
        return _window_mean(np.abs(self.log_return), bars) / self.realised_volatility(bars)

    def log_largest_move(self, bars: int) -> Array:
        """Logarithm of the largest log return of either sign, not below that of a third of a basis point."""
        return 0.5 * np.log(talib.MAX(np.abs(self.log_return), bars) ** 2 + LOG_FLOOR)

    def return_to_volatility(self, bars: int) -> Array:
        """Log return over so many bars in units of what the last 288 bars' volatility makes usual."""
        moved = np.log(self.close / self.lag(self.close, bars))
        return moved / (self.realised_volatility(288) * float(np.sqrt(bars)))

    @cached_property
    def log_range(self) -> Array:
        """ln(high / low)."""
        return np.log(self.high / self.low)

    # Volume. Where it is unknown (NaN) it says nothing: a bar counts as usual, and as neither bought nor sold.

    @cached_property
    def relative_volume(self) -> Array:
        """Volume over its mean of the last 288 bars; NaN where either is unknown or there was none at all."""
        known = np.isfinite(self.volume)
        total = _window_mean(np.where(known, self.volume, 0.0), 288)
        share = _window_mean(known.astype(np.float64), 288)
        usable = known & (share >= 0.5) & (total > 0)
        return np.divide(self.volume * share, total, out=np.full_like(self.volume, np.nan), where=usable)

    def volume_to_usual(self, bars: int) -> Array:
        """log2(1 + relative volume), averaged: 1 is usual, 0 is none."""
        level = np.log2(1.0 + np.where(np.isnan(self.relative_volume), 1.0, self.relative_volume))
        return _window_mean(level, bars)

    def volume_pressure(self, sign: Array, bars: int) -> Array:
        """Mean of relative volume times a sign in [-1, 1]: buying above 0, selling below."""
        known = np.isfinite(self.relative_volume) & np.isfinite(sign)
        return _window_mean(np.where(known, self.relative_volume * sign, 0.0), bars)

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

    def new_york_minute(self) -> Array:
        """Minute of the day in New York, whose clock, summer time included, crypto markets keep more than UTC."""
        utc = pd.DatetimeIndex(self.seconds.astype("datetime64[s]"), tz="UTC")
        local = utc.tz_convert("America/New_York").tz_localize(None).to_numpy("datetime64[m]")
        minute: Array = (local.astype(np.int64) % 1440).astype(np.float64)
        return minute

    def cyclic(self, period_s: int, wave: Callable[[Array], Array]) -> Array:
        """Sine or cosine of the position within a period that divides the week, Monday 00:00 UTC being 0."""
        since_monday = (self.seconds + 3 * 86_400) % (7 * 86_400)
        return wave(2.0 * np.pi * (since_monday % period_s) / period_s)


def _root(mean_square: Array) -> Array:
    floored: Array = np.maximum(np.sqrt(np.maximum(mean_square, 0.0)), VOLATILITY_FLOOR)
    return floored


# Sums are taken window by window. A running sum is faster, but keeps the rounding errors of what has left it: after one
# wild bar, squares as small as a quiet market's would depend on where the history began.


def _window_mean(values: Array, bars: int) -> Array:
    result = np.full(len(values), np.nan)
    if len(values) >= bars:
        result[bars - 1 :] = np.convolve(values, np.full(bars, 1.0 / bars), "valid")
    return result


def _window_moments(values: Array, bars: int) -> tuple[Array, Array]:
    """Each window's mean, less its last value, and its population standard deviation."""
    result = np.full((2, len(values)), np.nan)
    if len(values) >= bars:
        windows = np.lib.stride_tricks.sliding_window_view(values, bars)
        # In blocks: the windows take 20 times the memory of the data.
        for begin in range(0, len(windows), 65_536):
            block = windows[begin : begin + 65_536]
            # Exact where prices are close to each other, so that a move of one tick is not lost in the price level.
            offsets = block - block[:, -1:]
            into = slice(bars - 1 + begin, bars - 1 + begin + len(block))
            result[:, into] = offsets.mean(axis=1), offsets.std(axis=1)
    return result[0], result[1]
