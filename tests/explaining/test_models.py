"""Contributions add up to the answer that is served, and are the Shapley values they claim to be."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer

from cryptosentinel.bundle import to_onnx
from cryptosentinel.errors import BundleError
from cryptosentinel.explaining.models import take_apart
from cryptosentinel.forecasting.candidates import CANDIDATES, Preset, Setup, make_direction_classifier
from cryptosentinel.forecasting.volatility import VOLATILITY_MODELS, volatility_target
from tests.forecasting.builders import make_dataset, stress_rows

LEARNERS = [name for name, candidate in CANDIDATES.items() if candidate.make]


@cache
def fitted(name: str, preset: Preset = "default") -> Any:
    """A model as the pipelines fit it, on targets that its features say something of."""
    # Of more rows, a classic forest has very many nodes.
    rows = make_dataset(600 if preset == "classic" and name in LEARNERS else 1_800)
    setup = Setup(preset, len(rows), 0, 1)
    if name in VOLATILITY_MODELS:
        return VOLATILITY_MODELS[name](setup, rows.names).fit(rows.X, volatility_target(rows))
    y = rows.y / rows.scale + rows.X[:, 5] + 0.1 * rows.X[:, 0] / rows.X[:, 0].std()
    if name == "direction":
        return make_direction_classifier(setup).fit(rows.X, y > 0)
    return CANDIDATES[name].make(setup).fit(rows.X, y if preset == "default" else y * 0.002)


@cache
def session(name: str, preset: Preset) -> Any:
    model = to_onnx(fitted(name, preset), make_dataset().X.shape[1])
    return onnxruntime.InferenceSession(model.SerializeToString())


def served(name: str, preset: Preset, X: np.ndarray) -> np.ndarray:
    """What ONNX answers; of a classifier the log-odds."""
    answer = np.asarray(session(name, preset).run(None, {"features": X})[-1], np.float64)
    return np.log(answer[:, 1] / answer[:, 0]) if name == "direction" else answer.reshape(-1)


@pytest.mark.parametrize("preset", ["default", "classic"])
@pytest.mark.parametrize("name", [*LEARNERS, *VOLATILITY_MODELS, "direction"])
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_base_and_contributions_make_the_answer_that_is_served(name: str, preset: Preset, seed: int) -> None:
    rows = make_dataset()
    X = stress_rows(rows, 30, seed)
    base, added = take_apart(fitted(name, preset), rows.X[::9])(X)
    assert added.shape == X.shape
    # The answer of preset `default` is in units of the scale, some thousandths: this is 1e-8 of log return. A
    # straight line that is not clipped is as far outside as its row.
    tolerance = 1e-5 if preset == "default" or name in (*VOLATILITY_MODELS, "direction") else 1e-6
    bound = tolerance + (1e-5 * np.abs(added).sum(axis=1) if name == "ridge" else 0.0)
    assert (np.abs(base + added.sum(axis=1) - served(name, preset, X)) <= bound).all()
    assert np.ptp(added, axis=0).max() > 10 * tolerance


def shapley(value: Any, features: int) -> np.ndarray:
    """By definition: the mean, over all orders, of what a feature adds to those before it."""
    found = np.zeros(features)
    for feature in range(features):
        others = [other for other in range(features) if other != feature]
        for size in range(features):
            weight = math.factorial(size) * math.factorial(features - size - 1) / math.factorial(features)
            for known in itertools.combinations(others, size):
                found[feature] += weight * (value({*known, feature}) - value(set(known)))
    return found


def expected(tree: Any, row: np.ndarray, known: set[int], node: int = 0) -> float:
    """A tree's answer where it goes both ways, by their rows, at features that are not known."""
    left, right, feature = tree.children_left[node], tree.children_right[node], tree.feature[node]
    if left == -1:
        return float(tree.value[node][0, 0])
    if feature in known:
        return expected(tree, row, known, left if row[feature] <= tree.threshold[node] else right)
    share = tree.weighted_n_node_samples[left] / tree.weighted_n_node_samples[node]
    return share * expected(tree, row, known, left) + (1 - share) * expected(tree, row, known, right)


@pytest.mark.parametrize(
    "model",
    [
        RandomForestRegressor(7, max_depth=4, random_state=0),
        GradientBoostingRegressor(n_estimators=7, learning_rate=0.5, random_state=0),
    ],
)
def test_contributions_of_trees_are_shapley_values(model: Any) -> None:
    noise = np.random.default_rng(0)
    X = noise.normal(size=(200, 4)).astype(np.float32)
    model.fit(X, 3 + X[:, 0] * X[:, 1] + np.abs(X[:, 2]) + 0.1 * noise.normal(size=200))
    trees, factor = np.ravel(model.estimators_), getattr(model, "learning_rate", 1 / 7)
    base, added = take_apart(model, X)(X[:20])
    for row, contributions in zip(X[:20], added, strict=True):

        def value(known: set[int], row: np.ndarray = row) -> float:
            return factor * sum(expected(tree.tree_, row, known) for tree in trees)

        np.testing.assert_allclose(contributions, shapley(value, 4), atol=1e-6)
    start = model.init_.constant_[0, 0] if hasattr(model, "init_") else 0.0
    assert base == pytest.approx(start + value(set()), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "preset"), [("ridge", "default"), ("ridge", "classic"), ("volatility_linear", "default")]
)
def test_contributions_of_a_linear_model_are_what_its_answer_changes_by_on_average(name: str, preset: Preset) -> None:
    model, background = fitted(name, preset), make_dataset().X[::20].astype(np.float64)
    (row,) = stress_rows(make_dataset(), 3, 4)[-1:].astype(np.float64)
    base, added = take_apart(model, background.astype(np.float32))(row[None].astype(np.float32))
    without = np.repeat(row[None], len(background), axis=0)
    for feature, contribution in enumerate(added[0]):
        without[:, feature] = background[:, feature]
        assert contribution == pytest.approx(model.predict(row[None])[0] - model.predict(without).mean(), abs=1e-9)
        without[:, feature] = row[feature]
    assert base == pytest.approx(model.predict(background).mean())


def test_the_whole_clock_is_one_contribution() -> None:
    rows = make_dataset()
    _, added = take_apart(fitted("volatility_linear"), rows.X[::20])(rows.X[:288])
    assert np.ptp(added[:, rows.names.index("new_york_minute")]) > 0.01
    assert not added[:, rows.names.index("rsi_14")].any()


def test_a_value_on_the_edge_of_two_bins_is_in_the_one_that_the_model_puts_it_in() -> None:
    X = np.arange(5, dtype=np.float32)[:, None]
    bins = KBinsDiscretizer(2, encode="onehot-dense", strategy="uniform", subsample=None)
    model = make_pipeline(bins, Ridge()).fit(X, X[:, 0])
    base, added = take_apart(model, X)(X)
    np.testing.assert_allclose(base + added[:, 0], model.predict(X))


@pytest.mark.parametrize("model", [make_pipeline(PCA(2), Ridge()), RandomForestClassifier(3)])
def test_a_model_that_cannot_be_taken_apart_is_refused(model: Any) -> None:
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    with pytest.raises(BundleError, match="cannot be explained"):
        take_apart(model.fit(X, X[:, 0] > 0), X)
