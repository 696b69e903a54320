"""What a bundle answers: one array a quantity, one entry a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Names = NDArray[np.str_]

UP, DOWN, FLAT = "up", "down", "flat"


@dataclass(frozen=True)
class Inference:
    """Forecasts for n rows; every array has the shape (n,).

    Attributes:
        predicted_price: in the quote currency, `horizon_bars` ahead.
        log_return: ln(predicted_price / close).
        lower_80: bounds of the central 80% and 95% intervals, in the quote currency.
        p_up: the classifier's probability that the price rises; 0.5 where there is none.
        direction: `up`, `down` or `flat`: predicted price against price.
        confidence: probability that the direction is right: the classifier's where it agrees, else one half.
        regime: the market's state, or `unknown`.
        champion: whose answer it is: the bundle's champion, or the random walk where the row lacks what models need.
        by_model: every candidate's price.
    """

    predicted_price: Array
    log_return: Array
    lower_80: Array
    upper_80: Array
    lower_95: Array
    upper_95: Array
    p_up: Array
    direction: Names
    confidence: Array
    regime: Names
    champion: Names
    by_model: dict[str, Array]


def directions(log_return: Array) -> Names:
    """`up`, `down` or `flat` by the forecast's sign."""
    return np.select([log_return > 0, log_return < 0], [UP, DOWN], FLAT)


def confidences(direction: Names, p_up: Array) -> Array:
    """The classifier's probability of the direction where it agrees with it, else one half."""
    agreeing = np.select([direction == UP, direction == DOWN], [p_up, 1.0 - p_up], 0.5)
    return np.maximum(agreeing, 0.5)
