"""From a classifier's score to a probability that can be believed: a monotone table."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from functools import cached_property

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from cryptosentinel.bundle.inference import Array


class Calibration(BaseModel):  # noqa: PLW1641 - lists have no hash
    """A non-decreasing, piecewise linear function from scores to probabilities; constant beyond its ends.

    Attributes:
        scores: its knots, finite, strictly increasing; at least one.
        probabilities: its value at each knot, in [0, 1], never decreasing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scores: list[float]
    probabilities: list[float]

    @model_validator(mode="after")
    def _monotone(self) -> Calibration:
        if not self.scores or len(self.scores) != len(self.probabilities):
            raise ValueError(f"has {len(self.scores)} scores and {len(self.probabilities)} probabilities")
        if not all(map(math.isfinite, self.scores)):
            raise ValueError("has a score that is not finite")
        if not all(low < high for low, high in itertools.pairwise(self.scores)):
            raise ValueError("has scores that do not increase")
        if not all(0.0 <= p <= 1.0 for p in self.probabilities):
            raise ValueError("has a probability outside of [0, 1]")
        if not all(low <= high for low, high in itertools.pairwise(self.probabilities)):
            raise ValueError("has probabilities that decrease")
        return self

    @classmethod
    def identity(cls) -> Calibration:
        """Leaves a score in [0, 1] as it is."""
        return cls(scores=[0.0, 1.0], probabilities=[0.0, 1.0])

    def apply(self, score: Array) -> Array:
        """The probability of each score; NaN where the score is NaN.

        Args:
            score: of any shape.
        """
        return np.interp(score, *self._knots)

    def probability_of(self, score: float) -> float:
        """`apply` of one finite score, to the same bits; NumPy takes five times as long for it."""
        scores, probabilities = self.scores, self.probabilities
        at = bisect_right(scores, score) - 1
        if at < 0 or at == len(scores) - 1:
            return probabilities[max(at, 0)]
        slope = (probabilities[at + 1] - probabilities[at]) / (scores[at + 1] - scores[at])
        return slope * (score - scores[at]) + probabilities[at]

    def __eq__(self, other: object) -> bool:
        # By fields alone: pydantic would compare the arrays that are remembered beside them, which have no one answer.
        return isinstance(other, Calibration) and self.model_dump() == other.model_dump()

    @cached_property
    def _knots(self) -> tuple[Array, Array]:
        # As lists, a table of some hundred knots would cost a row more than its models do.
        return np.array(self.scores), np.array(self.probabilities)
