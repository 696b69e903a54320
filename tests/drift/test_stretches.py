"""The baseline's own stretches, which a window's distance is held against."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from cryptosentinel.drift.stretches import distances, share_as_far, stretches

CADENCE = timedelta(minutes=20)


def times(count: int, *, gap_at: int | None = None) -> pd.DatetimeIndex:
    index = pd.date_range("2024-01-01", periods=count, freq=CADENCE, tz="UTC")
    return index if gap_at is None else index[:gap_at].append(index[gap_at:] + timedelta(days=1))


@given(
    count=st.integers(40, 70),
    rows=st.integers(2, 12),
    levels=st.sampled_from([3, 20, 10_000]),  # few levels: many ties
    seed=st.integers(0, 10_000),
)
def test_a_distance_is_scipys_between_a_stretch_and_what_is_not_near_it(
    count: int, rows: int, levels: int, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, levels, count).astype(np.float64)
    starts = stretches(times(count), rows, CADENCE)
    found = distances(values, starts, rows)
    for start, distance in list(zip(starts, found, strict=True))[:: max(len(starts) // 5, 1)]:
        rest = np.concatenate([values[: max(start - rows, 0)], values[start + 2 * rows :]])
        expected = ks_2samp(rest, values[start : start + rows]).statistic
        assert distance == pytest.approx(expected, abs=1e-6)


def test_stretches_overlap_and_cover_the_baseline() -> None:
    assert stretches(times(160), 32, CADENCE).tolist() == list(range(0, 129, 2))
    assert stretches(times(20), 9, CADENCE).tolist() == list(range(12))


def test_a_stretch_with_a_long_gap_is_none() -> None:
    starts = stretches(times(160, gap_at=80), 16, CADENCE)
    assert not any(start < 80 < start + 16 for start in starts)
    assert {0, 80, 144} <= set(starts)


def test_the_share_counts_the_window_itself() -> None:
    usual = np.array([0.1, 0.2, 0.2, 0.4], dtype=np.float32)
    assert share_as_far(0.5, usual) == 1 / 5
    assert share_as_far(0.2, usual) == 4 / 5
    assert share_as_far(0.0, usual) == 1
