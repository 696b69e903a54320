"""The arithmetic of the page Data analysis: plain functions of arrays, with the figures that say how sure they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.market.bars import Interval

Array = NDArray[np.float64]

# An average of fewer has no interval worth showing.
FEWEST = 4
# The share of its bars that an hour must have to count, and of its hours a day.
_ENOUGH = 0.9
_HOUR, _DAY, _WEEK = 3600, 86_400, 7 * 86_400
QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
_BINS = 81


@dataclass(frozen=True)
class Distribution:
    """How values are distributed.

    Attributes:
        edges: of the bins, which hold all but the outermost thousandth on either side, shape (bins + 1,).
        density: in each bin, shape (bins,).
        quantiles: `Share below`, `Value`, and what the normal distribution of the same `mean` and `deviation` has,
            `Normal`.
        skewness: 0 for what is symmetric.
        tails: the excess kurtosis: 0 for the normal distribution.
        farthest: how many standard deviations the most extreme value is from the mean.
    """

    edges: Array
    density: Array
    quantiles: pd.DataFrame
    mean: float
    deviation: float
    skewness: float
    tails: float
    farthest: float
    count: int


@dataclass(frozen=True)
class Memory:
    """Autocorrelations at the lags 1, 2, ... with the bound that 95% stay within where there is no memory.

    Attributes:
        returns: of the returns, and `sizes` of their absolute values.
        returns_bound: allows for calm and wild times, as `sizes_bound` does.
        count: returns that are known.
    """

    returns: Array
    returns_bound: Array
    sizes: Array
    sizes_bound: Array
    count: int


def log_returns(bars: pd.DataFrame, interval: Interval) -> Array:
    """Of each bar over the one before it; NaN where that is missing."""
    closes: Array = np.log(bars["close"].to_numpy(np.float64))
    moves: Array = np.diff(closes, prepend=np.nan)
    moves[1:][np.diff(stamps(bars["timestamp"])) != interval.seconds] = np.nan
    return moves


def stamps(times: pd.Series) -> NDArray[np.int64]:
    """Times in seconds since 1970."""
    seconds: NDArray[np.int64] = times.to_numpy("datetime64[s]").astype(np.int64)
    return seconds


def distribution(values: Array) -> Distribution | None:
    """How finite values are distributed; None where they are fewer than 30, or all the same."""
    if len(values) < 30 or np.ptp(values) == 0:
        return None
    mean, deviation = float(values.mean()), float(values.std())
    scores = (values - mean) / deviation
    low, high = np.quantile(values, [0.001, 0.999])
    inside = values[(values >= low) & (values <= high)] if high > low else values
    counts, edges = np.histogram(inside, bins=min(_BINS, max(10, math.isqrt(len(values)))))
    normal = NormalDist(mean, deviation)
    known = [q for q in QUANTILES if q * len(values) >= 5 and (1 - q) * len(values) >= 5]
    return Distribution(
        edges=edges.astype(np.float64),
        density=counts / len(values) / np.diff(edges),
        quantiles=pd.DataFrame(
            {"Share below": known, "Value": np.quantile(values, known), "Normal": [normal.inv_cdf(q) for q in known]}
        ),
        mean=mean,
        deviation=deviation,
        skewness=float((scores**3).mean()),
        tails=float((scores**4).mean() - 3),
        farthest=float(np.abs(scores).max()),
        count=len(values),
    )


def normal_density(found: Distribution, points: int = 200) -> tuple[Array, Array]:
    """The normal distribution of the same mean and standard deviation, from the first edge to the last."""
    x = np.linspace(found.edges[0], found.edges[-1], points)
    y = np.exp(-0.5 * ((x - found.mean) / found.deviation) ** 2) / (found.deviation * math.sqrt(2 * math.pi))
    return x, y


def seasons(bars: pd.DataFrame, interval: Interval, zone: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What hours of the day, and days of the week, have of their own.

    Volatility and volume are held against those of the same day (week), so that neither a wild month nor a market that
    grows counts as a season; the intervals then are of what is left, which days (weeks) have little of in common.

    Args:
        bars: by time.
        interval: of the bars, an hour at most.
        zone: whose hours and days; a name of IANA's.

    Returns:
        For each hour (0 to 23) and each weekday (Monday 0) that there are `FEWEST` of: `season`; `return`, the mean log
        return in percent; `volatility` and `volume`, where 1 is the day's (week's) own mean; each with the ends of its
        95% interval (`return_low`, `return_high`); `count`.
    """
    moves = log_returns(bars, interval)
    local = pd.DatetimeIndex(bars["timestamp"]).tz_convert(zone).tz_localize(None).to_numpy("datetime64[s]")
    seconds = local.astype(np.int64)
    known = np.isfinite(moves)
    hours = pd.DataFrame(
        {
            "slot": seconds[known] // _HOUR,
            "return": moves[known],
            "square": moves[known] ** 2,
            "volume": bars["volume"].to_numpy(np.float64)[known],
            "bars": 1,
        }
    )
    hours = hours.groupby("slot").sum()
    hours = hours[hours["bars"] >= _ENOUGH * (_HOUR // interval.seconds)]
    days = hours.assign(hours=1).groupby(hours.index // 24).sum()
    days = days[days["hours"] >= _ENOUGH * 24]
    hours = hours[np.isin(hours.index // 24, days.index)]
    weeks = (days.index + 3) // 7  # 1970 began on a Thursday
    whole = pd.Series(1, index=days.index).groupby(weeks).transform("sum") == 7
    by_day = _by_season(days[whole.to_numpy()], (days.index[whole] + 3) % 7, weeks[whole])
    return _by_season(hours, hours.index % 24, hours.index // 24), by_day


def _by_season(rows: pd.DataFrame, season: pd.Index, within: pd.Index) -> pd.DataFrame:
    """The mean of each season; `within` says what each row's volatility and volume are held against."""
    own = pd.DataFrame({"volatility": np.sqrt(rows["square"]), "volume": rows["volume"]})
    usual = own.groupby(np.asarray(within)).transform("mean")
    own = (own / usual.where(usual > 0)).assign(**{"return": 100 * rows["return"]})
    groups = own.groupby(np.asarray(season))
    mean, count = groups.mean(), groups.count()
    half = groups.std() / np.sqrt(count) * count.map(lambda n: student(int(n) - 1) if n >= FEWEST else np.nan)
    ends = {f"{name}_{side}": mean[name] + sign * half[name] for name in own for side, sign in _SIDES}
    table = mean.assign(**ends, count=count["return"])
    return table[table["count"] >= FEWEST].rename_axis("season").reset_index()


_SIDES = (("low", -1), ("high", 1))


def student(freedom: int) -> float:
    """What 97.5% of Student's distribution lie below: Cornish and Fisher's expansion, within 1% from 3 on."""
    z, n = NormalDist().inv_cdf(0.975), freedom
    terms = (
        (z**3 + z) / (4 * n),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3),
    )
    return z + sum(terms)


def volatility(times: pd.DatetimeIndex, moves: Array, step: timedelta, interval: Interval) -> pd.Series:
    """Realised volatility of each stretch of time, annualised, in percent; by when it begins.

    Stretches with less than half of their returns are left out.
    """
    squares = pd.Series(moves**2, index=times).resample(step, origin=pd.Timestamp("1970-01-05", tz="UTC"))
    enough = squares.count() >= 0.5 * (step / interval.delta)
    found: pd.Series = 100 * np.sqrt(squares.mean() * interval.bars_per_year).where(enough)
    return found


def memory(moves: Array, lags: int) -> Memory | None:
    """Autocorrelations of returns and of their sizes; None where fewer than four times `lags` are known."""
    known = np.isfinite(moves)
    if known.sum() < 4 * lags:
        return None
    found: list[Array] = []
    for values in (moves, np.abs(moves)):
        centred = np.where(known, values - values[known].mean(), 0.0)
        squares = centred**2
        # Of values without memory, whose variance may change: Taylor, "Estimating the variances of autocorrelations
        # calculated from financial time series", JRSS C 33 (1984).
        bound = 1.96 * np.sqrt(np.maximum(_lagged(squares, lags), 0.0)) / squares.sum()
        found += [_lagged(centred, lags) / squares.sum(), bound]
    returns, returns_bound, sizes, sizes_bound = found
    return Memory(returns, returns_bound, sizes, sizes_bound, int(known.sum()))


def _lagged(values: Array, lags: int) -> Array:
    """The sum of products with itself at each lag from 1 on, by a Fourier transform."""
    size = 1 << (len(values) + lags).bit_length()
    power = np.abs(np.fft.rfft(values, size)) ** 2
    products: Array = np.fft.irfft(power, size)[1 : lags + 1]
    return products
