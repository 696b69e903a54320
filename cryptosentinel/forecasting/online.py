"""The online adjustment: a forecast's quantiles, corrected by what became of the forecasts before it.

Nothing is kept between two forecasts. All of it is a function of the settled forecasts in a trailing window, so a step
that is killed and run again, on another machine too, gives the same answer. Two things are learnt from them:

* The shape. Each settled forecast has a score, ``ln(actual / predicted) / sigma``. The trailing scores' conformal
  quantiles (ranks of n + 1, rounded outwards, each tail by itself; Papadopoulos et al. 2002, Romano et al. 2019) are
  mixed with the bundle's own: ``m / (m + 50)`` of the former, where m counts settled forecasts that do not overlap. So
  a fresh installation begins with the bundle's own quantiles and leaves them smoothly.
* The levels (adaptive conformal inference, Gibbs and Candes 2021). The share alpha of outcomes that an interval leaves
  out follows ``alpha + rate * (alpha - missed)`` from one settled forecast to the next, `missed` being 1 where the
  interval that was issued did not hold the outcome. Begun at the nominal level at the window's start, this is
  ``alpha + rate * sum(alpha - missed)``. The 80% and the 95% interval have a level each; the other quantiles'
  probabilities move with them, linearly between those of the two and the median.

A forecast's window holds the forecasts whose target lies within `forecast.calibration_days` before it, up to its own
`made_at`: nothing that is not known then.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.bundle import PROBABILITIES
from cryptosentinel.config import ForecastSettings

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Times = NDArray[np.datetime64]

# The columns of the forecast log that `Settled.from_log` reads.
SETTLED_COLUMNS = (
    *("made_at", "target_at", "price", "predicted_price", "sigma"),
    *("lower_95", "lower_80", "upper_80", "upper_95", "actual_price"),
)
# With this many independent outcomes the trailing quantiles count as much as the bundle's own.
_PRIOR_LABELS = 50
_ALPHA_80, _ALPHA_95 = 0.2, 0.05
_LIMITS_80, _LIMITS_95 = (0.05, 0.5), (0.005, 0.2)
_LOWER_95, _LOWER_80, _UPPER_80, _UPPER_95 = (PROBABILITIES.index(p) for p in (0.025, 0.10, 0.90, 0.975))
_TAILS = [p for p in PROBABILITIES if p < 0.5]
_NORMAL = NormalDist()
_NORMAL_SCORES = [_NORMAL.inv_cdf(p) for p in PROBABILITIES]


@dataclass(frozen=True)
class Settled:
    """Forecasts of one horizon whose outcome is known, in any order; every array has the shape (n,).

    Attributes:
        made_at: naive UTC.
        scores: ln(actual / predicted) / sigma.
        missed_80: whether the 80% interval that was issued did not hold the outcome; `missed_95` likewise.
    """

    made_at: Times
    scores: Array
    missed_80: Mask
    missed_95: Mask

    @classmethod
    def from_log(cls, log: pd.DataFrame, horizon: timedelta) -> Settled:
        """Those of the log's rows that have an outcome, a sigma (earlier releases logged none) and this horizon.

        Args:
            log: rows of the forecast log with at least `SETTLED_COLUMNS`.
            horizon: how far the forecasts look ahead.
        """
        rows = log[log["actual_price"].notna() & (log["sigma"] > 0) & (log["target_at"] - log["made_at"] == horizon)]
        actual = rows["actual_price"].to_numpy(np.float64)
        return cls(
            made_at=rows["made_at"].dt.tz_localize(None).to_numpy(),
            scores=np.log(actual / rows["predicted_price"].to_numpy(np.float64)) / rows["sigma"].to_numpy(np.float64),
            missed_80=_outside(actual, rows["lower_80"], rows["upper_80"]),
            missed_95=_outside(actual, rows["lower_95"], rows["upper_95"]),
        )


@dataclass(frozen=True)
class Adjusted:
    """Quantiles of a forecast's score, and what they rest on.

    Attributes:
        quantiles: of (log return - forecast log return) / sigma at `PROBABILITIES`, ascending, shape (9,).
        level_80: the share of outcomes that the adapted 80% interval is to leave out, nominally 0.2; `level_95`
            likewise, nominally 0.05.
        miss_rate_80: the share of outcomes in the window that the issued 80% intervals left out; NaN without outcomes;
            `miss_rate_95` likewise.
        count: settled forecasts in the window.
        weight: of the trailing quantiles against the bundle's own, from 0 to below 1.
    """

    quantiles: Array
    level_80: float
    level_95: float
    miss_rate_80: float
    miss_rate_95: float
    count: int
    weight: float


def calibrate(
    own: Array, settled: Settled, made_at: datetime, horizon: timedelta, settings: ForecastSettings
) -> Adjusted:
    """The quantiles for one forecast.

    Args:
        own: the bundle's own quantiles of the score at `PROBABILITIES`, shape (9,).
        settled: forecasts of this horizon; those outside of the window are left out here.
        made_at: the forecast's, aware.
        horizon: how far it looks ahead.
        settings: `calibration_days` and `adaptation_rate`.
    """
    now = np.datetime64(made_at.astimezone(UTC).replace(tzinfo=None))
    targets = settled.made_at + np.timedelta64(horizon)
    inside = (targets <= now) & (targets > now - _window(settings))
    count, independent = int(inside.sum()), len(np.unique(_blocks(settled.made_at[inside], horizon)))
    missed_80, missed_95 = int(settled.missed_80[inside].sum()), int(settled.missed_95[inside].sum())
    levels = _levels(count, missed_80, missed_95, settings.adaptation_rate)
    ordered = np.sort(settled.scores[inside]).tolist()
    return Adjusted(
        quantiles=np.array(_quantiles(own.tolist(), ordered, independent, levels)),
        level_80=levels[0],
        level_95=levels[1],
        miss_rate_80=missed_80 / count if count else np.nan,
        miss_rate_95=missed_95 / count if count else np.nan,
        count=count,
        weight=_weight(independent),
    )


def calibrate_rows(own: Array, made_at: Times, scores: Array, horizon: timedelta, settings: ForecastSettings) -> Array:
    """The quantiles for each of many forecasts, as `calibrate` gives them one after the other, in one pass.

    A row sees the scores of the rows whose target has come at its own `made_at`, and the misses of the intervals that
    were issued for them here. On one core a year of 5-minute bars takes seconds: the window's scores are kept sorted.

    Args:
        own: the bundle's own quantiles of the score, shape (9,), or (n, 9) where several bundles forecast.
        made_at: strictly ascending, naive UTC, shape (n,); there may be gaps.
        scores: (actual log return - forecast) / sigma, shape (n,); NaN where there is no outcome.
        horizon: how far the forecasts look ahead.
        settings: `calibration_days` and `adaptation_rate`.

    Returns:
        Quantiles of the score at `PROBABILITIES`, shape (n, 9): a row's log returns are forecast + sigma * quantiles.
    """
    known = np.flatnonzero(np.isfinite(scores))
    targets = made_at[known] + np.timedelta64(horizon)
    first = np.searchsorted(targets, made_at - _window(settings), side="right").tolist()
    last = np.searchsorted(targets, made_at, side="right").tolist()
    # Of ordered rows, those that begin a block: rows a to b lie in 1 + begun[b] - begun[a] blocks.
    begun = np.cumsum(np.diff(_blocks(made_at[known], horizon), prepend=0) != 0).tolist()
    own_rows, values = np.broadcast_to(own, (len(scores), len(PROBABILITIES))), scores.tolist()
    result = np.empty((len(scores), len(PROBABILITIES)))
    missed_80, missed_95 = [False] * len(values), [False] * len(values)
    ordered: list[float] = []
    misses_80 = misses_95 = begin = end = 0
    for row in range(len(values)):
        for settled in known[end : last[row]].tolist():
            insort(ordered, values[settled])
            misses_80 += missed_80[settled]
            misses_95 += missed_95[settled]
        for left in known[begin : first[row]].tolist():
            del ordered[bisect_left(ordered, values[left])]
            misses_80 -= missed_80[left]
            misses_95 -= missed_95[left]
        begin, end = first[row], last[row]
        independent = 1 + begun[end - 1] - begun[begin] if end > begin else 0
        levels = _levels(end - begin, misses_80, misses_95, settings.adaptation_rate)
        issued = _quantiles(own_rows[row].tolist(), ordered, independent, levels)
        missed_80[row] = not issued[_LOWER_80] <= values[row] <= issued[_UPPER_80]
        missed_95[row] = not issued[_LOWER_95] <= values[row] <= issued[_UPPER_95]
        result[row] = issued
    return result


def _levels(count: int, missed_80: int, missed_95: int, rate: float) -> tuple[float, float]:
    """What the 80% and the 95% interval are to leave out, after so many of `count` outcomes were missed."""
    level_80 = _clip(_ALPHA_80 + rate * (count * _ALPHA_80 - missed_80), _LIMITS_80)
    level_95 = _clip(_ALPHA_95 + rate * (count * _ALPHA_95 - missed_95), _LIMITS_95)
    return level_80, min(level_95, level_80 / 2)  # one interval stays inside the other


def _quantiles(own: list[float], ordered: list[float], independent: int, levels: tuple[float, float]) -> list[float]:
    """The nine quantiles, from the window's scores in ascending order."""
    if not ordered:
        return own
    weight = _weight(independent)
    level_80, level_95 = levels
    tails = np.interp(_TAILS, (_ALPHA_95 / 2, _ALPHA_80 / 2, 0.5), (level_95 / 2, level_80 / 2, 0.5)).tolist()
    lower, upper = [], []
    for tail in tails:
        score, rank = _NORMAL.inv_cdf(tail), int((len(ordered) + 1) * tail)
        low, high = _own_at(own, score), _own_at(own, -score)
        # A tail that is thinner than the sample's: conformal bounds would be infinite.
        trailing_low = ordered[rank - 1] if rank else min(low, ordered[0])
        trailing_high = ordered[-rank] if rank else max(high, ordered[-1])
        lower.append(weight * trailing_low + (1 - weight) * low)
        upper.append(weight * trailing_high + (1 - weight) * high)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return [*lower, weight * middle + (1 - weight) * own[len(own) // 2], *reversed(upper)]


def _own_at(own: Sequence[float], score: float) -> float:
    """The bundle's own quantile at a normal score, on straight lines between and beyond the nine (a normal plot)."""
    right = bisect_right(_NORMAL_SCORES, score, 1, len(own) - 1)
    left = right - 1
    slope = (own[right] - own[left]) / (_NORMAL_SCORES[right] - _NORMAL_SCORES[left])
    return own[left] + slope * (score - _NORMAL_SCORES[left])


def _weight(independent: int) -> float:
    return independent / (independent + _PRIOR_LABELS)


def _blocks(made_at: Times, horizon: timedelta) -> NDArray[np.int64]:
    """Which stretch of one horizon each forecast begins in: those of different stretches count as independent."""
    return made_at.astype("datetime64[s]").astype(np.int64) // int(horizon.total_seconds())


def _window(settings: ForecastSettings) -> np.timedelta64:
    return np.timedelta64(timedelta(days=settings.calibration_days))


def _outside(actual: Array, lower: pd.Series, upper: pd.Series) -> Mask:
    return np.asarray((actual < lower.to_numpy(np.float64)) | (actual > upper.to_numpy(np.float64)))


def _clip(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])
