"""What a forecast costs, row by row; smaller is better, and each is least in expectation for the honest forecast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle.inference import Array

Labels = NDArray[np.bool_] | Array

# Surer than this is taken for this sure: one forecast of 0 that is wrong must not cost infinitely much.
SUREST = 1e-12


def pinball(actual: Array, quantiles: Array, probabilities: Sequence[float]) -> Array:
    """Pinball loss (Koenker and Bassett 1978), mean over the quantiles.

    For one quantile q at the probability p: p (y - q) if y >= q, else (1 - p) (q - y).

    Args:
        actual: shape (n,).
        quantiles: in the same unit, shape (n, q), or (q,) for the same ones everywhere.
        probabilities: one a quantile, each in (0, 1).

    Returns:
        In the unit of `actual`, shape (n,).
    """
    above = actual[:, None] - quantiles
    loss: Array = np.maximum(np.asarray(probabilities) * above, (np.asarray(probabilities) - 1.0) * above).mean(axis=1)
    return loss


def brier(p: Array, up: Labels) -> Array:
    """Squared error of a probability (Brier 1950): 0 to 1; a coin's is 0.25.

    Args:
        p: probability of a rise, shape (n,).
        up: whether it rose, as truth values or 0 and 1, shape (n,).
    """
    loss: Array = (p - np.asarray(up, np.float64)) ** 2
    return loss


def log_loss(p: Array, up: Labels) -> Array:
    """Negative log likelihood of a probability (Good 1952), in nats; a coin's is ln 2. At most 27.6: see `SUREST`.

    Args:
        p: probability of a rise, shape (n,).
        up: whether it rose, as truth values or 0 and 1, shape (n,).
    """
    given = np.where(np.asarray(up, bool), p, 1.0 - p)
    loss: Array = -np.log(np.clip(given, SUREST, 1.0))
    return loss


def weighted_squared(actual: Array, forecast: Array, sigma: Array) -> Array:
    """Squared error in units of the row's variance, so that wild hours do not outvote calm ones.

    Args:
        actual: log returns over the horizon, shape (n,).
        forecast: of them, shape (n,).
        sigma: volatility over the horizon as known at the row, positive, shape (n,).
    """
    loss: Array = ((actual - forecast) / sigma) ** 2
    return loss
