"""Where a bundle's models may be believed: how far a row of features is from those they were trained on."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cryptosentinel.bundle.inference import Array
from cryptosentinel.bundle.scoring import Scales

# A standardised value beyond this counts as this: one wild feature must not decide alone.
CLIP = 10.0
# An outlying row's sigma is multiplied by how far beyond the threshold it lies, at most by this.
WIDEST = 3.0


class Domain(BaseModel):  # noqa: PLW1641 - lists have no hash
    """The area of applicability of Meyer & Pebesma (2021, Methods in Ecology and Evolution 12), adapted.

    The dissimilarity of a row is its Euclidean distance, in standardised features, to the nearest of a few prototypes
    (centres of clusters of the training rows), over the mean such distance of training rows: about 1 is ordinary. The
    paper takes the nearest training row, and weighs features by importance; prototypes cost microseconds, and no
    importance is that of five models at once.

    Attributes:
        means: of each feature, by which values are standardised; likewise `deviations`.
        prototypes: in standardised features, one a row.
        mean_distance: of training rows to their nearest prototype.
        threshold: a row whose dissimilarity is above it is outlying.
        method: where the threshold comes from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    means: list[float]
    deviations: list[float]
    prototypes: list[list[float]] = Field(min_length=1)
    mean_distance: float = Field(gt=0)
    threshold: float = Field(gt=0)
    method: str

    @model_validator(mode="after")
    def _fits_together(self) -> Domain:
        if len({len(self.means), len(self.deviations), *map(len, self.prototypes)}) != 1:
            raise ValueError("has rows of different length")
        if min(self.deviations, default=0.0) <= 0:
            raise ValueError("has no features, or one whose deviation is not above 0")
        return self

    def dissimilarity(self, X: Array | NDArray[np.float32]) -> Array:
        """How unlike the training rows each row is, shape (n,).

        Args:
            X: finite features, shape (n, features).
        """
        rows, (twice, squares) = self.scales(np.asarray(X, dtype=np.float64)), self._prototypes
        # |row - prototype|^2 multiplied out: no array of rows x prototypes x features. Not as a product of matrices,
        # whose last bits depend on how many rows there are.
        nearest = np.minimum.reduce(squares - np.vecdot(rows[:, None], twice), axis=1) + np.vecdot(rows, rows)
        distance: Array = np.sqrt(np.maximum(nearest, 0.0)) / self.mean_distance
        return distance

    def dissimilarity_of_row(self, scaled: Array) -> float:
        """`dissimilarity` of one row that was scaled by `scales`, shape (features,)."""
        twice, squares = self._prototypes
        nearest = np.minimum.reduce(squares - np.vecdot(scaled, twice)).item() + np.vecdot(scaled, scaled).item()
        return math.sqrt(max(nearest, 0.0)) / self.mean_distance

    def widening(self, dissimilarity: Array) -> Array:
        """What to multiply sigma by: 1, or for an outlying row how far beyond the threshold it is, `WIDEST` at most."""
        return np.clip(dissimilarity / self.threshold, 1.0, WIDEST)

    def __eq__(self, other: object) -> bool:
        # By fields alone: pydantic would compare the arrays that are remembered beside them, which have no one answer.
        return isinstance(other, Domain) and self.model_dump() == other.model_dump()

    @cached_property
    def scales(self) -> Scales:
        """Which standardise features, each `CLIP` from its mean at most."""
        slopes = 1.0 / np.array(self.deviations)
        return Scales.of(range(len(self.means)), slopes, -np.array(self.means) * slopes, -CLIP, CLIP)

    @cached_property
    def _prototypes(self) -> tuple[Array, Array]:
        prototypes = np.array(self.prototypes)
        return 2.0 * prototypes, (prototypes**2).sum(axis=1)
