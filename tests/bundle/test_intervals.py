"""A level's interval covers what it says, for rows like those it was made from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.bundle import IntervalTable


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "laplace", "standard_cauchy"]))
def test_new_rows_of_the_same_kind_are_covered_as_promised(seed: int, kind: str) -> None:
    noise = np.random.default_rng(seed)
    scale = noise.lognormal(-6, 1, 6_000)
    forecast = noise.normal(0, 1e-4, 6_000)
    actual = forecast + scale * getattr(noise, kind)(size=6_000)
    table = IntervalTable.conformal(actual[:3_000], forecast[:3_000], scale[:3_000])
    for level in (80, 95):
        low, high = table.bounds_for(level, forecast[3_000:], scale[3_000:])
        covered = ((low <= actual[3_000:]) & (actual[3_000:] <= high)).mean()
        assert covered == pytest.approx(level / 100, abs=5 * math.sqrt(2 * level * (100 - level) / 3_000) / 100)


def test_bounds_are_the_ranks_that_the_method_names() -> None:
    errors = np.arange(1.0, 101.0)
    table = IntervalTable.conformal(-errors, np.zeros(100), np.ones(100))
    assert table.bounds == {80: (-81, 81), 95: (-96, 96)}  # ceil(101 * level)
    assert "100 holdout rows" in table.method


@given(st.integers(1, 30))
def test_with_few_rows_the_widest_error_stands_for_the_rank_beyond_it(count: int) -> None:
    errors = np.arange(1.0, count + 1)
    table = IntervalTable.conformal(errors, np.zeros(count), np.ones(count))
    assert table.bounds[95][1] <= count
    assert table.bounds[80][1] <= table.bounds[95][1]


def test_without_data_bounds_are_normal_quantiles() -> None:
    table = IntervalTable.normal()
    assert table.bounds[80] == pytest.approx((-1.2816, 1.2816), abs=1e-4)
    assert table.bounds[95] == pytest.approx((-1.9600, 1.9600), abs=1e-4)


def test_a_table_survives_being_written() -> None:
    table = IntervalTable.conformal(np.array([0.1, -0.2]), np.zeros(2), np.ones(2))
    assert IntervalTable.model_validate_json(table.model_dump_json()) == table
