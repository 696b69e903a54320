"""A bundle's models as tables, which answer for a row in a few calls of NumPy.

What walks from node to node waits for memory at each of them. Between the requests of a server caches are cold, and
there these tables take a third of the time. Trees are scored as in QuickScorer (Lucchese et al. 2015, SIGIR): the
conditions of all trees are tested at once, in the order in which they lie in memory; each that fails rules out the
leaves to its left, and the leftmost leaf that remains is the tree's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cryptosentinel.bundle.inference import Array

# Of a tree: a word has a bit for each.
MOST_LEAVES = 32
# A float32's exponent tells which power of two it is.
_EXPONENT, _BIAS = 23, 127
# Rows whose conditions are tested together: more of them do not fit into a processor's cache.
_BLOCK = 128


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Trees(_Table):
    """A sum of trees.

    Attributes:
        features: of each condition, which feature it tests; conditions lie tree by tree.
        thresholds: a condition holds where the feature is not above it; in single precision.
        survivors: of each condition, the leaves that may still be reached where it fails: the leftmost is bit 0.
        conditions: where each tree's begin; no tree has none.
        leaves: what the leaves answer, tree by tree, from left to right; in single precision.
        first_leaves: where each tree's begin.
        base: what is added to the sum.
    """

    features: list[int] = Field(min_length=1)
    thresholds: list[float]
    survivors: list[int]
    conditions: list[int]
    leaves: list[float]
    first_leaves: list[int]
    base: float

    @model_validator(mode="after")
    def _fits_together(self) -> Trees:
        if not len(self.features) == len(self.thresholds) == len(self.survivors):
            raise ValueError("has conditions of different length")
        if len(self.conditions) != len(self.first_leaves):
            raise ValueError("has trees of different length")
        for begins, count in ((self.conditions, len(self.features)), (self.first_leaves, len(self.leaves))):
            if begins[:1] != [0] or not all(a < b for a, b in zip(begins, [*begins[1:], count], strict=True)):
                raise ValueError("has a tree without conditions or leaves")
        return self


class Linear(_Table):
    """A weighted sum of features, each limited to the range that was trained on, and of a step function of one.

    It is `intercept + sum(weights * clip(features * slopes + offsets, low, high)) + steps[bin]`.

    Attributes:
        columns: which features.
        low: of what is clipped; likewise `high`; None: without limit.
        stepped: which feature the steps are of; None: there are none.
        edges: a bin begins at each.
        steps: one more than edges.
    """

    columns: list[int]
    slopes: list[float]
    offsets: list[float]
    low: list[float | None]
    high: list[float | None]
    weights: list[float]
    intercept: float
    stepped: int | None = None
    edges: list[float] = []
    steps: list[float] = [0.0]


class Clusters(_Table):
    """Which centre a row is nearest to: where `weights @ features + offsets` is lowest.

    Attributes:
        weights: of each centre, of each feature.
        offsets: of each centre.
    """

    weights: list[list[float]]
    offsets: list[float]


class Tables(_Table):
    """All of a bundle's models, by name.

    Attributes:
        trees: the classifier among them gives the logarithm of the odds of a rise.
        linear: models that are linear.
        clusters: the regime.
    """

    trees: dict[str, Trees] = {}
    linear: dict[str, Linear] = {}
    clusters: dict[str, Clusters] = {}

    def names(self) -> set[str]:
        """Of the models."""
        return {*self.trees, *self.linear, *self.clusters}


class TreeSums:
    """The sums of the trees of several models, one at least, in one go. Threads may share it."""

    def __init__(self, tables: Sequence[Trees]) -> None:

        def joined(name: str, dtype: type[np.generic], lengths: str | None = None) -> NDArray[Any]:
            """A field of all models; where it counts from each model's beginning, from that of all."""
            counts = [0] * len(tables) if lengths is None else [len(getattr(table, lengths)) for table in tables]
            starts = accumulate(counts[:-1], initial=0)
            return np.concatenate(
                [np.array(getattr(table, name), dtype) + dtype(at) for table, at in zip(tables, starts, strict=True)]
            )

        self._features = joined("features", np.intp)
        self._thresholds = joined("thresholds", np.float32)
        self._survivors = joined("survivors", np.uint32)
        self._conditions = joined("conditions", np.intp, "features")
        self._leaves = joined("leaves", np.float32)
        self._first_leaves = joined("first_leaves", np.int32, "leaves") - np.int32(_BIAS)
        spans = list(pairwise(accumulate((len(table.conditions) for table in tables), initial=0)))
        longest = max(end - begin for begin, end in spans)
        # Of each model, which trees; where it has fewer than others the one behind the last, which answers nothing.
        trees = [[*range(begin, end)] + [spans[-1][1]] * (longest - (end - begin)) for begin, end in spans]
        self._of_model = np.array(trees, dtype=np.intp)
        self._bases = np.array([table.base for table in tables], dtype=np.float32)

    def __call__(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Each model's answer to rows of finite features, shape (..., features): shape (..., models).

        They are added up tree by tree in single precision, as ONNX Runtime does: the last bits are its own.
        """
        if X.ndim > 1 and len(X) > _BLOCK:
            return np.concatenate([self(X[at : at + _BLOCK]) for at in range(0, len(X), _BLOCK)])
        # All bits where a condition holds, so that nothing is ruled out.
        reachable = (X.take(self._features, axis=-1) > self._thresholds).astype(np.uint32)
        reachable -= np.uint32(1)
        reachable |= self._survivors
        left = np.bitwise_and.reduceat(reachable, self._conditions, axis=-1)
        first = (left & -left).astype(np.float32).view(np.int32) >> _EXPONENT
        said = np.zeros((*X.shape[:-1], len(self._conditions) + 1), dtype=np.float32)
        said[..., :-1] = self._leaves.take(first + self._first_leaves)
        sums: NDArray[np.float32] = np.add.accumulate(said.take(self._of_model, axis=-1), axis=-1)[..., -1]
        return sums + self._bases


class LinearSums:
    """The answers of several linear models. Threads may share it."""

    def __init__(self, tables: Sequence[Linear]) -> None:
        def joined(name: str, missing: float = 0.0) -> Array:
            values = [value for table in tables for value in getattr(table, name)]
            return np.array([missing if value is None else value for value in values])

        self._columns = joined("columns").astype(np.intp)
        self._slopes, self._offsets = joined("slopes"), joined("offsets")
        self._low, self._high = joined("low", -np.inf), joined("high", np.inf)
        spans = pairwise(accumulate((len(table.columns) for table in tables), initial=0))
        self._models = [
            (slice(*span), np.array(table.weights), table.intercept) for table, span in zip(tables, spans, strict=True)
        ]
        self._steps = [
            (number, table.stepped, np.array(table.edges), np.array(table.steps))
            for number, table in enumerate(tables)
            if table.stepped is not None
        ]

    def __call__(self, X: Array) -> list[Array]:
        """Each model's answer to rows of finite features, shape (..., features): shape (...)."""
        inside = X.take(self._columns, axis=-1) * self._slopes + self._offsets
        inside = np.minimum(np.maximum(inside, self._low), self._high)
        said: list[Array] = [np.vecdot(inside[..., at], weights) + base for at, weights, base in self._models]
        for number, column, edges, steps in self._steps:
            said[number] = said[number] + steps.take(edges.searchsorted(X[..., column], side="right"))
        return said


class Nearest:
    """The nearest cluster. Threads may share it."""

    def __init__(self, table: Clusters) -> None:
        self._weights, self._offsets = np.array(table.weights), np.array(table.offsets)

    def __call__(self, X: Array) -> NDArray[np.intp]:
        """Its number, of rows of finite features, shape (..., features): shape (...)."""
        nearest: NDArray[np.intp] = (np.vecdot(X[..., None, :], self._weights) + self._offsets).argmin(axis=-1)
        return nearest
