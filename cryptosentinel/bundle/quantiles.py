"""The forecast's distribution: quantiles of standardised errors, scaled by each row's volatility."""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator

from cryptosentinel.errors import NotEnoughDataError

Array = NDArray[np.float64]

# Central intervals that are shown and watched, in percent.
LEVELS = (80, 95)
PROBABILITIES = (0.025, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.975)
# What the quantiles at `PROBABILITIES` are called: `lower_80` and `upper_80` bound the central 80%.
BOUNDS = (
    "lower_95",
    "lower_90",
    "lower_80",
    "lower_50",
    "median",
    "upper_50",
    "upper_80",
    "upper_90",
    "upper_95",
)


class QuantileTable(BaseModel):
    """Quantiles of (actual log return - mean) / sigma at `PROBABILITIES`.

    Attributes:
        method: where they come from.
        values: without unit, finite, never decreasing; one a probability.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    values: list[float]

    @field_validator("values")
    @classmethod
    def _ordered(cls, values: list[float]) -> list[float]:
        if len(values) != len(PROBABILITIES):
            raise ValueError(f"must be {len(PROBABILITIES)} numbers")
        if not all(map(math.isfinite, values)) or not all(low <= high for low, high in itertools.pairwise(values)):
            raise ValueError("must be finite and never decrease")
        return values

    @classmethod
    def normal(cls) -> QuantileTable:
        """What a normal distribution says, for a bundle that has seen no data."""
        return cls(method="normal quantiles", values=[NormalDist().inv_cdf(p) for p in PROBABILITIES])

    @classmethod
    def conformal(cls, scores: Array) -> QuantileTable:
        """Split conformal quantiles, each tail by itself (Linusson, Johansson & Löfström 2014; Lei et al. 2018).

        Of n standardised errors on which no model was fitted, the lower bound at p is the floor((n + 1) p)-th smallest,
        the upper one the ceil((n + 1) p)-th: a new row of the same kind falls below, or above, with at most the tail's
        probability. Where n is too small for a rank, the most extreme error stands for it.

        Args:
            scores: (actual log return - mean) / sigma of each row, shape (n,).

        Raises:
            NotEnoughDataError: there are none.
        """
        count = len(scores)
        if count == 0:
            raise NotEnoughDataError("Standardised errors to take quantiles of", have=0, need=1)
        ordered = np.sort(scores)
        values = []
        for p in PROBABILITIES:
            rank, rest = divmod((count + 1) * round(1000 * p), 1000)  # whole numbers: 0.1 * 30 is not 3
            floor, ceiling = (ordered[min(max(r, 1), count) - 1] for r in (rank, rank + (rest > 0)))
            values.append(float(floor if p < 0.5 else ceiling if p > 0.5 else (floor + ceiling) / 2))
        return cls(method=f"split conformal on {count:,} rows that no model was fitted on", values=values)

    def log_returns(self, center: Array, sigma: Array) -> Array:
        """Quantiles of the log return.

        Args:
            center: the mean of each row, shape (n,).
            sigma: its volatility over the horizon, shape (n,).

        Returns:
            Shape (n, 9), never decreasing along a row.
        """
        returns: Array = center[:, None] + sigma[:, None] * np.array(self.values)
        return returns
