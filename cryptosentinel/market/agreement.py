"""Whether what a source says of bars that are stored already is about the same market at the same time.

A source revises bars a little, its last ones above all. One that has every price ten times as high, or an hour late,
says nothing odd within one answer, so that cleaning finds nothing; only what it said before tells.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.market.bars import Interval
from cryptosentinel.market.cleaning import MAX_MOVE

# Bars in common that a comparison of levels needs, and one of moves, in which luck has more of a say: of moves that
# have nothing to do with each other, over that many bars and a day of shifts, the best correlation is about 0.4.
MIN_LEVELS = 24
MIN_MOVES = 72
MIN_CORRELATION = 0.5
_STILL = 1e-16  # a variance of moves that is the rounding of none


def contradiction(offered: pd.DataFrame, held: pd.DataFrame, interval: Interval) -> str:
    """How bars contradict stored ones of the same times, as a clause; empty where they do not, or too few tell.

    Where too few bars are in common, the source is believed: so one that tells the truth, of bars that were stored
    while it did not, is believed again within a day.

    Args:
        offered: clean bars.
        held: those stored of that time.
        interval: of both.
    """
    both = offered.merge(held, on="timestamp", suffixes=("", "_held"))
    if len(both) < MIN_LEVELS:
        return ""
    ratio = float(np.median(both["close"] / both["close_held"]))
    if not 1 / MAX_MOVE <= ratio <= MAX_MOVE:
        return f"its prices are {ratio:.3g} times those stored"
    moves = pd.concat([_moves(offered, interval), _moves(held, interval)], axis=1, keys=["now", "before"])
    if len(both_known := moves.dropna()) < MIN_MOVES or not both_known["before"].std() > 0:
        return ""
    first, last = (int(end) for end in moves["before"].dropna().index[[0, -1]])
    correlations = _by_shift(moves.reindex(range(first - interval.bars_per_day, last + interval.bars_per_day + 1)))
    if correlations[0] >= MIN_CORRELATION:
        return ""
    shift = int(correlations.idxmax())
    if correlations[shift] < MIN_CORRELATION:
        return "its prices move otherwise than those stored"
    minutes = abs(shift) * interval.seconds // 60
    return (
        f"its clock is {minutes} minutes {'ahead' if shift > 0 else 'behind'}: it has the stored moves at other times"
    )


def _moves(bars: pd.DataFrame, interval: Interval) -> pd.Series:
    """Log returns by the number of their bar, of bars that have one before them."""
    number = (bars["timestamp"] - pd.Timestamp(0, tz="UTC")) // interval.delta
    moves = pd.Series(np.log(bars["close"]).diff().to_numpy(), index=number.to_numpy())
    return moves[(number.diff() == 1).to_numpy()]


def _by_shift(moves: pd.DataFrame) -> pd.Series:
    """The correlation of `now` with `before`, had that come so many bars later, by that number.

    -1 where too few are in common, or one of the two stands still.
    """
    known = [moves[name].notna().to_numpy(np.float64) for name in ("now", "before")]
    now, before = (moves[name].fillna(0.0).to_numpy() for name in ("now", "before"))

    def total(of_now: NDArray[np.float64], of_before: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of their products over the pairs, for every shift."""
        return np.correlate(of_now, of_before, "full")

    count = np.maximum(total(*known), 1)
    means = [total(now, known[1]) / count, total(known[0], before) / count]
    variances = [total(now**2, known[1]) / count - means[0] ** 2, total(known[0], before**2) / count - means[1] ** 2]
    usable = (count >= MIN_MOVES) & (np.minimum(*variances) > _STILL)
    covariance = total(now, before) / count - means[0] * means[1]
    correlation = np.where(usable, covariance / np.sqrt(np.where(usable, variances[0] * variances[1], 1.0)), -1.0)
    return pd.Series(correlation, index=range(1 - len(moves), len(moves)))
