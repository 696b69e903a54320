"""How far a stretch of the baseline usually is from the rest of it: what a window's distance is held against.

The test of Kolmogorov and Smirnov takes rows for independent. Bars are not: volatility clusters for hours and days, and
a test that does not know it cries wolf every day. Here its distance is compared with those of the baseline's own
stretches of the same length, which cluster as the market does (subsampling; Politis, Romano and Wolf, "Subsampling",
1999).
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
Positions = npt.NDArray[np.intp]

# Stretches overlap: one begins where a sixteenth of the one before has passed. What is farther than all of them then
# has a share small enough to count among many features.
_OVERLAP = 16
# A stretch may take so much longer than its rows need: a gap of the market lies in it.
_SLACK = 1.5


def stretches(times: pd.DatetimeIndex, rows: int, cadence: timedelta) -> Positions:
    """Where the stretches of so many rows begin; those with a long gap are left out."""
    stamps = times.to_numpy("datetime64[ms]")
    starts = np.arange(0, len(stamps) - rows + 1, max(rows // _OVERLAP, 1))
    took = stamps[starts + rows - 1] - stamps[starts]
    return np.asarray(starts[took <= np.timedelta64(_SLACK * rows * cadence)])


def distances(values: Array, starts: Positions, rows: int) -> Single:
    """Kolmogorov and Smirnov's distance of each stretch from the baseline without it and its neighbours.

    As many rows before and after a stretch as it has itself are left out, since they resemble it. In single precision,
    as alibi-detect keeps the statistic.

    Args:
        values: one feature of the baseline, by time.
        starts: from `stretches`.
        rows: of a stretch.
    """
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    counts = np.bincount(codes)
    up_to = np.cumsum(counts)
    below = up_to - counts

    inside = np.sort(codes[starts[:, None] + np.arange(rows)], axis=1)
    around = starts[:, None] + np.arange(-rows, 2 * rows)
    exists = (around >= 0) & (around < len(codes))
    # Rows that are not there are sorted behind all others, where they are not counted.
    beyond = len(counts)
    near = np.sort(np.where(exists, codes[np.clip(around, 0, len(codes) - 1)], beyond), axis=1)
    # One search for all stretches: each has a range of numbers of its own.
    shift = np.arange(len(starts))[:, None] * (beyond + 1)
    first = np.arange(len(starts))[:, None] * near.shape[1]

    def left_out(side: str) -> npt.NDArray[np.int64]:
        found = np.searchsorted((near + shift).ravel(), (inside + shift).ravel(), side=side)  # type: ignore[call-overload]
        return np.asarray(found.reshape(inside.shape) - first)

    rest = (len(codes) - exists.sum(axis=1))[:, None]
    step = np.arange(1, rows + 1) / rows
    above = step - (up_to[inside] - left_out("right")) / rest
    under = (below[inside] - left_out("left")) / rest - (step - 1 / rows)
    return np.asarray(np.maximum(above.max(axis=1), under.max(axis=1)), dtype=np.float32)


def share_as_far(distance: float, usual: Single) -> float:
    """The share of stretches at least as far, the window itself counted as one of them."""
    return (1 + int((usual >= np.float32(distance)).sum())) / (1 + len(usual))
