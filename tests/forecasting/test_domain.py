"""Ordinary rows are inside of the domain, and rows of another market are not."""

from __future__ import annotations

import numpy as np
import pytest

from cryptosentinel.bundle import Domain
from cryptosentinel.forecasting.domain import PROTOTYPES, fit_domain

FEATURES = 12


def rows(count: int, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    """Rows of two regimes, on features of very different units."""
    noise = np.random.default_rng(seed)
    regime = noise.integers(0, 2, (count, 1)) * np.linspace(-3, 3, FEATURES)
    return ((regime + spread * noise.normal(size=(count, FEATURES))) * np.logspace(-4, 4, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def domain() -> Domain:
    return fit_domain(rows(8_000), seed=1)


def test_training_rows_are_one_mean_distance_off_on_average(domain: Domain) -> None:
    assert domain.dissimilarity(rows(8_000)).mean() == pytest.approx(1, abs=0.05)
    assert len(domain.prototypes) == PROTOTYPES


def test_of_new_rows_of_the_same_kind_about_one_in_a_thousand_is_outlying(domain: Domain) -> None:
    unseen = domain.dissimilarity(rows(40_000, seed=7)) > domain.threshold
    assert 0.0003 < unseen.mean() < 0.003


def test_rows_of_another_market_are_outlying(domain: Domain) -> None:
    wild = domain.dissimilarity(rows(1_000, seed=7, spread=4.0)) > domain.threshold
    between = domain.dissimilarity(rows(1_000, seed=7) * np.float32(-2.5)) > domain.threshold
    assert wild.mean() > 0.99
    assert between.mean() > 0.9


def test_the_threshold_knows_a_strange_hour_as_unseen_wherever_in_time_it_lies() -> None:
    calm, strange = rows(3_988), rows(12, seed=5, spread=0.1) + np.float32(30) * np.logspace(-4, 4, FEATURES)
    for at in (0, 1_500, 3_988):
        together = np.concatenate([calm[:at], strange, calm[at:]]).astype(np.float32)
        domain = fit_domain(together, seed=0)
        seen = domain.dissimilarity(strange)
        assert domain.threshold > 2 * fit_domain(calm, seed=0).threshold
        assert domain.threshold > 2 * seen.mean(), "a prototype of its own makes it familiar"


def test_the_same_rows_and_seed_give_the_same_domain() -> None:
    assert fit_domain(rows(600), seed=3) == fit_domain(rows(600), seed=3)


def test_a_feature_that_never_moved_says_nothing_until_it_does() -> None:
    X = rows(600)
    X[:, 3] = 7.0
    domain = fit_domain(X, seed=0)
    moved = X.copy()
    moved[:, 3] = 1e6
    assert domain.dissimilarity(X).mean() == pytest.approx(1, abs=0.05)
    assert (domain.dissimilarity(moved) > domain.threshold).all()


@pytest.mark.parametrize("count", [2, 3, 30])
def test_few_rows_have_a_domain_too(count: int) -> None:
    domain = fit_domain(rows(count), seed=0)
    assert np.isfinite(domain.dissimilarity(rows(50))).all()


def test_rows_that_are_all_one_have_a_domain_too() -> None:
    domain = fit_domain(np.ones((18, 4), np.float32), seed=0)
    assert domain.dissimilarity(np.ones((1, 4))) == [0.0]
    assert Domain.model_validate_json(domain.model_dump_json()) == domain
