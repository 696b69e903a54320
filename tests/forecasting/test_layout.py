"""Rows are split in time: nothing that a model is fitted on, or a choice is made on, is known after it is asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.config import TrainingSettings
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.forecasting.dataset import Dataset, lay_out, training_rows_needed
from tests.builders import FIVE

MINUTES = np.timedelta64(1, "m")


def make_rows(steps: list[int], horizon_bars: int = 6) -> Dataset:
    """Rows at a distance of so many bars from each other."""
    count = len(steps)
    stamps = np.datetime64("2025-01-01", "ms") + np.cumsum(np.array(steps, dtype=np.int64)) * 5 * MINUTES
    column = np.ones(count)
    return Dataset(
        stamps, np.zeros((count, 1), np.float32), column, column, column, column, {}, ("x",), FIVE, horizon_bars
    )


def chosen(**training: Any) -> TrainingSettings:
    return TrainingSettings(**{"min_rows": 50, **training})


@st.composite
def steps(draw: st.DrawFn) -> list[int]:
    """Up to 500 rows, with none to many gaps."""
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, gaps = draw(st.integers(0, 500)), draw(st.sampled_from([0.0, 0.02, 0.3]))
    return np.where(noise.random(count) < gaps, noise.choice([2, 50], count), 1).tolist()


@settings(derandomize=True)
@given(
    steps=steps(),
    horizon=st.integers(1, 30),
    embargo=st.integers(0, 30),
    share=st.floats(0.01, 0.9),
    days=st.floats(0.05, 3.0),
    folds=st.integers(2, 6),
    scheme=st.sampled_from(["expanding", "rolling"]),
)
def test_every_label_trained_on_is_known_an_embargo_before_the_rows_it_is_judged_on(
    steps: list[int],
    horizon: int,
    embargo: int,
    share: float,
    days: float,
    folds: int,
    scheme: Literal["expanding", "rolling"],
) -> None:
    rows = make_rows(steps, horizon)
    given_ = chosen(embargo_bars=embargo, holdout_share=share, holdout_days=days, folds=folds, scheme=scheme)
    try:
        layout = lay_out(rows, given_)
    except NotEnoughDataError:
        return
    assert len(layout.folds) == folds
    for fold in (*layout.folds, layout.last):
        label_known = rows.timestamps[fold.train][-1] + np.timedelta64(rows.horizon)
        assert label_known + embargo * 5 * MINUTES <= rows.timestamps[fold.test][0]
    # The labels of rows that choices are made on, too, are known before the last block begins.
    newest = rows.timestamps[layout.folds[-1].test][-1] + np.timedelta64(rows.horizon)
    assert newest + embargo * 5 * MINUTES <= rows.timestamps[layout.last.test][0]
    assert layout.folds[-1].test.stop == layout.last.train.stop
    assert layout.last.train.stop >= training_rows_needed(given_, horizon)
    assert layout.last.test.stop == len(rows)


@settings(derandomize=True)
@given(steps=steps(), share=st.floats(0.001, 0.9), days=st.floats(0.05, 3.0))
def test_the_last_block_is_a_share_of_the_rows_but_no_more_than_so_many_days(
    steps: list[int], share: float, days: float
) -> None:
    rows = make_rows(steps)
    try:
        last = lay_out(rows, chosen(holdout_share=share, holdout_days=days)).last.test
    except NotEnoughDataError:
        return
    by_share = max(int(len(rows) * share), 1)
    by_days = int((rows.timestamps > rows.timestamps[-1] - np.timedelta64(timedelta(days=days))).sum())
    assert last == slice(len(rows) - min(by_share, by_days), len(rows))


@pytest.mark.parametrize(("count", "have"), [(0, 0), (1, 0), (20, 0), (100, 100 - 20 - 18 + 1), (134, 134 - 26 - 17)])
def test_too_few_rows_are_counted(count: int, have: int) -> None:
    with pytest.raises(NotEnoughDataError, match="The random walk stays champion") as caught:
        lay_out(make_rows([1] * count), chosen(min_rows=92))
    assert (caught.value.have, caught.value.need) == (have, 92)
    assert lay_out(make_rows([1] * 136), chosen(min_rows=92)).last.train == slice(0, 92)


def test_labels_that_reach_far_need_more_rows_than_the_least() -> None:
    day = chosen(min_rows=500, embargo_bars=12)
    assert training_rows_needed(day, 6) == 500
    assert training_rows_needed(day, 288) == 1_500
    fold = lay_out(make_rows([1] * 2_250, 288), day).folds[0]
    assert fold.train.stop >= 300


def test_rows_long_before_a_gap_are_trained_on_up_to_the_gap() -> None:
    layout = lay_out(make_rows([1] * 104 + [2_000] + [1] * 25), chosen(holdout_share=0.2))
    assert layout.last.train == slice(0, 104)
    assert layout.last.test == slice(104, 130)
