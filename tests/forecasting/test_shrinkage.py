"""How much of a forecast is believed: nothing of noise, all of what is right."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosentinel.forecasting.shrinkage import shrinkage_weight
from cryptosentinel.forecasting.significance import hac_lag

HORIZON = 6
Series = tuple[np.ndarray, np.ndarray, np.ndarray]


@cache
def make_market(signal: float, count: int = 3_000, seed: int = 0, half_life: int = 12) -> Series:
    """Overlapping returns, a forecast that is right up to noise, and the volatility of each row.

    `signal` is the true slope of actual on forecast: 0 is a forecast of nothing.
    """
    noise = np.random.default_rng(seed)
    sigma = 0.003 * np.exp(0.5 * np.sin(np.arange(count) / 200))
    steps = noise.standard_normal(count + HORIZON)
    overlapping = np.convolve(steps, np.ones(HORIZON) / math.sqrt(HORIZON), "valid")[1 : count + 1]
    kernel = 0.5 ** (np.arange(10 * half_life) / half_life)
    m = np.convolve(noise.standard_normal(count + len(kernel)), kernel / np.linalg.norm(kernel), "valid")[:count]
    return sigma * (overlapping + 0.1 * signal * m), sigma * 0.1 * m, sigma


def test_a_perfect_forecast_is_believed() -> None:
    actual, _, sigma = make_market(0.0)
    assert shrinkage_weight(actual, actual, sigma, HORIZON) == pytest.approx(1.0)
    assert shrinkage_weight(actual, 2 * actual, sigma, HORIZON) == pytest.approx(0.5)


def test_too_timid_a_forecast_is_not_enlarged() -> None:
    actual, _, sigma = make_market(0.0)
    assert shrinkage_weight(actual, actual / 10, sigma, HORIZON) == pytest.approx(1.0)


def test_the_opposite_of_the_truth_is_not_believed() -> None:
    actual, _, sigma = make_market(0.0)
    assert shrinkage_weight(actual, -actual, sigma, HORIZON) == 0.0


def test_noise_gets_little_or_nothing() -> None:
    weights = [shrinkage_weight(*make_market(0.0, seed=seed), HORIZON) for seed in range(200)]
    # Half of them point the wrong way; of a slope of one standard error half is left.
    assert 0.4 <= np.mean(np.equal(weights, 0.0)) <= 0.6
    assert np.quantile(weights, 0.75) < 0.15
    assert np.mean(weights) < 0.1


def test_a_timid_forecast_of_noise_is_not_believed_because_its_slope_is_steep() -> None:
    timid = []
    for seed in range(40):
        actual, forecast, sigma = make_market(0.0, seed=seed)
        timid.append(shrinkage_weight(actual, forecast / 20, sigma, HORIZON))
    assert max(timid) < 0.1, "between 0 and 1 nothing can be told from anything"


def test_a_weak_signal_is_believed_in_part_and_more_of_it_the_longer_it_was_seen() -> None:
    short, long = (
        np.mean([shrinkage_weight(*make_market(1.0, count, seed), HORIZON) for seed in range(20)])
        for count in (3_000, 30_000)
    )
    assert 0.2 < short < long < 1.0


def test_the_weight_is_the_slope_shrunk_by_its_standard_error_by_the_formula() -> None:
    actual, forecast, sigma = make_market(0.8, count=10_000)
    y, m = actual / sigma, forecast / sigma
    slope = sum(y * m) / sum(m * m)
    score = m * (y - slope * m)
    n, lag = len(y), hac_lag(len(y), HORIZON)
    variance = sum(score**2) / n + 2 * sum(
        (1 - j / (lag + 1)) * sum(score[j:] * score[:-j]) / n for j in range(1, lag + 1)
    )
    hidden = sum((n - abs(j)) * (1 - abs(j) / (lag + 1)) for j in range(-lag, lag + 1)) / n**2
    error = math.sqrt(n * variance / (1 - hidden)) / sum(m * m)
    assert 0 < slope < 1
    expected = slope * slope**2 / (slope**2 + error**2)
    assert shrinkage_weight(actual, forecast, sigma, HORIZON) == pytest.approx(expected)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_the_unit_does_not_matter(unit: float, volatility_unit: float) -> None:
    actual, forecast, sigma = make_market(1.0, count=10_000)
    weight = shrinkage_weight(actual, forecast, sigma, HORIZON)
    assert 0 < weight < 1
    other = shrinkage_weight(unit * actual, unit * forecast, volatility_unit * sigma, HORIZON)
    assert other == pytest.approx(weight, rel=1e-9)


@given(st.integers(0, 60), st.integers(0, 10_000))
def test_it_is_a_weight_whatever_comes(count: int, seed: int) -> None:
    noise = np.random.default_rng(seed)
    actual, forecast = noise.standard_t(2, (2, count))
    assert 0.0 <= shrinkage_weight(actual, forecast, np.ones(count), HORIZON) <= 1.0


@pytest.mark.filterwarnings("error")
def test_nothing_to_say_is_not_believed() -> None:
    actual, _, sigma = make_market(0.0)
    assert shrinkage_weight(actual, np.zeros_like(actual), sigma, HORIZON) == 0.0
    assert shrinkage_weight(np.zeros_like(actual), actual, sigma, HORIZON) == 0.0
    assert shrinkage_weight(actual[:0], actual[:0], sigma[:0], HORIZON) == 0.0
    assert shrinkage_weight(actual[:23], actual[:23], sigma[:23], HORIZON) == 0.0  # three independent labels
    assert shrinkage_weight(actual[:24], actual[:24], sigma[:24], HORIZON) == pytest.approx(1.0)


def test_what_is_not_finite_or_no_volatility_is_refused() -> None:
    actual, forecast, sigma = make_market(0.0, count=100)
    broken = np.where(np.arange(100) == 3, np.nan, forecast)
    with pytest.raises(ValueError, match="forecast has 1 values that are not finite"):
        shrinkage_weight(actual, broken, sigma, HORIZON)
    with pytest.raises(ValueError, match="sigma must be positive"):
        shrinkage_weight(actual, forecast, 0 * sigma, HORIZON)
    with pytest.raises(ValueError, match="one length"):
        shrinkage_weight(actual, forecast, sigma[:50], HORIZON)
