"""What every forecast is held against: rules for the return, and for the spread, that cost nothing to have.

A baseline is a function of a history and the rows it may be fitted on, and answers for every row of the history; NaN
where the row lacks what it needs. A history is a mapping of columns, one value a row, rows in time order:

    actual                    log return y over the horizon
    realised                  root of the sum of squared 1-bar log returns over the same horizon
    scale                     volatility over the horizon as known at the row
    last_return               log return over the horizon that ends at the row
    close_location_volume_12  the feature of that name
    rv_6, rv_288, rv_2016     root mean square of so many 1-bar log returns up to the row
    ewma_6 ... ewma_576       volatility a bar, exponentially weighted with that half-life in bars

The first two are the future, and are only looked at in the rows fitted on: these must end a horizon before the rows
judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cryptosentinel.bundle import PROBABILITIES
from cryptosentinel.bundle.inference import Array
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features.kernels import VOLATILITY_FLOOR
from cryptosentinel.forecasting.losses import pinball

History = Mapping[str, Array]
Baseline = Callable[[History, slice], Array]

EWMA_HALF_LIVES = (6, 12, 18, 24, 36, 72, 144, 288, 576)
HAR_WINDOWS = (6, 288, 2016)
SINGLE_FEATURE = "close_location_volume_12"
# Before a logarithm is taken, volatility is raised to this share of its median: a market that stood still for an hour
# would be the one row that decides a least-squares fit.
_LEAST_SHARE = 0.05


def random_walk(history: History, _training: slice) -> Array:
    """The price stays: 0."""
    return np.zeros(len(history["last_return"]))


def continued(history: History, _training: slice) -> Array:
    """The last horizon's log return once more."""
    return history["last_return"]


def reversed_(history: History, _training: slice) -> Array:
    """The last horizon's log return taken back."""
    return -history["last_return"]


def single_feature(history: History, training: slice) -> Array:
    """Least squares of y / scale on where closes lie in their range, by volume; through the origin, so with no trend.

    Raises:
        NotEnoughDataError: no training row has all it needs.
    """
    feature, scale = history[SINGLE_FEATURE], history["scale"]
    x, y = _complete("single_feature", feature[training], history["actual"][training] / scale[training])
    power = float(np.sum(x**2))
    slope = float(np.sum(x * y)) / power if power > 0.0 else 0.0
    return slope * feature * scale


def constant(history: History, _training: slice) -> Array:
    """The same spread everywhere: 1. Its unit is left to the quantiles that are learnt on top."""
    return np.ones(len(history["last_return"]))


def ewma(history: History, training: slice) -> Array:
    """Exponentially weighted volatility (RiskMetrics 1996) with the half-life that would have served best.

    That is the half-life with the lowest pinball loss of y on the training rows, each with the quantiles of its own
    y / volatility: the loss that spreads are judged by. The volatility is multiplied by one factor, so that its
    logarithm is on average that of the realised volatility.

    Raises:
        NotEnoughDataError: no training row has all it needs.
    """
    half_life = best_half_life(history, training)
    volatility = np.maximum(history[f"ewma_{half_life}"], VOLATILITY_FLOOR)
    known, realised = _complete("ewma", volatility[training], history["realised"][training])
    return volatility * float(np.exp(np.mean(_log(realised, realised) - np.log(known))))


def best_half_life(history: History, training: slice) -> int:
    """The half-life in bars that `ewma` uses; the shortest of equals.

    Raises:
        NotEnoughDataError: no training row has all it needs.
    """
    y, *volatilities = _complete(
        "ewma",
        history["actual"][training],
        *(np.maximum(history[f"ewma_{bars}"][training], VOLATILITY_FLOOR) for bars in EWMA_HALF_LIVES),
    )
    losses = [
        float(pinball(y, v[:, None] * np.quantile(y / v, PROBABILITIES), PROBABILITIES).mean()) for v in volatilities
    ]
    return EWMA_HALF_LIVES[int(np.argmin(losses))]


def har(history: History, training: slice) -> Array:
    """Heterogeneous autoregression of log realised volatility (Corsi 2009): least squares on 30 minutes, a day, a week.

    Raises:
        NotEnoughDataError: no training row has all it needs.
    """
    columns = [history[f"rv_{bars}"] for bars in HAR_WINDOWS]
    realised, *inputs = _complete("har", history["realised"][training], *(column[training] for column in columns))
    design = np.column_stack([np.ones(len(realised)), *(_log(x, x) for x in inputs)])
    # The normal equations, summed by einsum: BLAS adds up in another order on another number of cores.
    moments, target = np.einsum("ni,nj->ij", design, design), np.einsum("ni,n->i", design, _log(realised, realised))
    coefficients, *_ = np.linalg.lstsq(moments, target, rcond=None)
    rows = [_log(column, x) for column, x in zip(columns, inputs, strict=True)]
    return np.asarray(np.exp(coefficients[0] + sum(b * row for b, row in zip(coefficients[1:], rows, strict=True))))


POINT: Mapping[str, Baseline] = {
    "random_walk": random_walk,
    "continued": continued,
    "reversed": reversed_,
    "single_feature": single_feature,
}
SPREAD: Mapping[str, Baseline] = {"constant": constant, "ewma": ewma, "har": har}


def _complete(name: str, *columns: Array) -> list[Array]:
    """The rows in which every column is finite."""
    usable = np.logical_and.reduce([np.isfinite(column) for column in columns])
    if not usable.any():
        raise NotEnoughDataError(f"Training rows of the baseline {name}", have=0, need=1)
    return [column[usable] for column in columns]


def _log(volatility: Array, known: Array) -> Array:
    """The logarithm, raised to a floor that the training rows' median sets."""
    floor = max(float(np.median(known)) * _LEAST_SHARE, VOLATILITY_FLOOR)
    return np.asarray(np.log(np.maximum(volatility, floor)))
