"""What two samples of features are compared in: values without what the clock, and the days before, explain.

Volatility has its hours and its weekends, and comes in clusters. Three hours of a Monday afternoon differ from ten
weeks of everything; that says nothing. So the season is taken out, and for the short window the level of the days
before as well, by the heterogeneous autoregression of Corsi ("A simple approximate long-memory model of realized
volatility", 2009), fitted to the baseline: what is left is news.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]

_DAY_S = 86_400
# The share of a span that must have rows for its mean to count.
_ENOUGH = 0.5


@dataclass(frozen=True)
class Adjustment:
    """Fitted to the baseline, applied to it and to whatever is held against it.

    Attributes:
        names: of the features.
        centre: each one's median, and as `spread` its median distance from that; values are taken in those units and
            drawn together (asinh), since volatility has a long tail.
        season: coefficients of the time of day and the weekend, shape (6, features).
        levels: coefficients of the means over `spans` before a row's window, shape (spans, features).
        window: how long it is.
        cadence: how far rows are apart.
    """

    names: list[str]
    centre: Array
    spread: Array
    season: Array
    levels: Array
    spans: tuple[timedelta, ...]
    window: timedelta
    cadence: timedelta

    @property
    def past(self) -> timedelta:
        """How far back from a row the levels look that are taken out of it."""
        return self.window + max(self.spans) if self.spans else timedelta(0)

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The adjusted rows, by `timestamp`; those without enough of a past are left out.

        Args:
            rows: `timestamp` and the features, by time, `cadence` apart.
        """
        times = pd.DatetimeIndex(rows["timestamp"])
        values = _standing_out(rows, self.names, self.centre, self.spread) - _season(times) @ self.season
        means, known = _levels(values, times, self.spans, self.window, self.cadence)
        for mean, coefficients in zip(means, self.levels, strict=True):
            values = values - mean * coefficients
        return pd.DataFrame(values[known], columns=self.names, index=times[known])


def fit_adjustment(
    baseline: pd.DataFrame,
    names: Sequence[str],
    *,
    window: timedelta,
    cadence: timedelta,
    spans: tuple[timedelta, ...] = (),
) -> Adjustment:
    """Fits to the baseline by least squares: the season first, then the levels in what that leaves.

    Args:
        baseline: `timestamp` and the features, by time.
        names: the features to adjust.
        window: means are of what came before it.
        cadence: how far rows are apart.
        spans: what means are taken over; none: only the season is taken out.
    """
    times = pd.DatetimeIndex(baseline["timestamp"])
    raw: Array = baseline[list(names)].to_numpy(np.float64)
    centre = np.asarray(np.median(raw, axis=0), dtype=np.float64)
    robust = 1.4826 * np.median(np.abs(raw - centre), axis=0)
    spread = np.where(robust > 0, robust, np.where(raw.std(axis=0) > 0, raw.std(axis=0), 1.0)).astype(np.float64)
    values = _standing_out(baseline, names, centre, spread)
    season = np.asarray(np.linalg.lstsq(_season(times), values, rcond=None)[0], dtype=np.float64)
    values = values - _season(times) @ season
    means, known = _levels(values, times, spans, window, cadence)
    levels = np.zeros((len(spans), len(names)))
    if spans and known.any():
        for column in range(len(names)):
            past = np.column_stack([mean[known, column] for mean in means])
            levels[:, column] = np.linalg.lstsq(past, values[known, column], rcond=None)[0]
    return Adjustment(list(names), centre, spread, season, levels, spans, window, cadence)


def cadence_of(baseline: pd.DataFrame) -> timedelta:
    """How far the rows of a baseline usually are apart: the mean of the middle half, since they lie on a grid."""
    steps = np.sort(np.diff(baseline["timestamp"].to_numpy("datetime64[ms]")).astype(np.float64))
    middle = steps[len(steps) // 4 : max(len(steps) - len(steps) // 4, 1)]
    return timedelta(milliseconds=float(middle.mean()))


def at_cadence(rows: pd.DataFrame, newest: datetime, bar: timedelta, cadence: timedelta) -> pd.DataFrame:
    """Of rows a bar apart those about `cadence` apart, back from the newest."""
    count = int((newest - rows["timestamp"].iloc[0]) / cadence) + 1
    back = np.round(np.arange(count) * (cadence / bar)).astype(np.int64)
    wanted = pd.DatetimeIndex([newest]).repeat(count) - pd.to_timedelta(back * bar.total_seconds(), unit="s")
    return rows[rows["timestamp"].isin(wanted)]


def _standing_out(rows: pd.DataFrame, names: Sequence[str], centre: Array, spread: Array) -> Array:
    return np.asarray(np.arcsinh((rows[list(names)].to_numpy(np.float64) - centre) / spread))


def _season(times: pd.DatetimeIndex) -> Array:
    seconds = times.to_numpy("datetime64[s]").astype(np.int64)
    angle = 2 * np.pi * seconds / _DAY_S
    weekend = (seconds // _DAY_S + 3) % 7 >= 5  # 1970 began on a Thursday
    waves = [wave(harmonic * angle) for harmonic in (1, 2) for wave in (np.sin, np.cos)]
    return np.column_stack([np.ones(len(times)), *waves, weekend])


def _levels(
    values: Array, times: pd.DatetimeIndex, spans: tuple[timedelta, ...], window: timedelta, cadence: timedelta
) -> tuple[list[Array], npt.NDArray[np.bool_]]:
    """Of each row the mean over each span that ends `window` before it, and whether it has enough of them."""
    stamps = times.to_numpy("datetime64[ms]")
    sums = np.vstack([np.zeros(values.shape[1]), np.cumsum(values, axis=0)])
    means, known = [], np.ones(len(values), dtype=np.bool_)
    for span in spans:
        last = stamps - np.timedelta64(window)
        end, start = (np.searchsorted(stamps, at, side="right") for at in (last, last - np.timedelta64(span)))
        counts = end - start
        means.append((sums[end] - sums[start]) / np.maximum(counts, 1)[:, None])
        known &= counts >= _ENOUGH * (span / cadence)
    return means, known
