"""From fitted models to `tables`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle.files import DIRECTION
from cryptosentinel.bundle.inference import Array
from cryptosentinel.bundle.tables import MOST_LEAVES, Clusters, Linear, Tables, Trees

# All are tested for each row. On cold caches 8,500 in 600 trees took three quarters of what walking the trees takes,
# 15,000 in 900 as much.
MOST_CONDITIONS = 12_000
# Of a tree, which is split where it has too many leaves; each level above costs one of a part's.
MOST_DEEP = 16
_ALL = (1 << MOST_LEAVES) - 1


def compile_tables(models: Mapping[str, tuple[Any, Any]]) -> Tables | None:
    """The models as tables.

    Args:
        models: by name, the fitted estimator and its graph (`to_onnx`), whose numbers are those that serve.

    Returns:
        None where a model is of another kind than trees, linear models and clusters of scikit-learn and XGBoost, or
        too large.
    """
    trees: dict[str, Any] = {}
    linear: dict[str, Any] = {}
    clusters: dict[str, Any] = {}
    for name, (estimator, graph) in models.items():
        *before, last = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
        table: Trees | Linear | Clusters | None
        match type(last).__name__:
            case "Ridge":
                table = linear[name] = _linear(before, last)
            case "KMeans":
                table = clusters[name] = _clusters(before, last)
            case _:
                table = trees[name] = _trees(graph.graph, name == DIRECTION)
        if table is None:
            return None
    if sum(len(table.features) for table in trees.values()) > MOST_CONDITIONS:
        return None
    return Tables(trees=trees, linear=linear, clusters=clusters)


class _Node(NamedTuple):
    """Of a tree; a leaf has no feature."""

    feature: int | None
    value: float
    left: Any = None
    right: Any = None


def _trees(graph: Any, classifies: bool) -> Trees | None:
    """The graph's one ensemble of trees that are added up; None where it is something else."""
    from onnx.helper import get_attribute_value

    ensemble, *others = (node for node in graph.node if node.op_type not in {"Identity", "Cast"})
    given = {attribute.name: get_attribute_value(attribute) for attribute in ensemble.attribute}
    kind, post = ("class", b"LOGISTIC") if classifies else ("target", b"NONE")
    if (
        others
        or not ensemble.op_type.startswith("TreeEnsemble")
        or "nodes_values" not in given  # in double precision they lie elsewhere
        or given.get("post_transform", b"NONE") != post
        or given.get("aggregate_function", b"SUM") != b"SUM"
        or len(set(given.get(f"{kind}_ids", [0, 1]))) != 1
        or not {b"LEAF", b"BRANCH_LEQ", b"BRANCH_LT"}.issuperset(given["nodes_modes"])
    ):
        return None
    answers = dict(
        zip(zip(given[f"{kind}_treeids"], given[f"{kind}_nodeids"], strict=True), given[f"{kind}_weights"], strict=True)
    )
    at = {key: number for number, key in enumerate(zip(given["nodes_treeids"], given["nodes_nodeids"], strict=True))}

    def node(tree: int, key: int) -> _Node:
        number = at[tree, key]
        if given["nodes_modes"][number] == b"LEAF":
            return _Node(None, answers.get((tree, key), 0.0))
        value = np.float32(given["nodes_values"][number])
        if given["nodes_modes"][number] == b"BRANCH_LT":  # below a number is not above the one before it
            value = np.nextafter(value, np.float32(-np.inf))
        branches = (node(tree, given[f"nodes_{way}nodeids"][number]) for way in ("true", "false"))
        return _Node(given["nodes_featureids"][number], value.item(), *branches)

    roots: dict[int, int] = {}
    for number, key in at:
        roots.setdefault(number, key)
    table: dict[str, list[Any]] = {name: [] for name in Trees.model_fields if name != "base"}
    grown = [node(*root) for root in roots.items()]
    if max(map(_depth, grown)) > MOST_DEEP:
        return None
    for tree in grown:
        for small in _split(tree):
            _append(table, small)
    (base,) = given.get("base_values") or [0.0]
    return Trees(**table, base=base)


def _count(node: _Node) -> int:
    return 1 if node.feature is None else _count(node.left) + _count(node.right)


def _depth(node: _Node) -> int:
    return 0 if node.feature is None else 1 + max(_depth(node.left), _depth(node.right))


def _split(tree: _Node, most: int = MOST_LEAVES) -> list[_Node]:
    """Trees of at most `most` leaves whose sum is the tree's: a row gets nothing from all but one of them."""
    if _count(tree) <= most:
        return [tree]
    nothing = _Node(None, 0.0)
    return [
        *(tree._replace(left=part, right=nothing) for part in _split(tree.left, most - 1)),
        *(tree._replace(left=nothing, right=part) for part in _split(tree.right, most - 1)),
    ]


def _append(table: dict[str, list[Any]], tree: _Node) -> None:
    """Adds a tree, in preorder."""
    first = len(table["leaves"])
    table["conditions"].append(len(table["features"]))
    table["first_leaves"].append(first)

    def walk(node: _Node) -> None:
        if node.feature is None:
            table["leaves"].append(node.value)
            return
        number, begin = len(table["features"]), len(table["leaves"]) - first
        for name, value in (("features", node.feature), ("thresholds", node.value), ("survivors", _ALL)):
            table[name].append(value)
        walk(node.left)
        end = len(table["leaves"]) - first
        table["survivors"][number] = _ALL & ~((1 << end) - (1 << begin))
        walk(node.right)

    if tree.feature is None:  # a condition that always holds
        tree = _Node(0, np.finfo(np.float32).max.item(), tree, _Node(None, 0.0))
    walk(tree)


def _linear(before: list[Any], ridge: Any) -> Linear | None:
    """Of scalers, or of columns with scalers, hours in bins and what passes, and a ridge regression."""
    weights, intercept = np.ravel(ridge.coef_).astype(np.float64), float(np.ravel(ridge.intercept_)[0])
    if [type(step).__name__ for step in before] != ["ColumnTransformer"]:
        columns = np.arange(len(weights))
        return _scaled(before, columns, weights, intercept)
    parts, at = list[Linear](), 0
    stepped: dict[str, Any] = {}
    for _, step, columns in before[0].transformers_:
        if step == "drop":
            continue
        if not isinstance(columns, list | np.ndarray) or np.asarray(columns).dtype.kind != "i":
            return None  # a slice, a mask, a rule
        name, width = type(step).__name__, len(columns)
        if name == "KBinsDiscretizer" and step.encode == "onehot-dense" and width == 1 and not stepped:
            (edges,) = step.bin_edges_
            width = len(edges) - 1
            stepped = {
                "stepped": int(columns[0]),
                "edges": edges[1:-1].tolist(),
                "steps": weights[at : at + width].tolist(),
            }
        elif name == "Pipeline" or step == "passthrough" or (name == "FunctionTransformer" and step.func is None):
            scalers = [scaler for _, scaler in step.steps] if name == "Pipeline" else []
            part = _scaled(scalers, np.array(columns), weights[at : at + width], 0.0)
            if part is None:
                return None
            parts.append(part)
        else:
            return None
        at += width
    joined = {
        name: [value for part in parts for value in getattr(part, name)]
        for name in ("columns", "slopes", "offsets", "low", "high", "weights")
    }
    return Linear(**joined, intercept=intercept + sum(part.intercept for part in parts), **stepped)


def _scaled(scalers: list[Any], columns: NDArray[np.intp], weights: Array, intercept: float) -> Linear | None:
    """Scalers in a row, of which one clips at most, and a weighted sum."""
    slopes, offsets = np.ones(len(columns)), np.zeros(len(columns))
    low, high = (None, None)
    for number, scaler in enumerate(scalers):
        name = type(scaler).__name__
        if name == "MinMaxScaler" and number == 0:
            slopes, offsets = scaler.scale_, scaler.min_
            if scaler.clip:
                low, high = scaler.feature_range
        elif name == "StandardScaler" and number == len(scalers) - 1:
            intercept -= float(np.sum(weights * scaler.mean_ / scaler.scale_))
            weights = weights / scaler.scale_
        else:
            return None
    return Linear(
        columns=columns.tolist(),
        slopes=slopes.tolist(),
        offsets=offsets.tolist(),
        low=[low] * len(columns),
        high=[high] * len(columns),
        weights=weights.tolist(),
        intercept=intercept,
    )


def _clusters(before: list[Any], kmeans: Any) -> Clusters | None:
    """|z - c|^2 is lowest where |c|^2 - 2 cz is, which is linear in z, and so in the features."""
    centres = kmeans.cluster_centers_.astype(np.float64)
    weights, offsets = -2.0 * centres, (centres**2).sum(axis=1)
    for step in reversed(before):
        match type(step).__name__:
            case "StandardScaler":
                weights = weights / step.scale_
            case "PCA" if not step.whiten:
                weights = weights @ step.components_
            case _:
                return None
        offsets = offsets - weights @ step.mean_
    return Clusters(weights=weights.tolist(), offsets=offsets.tolist())
