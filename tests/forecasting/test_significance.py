"""Tests for overlapping labels: right by the papers' formulas, of the size they claim, and calm about odd input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cryptosentinel.forecasting.significance import (
    clark_west,
    diebold_mariano,
    effective_size,
    hac_lag,
    long_run_variance,
    mean_interval,
    mean_test,
)

HORIZON = 6
# 2.5 standard errors of a rate of 5% in so many trials are 1.2 points.
TRIALS = 2_000


def slow_long_run_variance(x: np.ndarray, lag: int) -> float:
    """Newey and West (1987), as printed."""
    n, d = len(x), x - x.mean()
    covariances = [sum(d[t] * d[t - j] for t in range(j, n)) / n for j in range(min(lag, n - 1) + 1)]
    return covariances[0] + 2 * sum((1 - j / (lag + 1)) * covariances[j] for j in range(1, len(covariances)))


def slow_standard_error(x: np.ndarray, lag: int) -> float:
    """With the share of the variance that an estimated mean hides, counted pair by pair."""
    n = len(x)
    kernel = np.array([[max(1 - abs(s - t) / (lag + 1), 0.0) for s in range(n)] for t in range(n)])
    centring = np.eye(n) - 1 / n
    seen = np.trace(kernel @ centring) / n
    return math.sqrt(slow_long_run_variance(x, lag) / seen / n)


def make_series(count: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(count + HORIZON)
    return np.convolve(noise, np.ones(HORIZON), "valid")[:count]


def smooth(noise: np.ndarray, half_life: float) -> np.ndarray:
    """First-order autoregressions of unit variance along the last axis, begun where they would be."""
    phi = 0.5 ** (1 / half_life)
    result = np.empty_like(noise)
    result[..., 0] = noise[..., 0]
    for t in range(1, noise.shape[-1]):
        result[..., t] = phi * result[..., t - 1] + math.sqrt(1 - phi**2) * noise[..., t]
    return result


def make_noise_markets(count: int, half_life: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns without any information in them, and forecasts that know nothing: (trials, rows) each.

    Volatility moves over days and hours, bars have heavy tails (Student t, 4 degrees), labels overlap, and forecasts
    keep their sign for a while.
    """
    random = np.random.default_rng(seed)
    shape = (TRIALS, count + HORIZON)
    hours = 0.3 * np.sin(np.arange(shape[1]) * 2 * np.pi / 288)
    volatility = 0.001 * np.exp(0.6 * smooth(random.standard_normal(shape), 288) + hours)
    bars = volatility * random.standard_t(4, shape) / math.sqrt(2)
    price = np.cumsum(bars, axis=1)
    actual = price[:, HORIZON:] - price[:, :-HORIZON]
    sigma = volatility[:, :count] * math.sqrt(HORIZON)
    return actual, 0.2 * sigma * smooth(random.standard_normal((TRIALS, count)), half_life), sigma


# The formulas


@given(st.lists(st.floats(-1e3, 1e3), max_size=40), st.integers(0, 50))
def test_the_variance_is_newey_and_wests(values: list[float], lag: int) -> None:
    x = np.array(values)
    expected = slow_long_run_variance(x, min(lag, len(x) - 1)) if len(x) else 0.0
    scale = float(np.abs(x).max(initial=0.0)) ** 2
    assert long_run_variance(x, lag) == pytest.approx(expected, rel=1e-9, abs=1e-9 * scale)
    assert long_run_variance(x, lag) >= 0.0


def test_without_lags_it_is_the_variance() -> None:
    x = make_series(500)
    assert long_run_variance(x, 0) == pytest.approx(x.var())


def test_overlapping_labels_are_worth_as_many_rows_as_fit_beside_each_other() -> None:
    x = make_series(200_000)
    assert effective_size(x, 300) == pytest.approx(len(x) / HORIZON, rel=0.1)
    assert effective_size(x, 20) == pytest.approx(len(x) * x.var() / long_run_variance(x, 20))


def test_rows_are_never_worth_more_than_themselves() -> None:
    assert effective_size(np.tile([1.0, -1.0], 50), 10) == 100.0


@pytest.mark.parametrize(("rows", "lag"), [(0, 0), (1, 0), (10, 9), (100, 24), (8_640, 121), (105_120, 422)])
def test_the_lag_reaches_well_beyond_the_horizon(rows: int, lag: int) -> None:
    assert hac_lag(rows, HORIZON) == lag


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
@pytest.mark.parametrize("shift", [0.5, -0.5])
def test_a_mean_is_tested_by_the_formula(alternative: str, shift: float) -> None:
    x = make_series(150) + shift
    lag = 24
    result = mean_test(x, HORIZON, alternative)
    assert result.mean == pytest.approx(x.mean())
    assert result.standard_error == pytest.approx(slow_standard_error(x, lag))
    assert result.statistic == pytest.approx(x.mean() / slow_standard_error(x, lag))
    upper = stats.t(1.5 * 150 / (lag + 1)).sf(result.statistic)
    expected = {"greater": upper, "less": 1 - upper, "two-sided": 2 * min(upper, 1 - upper)}[alternative]
    assert result.p_value == pytest.approx(expected)
    assert result.effective_size == pytest.approx(effective_size(x, lag))


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_an_interval_ends_at_the_means_that_the_test_just_does_not_reject(level: float) -> None:
    x = make_series(400) + 1.0
    for end in mean_interval(x, HORIZON, level):
        assert mean_test(x - end, HORIZON, "two-sided").p_value == pytest.approx(1 - level)
    low, high = mean_interval(x, HORIZON, level)
    assert low < x.mean() < high


def test_critical_values_are_kiefer_and_vogelsangs() -> None:
    for share in (0.01, 0.02, 0.05, 0.1, 0.15, 0.2):
        theirs = 1.6449 + 2.1859 * share + 0.3142 * share**2 - 0.3427 * share**3  # Bartlett, one-sided, 5%
        ours = stats.t(1.5 / share).isf(0.05) / math.sqrt(1 - share + share**2 / 3)
        assert ours == pytest.approx(theirs, abs=0.03)


def test_clark_west_is_the_test_of_its_adjusted_difference() -> None:
    actual, forecast, sigma = (rows[0] for rows in make_noise_markets(300, 12))
    plain = actual**2 - (actual - forecast) ** 2 + forecast**2
    assert clark_west(actual, forecast, HORIZON).statistic == pytest.approx(
        mean_test(plain, HORIZON, "greater").statistic
    )
    weighted = clark_west(actual, forecast, HORIZON, sigma)
    assert weighted.statistic == pytest.approx(mean_test(plain / sigma**2, HORIZON, "greater").statistic)
    assert weighted.mean == pytest.approx(np.mean(plain / sigma**2))
    assert weighted.p_value == pytest.approx(mean_test(plain / sigma**2, HORIZON, "greater").p_value)


def test_diebold_mariano_has_the_correction_of_harvey_leybourne_and_newbold() -> None:
    difference, other = make_series(150) + 0.5, make_series(150, seed=1) ** 2
    result, n, h = diebold_mariano(other + difference, other, HORIZON), 150, HORIZON
    statistic = math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n) * difference.mean()
    statistic /= slow_standard_error(difference, 24)
    assert result.statistic == pytest.approx(statistic)
    assert result.p_value == pytest.approx(stats.t(1.5 * n / 25).sf(statistic))
    assert result.mean / result.standard_error == pytest.approx(statistic)


def test_diebold_mariano_is_positive_for_the_one_who_loses_more() -> None:
    better, worse = make_series(500) ** 2, make_series(500) ** 2 + 1 + 0.1 * make_series(500, seed=1)
    assert diebold_mariano(worse, better, HORIZON).p_value < 0.01
    assert diebold_mariano(better, worse, HORIZON).p_value > 0.99
    assert diebold_mariano(better, worse, HORIZON).statistic < 0


# What they are worth


@pytest.mark.parametrize(("rows", "half_life"), [(288, 6), (2_016, 6), (2_016, 36)])
def test_noise_passes_clark_west_as_often_as_it_says(rows: int, half_life: float) -> None:
    markets = make_noise_markets(rows, half_life)
    p_values = np.array([clark_west(a, f, HORIZON, s).p_value for a, f, s in zip(*markets, strict=True)])
    assert 0.03 < np.mean(p_values < 0.05) < 0.075
    assert 0.003 < np.mean(p_values < 0.01) < 0.025
    assert 0.4 < np.mean(p_values < 0.5) < 0.6


def test_a_test_that_took_rows_for_independent_would_pass_noise_far_too_often() -> None:
    actual, forecast, sigma = make_noise_markets(2_016, 36)
    gain = actual * forecast / sigma**2
    statistics = gain.mean(axis=1) / gain.std(axis=1) * math.sqrt(gain.shape[1])
    assert np.mean(statistics > 1.645) > 0.2


def test_equals_pass_diebold_mariano_about_as_often_as_it_says() -> None:
    actual, forecast, sigma = make_noise_markets(2_016, 6)
    rival = 0.2 * sigma * smooth(np.random.default_rng(1).standard_normal(sigma.shape), 6)
    losses = ((actual - forecast) / sigma) ** 2, ((actual - rival) / sigma) ** 2
    p_values = np.array([diebold_mariano(a, b, HORIZON).p_value for a, b in zip(*losses, strict=True)])
    assert 0.03 < np.mean(p_values < 0.05) < 0.075


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    actual, _, sigma = make_noise_markets(2_016, 6)
    ends = [mean_interval(y, HORIZON) for y in actual / sigma]
    assert 0.93 < np.mean([low < 0 < high for low, high in ends]) < 0.97


def test_a_month_is_enough_to_find_a_hundredth_of_the_variance() -> None:
    found = []
    for seed in range(50):
        random = np.random.default_rng(seed)
        y = make_series(8_640, seed) / math.sqrt(HORIZON)
        forecast = 0.1 * smooth(random.standard_normal(8_640), 6)
        found.append(clark_west(y + forecast, forecast, HORIZON).p_value < 0.05)
    assert np.mean(found) > 0.9


# Odd input

finite = st.floats(allow_nan=False, allow_infinity=False, width=64).map(lambda value: value / 4)


@pytest.mark.filterwarnings("error")
@given(st.lists(finite, max_size=40), st.integers(1, 8), st.sampled_from(["greater", "less", "two-sided"]))
def test_whatever_is_finite_gets_an_answer(values: list[float], horizon: int, alternative: str) -> None:
    x = np.array(values)
    result = mean_test(x, horizon, alternative)
    assert 0.0 <= result.p_value <= 1.0
    assert math.isfinite(result.statistic)
    assert math.isfinite(result.mean)
    assert result.standard_error >= 0.0
    assert 0.0 <= result.effective_size <= len(x)
    low, high = mean_interval(x, horizon)
    assert low <= high


@given(st.floats(-1e100, 1e100).filter(lambda unit: abs(unit) > 1e-100))
def test_the_unit_does_not_matter(unit: float) -> None:
    x = make_series(200) + 0.3
    one, other = mean_test(x, HORIZON, "greater"), mean_test(x * unit, HORIZON, "greater" if unit > 0 else "less")
    assert other.p_value == pytest.approx(one.p_value)
    assert other.statistic == pytest.approx(math.copysign(one.statistic, unit))
    assert other.standard_error == pytest.approx(one.standard_error * abs(unit))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 5e-324])
def test_a_constant_says_nothing(value: float) -> None:
    x = np.full(100, value)
    result = mean_test(x, HORIZON, "greater")
    assert (result.statistic, result.p_value, result.standard_error, result.effective_size) == (0.0, 1.0, 0.0, 1.0)
    assert result.mean == pytest.approx(value)
    assert mean_interval(x, HORIZON) == (result.mean, result.mean)
    assert long_run_variance(x, 5) == 0.0
    assert clark_west(x, 0 * x, HORIZON).p_value == 1.0
    assert diebold_mariano(x, x, HORIZON).p_value == 1.0


def test_a_constant_but_for_rounding_is_a_constant() -> None:
    x = 0.3 + 1e-16 * np.arange(100)
    assert len(set(x)) > 1
    assert mean_test(x, HORIZON, "greater").p_value == 1.0
    assert effective_size(x, 10) == 1.0


@pytest.mark.filterwarnings("error")
def test_fewer_rows_than_four_labels_beside_each_other_say_nothing() -> None:
    for count in (0, 1, 23):
        x = make_series(count) + 100.0
        result = mean_test(x, HORIZON, "greater")
        assert (result.statistic, result.p_value, result.standard_error) == (0.0, 1.0, math.inf)
        assert mean_interval(x, HORIZON) == (-math.inf, math.inf)
        assert clark_west(x, x, HORIZON).p_value == 1.0
        assert diebold_mariano(2 * x, x, HORIZON).p_value == 1.0
    assert mean_test(make_series(24) + 100.0, HORIZON, "greater").p_value < 0.05
    assert effective_size(np.array([]), 3) == 0.0


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_not_finite_is_refused_by_name(broken: float) -> None:
    right = make_series(100)
    wrong = np.where(np.arange(100) % 50 == 3, broken, right)
    for ask in (
        lambda: mean_test(wrong, HORIZON, "greater"),
        lambda: mean_interval(wrong, HORIZON),
        lambda: long_run_variance(wrong, 3),
        lambda: effective_size(wrong, 3),
    ):
        with pytest.raises(ValueError, match="x has 2 values that are not finite"):
            ask()
    with pytest.raises(ValueError, match="actual has 2 values"):
        clark_west(wrong, right, HORIZON)
    with pytest.raises(ValueError, match="sigma has 2 values"):
        clark_west(right, right, HORIZON, wrong)
    with pytest.raises(ValueError, match="loss_b has 2 values"):
        diebold_mariano(right, wrong, HORIZON)


@pytest.mark.filterwarnings("error")
def test_what_overflows_is_refused() -> None:
    huge = np.where(np.arange(100) % 2 == 0, 1e300, -1e300)
    with pytest.raises(ValueError, match="not finite"):
        clark_west(huge, huge, HORIZON)
    with pytest.raises(ValueError, match="not finite"):
        clark_west(huge, huge, HORIZON, np.full(100, 1e-300))
    with pytest.raises(ValueError, match="not finite"):
        diebold_mariano(huge * 1e8, -huge * 1e8, HORIZON)


def test_what_makes_no_sense_is_refused() -> None:
    x = make_series(100)
    with pytest.raises(ValueError, match="one length"):
        clark_west(x, x[:50], HORIZON)
    with pytest.raises(ValueError, match="one length"):
        diebold_mariano(x, x[:1], HORIZON)
    with pytest.raises(ValueError, match="sigma must be positive"):
        clark_west(x, x, HORIZON, np.zeros(100))
    with pytest.raises(ValueError, match="horizon_bars"):
        mean_test(x, 0, "greater")
    with pytest.raises(ValueError, match="alternative"):
        mean_test(x, HORIZON, "sideways")
    with pytest.raises(ValueError, match="level"):
        mean_interval(x, HORIZON, 95)
    with pytest.raises(ValueError, match="lag"):
        long_run_variance(x, -1)
