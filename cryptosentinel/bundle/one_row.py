"""A single row's forecast in plain numbers.

A call of NumPy costs one number as much as a hundred, and most requests are for one row: in plain numbers it takes half
as long. Operations and their order are those of `Bundle.infer`, and so is each bit of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cryptosentinel.bundle.calibration import Calibration
from cryptosentinel.bundle.domain import Domain
from cryptosentinel.bundle.files import DIRECTION, REGIME
from cryptosentinel.bundle.inference import UNKNOWN_REGIME, Inference, direction_of
from cryptosentinel.bundle.manifest import BLEND, RANDOM_WALK, Manifest
from cryptosentinel.bundle.quantiles import QuantileTable


class RowForecast(NamedTuple):
    """What `Inference` says of one row; `prices` are those of `by_model`, in its order."""

    predicted_price: float
    log_return: float
    sigma: float
    p_up: float
    confidence: float
    dissimilarity: float
    quantiles: list[float]
    outlying: bool
    direction: str
    regime: str
    champion: str
    prices: list[float]

    @classmethod
    def of(cls, inference: Inference) -> RowForecast:
        """The only row of an `Inference`."""
        *names, _ = cls._fields
        values = (getattr(inference, name).tolist()[0] for name in names)
        return cls._make((*values, [price.item() for price in inference.by_model.values()]))

    def inference(self, priced: Sequence[str]) -> Inference:
        """As arrays of one entry; `priced` are the names of `prices`."""
        arrays = {name: np.array([value]) for name, value in zip(self._fields[:-1], self, strict=False)}
        return Inference(**arrays, by_model={n: np.array([p]) for n, p in zip(priced, self.prices, strict=True)})


class RowRule:
    """What a bundle makes of its models' answers for one row whose features are all finite."""

    def __init__(
        self,
        manifest: Manifest,
        quantiles: QuantileTable,
        calibration: Calibration,
        domain: Domain | None,
        outputs: Sequence[str],
    ) -> None:
        at = {name: number for number, name in enumerate(outputs)}
        models = manifest.models
        self._candidates = [
            (
                None if name == RANDOM_WALK else at[name],
                models[name].target == "standardised",
                manifest.blend.get(name, 0.0),
            )
            for name in manifest.candidates
        ]
        self._volatility = [at[name] for name, entry in models.items() if entry.target == "log_volatility"]
        self._direction, self._regime = at.get(DIRECTION), at.get(REGIME)
        self._regimes = manifest.regimes
        self._blends = bool(manifest.blend)
        self._shrinkage = manifest.shrinkage if manifest.champion == BLEND else None
        self._champion = manifest.champion
        self._table = quantiles.values
        self._calibration = calibration
        self._domain = domain

    def __call__(self, said: Sequence[float], dissimilarity: float, scale: float, close: float) -> RowForecast:
        """The forecast; see `Bundle.infer`.

        Args:
            said: each model's answer for the row.
            dissimilarity: of the row to those that models were trained on.
            scale: the scale feature times sqrt(horizon).
            close: the last price.
        """
        returns, blend = [], 0.0
        for at, standardised, weight in self._candidates:
            said_return = 0.0 if at is None else said[at]
            if standardised:
                said_return *= scale
            returns.append(said_return)
            blend += weight * said_return
        if self._blends:
            returns.append(blend)
        log_return = 0.0 if self._shrinkage is None else self._shrinkage * blend
        sigma, outlying = self._spread(said, dissimilarity, scale)
        exponents = [*returns, log_return, *(log_return + sigma * value for value in self._table)]
        prices = (close * np.exp(exponents)).tolist()
        count = len(returns)
        p_up = 0.5 if self._direction is None else self._calibration.probability_of(said[self._direction])
        return RowForecast(
            prices[count],
            log_return,
            sigma,
            p_up,
            max(p_up, 1.0 - p_up),
            dissimilarity,
            prices[count + 1 :],
            outlying,
            direction_of(p_up),
            UNKNOWN_REGIME if self._regime is None else self._regimes[int(said[self._regime])],
            self._champion,
            prices[:count],
        )

    def _spread(self, said: Sequence[float], dissimilarity: float, scale: float) -> tuple[float, bool]:
        sigma = scale
        if self._volatility:
            sigma = np.exp(sum(said[at] for at in self._volatility) / len(self._volatility)).item()
        if self._domain is None or not dissimilarity > self._domain.threshold:
            return sigma, False
        return sigma * self._domain.widening(np.array(dissimilarity)).item(), True
