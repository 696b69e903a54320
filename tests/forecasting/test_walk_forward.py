"""Folds: what is trained on never knows what is tested on."""

from __future__ import annotations

import doctest
import itertools
from datetime import timedelta
from typing import Literal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.forecasting import walk_forward as module
from cryptosentinel.forecasting.walk_forward import Fold, walk_forward

BAR = np.timedelta64(5, "m")
T0 = np.datetime64("2025-01-01T00:00", "ms")
PURGE, EMBARGO = timedelta(minutes=30), timedelta(minutes=60)
Scheme = Literal["expanding", "rolling"]


def make_times(steps: list[int]) -> NDArray[np.datetime64]:
    """Rows so many bars apart; more than 1 is a gap."""
    return T0 + BAR * np.cumsum([0, *steps])


def split(times: NDArray[np.datetime64], scheme: Scheme = "expanding", folds: int = 4) -> list[Fold]:
    return walk_forward(times, folds=folds, purge=PURGE, embargo=EMBARGO, scheme=scheme)


gappy_times = st.lists(st.sampled_from([1, 1, 1, 1, 2, 50]), min_size=60, max_size=200).map(make_times)
schemes = st.sampled_from(["expanding", "rolling"])


def split_or_skip(times: NDArray[np.datetime64], scheme: Scheme, folds: int) -> list[Fold]:
    """A gap of rows too few to train on is another test's matter."""
    try:
        return split(times, scheme, folds)
    except NotEnoughDataError:
        assume(False)
        raise


@given(gappy_times, schemes, st.integers(1, 6))
def test_no_label_trained_on_reaches_into_a_test_block(
    times: NDArray[np.datetime64], scheme: Scheme, folds: int
) -> None:
    for fold in split_or_skip(times, scheme, folds):
        label_ends = times[fold.train] + np.timedelta64(PURGE)
        assert (label_ends + np.timedelta64(EMBARGO) <= times[fold.test][0]).all()


@given(gappy_times, schemes, st.integers(1, 6))
def test_no_row_is_left_out_that_is_old_enough(times: NDArray[np.datetime64], scheme: Scheme, folds: int) -> None:
    for fold in split_or_skip(times, scheme, folds):
        next_row = times[fold.train.stop]
        assert next_row + np.timedelta64(PURGE + EMBARGO) > times[fold.test][0]


@given(gappy_times, schemes, st.integers(1, 6))
def test_test_blocks_are_alike_follow_each_other_and_end_with_the_last_row(
    times: NDArray[np.datetime64], scheme: Scheme, folds: int
) -> None:
    blocks = [fold.test for fold in split_or_skip(times, scheme, folds)]
    assert len(blocks) == folds
    assert len({block.stop - block.start for block in blocks}) == 1
    assert all(before.stop == after.start for before, after in itertools.pairwise(blocks))
    assert blocks[-1].stop == len(times)
    assert len(times) * 0.4 <= blocks[0].start < len(times) * 0.4 + folds + 1e-9


@given(gappy_times, st.integers(1, 6))
def test_expanding_trains_on_everything_before_and_rolling_on_as_much_as_the_first_fold(
    times: NDArray[np.datetime64], folds: int
) -> None:
    expanding, rolling = (split_or_skip(times, scheme, folds) for scheme in ("expanding", "rolling"))
    assert all(fold.train.start == 0 for fold in expanding)
    assert {fold.train.stop - fold.train.start for fold in rolling} == {expanding[0].train.stop}
    assert [fold.train.stop for fold in rolling] == [fold.train.stop for fold in expanding]
    assert [fold.test for fold in rolling] == [fold.test for fold in expanding]


def test_a_gap_before_a_test_block_is_gap_enough() -> None:
    times = make_times([1] * 39 + [288] + [1] * 59)
    fold = walk_forward(times, folds=1, purge=PURGE, embargo=EMBARGO, scheme="expanding", first_share=0.4)[0]
    assert (fold.train, fold.test) == (slice(0, 40), slice(40, 100))


def test_bars_missing_shortly_before_a_test_block_do_not_make_the_gap_longer_in_time() -> None:
    whole, holed = make_times([1] * 99), make_times([1] * 35 + [4] + [1] * 60)
    for times in (whole, holed):
        fold = walk_forward(times, folds=1, purge=PURGE, embargo=EMBARGO, scheme="expanding", first_share=0.4)[0]
        assert times[fold.test][0] - times[fold.train][-1] == np.timedelta64(90, "m")


def test_the_example_in_the_documentation_is_true() -> None:
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_too_few_rows_to_test_on_are_refused() -> None:
    with pytest.raises(NotEnoughDataError, match="test blocks: have 6 rows, need at least 7"):
        split(make_times([1] * 5))


def test_too_few_rows_to_train_on_are_refused() -> None:
    with pytest.raises(NotEnoughDataError, match="1:30:00 before the first"):
        split(make_times([1] * 40))
    assert split(make_times([1] * 60))


def test_no_rows_are_refused() -> None:
    with pytest.raises(NotEnoughDataError):
        split(make_times([])[:0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"folds": 0},
        {"first_share": 0.0},
        {"first_share": 1.0},
        {"purge": -PURGE},
        {"embargo": -EMBARGO},
        {"scheme": "sideways"},
        {"timestamps": make_times([1] * 99)[::-1]},
        {"timestamps": make_times([0] * 99)},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    right = {
        "timestamps": make_times([1] * 99),
        "folds": 4,
        "purge": PURGE,
        "embargo": EMBARGO,
        "scheme": "rolling",
    }
    with pytest.raises(ValueError):
        walk_forward(**right | wrong)
