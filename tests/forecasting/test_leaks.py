"""Leak alarms: without information nothing scores, and what knows the future is caught before it serves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryptosentinel.features import FEATURES, Feature, FeatureSpec, compute_features
from cryptosentinel.features.kernels import Array, Run
from tests.builders import FIVE, make_random_bars
from tests.features.builders import seeing_ahead
from tests.forecasting.builders import (
    evaluate_parts,
    judge_first,
    make_dataset,
    make_settings,
    train_all,
    with_leak,
    with_shuffled_targets,
)

SETTINGS = make_settings(candidates=["ridge", "xgboost", "random_walk"])


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_targets_are_forecast_no_better_than_by_chance(seed: int, tmp_path: Path) -> None:
    rows = with_shuffled_targets(make_dataset(), seed)
    evaluation = evaluate_parts(train_all(rows, tmp_path, SETTINGS), rows, SETTINGS)
    evidence = evaluation.evidence
    noise = 3 * 0.5 / np.sqrt(evidence.rows)  # shuffled labels do not overlap
    for name in ("ridge", "xgboost"):
        assert abs(evidence.accuracies[name] - 0.5) < noise
        assert evaluation.candidates[name]["skill"] < 0.02
    assert abs(evidence.accuracy - 0.5) < noise
    assert evaluation.direction["brier_skill"] < 0.01
    assert evaluation.choices.shrinkage < 0.3
    assert evidence.information_t < 3
    gate = judge_first(evaluation, SETTINGS)
    assert gate.champion == "random_walk"
    assert not any("leak" in reason for reason in gate.reasons)


def test_a_feature_that_knows_the_future_is_refused_as_a_leak(tmp_path: Path) -> None:
    rows = with_leak(make_dataset(5_000))  # the classifier splits no smaller groups than 400 rows
    evaluation = evaluate_parts(train_all(rows, tmp_path, SETTINGS), rows, SETTINGS)
    assert min(evaluation.evidence.accuracies.values()) > 0.75
    gate = judge_first(evaluation, SETTINGS)
    assert not gate.promote
    suspected = [reason for reason in gate.reasons if "a leak is suspected" in reason]
    for name in ("ridge", "xgboost", "the direction classifier"):
        assert any(reason.startswith(f"{name} gets ") for reason in suspected)


def ahead(feature: Feature) -> Feature:
    """The same feature, a bar too early."""

    def formula(run: Run) -> Array:
        return np.append(feature.formula(run)[1:], np.nan)

    return replace(feature, formula=formula)


# What the calendar says of tomorrow is known today, and what was before, a bar later, still is.
ON_THEIR_BAR = [f for f in FEATURES if f.group != "calendar" and "lag" not in f.name and "ago" not in f.name]


@pytest.mark.parametrize("feature", ON_THEIR_BAR, ids=lambda feature: feature.name)
def test_a_formula_that_looks_one_bar_ahead_is_caught(feature: Feature) -> None:
    bars = make_random_bars(feature.warm_up_bars + 60)
    row = len(bars) - 20
    assert seeing_ahead(bars, row, seed=0, spec=FeatureSpec(FIVE, (feature,))) == []
    assert seeing_ahead(bars, row, seed=0, spec=FeatureSpec(FIVE, (ahead(feature),))) == [feature.name]


def test_a_target_s_own_bar_is_not_among_the_features() -> None:
    bars = make_random_bars(800)
    spec = FeatureSpec(FIVE)
    rows = compute_features(bars, spec)[spec.model_names].to_numpy()
    following = np.log(bars["close"].to_numpy()[1:] / bars["close"].to_numpy()[:-1])
    warm = np.isfinite(rows).all(axis=1)[:-1]
    for name, column in zip(spec.model_names, rows.T, strict=True):
        known = column[:-1][warm]
        correlation = np.corrcoef(known, following[warm])[0, 1] if known.std() > 0 else 0.0
        assert abs(correlation) < 0.2, name
