"""Probabilities of a rise: Venn-Abers is Venn-Abers, and calibration is measured against what luck does."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cryptosentinel.bundle.calibration import Calibration
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.forecasting.losses import brier
from cryptosentinel.forecasting.probability import (
    KNOTS,
    ReliabilityBin,
    calibration_error,
    fit_venn_abers,
    perfect_calibration_error,
    reliability,
)

HORIZON = 6


def slow_venn_abers(scores: np.ndarray, up: np.ndarray, at: float) -> float:
    """Vovk, Petej and Fedorova (2015), as printed: two isotonic regressions a score."""
    from sklearn.isotonic import IsotonicRegression

    p0, p1 = (
        IsotonicRegression().fit(np.append(scores, at), np.append(up, label)).predict([at])[0] for label in (0.0, 1.0)
    )
    return p1 / (1 - p0 + p1)


def make_scores(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are overconfident, and whether it rose."""
    noise = np.random.default_rng(seed)
    true = 1 / (1 + np.exp(-0.3 * noise.standard_normal(count)))
    return 1 / (1 + np.exp(-8 * (true - 0.5))), noise.random(count) < true


rows = st.lists(st.tuples(st.integers(-8, 8), st.booleans()), min_size=1, max_size=40)


@given(rows)
def test_every_knot_is_venn_abers(pairs: list[tuple[int, bool]]) -> None:
    scores, up = (np.array(column, np.float64) for column in zip(*pairs, strict=True))
    table = fit_venn_abers(scores, up)
    assert table.scores == sorted(set(scores))
    expected = [slow_venn_abers(scores, up, at) for at in table.scores]
    np.testing.assert_allclose(table.probabilities, expected, atol=1e-12)


def test_knots_are_exact_and_what_lies_between_is_close_when_there_are_many_rows() -> None:
    scores, up = make_scores(5_000)
    table = fit_venn_abers(scores, up)
    assert len(table.scores) == KNOTS
    assert [(scores < table.scores[0]).sum(), (scores > table.scores[-1]).sum()] == [12, 12]  # half of a 200th
    expected = [slow_venn_abers(scores, up, at) for at in table.scores[::20]]
    np.testing.assert_allclose(table.probabilities[::20], expected, atol=1e-12)
    others = np.random.default_rng(1).choice(scores, 50)
    exact = np.array([slow_venn_abers(scores, up, at) for at in others])
    assert np.abs(table.apply(others) - exact).mean() < 0.003


def test_knots_are_exact_when_many_rows_share_few_scores() -> None:
    scores, up = make_scores(3_000)
    scores = np.where(scores < 0.5, 0.1, np.round(scores, 3))
    table = fit_venn_abers(scores, up)
    assert 0.1 in table.scores
    expected = [slow_venn_abers(scores, up, at) for at in table.scores[::20]]
    np.testing.assert_allclose(table.probabilities[::20], expected, atol=1e-12)


@given(st.integers(1, 3_000), st.integers(0, 1_000), st.booleans())
def test_the_table_never_decreases_and_is_never_certain(count: int, seed: int, backwards: bool) -> None:
    scores, up = make_scores(count, seed)
    table = fit_venn_abers(-scores if backwards else scores, up)
    assert len(table.scores) <= KNOTS
    assert (np.diff(table.probabilities) >= 0).all()
    assert 0 < table.probabilities[0] <= table.probabilities[-1] < 1


def test_overconfident_scores_become_probabilities_that_can_be_believed() -> None:
    table = fit_venn_abers(*make_scores(20_000))
    scores, up = make_scores(20_000, seed=1)
    p = table.apply(scores)
    assert calibration_error(scores, up) > 0.05
    assert calibration_error(p, up) < 0.015
    assert brier(p, up).mean() < min(brier(scores, up).mean(), up.var())


def test_scores_that_say_nothing_become_the_base_rate() -> None:
    noise = np.random.default_rng(0)
    table = fit_venn_abers(noise.random(20_000), noise.random(20_000) < 0.52)
    p = table.apply(noise.random(1_000))
    assert p.mean() == pytest.approx(0.52, abs=0.01)
    assert p.std() < 0.02


def test_few_rows_are_not_enough_to_be_sure() -> None:
    assert fit_venn_abers(np.array([0.9]), np.array([True])).probabilities == [pytest.approx(1 / 1.5)]
    assert fit_venn_abers(np.array([]), np.array([], bool)).apply(np.array([0.0, 9.0])).tolist() == [0.5, 0.5]
    every = fit_venn_abers(np.arange(10.0), np.ones(10)).probabilities
    assert 0.5 < every[0] < every[-1] < 1.0


def test_one_score_for_all_is_the_share_that_rose() -> None:
    table = fit_venn_abers(np.full(100, 0.3), np.arange(100) < 60)
    assert table.probabilities == [pytest.approx((61 / 101) / (1 - 60 / 101 + 61 / 101))]


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="score has 1 values that are not finite"):
        fit_venn_abers(np.array([0.1, math.nan]), np.array([True, False]))
    with pytest.raises(ValueError, match="one length"):
        fit_venn_abers(np.array([0.1, 0.2]), np.array([True]))


# The table


def test_a_table_is_linear_between_its_knots_and_flat_beyond_them() -> None:
    table = Calibration(scores=[0.0, 1.0, 3.0], probabilities=[0.2, 0.4, 0.8])
    asked = np.array([-5.0, 0.0, 0.5, 2.0, 3.0, 99.0, math.nan])
    np.testing.assert_allclose(table.apply(asked), [0.2, 0.2, 0.3, 0.6, 0.8, 0.8, math.nan])
    np.testing.assert_array_equal(Calibration.identity().apply(asked), np.clip(asked, 0, 1))


@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 1)), min_size=1, max_size=30, unique_by=lambda knot: knot[0]),
    st.lists(st.floats(-10, 10)),
)
def test_one_score_gets_the_bits_that_it_gets_among_others(
    knots: list[tuple[float, float]], others: list[float]
) -> None:
    scores, probabilities = (sorted(values) for values in zip(*knots, strict=True))
    table = Calibration(scores=scores, probabilities=probabilities)
    asked = [*scores, *np.nextafter(scores, -np.inf).tolist(), *np.nextafter(scores, np.inf).tolist(), *others]
    assert [table.probability_of(score) for score in asked] == table.apply(np.array(asked)).tolist()


def test_a_table_survives_json_to_the_last_digit() -> None:
    table = fit_venn_abers(*make_scores(500))
    assert Calibration.model_validate_json(table.model_dump_json()) == table


def test_calibrations_are_equal_by_their_knots_whatever_they_remember() -> None:
    one, same, other = (Calibration(scores=[0.0, 1.0], probabilities=[p, 0.6]) for p in (0.4, 0.4, 0.5))
    for calibration in (one, same, other):
        calibration.apply(np.zeros(1))
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("scores", "probabilities", "reason"),
    [
        ([], [], "0 scores"),
        ([0.0, 1.0], [0.5], "2 scores and 1 probabilities"),
        ([0.0, math.inf], [0.1, 0.2], "not finite"),
        ([0.0, math.nan], [0.1, 0.2], "not finite"),
        ([1.0, 1.0], [0.1, 0.2], "do not increase"),
        ([0.0, 1.0], [0.2, 0.1], "decrease"),
        ([0.0, 1.0], [-0.1, 0.1], "outside"),
        ([0.0, 1.0], [0.1, 1.1], "outside"),
        ([0.0, 1.0], [0.1, math.nan], "outside"),
    ],
)
def test_what_is_no_table_is_refused(scores: list[float], probabilities: list[float], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Calibration(scores=scores, probabilities=probabilities)


# Calibration measured


def test_reliability_by_hand() -> None:
    p = np.array([0.9, 0.1, 0.2, 0.8])
    up = np.array([True, False, True, True])
    assert reliability(p, up, bins=2) == [
        ReliabilityBin(2, pytest.approx(0.15), 0.5),
        ReliabilityBin(2, pytest.approx(0.85), 1.0),
    ]
    assert calibration_error(p, up, bins=2) == pytest.approx((0.35 + 0.15) / 2)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=200), st.integers(1, 12))
def test_every_row_is_in_one_bin_and_equal_probabilities_in_the_same(values: list[int], bins: int) -> None:
    p = np.array(values) / 20
    up = np.arange(len(p)) % 2 == 0
    result = reliability(p, up, bins)
    assert 1 <= len(result) <= min(bins, len(set(values)))
    assert sum(b.count for b in result) == len(p)
    assert sum(b.count * b.observed for b in result) == pytest.approx(up.sum())
    assert sum(b.count * b.forecast for b in result) == pytest.approx(p.sum())
    assert all(low.forecast < high.forecast for low, high in itertools.pairwise(result))
    order = np.random.default_rng(0).permutation(len(p))
    assert calibration_error(p[order], up[order], bins) == pytest.approx(calibration_error(p, up, bins))


def test_bins_have_about_equally_many_rows() -> None:
    p = np.random.default_rng(0).beta(2, 5, 1_003)
    counts = [b.count for b in reliability(p, p > 0.3)]
    assert len(counts) == 10
    assert set(counts) <= {100, 101}


def test_rows_that_share_a_probability_are_where_the_middle_of_them_is() -> None:
    p = np.array([0.1] + [0.5] * 9)
    assert [b.count for b in reliability(p, p > 0.3, bins=2)] == [1, 9]
    assert [b.count for b in reliability(1 - p, p > 0.3, bins=2)] == [9, 1]


def test_a_coin_is_one_bin() -> None:
    up = np.arange(1_000) < 520
    assert reliability(np.full(1_000, 0.5), up) == [ReliabilityBin(1_000, 0.5, 0.52)]
    assert calibration_error(np.full(1_000, 0.5), up) == pytest.approx(0.02)


def test_a_perfect_forecaster_is_off_by_what_binomial_luck_says_where_labels_do_not_overlap() -> None:
    p = np.tile(np.linspace(0.3, 0.7, 10), 400)
    mean, high = perfect_calibration_error(p, 1, draws=1_000)
    luck = np.mean(np.sqrt(2 / math.pi * p * (1 - p) / 400))
    assert mean == pytest.approx(luck, rel=0.03)
    assert luck < high < 2 * luck


def test_labels_that_overlap_leave_a_perfect_forecaster_as_uncertain_as_fewer_rows() -> None:
    p = np.full(6_000, 0.5)
    # The orthant probability of two normal variables: neighbours that share k of 6 returns agree with arcsin(k / 6).
    shared = np.arange(1, HORIZON) / HORIZON
    variance = (0.25 + 2 * np.sum(np.arcsin(shared)) / (2 * math.pi)) / len(p)
    mean, high = perfect_calibration_error(p, HORIZON, draws=2_000)
    assert mean == pytest.approx(math.sqrt(2 / math.pi * variance), rel=0.05)
    assert high == pytest.approx(1.96 * math.sqrt(variance), rel=0.08)


@pytest.mark.parametrize("horizon", [1, HORIZON, 48])
def test_labels_are_drawn_with_the_probabilities_that_were_forecast(horizon: int) -> None:
    p = np.tile([0.1, 0.8], 20_000)
    mean, _ = perfect_calibration_error(p, horizon, bins=2, draws=20)
    assert mean < 0.02


def test_a_forecaster_who_is_right_is_mostly_within_the_simulated_range() -> None:
    noise = np.random.default_rng(0)
    p = np.clip(0.5 + 0.03 * noise.standard_normal(4_000), 0, 1)
    _, high = perfect_calibration_error(p, 1)
    assert np.mean([calibration_error(p, noise.random(4_000) < p) < high for _ in range(300)]) > 0.9
    assert calibration_error(p, noise.random(4_000) < p + 0.05) > high


def test_the_simulation_repeats_itself() -> None:
    p = np.linspace(0.4, 0.6, 500)
    assert perfect_calibration_error(p, HORIZON) == perfect_calibration_error(p, HORIZON)
    assert perfect_calibration_error(p, HORIZON) != perfect_calibration_error(p, HORIZON, seed=1)


@pytest.mark.filterwarnings("error")
def test_certainties_are_probabilities_too() -> None:
    p = np.tile([0.0, 1.0], 50)
    assert perfect_calibration_error(p, HORIZON) == (0.0, 0.0)


def test_no_rows_and_no_probabilities_are_refused() -> None:
    none = np.array([])
    with pytest.raises(NotEnoughDataError):
        calibration_error(none, none)
    with pytest.raises(NotEnoughDataError):
        perfect_calibration_error(none, HORIZON)
    assert reliability(none, none) == []
    with pytest.raises(ValueError, match="probabilities are between 0 and 1"):
        perfect_calibration_error(np.array([0.5, 1.5]), HORIZON)
    with pytest.raises(ValueError, match="bins"):
        reliability(np.array([0.5]), np.array([True]), bins=0)
