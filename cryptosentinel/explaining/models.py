"""One fitted model taken apart, whatever kind it is: a base, and contributions of features that add up to its answer.

Trees by TreeSHAP (Lundberg et al. 2020), path-dependent: a model needs no rows for that but those it was fitted on,
whose counts are in its nodes. Linear models of features that were each transformed by themselves (clipped, scaled, cut
into bins): exactly, as linear SHAP in the transformed space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle.inference import Array
from cryptosentinel.errors import BundleError

Rows = NDArray[np.float32]
# From rows (n, features) to the base, and contributions (n, features).
TakenApart = Callable[[Rows], tuple[float, Array]]
Transform = Callable[[Array], Array]
Owners = NDArray[np.intp]


def take_apart(estimator: Any, background: Rows) -> TakenApart:
    """How to explain a fitted model's `predict`, or a classifier's margin in log-odds.

    Args:
        estimator: what `bundle.load_native` answers.
        background: rows (n, features) over which a linear model's base is the mean. Trees know theirs.

    Raises:
        BundleError: it is of a kind that no candidate is.
    """
    if type(estimator).__module__.startswith("xgboost"):
        return _boosted(estimator.get_booster())
    if type(estimator).__name__ == "Pipeline" or hasattr(estimator, "coef_"):
        return _linear(estimator, background)
    return _trees(estimator)


def _boosted(booster: Any) -> TakenApart:
    import xgboost

    booster.set_param({"nthread": 1})  # a row is no work for several

    def explain(rows: Rows) -> tuple[float, Array]:
        answer = booster.predict(xgboost.DMatrix(rows, nthread=1), pred_contribs=True).astype(np.float64)
        return float(answer[0, -1]), answer[:, :-1]

    return explain


def _trees(estimator: Any) -> TakenApart:
    import shap

    explainer = shap.TreeExplainer(estimator)
    base = np.ravel(explainer.expected_value)
    if len(base) != 1:
        raise BundleError(f"A {type(estimator).__name__} answers {len(base)} values a row, and cannot be explained.")

    def explain(rows: Rows) -> tuple[float, Array]:
        return float(base[0]), explainer.shap_values(rows, check_additivity=False)

    return explain


def _linear(estimator: Any, background: Rows) -> TakenApart:
    steps, model = ([], estimator) if hasattr(estimator, "coef_") else (estimator.steps[:-1], estimator.steps[-1][1])
    features = background.shape[1]
    transform, owners = _columns(steps, np.arange(features))
    slopes, mean = np.ravel(model.coef_).astype(np.float64), transform(background.astype(np.float64)).mean(axis=0)
    base = float(np.ravel(model.intercept_)[0] + slopes @ mean)
    # A feature cut into bins is several columns: theirs are added up.
    belongs = np.zeros((len(owners), features))
    belongs[np.arange(len(owners)), owners] = 1.0

    def explain(rows: Rows) -> tuple[float, Array]:
        return base, ((transform(rows.astype(np.float64)) - mean) * slopes) @ belongs

    return explain


def _columns(steps: Sequence[tuple[str, Any]], owners: Owners) -> tuple[Transform, Owners]:
    """Fitted steps as one function, and which feature each of its columns is made of.

    scikit-learn's own `transform` checks its input for longer than a row takes to transform.
    """
    functions = []
    for _, step in steps:
        function, owners = _step(step, owners)
        functions.append(function)
    return lambda values: reduce(lambda each, function: function(each), functions, values), owners


def _step(step: Any, owners: Owners) -> tuple[Transform, Owners]:
    match type(step).__name__:
        case "Pipeline":
            return _columns(step.steps, owners)
        case "ColumnTransformer":
            chosen = [(columns, step) for _, step, columns in step.transformers_ if not isinstance(step, str)]
            parts = [(columns, *_step(step, owners[columns])) for columns, step in chosen]
            joined = np.concatenate([part for *_, part in parts])
            return lambda values: np.hstack([function(values[:, columns]) for columns, function, _ in parts]), joined
        case "MinMaxScaler":
            low, high = step.feature_range if step.clip else (-np.inf, np.inf)
            return lambda values: (values * step.scale_ + step.min_).clip(low, high), owners
        case "StandardScaler" if step.with_mean and step.with_std:
            return lambda values: (values - step.mean_) / step.scale_, owners
        case "KBinsDiscretizer" if step.encode == "onehot-dense":
            inner = [edges[1:-1] for edges in step.bin_edges_]
            rows_of = [np.eye(count) for count in step.n_bins_]
            return lambda values: np.hstack(
                [
                    one_hot[np.searchsorted(edges, column, side="right")]
                    for one_hot, edges, column in zip(rows_of, inner, values.T, strict=True)
                ]
            ), np.repeat(owners, step.n_bins_)
        case "FunctionTransformer" if step.func is None:  # what passes through
            return lambda values: values, owners
        case kind:
            raise BundleError(f"A linear model of what a {kind} makes of features cannot be explained.")
