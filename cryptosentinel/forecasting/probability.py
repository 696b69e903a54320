"""The probability of a rise: from a classifier's score to a calibrated one, and how well calibrated it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle.calibration import Calibration
from cryptosentinel.bundle.inference import Array
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.forecasting.losses import Labels
from cryptosentinel.forecasting.significance import as_series

KNOTS = 200


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of similar probability: how many, the mean probability forecast, and the share that rose."""

    count: int
    forecast: float
    observed: float


def fit_venn_abers(score: Array, up: Labels) -> Calibration:
    """Inductive Venn-Abers calibration (Vovk, Petej and Fedorova 2015) as a monotone table of at most `KNOTS` knots.

    At a score s, isotonic regression of the labels on the scores is fitted twice: with (s, not up) added to the rows,
    and with (s, up). Its two values at s, p0 < p1, are merged as p1 / (1 - p0 + p1), their minimax under log loss.
    Unlike plain isotonic regression it never says 0 or 1, and where rows are few it stays near one half.

    The knots are calibration scores, exact there, and linear between. Where there are more than `KNOTS`, they are the
    middles of so many shares of the rows: an end is not left to its last few rows. Rows between two knots are pooled by
    an isotonic regression of their own first, which changes no fit that contains them: pooling adjacent violators gives
    the same in any order. p0 and p1 never decrease in s, and neither does the merged value; what rounding does to that
    is undone by a running maximum.

    The guarantee is for exchangeable rows. Ours overlap and follow each other in time: that is why the result is
    measured (`calibration_error`) and not taken for granted.

    Args:
        score: of rows that the classifier was not fitted on, the higher the likelier a rise, shape (n,).
        up: whether it rose, as truth values or 0 and 1, shape (n,).

    Returns:
        With no rows at all: one half everywhere.

    Raises:
        ValueError: an input is not a finite series, or they differ in length.
    """
    score, up = as_series(score=score, up=np.asarray(up, np.float64))
    values, inverse = np.unique(score, return_inverse=True)
    if len(values) == 0:
        return Calibration(scores=[0.0], probabilities=[0.5])
    weights = np.bincount(inverse).astype(np.float64)
    means = np.bincount(inverse, weights=up) / weights
    knots = np.arange(len(values))
    if len(values) > KNOTS:
        knots = np.unique(np.sort(inverse)[((np.arange(KNOTS) + 0.5) * len(score) / KNOTS).astype(np.int64)])
    pooled: list[tuple[Array, Array]] = []
    positions = []
    for begin, knot in zip(np.concatenate([[0], knots[:-1] + 1]), knots, strict=True):
        pooled.append(_pool(means[begin:knot], weights[begin:knot]))
        positions.append(sum(len(part) for part, _ in pooled))
        pooled.append((means[knot : knot + 1], weights[knot : knot + 1]))
    level, weight = (np.concatenate(parts) for parts in zip(*pooled, strict=True))
    low, high = (np.array([_with_row(level, weight, at, label) for at in positions]) for label in (0.0, 1.0))
    merged = np.maximum.accumulate(high / (1.0 - low + high))
    return Calibration(scores=values[knots].tolist(), probabilities=merged.tolist())


def _pool(means: Array, weights: Array) -> tuple[Array, Array]:
    """The blocks of a weighted isotonic regression: their values and weights."""
    from scipy.optimize import isotonic_regression

    if len(means) == 0:
        return means, weights
    fit = isotonic_regression(means, weights=weights)
    return fit.x[fit.blocks[:-1]], fit.weights


def _with_row(means: Array, weights: Array, at: int, label: float) -> float:
    """The isotonic regression's value at a group of rows, when one more row with a label joins it."""
    from scipy.optimize import isotonic_regression

    means, weights = means.copy(), weights.copy()
    means[at] = (means[at] * weights[at] + label) / (weights[at] + 1.0)
    weights[at] += 1.0
    return float(np.clip(isotonic_regression(means, weights=weights).x[at], 0.0, 1.0))


def reliability(p: Array, up: Labels, bins: int = 10) -> list[ReliabilityBin]:
    """Forecast and observed frequency in bins of about equally many rows, from the lowest probability to the highest.

    Rows with the same probability are in the same bin, so that there are fewer bins where there are few probabilities.

    Args:
        p: probability of a rise, shape (n,).
        up: whether it rose, as truth values or 0 and 1, shape (n,).
        bins: at least 1.
    """
    p, up = as_series(p=p, up=np.asarray(up, np.float64))
    number = _bin_numbers(p, bins)
    counts = np.bincount(number)
    forecast, observed = (np.bincount(number, weights=values) for values in (p, up))
    return [
        ReliabilityBin(int(count), float(f / count), float(o / count))
        for count, f, o in zip(counts, forecast, observed, strict=True)
        if count
    ]


def calibration_error(p: Array, up: Labels, bins: int = 10) -> float:
    """Mean distance of forecast and observed frequency over the bins of `reliability`, weighted by their rows; 0 to 1.

    Noise alone keeps it above 0: hold it against `perfect_calibration_error`.

    Raises:
        NotEnoughDataError: there are no rows.
    """
    if len(p) == 0:
        raise NotEnoughDataError("Rows to measure calibration on", have=0, need=1)
    return sum(b.count * abs(b.forecast - b.observed) for b in reliability(p, up, bins)) / len(p)


def perfect_calibration_error(
    p: Array, horizon_bars: int, bins: int = 10, draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """The calibration error of a forecaster whose probabilities are right, by chance alone.

    Labels are drawn that rise with exactly the probability p, and overlap as ours do: the label of row t is up where
    the sum of `horizon_bars` independent normal returns after t, in units of its deviation, is below the p-quantile of
    the normal distribution. Neighbouring rows share all returns but one. Rows are taken to be one bar apart; that some
    are missing is left out.

    Args:
        p: probabilities of a rise, rows in time order, shape (n,).
        horizon_bars: how many bars a label reaches ahead, at least 1.
        bins: as in `calibration_error`.
        draws: how often labels are drawn.
        seed: of the draws.

    Returns:
        The mean, and the error that 95 of 100 perfect forecasters stay below.

    Raises:
        NotEnoughDataError: there are no rows.
        ValueError: p is not a series of probabilities.
    """
    from scipy.special import ndtri

    (p,) = as_series(p=p)
    if len(p) == 0:
        raise NotEnoughDataError("Rows to simulate calibration on", have=0, need=1)
    if p.min() < 0.0 or p.max() > 1.0:
        raise ValueError(f"p reaches from {p.min():g} to {p.max():g}; probabilities are between 0 and 1")
    noise = np.random.default_rng(seed)
    number = _bin_numbers(p, bins)
    forecast = np.bincount(number, weights=p)
    threshold = ndtri(p) * np.sqrt(horizon_bars)
    errors = np.empty(draws)
    for draw in range(draws):
        price = np.cumsum(noise.standard_normal(len(p) + horizon_bars))
        up = price[horizon_bars:] - price[:-horizon_bars] < threshold
        errors[draw] = np.abs(forecast - np.bincount(number, weights=up)).sum() / len(p)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def _bin_numbers(p: Array, bins: int) -> NDArray[np.int64]:
    """Which of `bins` bins each row is in, by the rank of its value; equal values share their middle rank."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, but is {bins}")
    ordered = np.sort(p)
    rank = np.searchsorted(ordered, p, "left") + np.searchsorted(ordered, p, "right") - 1
    return np.asarray(rank * bins // (2 * len(p)), np.int64)
