"""Answers of the models that a bundle holds as tables, for a row in a few calls of NumPy.

What walks from node to node waits for memory at each of them. Between the requests of a server caches are cold, and
there these tables take less than half of the time. Trees are scored as in QuickScorer (Lucchese et al. 2015, SIGIR):
the conditions of all trees are tested at once, in the order in which they lie in memory; each that fails rules out the
leaves to its left, and the leftmost leaf that remains is the tree's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle.inference import Array
from cryptosentinel.bundle.tables import MOST_LEAVES, Clusters, Linear, Trees

# The exponent of a double tells which is the highest bit of a word.
_EXPONENT, _BIAS = np.array(52), 1023
# Of a difference in single precision. A number of Python's would be converted anew for each row.
_SIGN = np.array(31, np.int32)
# Rows whose conditions are tested together: more of them do not fit into a processor's cache.
_BLOCK = 128


class _Tree(NamedTuple):
    """See `Trees`."""

    features: Sequence[int]
    thresholds: Sequence[float]
    survivors: Sequence[int]
    leaves: Sequence[float]


class TreeSums:
    """The sums of the trees of several models, one at least, in one go. Threads may share it."""

    def __init__(self, tables: Sequence[Trees]) -> None:
        grown = [_trees_of(table) for table in tables]
        given = list(chain.from_iterable(grown))
        # Trees of a size lie together: where sizes change from tree to tree a processor guesses wrong at each. Behind
        # them is one that answers nothing, for models of fewer trees than others, and each model's base, added last.
        order = np.argsort([len(tree.features) for tree in given], kind="stable")
        trees = [*(given[at] for at in order), _constant(0.0), *(_constant(table.base) for table in tables)]
        nothing, longest = len(given), max(map(len, grown))
        places = np.split(np.argsort(order), np.cumsum([len(own) for own in grown[:-1]]))
        self._of_model = np.array(
            [[*own, *[nothing] * (longest - len(own)), nothing + 1 + number] for number, own in enumerate(places)]
        )

        def joined(name: str, dtype: type[np.generic]) -> NDArray[Any]:
            return np.array(list(chain.from_iterable(getattr(tree, name) for tree in trees)), dtype)

        self._features = joined("features", np.intp)
        with np.errstate(over="ignore"):  # above the highest number is infinity
            self._above = np.nextafter(joined("thresholds", np.float32), np.float32(np.inf))
        turned = [int(f"{word:0{MOST_LEAVES}b}"[::-1], 2) for tree in trees for word in tree.survivors]
        self._survivors = np.array(turned, np.uint32).view(np.int32)  # the leftmost leaf's bit is now the highest
        self._leaves = joined("leaves", np.float32)
        self._conditions = _starts(len(tree.features) for tree in trees)
        # Where a tree's last leaf would be, if it had one for each bit; and what an exponent has too much.
        self._last_leaves = _starts(len(tree.leaves) for tree in trees) + (MOST_LEAVES - 1 + _BIAS)

    def __call__(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Each model's answer to rows of finite features, shape (..., features): shape (..., models).

        They are added up tree by tree in single precision, as ONNX Runtime does: the last bits are its own.
        """
        if X.ndim > 1 and len(X) > _BLOCK:
            return np.concatenate([self(X[at : at + _BLOCK]) for at in range(0, len(X), _BLOCK)])
        # What is not above a threshold is below the number that follows it, and their difference has the sign bit.
        # Drawn over the word it is all bits where a condition holds, so that nothing is ruled out.
        difference = X.take(self._features, axis=-1)
        difference -= self._above
        reachable = difference.view(np.int32)
        reachable >>= _SIGN
        reachable |= self._survivors
        left = np.bitwise_and.reduceat(reachable, self._conditions, axis=-1)
        highest = left.view(np.uint32).astype(np.float64).view(np.int64)
        highest >>= _EXPONENT
        said = self._leaves.take(self._last_leaves - highest).take(self._of_model, axis=-1)
        sums: NDArray[np.float32] = np.add.accumulate(said, axis=-1)[..., -1]
        return sums


def _trees_of(table: Trees) -> list[_Tree]:
    conditions = pairwise([*table.conditions, len(table.features)])
    leaves = pairwise([*table.first_leaves, len(table.leaves)])
    return [
        _Tree(table.features[a:b], table.thresholds[a:b], table.survivors[a:b], table.leaves[first:end])
        for (a, b), (first, end) in zip(conditions, leaves, strict=True)
    ]


def _constant(value: float) -> _Tree:
    return _Tree([0], [np.finfo(np.float32).max.item()], [(1 << MOST_LEAVES) - 1], [value])


def _starts(lengths: Iterable[int]) -> NDArray[np.intp]:
    *starts, _ = accumulate(lengths, initial=0)
    return np.array(starts, np.intp)


class Scales(NamedTuple):
    """What is made of features before they are weighed: `clip(feature * slope + offset, low, high)`.

    Attributes:
        columns: which features, shape (columns,), as all the others; a feature may be in it more than once.
    """

    columns: NDArray[np.intp]
    slopes: Array
    offsets: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, columns: Sequence[int], *numbers: Any) -> Scales:
        """From numbers, or one for all columns."""
        return cls(
            np.array(columns, np.intp), *(np.broadcast_to(np.asarray(n, np.float64), len(columns)) for n in numbers)
        )

    @classmethod
    def joined(cls, parts: Sequence[Scales]) -> Scales:
        """One beside the other."""
        return cls(*map(np.concatenate, zip(cls.of([], 1.0, 0.0, 0.0, 0.0), *parts, strict=True)))

    def __call__(self, X: Array) -> Array:
        """Rows of features, shape (..., features), scaled: shape (..., columns)."""
        scaled = X.take(self.columns, axis=-1)
        scaled *= self.slopes
        scaled += self.offsets
        np.maximum(scaled, self.low, out=scaled)
        np.minimum(scaled, self.high, out=scaled)
        return scaled


class WeightedSums:
    """The answers of linear models, and which cluster's centre is nearest. Threads may share it.

    Attributes:
        scales: of the features that are weighed.
    """

    def __init__(self, linear: Sequence[Linear], clusters: Sequence[Clusters]) -> None:
        parts = [
            Scales.of(t.columns, t.slopes, t.offsets, _limit(t.low, -np.inf), _limit(t.high, np.inf)) for t in linear
        ]
        parts += [Scales.of(range(len(t.weights[0])), 1.0, 0.0, -np.inf, np.inf) for t in clusters]
        self.scales = Scales.joined(parts)
        # Each part has sums of its own: of what is another's, nothing.
        blocks = [*([t.weights] for t in linear), *(t.weights for t in clusters)]
        spans = pairwise(accumulate((len(part.columns) for part in parts), initial=0))
        width = len(self.scales.columns)
        self._weights = np.concatenate(
            [np.zeros((0, width))]
            + [np.pad(block, ((0, 0), (start, width - end))) for block, (start, end) in zip(blocks, spans, strict=True)]
        )
        self._offsets = np.array([*(t.intercept for t in linear), *chain.from_iterable(t.offsets for t in clusters)])
        self._models = len(linear)
        ends = accumulate((len(t.offsets) for t in clusters), initial=self._models)
        self._centres = list(pairwise(ends))
        self._steps = [(at, t.stepped, t.edges, t.steps) for at, t in enumerate(linear) if t.stepped is not None]

    def __call__(self, scaled: Array, X: Array) -> list[NDArray[Any]]:
        """Each linear model's answer, then of each clustering the nearest centre's number, shape (n,).

        Args:
            scaled: by `scales`, shape (n, columns).
            X: rows of finite features, shape (n, features).
        """
        sums = np.vecdot(scaled[:, None], self._weights) + self._offsets
        for at, column, edges, steps in self._steps:
            sums[:, at] += np.take(steps, np.searchsorted(edges, X[:, column], side="right"))
        return [*sums[:, : self._models].T, *(sums[:, slice(*span)].argmin(axis=-1) for span in self._centres)]

    def of_row(self, scaled: Array, x: Array) -> list[float]:
        """As of rows, in plain numbers, for one: shapes (columns,) and (features,)."""
        sums: list[float] = (np.vecdot(scaled, self._weights) + self._offsets).tolist()
        for at, column, edges, steps in self._steps:
            sums[at] += steps[bisect_right(edges, x.item(column))]
        nearest = [sums.index(min(sums[start:end]), start) - start for start, end in self._centres]
        return [*sums[: self._models], *nearest]


def _limit(given: Sequence[float | None], none: float) -> Array:
    return np.nan_to_num(np.array(given, np.float64), nan=none)
