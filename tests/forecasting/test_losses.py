"""Losses: each is least for the honest forecast."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosentinel.forecasting.losses import brier, log_loss, pinball, weighted_squared

probabilities = st.floats(0.01, 0.99)


def test_pinball_by_hand() -> None:
    actual, quantiles = np.array([1.0, -1.0]), np.array([[0.0, 2.0], [0.0, 2.0]])
    # 0.1 x 1 and 0.1 x 1; 0.9 x 1 and 0.1 x 3
    np.testing.assert_allclose(pinball(actual, quantiles, [0.1, 0.9]), [(0.1 + 0.1) / 2, (0.9 + 0.3) / 2])
    np.testing.assert_allclose(pinball(actual, np.array([0.0, 2.0]), [0.1, 0.9]), [0.1, 0.6])


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=60), probabilities, st.floats(-1, 1))
def test_pinball_is_least_at_the_samples_own_quantile(sample: list[float], p: float, other: float) -> None:
    y = np.array(sample)
    honest = np.quantile(y, p, method="inverted_cdf")
    at = [pinball(y, np.array([q]), [p]).mean() for q in (honest, other)]
    assert at[0] <= at[1] + 1e-12


def test_pinball_is_least_at_the_true_quantile_of_a_distribution() -> None:
    p, y = 0.1, -np.log1p(-(np.arange(20_000) + 0.5) / 20_000)  # the exponential distribution, evenly
    true = -math.log1p(-p)
    losses = [pinball(y, np.array([q]), [p]).mean() for q in (true, true - 0.02, true + 0.02)]
    assert losses[0] < min(losses[1:])


@given(probabilities, probabilities)
def test_brier_and_log_loss_are_least_in_expectation_at_the_true_probability(true: float, said: float) -> None:
    up = np.array([True, False])
    for loss in (brier, log_loss):
        honest, other = (float(np.array([true, 1 - true]) @ loss(np.array([p, p]), up)) for p in (true, said))
        assert honest <= other + 1e-12
        if abs(true - said) > 0.01:
            assert honest < other


def test_a_coin_costs_a_quarter_and_ln_2() -> None:
    for up in (np.array([True, False]), np.array([1.0, 0.0])):
        np.testing.assert_allclose(brier(np.array([0.5, 0.5]), up), 0.25)
        np.testing.assert_allclose(log_loss(np.array([0.5, 0.5]), up), math.log(2))


def test_brier_and_log_loss_by_hand() -> None:
    p, up = np.array([0.8, 0.8]), np.array([True, False])
    np.testing.assert_allclose(brier(p, up), [0.04, 0.64])
    np.testing.assert_allclose(log_loss(p, up), [-math.log(0.8), -math.log(0.2)])


def test_a_certainty_that_is_wrong_costs_much_but_not_everything() -> None:
    loss = log_loss(np.array([0.0, 1.0, 1.0]), np.array([True, False, True]))
    assert np.isfinite(loss).all()
    assert loss[0] == pytest.approx(27.63, abs=0.01)
    assert loss[1] == pytest.approx(loss[0])
    assert loss[2] == 0.0


def test_a_squared_error_counts_in_units_of_variance() -> None:
    loss = weighted_squared(np.array([0.03, 0.003]), np.array([0.01, 0.001]), np.array([0.01, 0.001]))
    np.testing.assert_allclose(loss, [4.0, 4.0])


@given(st.floats(0.1, 10), st.floats(-3, 3))
def test_the_best_point_forecast_of_weighted_squares_is_the_weighted_mean(spread: float, other: float) -> None:
    y, sigma = np.array([1.0, -2.0, 0.5]), np.array([1.0, spread, 2.0])
    best = np.average(y, weights=1 / sigma**2)
    losses = [weighted_squared(y, np.full(3, m), sigma).sum() for m in (best, other)]
    assert losses[0] <= losses[1] + 1e-12
