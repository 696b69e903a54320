"""A bundle's models as tables, which `scoring` answers with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Of a tree: a word has a bit for each.
MOST_LEAVES = 32


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
