"""Everything that is chosen after the fits, on rows that no fit has seen, and without the last block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cryptosentinel.bundle import BLEND, RANDOM_WALK, Calibration, Champion, QuantileTable
from cryptosentinel.forecasting.probability import fit_venn_abers
from cryptosentinel.forecasting.shrinkage import shrinkage_weight
from cryptosentinel.forecasting.unseen import Unseen

Array = NDArray[np.float64]


class Choices(BaseModel):
    """What the out-of-fold forecasts taught.

    Attributes:
        blend: weight of each candidate in the blend; equal ones, which are not chosen but agreed beforehand: weights
            fitted to so little signal cost more than they bring (Bates and Granger 1969, and most since).
        shrinkage: how much of the blend is believed, from 0 (the price stays) to 1.
        quantiles: of (actual - mean) / sigma, by whose mean is served: that of `blend` is shrinkage * blend, that of
            `random_walk` 0.
        calibration: from the direction classifier's score to the probability of a rise.
        base_rate: share of rises.
        rows: out-of-fold rows that all this rests on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    blend: dict[str, float]
    shrinkage: float
    quantiles: dict[Champion, QuantileTable]
    calibration: Calibration
    base_rate: float
    rows: int

    def mean(self, unseen: Unseen) -> Array:
        """The point forecast: the blend, shrunk towards the random walk; shape (n,)."""
        return self.shrinkage * unseen.blend


def choose(unseen: Unseen) -> Choices:
    """Learns from out-of-fold forecasts.

    Args:
        unseen: out-of-fold rows only. Those where a model diverged are left out.

    Raises:
        NotEnoughDataError: none is left.
    """
    unseen = unseen.pick(unseen.finite)
    rows = unseen.rows
    shrinkage = shrinkage_weight(rows.y, unseen.blend, unseen.sigma, rows.horizon_bars)
    names = [name for name in unseen.candidates if name != RANDOM_WALK]
    return Choices(
        blend={name: 1.0 / len(names) for name in names},
        shrinkage=shrinkage,
        quantiles={
            BLEND: QuantileTable.conformal((rows.y - shrinkage * unseen.blend) / unseen.sigma),
            RANDOM_WALK: QuantileTable.conformal(rows.y / unseen.sigma),
        },
        calibration=fit_venn_abers(unseen.score, rows.y > 0),
        base_rate=float((rows.y > 0).mean()),
        rows=len(unseen),
    )
