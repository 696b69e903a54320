"""Walk-forward folds: every model is judged on rows that come after the ones it was fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.errors import NotEnoughDataError


@dataclass(frozen=True)
class Fold:
    """Row positions to fit on, and the later ones to forecast."""

    train: slice
    test: slice


def walk_forward(
    timestamps: NDArray[np.datetime64],
    *,
    folds: int,
    purge: timedelta,
    embargo: timedelta,
    scheme: Literal["expanding", "rolling"],
    first_share: float = 0.4,
) -> list[Fold]:
    """Cuts ordered rows into folds of training rows and, later in time, test rows.

    The test blocks have equally many rows, follow each other without a gap and end with the last row. A row is trained
    on if its time is at least `purge + embargo` before the first of the test block. That is measured on the clock, not
    counted in rows: bars may be missing, and a label reaches over the hole.

    What the two assume, in time. The label of a row at t is the return from t to t + horizon, so with `purge` equal to
    the horizon the last label trained on is known when the first test forecast is made; with a purge of 0, labels
    trained on would be returns that the test is about to ask for (de Prado 2018, chapter 7, on both). `embargo` is for
    what outlives the label: volatility and order flow stay alike for a while, so that rows on either side of the border
    are almost the same row. An embargo of 0 assumes that markets forget at once. There is no row after a test block to
    embargo: nothing is trained on the future here. The labels of a block's own last rows reach into the next block, and
    those of the last block beyond the last row: leave the purge out again before rows that must stay unseen.

    Twelve 5-minute rows with labels of 10 minutes and an embargo of 5: two rows are left out before each test block.

    >>> rows = np.datetime64("2025-01-01T00:00") + 5 * np.arange(12).astype("timedelta64[m]")
    >>> gap = {"purge": timedelta(minutes=10), "embargo": timedelta(minutes=5)}
    >>> for fold in walk_forward(rows, folds=3, **gap, scheme="expanding", first_share=0.5):
    ...     print(rows[fold.train].astype("U16")[[0, -1]], rows[fold.test].astype("U16"))
    ['2025-01-01T00:00' '2025-01-01T00:15'] ['2025-01-01T00:30' '2025-01-01T00:35']
    ['2025-01-01T00:00' '2025-01-01T00:25'] ['2025-01-01T00:40' '2025-01-01T00:45']
    ['2025-01-01T00:00' '2025-01-01T00:35'] ['2025-01-01T00:50' '2025-01-01T00:55']
    >>> for fold in walk_forward(rows, folds=3, **gap, scheme="rolling", first_share=0.5):
    ...     print(rows[fold.train].astype("U16")[[0, -1]], rows[fold.test].astype("U16"))
    ['2025-01-01T00:00' '2025-01-01T00:15'] ['2025-01-01T00:30' '2025-01-01T00:35']
    ['2025-01-01T00:10' '2025-01-01T00:25'] ['2025-01-01T00:40' '2025-01-01T00:45']
    ['2025-01-01T00:20' '2025-01-01T00:35'] ['2025-01-01T00:50' '2025-01-01T00:55']

    Args:
        timestamps: of the rows, strictly increasing, shape (n,).
        folds: how many test blocks, at least 1.
        purge: how far labels reach ahead.
        embargo: what else to leave out before a test block.
        scheme: `expanding` trains on everything before; `rolling` on the newest, as many as the first fold has.
        first_share: share of the rows before the first test block, between 0 and 1.

    Raises:
        NotEnoughDataError: a fold would have no row to train on, or none to test on.
        ValueError: an argument is outside of what is said above.
    """
    if folds < 1 or not 0.0 < first_share < 1.0 or purge < timedelta(0) or embargo < timedelta(0):
        raise ValueError(f"no folds can be made of {folds=}, {first_share=}, {purge=}, {embargo=}")
    if scheme not in {"expanding", "rolling"}:
        raise ValueError(f"scheme must be expanding or rolling, not {scheme}")
    if not (timestamps[:-1] < timestamps[1:]).all():
        raise ValueError("timestamps must increase strictly")
    count = len(timestamps)
    block = int(count * (1.0 - first_share) / folds)
    if block == 0:
        raise NotEnoughDataError(
            f"{folds} walk-forward test blocks",
            have=count,
            need=int(np.ceil(folds / (1.0 - first_share))),
            remedy="Widen training.window_days, or lower training.folds.",
        )
    begins = count - block * np.arange(folds, 0, -1)
    newest = timestamps[begins] - np.timedelta64(purge + embargo)
    ends = np.searchsorted(timestamps, newest, side="right")
    if ends[0] == 0:
        raise NotEnoughDataError(
            f"Rows at least {purge + embargo} before the first walk-forward test block",
            have=0,
            need=1,
            remedy="Widen training.window_days, or lower training.embargo_bars.",
        )
    starts = ends - ends[0] if scheme == "rolling" else np.zeros_like(ends)
    return [
        Fold(train=slice(int(start), int(end)), test=slice(int(begin), int(begin) + block))
        for start, end, begin in zip(starts, ends, begins, strict=True)
    ]
