"""A simulated Bitcoin market: deterministic from a seed, and honest, in that nobody can forecast its direction.

The market opened on 2010-01-01. A skeleton of hours runs from there (variance, jumps, log price), made once a process;
the minutes of any hour are then filled in on their own, as a Brownian bridge between the skeleton's prices. So a window
costs what the window holds, and a bar is the same whatever window it is asked for in, in any process. All random
numbers come from Philox streams keyed by the seed and the block they belong to.

What it is made of:

- Variance: hour of the week x a regime (calm, normal, turbulent; a Markov chain) x a cascade of components that last
  from hours to months, as in the heterogeneous market hypothesis (Corsi, "A simple approximate long-memory model of
  realized volatility", 2009). It runs linearly from one hour to the next, so that no border shows.
- Within an hour, minutes share out the variance by a random activity that moves the volume too (the mixture of
  distributions: Clark, "A subordinated stochastic process model with finite variance for speculative prices", 1973).
- Jumps with Laplace sizes in proportion to the volatility (Kou, "A jump-diffusion model for option pricing", 2002).
- A bar's high and low are drawn from the law of a Brownian bridge's extremes, given open and close.
- Returns are symmetric given all that went before, but for a pull of the log price to `LEVEL` with a time constant of a
  year, which keeps prices in the tens of thousands: it explains 0.003% of a 30-minute return's variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryptosentinel.market.bars import PRICES, Interval, empty_bars, make_bars, utc
from cryptosentinel.market.quotes import QUOTE_WINDOW, quote_from_bars
from cryptosentinel.market.source import Quote

Array = npt.NDArray[np.float64]

OPENED = datetime(2010, 1, 1, tzinfo=UTC)
LEVEL = 45_000.0
ANNUAL_VOLATILITY = 0.55

_DAY_S, _HOURS_A_YEAR = 86_400, 8_760
_REVERSION = 1 / _HOURS_A_YEAR
# Regimes: the share of time spent in each, and what it does to the variance (1 on average).
_REGIME_SHARES, _REGIME_VARIANCE = (0.35, 0.45, 0.20), np.array([0.4, 0.8, 2.5])
_REGIME_DRAWS_PER_HOUR = 1 / 72
# The cascade: how many hours a component lasts, and its variance within the log variance.
_CASCADE = ((2, 0.12), (8, 0.18), (36, 0.20), (240, 0.20), (1440, 0.15))
_JUMPS_PER_HOUR, _JUMP_SCALE = 0.02, 1.8  # the scale in standard deviations of an hour
_ACTIVITY, _VOLUME_NOISE, _LIQUIDITY_HOURS = 0.7, 0.5, 48
_VOLUME_PER_MINUTE = 12.0  # at average variance, in units of the asset
_SKELETON, _MINUTES = 0, 1  # which stream of a seed
_CHUNK_DAYS = 30  # of minutes in memory at once


class SimulatedSource:
    """An invented market; see the module's docstring.

    Args:
        asset: written into the bars; the market resembles Bitcoin whatever it is called.
        interval: bars of every interval are sums of the same minutes.
        seed: another seed is another market.
        now: a clock that stands still; by default the wall clock.
    """

    simulated = True

    def __init__(self, asset: str, interval: Interval, seed: int = 0, now: datetime | None = None) -> None:
        self.asset, self.interval, self.seed = asset, interval, seed
        self._now = None if now is None else utc(now)

    @property
    def name(self) -> str:
        """`simulated:<seed>`."""
        return f"simulated:{self.seed}"

    def now(self) -> datetime:
        """The wall clock, or the time given."""
        return datetime.now(UTC) if self._now is None else self._now

    def bars(self, start: datetime, end: datetime) -> pd.DataFrame:
        """The complete bars with ``start <= timestamp < end``; none before 2010, when the market opened."""
        step = self.interval.delta
        start = max(-(-(utc(start) - OPENED) // step), 0) * step + OPENED
        end = min(-(-(utc(end) - OPENED) // step) * step + OPENED, self.interval.floor(self.now()))
        if start >= end:
            return empty_bars()
        days = range((start - OPENED).days, (end - step - OPENED).days + 1)
        chunks = [
            self._aggregated(_minutes(self.seed, day, min(day + _CHUNK_DAYS, days.stop))) for day in days[::_CHUNK_DAYS]
        ]
        skipped = (start - OPENED - timedelta(days=days.start)) // step
        columns = np.concatenate(chunks, axis=1)[:, skipped : skipped + (end - start) // step]
        times = pd.date_range(start, end, freq=step, inclusive="left")
        return make_bars(self.asset, self.name, times, **dict(zip((*PRICES, "volume"), columns, strict=True)))

    def _aggregated(self, minutes: tuple[Array, Array, Array, Array, Array]) -> Array:
        """Bars of this source's interval, column by column."""
        open_, high, low, close, volume = (column.reshape(-1, self.interval.seconds // 60) for column in minutes)
        return np.stack([open_[:, 0], high.max(axis=1), low.min(axis=1), close[:, -1], volume.sum(axis=1).round(5)])

    def quote(self) -> Quote:
        """The market at the close of the newest complete bar; it has no market cap.

        Raises:
            NotEnoughDataError: `now()` lies before the market opened.
        """
        now = self.now()
        return quote_from_bars(self.asset, self.bars(now - QUOTE_WINDOW - self.interval.delta, now), self.interval, now)


@dataclass(frozen=True)
class _Skeleton:
    """The market by the hour since it opened. Index h of the first three is the *start* of hour h."""

    log_price: Array
    variance: Array  # of one minute
    liquidity: Array  # log
    jump: Array  # log return within the hour
    jump_minute: npt.NDArray[np.int64]


def _generator(seed: int, stream: int, block: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, block))))


@lru_cache(maxsize=8)
def _skeleton(seed: int, years: int) -> _Skeleton:
    """The first `years` of 8,760 hours. Only running sums along time: a longer skeleton begins with a shorter one."""
    # One year more than asked: an hour's variance depends on where the next hour begins.
    generators = [_generator(seed, _SKELETON, year) for year in range(years + 1)]
    shape = (len(_CASCADE) + 2, _HOURS_A_YEAR)
    normal = np.hstack([generator.standard_normal(shape) for generator in generators])
    uniform = np.hstack([generator.random((4, _HOURS_A_YEAR)) for generator in generators])
    laplace = np.hstack([generator.laplace(size=_HOURS_A_YEAR) for generator in generators])

    log_variance = sum(
        np.sqrt(share) * _moving_sum(noise, hours) for (hours, share), noise in zip(_CASCADE, normal, strict=False)
    )
    mean_log_variance = sum(share for _, share in _CASCADE) / 2
    jump_share = _JUMPS_PER_HOUR * 2 * _JUMP_SCALE**2
    per_minute = ANNUAL_VOLATILITY**2 / (60 * _HOURS_A_YEAR) / (1 + jump_share)
    variance = per_minute * np.exp(log_variance - mean_log_variance) * _regime(uniform[0], uniform[1])
    hour_of_week = (np.arange(variance.size) + 24 * OPENED.weekday()) % 168
    variance *= _week()[hour_of_week]

    hours = years * _HOURS_A_YEAR
    hourly = 30 * (variance[:hours] + variance[1 : hours + 1])
    jumps = np.where(uniform[2] < _JUMPS_PER_HOUR, _JUMP_SCALE * laplace, 0.0)[:hours] * np.sqrt(hourly)
    moves = np.sqrt(hourly) * normal[-1, :hours] + jumps
    pulled = accumulate(moves, lambda distance, move: (1 - _REVERSION) * distance + move, initial=0.0)
    return _Skeleton(
        log_price=np.log(LEVEL) + np.fromiter(pulled, dtype=np.float64, count=hours + 1),
        variance=variance[: hours + 1],
        liquidity=0.4 * _moving_sum(normal[-2], _LIQUIDITY_HOURS)[: hours + 1],
        jump=jumps,
        jump_minute=(uniform[3, :hours] * 60).astype(np.int64),
    )


def _moving_sum(noise: Array, hours: int) -> Array:
    """The last `hours` of white noise summed, scaled to variance 1."""
    total = np.cumsum(noise)
    total[hours:] = total[hours:] - total[:-hours]
    return total / np.sqrt(np.minimum(np.arange(noise.size) + 1, hours))


def _regime(switch: Array, draw: Array) -> Array:
    """A Markov chain: now and then a regime is drawn anew, and stays until the next draw."""
    drawn_at = np.where(switch < _REGIME_DRAWS_PER_HOUR, np.arange(switch.size), 0)
    regime = np.searchsorted(np.cumsum(_REGIME_SHARES[:-1]), draw)
    return _REGIME_VARIANCE[regime[np.maximum.accumulate(drawn_at)]]


def _week() -> Array:
    """How much variance each hour of the week has (Monday 00:00 UTC first; 1 on average)."""
    hour = np.arange(168)
    shape = np.exp(0.5 * np.cos(2 * np.pi * (hour - 15.5) / 24)) * np.where(hour >= 120, 0.45, 1.0)
    return np.asarray(shape / shape.mean())


def _minutes(seed: int, first_day: int, end_day: int) -> tuple[Array, Array, Array, Array, Array]:
    """Open, high, low, close, volume of every minute of the days from `first_day` up to `end_day`, counted from 0."""
    skeleton = _skeleton(seed, -(-end_day * 24 // _HOURS_A_YEAR))
    hours = slice(first_day * 24, end_day * 24)
    ends = slice(hours.start + 1, hours.stop + 1)
    days = [_generator(seed, _MINUTES, day) for day in range(first_day, end_day)]
    # Noise by kind, hour and minute.
    normal = np.hstack([day.standard_normal((3, 24, 60)) for day in days])
    uniform = np.hstack([1 - day.random((2, 24, 60)) for day in days])

    along = (np.arange(60) + 0.5) / 60
    smooth = _between(skeleton.variance[hours], skeleton.variance[ends], along)
    shares = smooth * np.exp(_ACTIVITY * normal[0])
    shares /= shares.sum(axis=1, keepdims=True)
    variance = smooth.sum(axis=1, keepdims=True) * shares

    # A Brownian bridge: free steps, bent in proportion to their variance so that the hour ends where the skeleton says.
    steps = np.sqrt(variance) * normal[1]
    diffused = np.diff(skeleton.log_price[hours.start : hours.stop + 1]) - skeleton.jump[hours]
    steps += shares * (diffused - steps.sum(axis=1))[:, None]
    steps[np.arange(len(steps)), skeleton.jump_minute[hours]] += skeleton.jump[hours]
    close = skeleton.log_price[hours, None] + np.cumsum(steps, axis=1)
    close[:, -1] = skeleton.log_price[ends]
    open_ = np.concatenate([skeleton.log_price[hours, None], close[:, :-1]], axis=1)

    # The extremes of a bridge from open to close: P(maximum > m) = exp(-2 (m - open) (m - close) / variance).
    reach = np.sqrt((close - open_) ** 2 - 2 * variance * np.log(uniform))
    high, low = (open_ + close + reach[0]) / 2, (open_ + close - reach[1]) / 2

    activity = variance / (ANNUAL_VOLATILITY**2 / (60 * _HOURS_A_YEAR))
    liquidity = _between(skeleton.liquidity[hours], skeleton.liquidity[ends], along)
    volume = _VOLUME_PER_MINUTE * activity**0.7 * np.exp(liquidity + _VOLUME_NOISE * normal[2])
    prices = [np.exp(prices).round(2).ravel() for prices in (open_, high, low, close)]
    return prices[0], prices[1], prices[2], prices[3], volume.round(5).ravel()


def _between(start: Array, end: Array, along: Array) -> Array:
    """Values on the straight line of each hour from `start` to `end`, at each share `along` of the way."""
    return np.asarray(start[:, None] + (end - start)[:, None] * along)
