"""Each quantile has the share of outcomes below it that it says, for rows like those it was made from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cryptosentinel.bundle import BOUNDS, PROBABILITIES, QuantileTable
from cryptosentinel.errors import NotEnoughDataError


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "exponential", "standard_cauchy"]))
def test_new_rows_of_the_same_kind_lie_below_each_quantile_as_often_as_it_says(seed: int, kind: str) -> None:
    noise = np.random.default_rng(seed)
    sigma = noise.lognormal(-6, 1, 6_000)
    mean = noise.normal(0, 1e-4, 6_000)
    actual = mean + sigma * getattr(noise, kind)(size=6_000)
    table = QuantileTable.conformal(((actual - mean) / sigma)[:3_000])
    returns = table.log_returns(mean[3_000:], sigma[3_000:])
    below = (actual[3_000:, None] <= returns).mean(axis=0)
    for share, p in zip(below, PROBABILITIES, strict=True):
        assert share == pytest.approx(p, abs=5 * math.sqrt(2 * p * (1 - p) / 3_000))


def test_quantiles_are_the_ranks_that_the_method_names_each_tail_by_itself() -> None:
    scores = np.arange(1.0, 101.0)
    # floor(101 p) below the median, ceil(101 p) above it
    assert QuantileTable.conformal(scores[::-1]).values == [2, 5, 10, 25, 50.5, 76, 91, 96, 99]
    assert QuantileTable.conformal(scores[:29]).values[2] == 3  # 30 p is exactly 3 and 27
    assert QuantileTable.conformal(scores[:29]).values[6] == 27
    assert "100 rows" in QuantileTable.conformal(scores).method


@given(st.integers(1, 60))
def test_with_few_rows_the_widest_errors_stand_for_the_ranks_beyond_them(count: int) -> None:
    values = QuantileTable.conformal(np.arange(1.0, count + 1)).values
    assert values == sorted(values)
    assert 1 <= values[0] <= values[-1] <= count
    if count < 19:
        assert (values[1], values[-2]) == (1, count)


def test_of_no_rows_there_are_no_quantiles() -> None:
    with pytest.raises(NotEnoughDataError, match="have 0 rows"):
        QuantileTable.conformal(np.array([]))


def test_without_data_quantiles_are_normal() -> None:
    values = dict(zip(BOUNDS, QuantileTable.normal().values, strict=True))
    assert values["lower_80"] == pytest.approx(-1.2816, abs=1e-4)
    assert values["upper_95"] == pytest.approx(1.9600, abs=1e-4)
    assert values["median"] == 0


def test_a_level_is_what_its_two_bounds_hold() -> None:
    for level in (50, 80, 90, 95):
        low, high = (PROBABILITIES[BOUNDS.index(f"{side}_{level}")] for side in ("lower", "upper"))
        assert high - low == pytest.approx(level / 100)
        assert low + high == pytest.approx(1)


@pytest.mark.parametrize(
    "values",
    [[0.0] * 8, [0.0] * 10, [2, 1, *[3.0] * 7], [math.nan, *[0.0] * 8], [-math.inf, *[0.0] * 8]],
    ids=["eight", "ten", "crossing", "NaN", "infinite"],
)
def test_what_is_no_distribution_is_refused(values: list[float]) -> None:
    with pytest.raises(ValidationError):
        QuantileTable(method="guess", values=values)


def test_a_table_survives_being_written() -> None:
    table = QuantileTable.conformal(np.array([0.1, -0.2]))
    assert QuantileTable.model_validate_json(table.model_dump_json()) == table
