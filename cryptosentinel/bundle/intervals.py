"""Forecast intervals: quantiles of standardised errors, scaled by each row's volatility."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from pydantic import BaseModel, ConfigDict, field_validator

from cryptosentinel.bundle.inference import Array

LEVELS = (80, 95)


class IntervalTable(BaseModel):
    """Bounds of (actual log return - forecast) / scale that hold a level's share of the outcomes.

    Attributes:
        method: where the bounds come from.
        bounds: by level in percent, the lower and the upper bound, without unit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    bounds: dict[int, tuple[float, float]]

    @field_validator("bounds")
    @classmethod
    def _every_level(cls, value: dict[int, tuple[float, float]]) -> dict[int, tuple[float, float]]:
        if set(value) != set(LEVELS):
            raise ValueError(f"must have the levels {LEVELS}")
        return value

    @classmethod
    def normal(cls) -> IntervalTable:
        """What a normal distribution says, for a bundle that has seen no data."""
        tails = {level: NormalDist().inv_cdf(0.5 + level / 200) for level in LEVELS}
        return cls(method="normal quantiles", bounds={level: (-tail, tail) for level, tail in tails.items()})

    @classmethod
    def conformal(cls, actual: Array, forecast: Array, scale: Array) -> IntervalTable:
        """Split conformal bounds of normalised errors (Papadopoulos et al. 2002; Lei et al. 2018), symmetric.

        The bound of a level is the ceil((n + 1) * level)-th smallest normalised absolute error of the n rows, on which
        no model was fitted: a new row of the same kind is covered with at least that probability.

        Args:
            actual: log returns of the holdout rows, shape (n,).
            forecast: the champion's, shape (n,).
            scale: each row's volatility over the horizon, shape (n,).
        """
        errors = np.sort(np.abs(actual - forecast) / scale)
        count = len(errors)
        bounds = {}
        for level in LEVELS:
            rank = min(math.ceil((count + 1) * level / 100), count)
            bounds[level] = (-float(errors[rank - 1]), float(errors[rank - 1]))
        return cls(method=f"split conformal on {count} holdout rows", bounds=bounds)

    def bounds_for(self, level: int, center: Array, scale: Array) -> tuple[Array, Array]:
        """Lower and upper log return of one level."""
        low, high = self.bounds[level]
        return center + low * scale, center + high * scale

    def all_bounds(self, center: Array, scale: Array) -> dict[str, Array]:
        """`lower_80`, `upper_80`, `lower_95` and `upper_95` as log returns."""
        result = {}
        for level in LEVELS:
            result[f"lower_{level}"], result[f"upper_{level}"] = self.bounds_for(level, center, scale)
        return result
