"""What a bundle answers: one array a quantity, one entry a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle.quantiles import BOUNDS

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Names = NDArray[np.str_]

UP, DOWN, FLAT = "up", "down", "flat"
UNKNOWN_REGIME = "unknown"
_BY_SIGN = np.array([FLAT, UP, DOWN])  # the last is at -1


def _bound(name: str) -> property:
    column = BOUNDS.index(name)
    return property(lambda inference: inference.quantiles[:, column], doc=f"`{name}` among the quantiles.")


@dataclass(frozen=True)
class Inference:
    """Forecasts for n rows; arrays have the shape (n,) where nothing else is said.

    Attributes:
        predicted_price: in the quote currency, `horizon_bars` ahead.
        log_return: ln(predicted_price / close).
        sigma: the forecast volatility of the log return over the horizon, widened where the row is outlying; NaN where
            it is not known.
        quantiles: of the price, in the quote currency, at `quantiles.PROBABILITIES`, shape (n, 9); `lower_80` and the
            like are its columns.
        p_up: the calibrated probability that the price rises; 0.5 where there is no classifier.
        direction: `up` where `p_up` is above 0.5, `down` where it is below, `flat` at exactly 0.5: none is called.
        confidence: max(p_up, 1 - p_up): the calibrated probability that the direction is right.
        regime: the market's state, or `unknown`.
        champion: whose price is forecast: `blend`, or `random_walk`: it stays.
        by_model: every candidate's price, and as `blend` that of their weighted mean before it is shrunk.
        dissimilarity: of the row to those trained on (see `domain`); 0 where the row lacks what models need, or the
            bundle has no domain.
        outlying: whether the row is unlike anything trained on.
    """

    predicted_price: Array
    log_return: Array
    sigma: Array
    quantiles: Array
    p_up: Array
    direction: Names
    confidence: Array
    regime: Names
    champion: Names
    by_model: dict[str, Array]
    dissimilarity: Array
    outlying: Mask

    def of(self, part: slice) -> Inference:
        """The forecasts for some of the rows."""
        arrays = {name: values[part] for name, values in vars(self).items() if name != "by_model"}
        return Inference(**arrays, by_model={name: prices[part] for name, prices in self.by_model.items()})

    lower_95 = _bound("lower_95")
    lower_90 = _bound("lower_90")
    lower_80 = _bound("lower_80")
    lower_50 = _bound("lower_50")
    median = _bound("median")
    upper_50 = _bound("upper_50")
    upper_80 = _bound("upper_80")
    upper_90 = _bound("upper_90")
    upper_95 = _bound("upper_95")


def directions(p_up: Array) -> Names:
    """`up`, `down` or `flat` by which side of one half the probability of a rise is on."""
    return _BY_SIGN[np.sign(p_up - 0.5).astype(np.intp)]


def direction_of(p_up: float) -> str:
    """`directions` of one."""
    return UP if p_up > 0.5 else DOWN if p_up < 0.5 else FLAT


def confidences(p_up: Array) -> Array:
    """The probability that the direction is right."""
    return np.maximum(p_up, 1.0 - p_up)
