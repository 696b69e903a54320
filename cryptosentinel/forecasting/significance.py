"""Whether a difference can be told from luck, where the labels of neighbouring rows overlap.

Rows a bar apart with labels of `horizon_bars` bars share most of their label, so that their mean is far less certain
than that of independent rows. All tests here are tests of a mean with the heteroscedasticity and autocorrelation
consistent (HAC) variance of Newey and West (1987). Three things keep them honest in the sizes that occur here:

- **Lag**: `hac_lag`, the larger of 4 horizons and 1.3 sqrt(n) (Lazarus, Lewis, Stock and Watson 2018). Bartlett's
  weights shrink with the lag, so that lags up to the horizon alone miss a quarter of the variance of overlapping
  labels, and the differences of losses are alike for hours on top.
- **Bias**: the sample mean is taken out before the variance is measured, which hides a share b - b^2/3 of it,
  b = (lag + 1) / n. It is put back.
- **Student t** with 1.5 / b degrees of freedom, those of the variance estimate (its relative variance is 4b/3:
  Priestley 1981), instead of the normal distribution. Together with the bias this is within 0.03 of the fixed-b
  critical values of Kiefer and Vogelsang (2005) up to b = 0.2, and stricter than they are where the rows are few.

Degenerate series get an answer, never a warning. Fewer rows than four independent labels, and a series that is constant
(zeros among them), say nothing: statistic 0, p-value 1; the standard error is infinite in the first case and 0 in the
second. What is not finite is refused: `ValueError`.

The tests of this module measure its size. What no lag mends: losses that are alike for as long as a good part of the
sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cryptosentinel.bundle.inference import Array

Alternative = Literal["greater", "less", "two-sided"]

MIN_INDEPENDENT_LABELS = 4
# A spread below this share of the largest value is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class TestResult:
    """A test of whether a mean is 0.

    Attributes:
        statistic: the mean over its standard error.
        p_value: chance of a statistic like this one if the mean is 0; small is evidence.
        mean: of the series, in its unit.
        standard_error: of the mean, in the same unit.
        effective_size: how many independent rows would be as certain: see `effective_size`.
    """

    statistic: float
    p_value: float
    mean: float
    standard_error: float
    effective_size: float


def hac_lag(rows: int, horizon_bars: int) -> int:
    """How many lags the variance of a mean takes into account: max(4 horizons, 1.3 sqrt(rows)), less than `rows`."""
    return max(min(max(4 * horizon_bars, math.ceil(1.3 * math.sqrt(rows))), rows - 1), 0)


def long_run_variance(x: Array, lag: int) -> float:
    """Newey and West's (1987) variance: g(0) + 2 sum_j (1 - j / (lag + 1)) g(j), g the autocovariances.

    Computed as the mean square of all sums of lag + 1 neighbours, which is the same, never negative, and costs one
    pass.

    Args:
        x: shape (n,).
        lag: how many lags, not negative; more than n - 1 are n - 1.

    Returns:
        In the squared unit of x; n times the variance of the mean. 0 for no rows, or a constant.

    Raises:
        ValueError: x is not a finite series, or the lag is negative.
    """
    centred, unit = _centred(*as_series(x=x))
    return _bartlett(centred, lag) * unit * unit


def effective_size(x: Array, lag: int) -> float:
    """How many independent rows would have a mean as certain: n times variance over long-run variance, at most n.

    Args:
        x: shape (n,).
        lag: as in `long_run_variance`.

    Returns:
        1 for a constant, whose rows all say the same; 0 for no rows.
    """
    (x,) = as_series(x=x)
    centred, _ = _centred(x)
    variance = _bartlett(centred, 0)
    if variance == 0.0:
        return float(min(len(x), 1))
    return min(len(x) * variance / _bartlett(centred, lag), float(len(x)))


def standard_error(x: Array, horizon_bars: int) -> float:
    """That of the mean of a series, as `mean_test` has it, which its quantiles of Student's t need SciPy for.

    Raises:
        ValueError: as `mean_test`.
    """
    (x,) = as_series(x=x)
    return _mean_and_error(x, horizon_bars)[1]


def mean_test(x: Array, horizon_bars: int, alternative: Alternative) -> TestResult:
    """Tests whether the mean of a series is 0.

    Args:
        x: one value a row, rows in time order, shape (n,).
        horizon_bars: how many bars the rows' labels reach ahead, at least 1.
        alternative: what a small p-value speaks for: a mean `greater` than 0, `less`, or either (`two-sided`).

    Raises:
        ValueError: x is not a finite series, or an argument is unknown.
    """
    if alternative not in {"greater", "less", "two-sided"}:
        raise ValueError(f"alternative must be greater, less or two-sided, not {alternative}")
    (x,) = as_series(x=x)
    lag = hac_lag(len(x), horizon_bars)
    mean, error = _mean_and_error(x, horizon_bars)
    size = effective_size(x, lag)
    if not 0.0 < error < math.inf:
        return TestResult(0.0, 1.0, mean, error, size)
    statistic = mean / error
    return TestResult(statistic, _p_value(statistic, _freedom(len(x), lag), alternative), mean, error, size)


def mean_interval(x: Array, horizon_bars: int, level: float = 0.95) -> tuple[float, float]:
    """Where the mean lies with the probability `level`: the means that the two-sided test does not reject.

    Args:
        x: one value a row, rows in time order, shape (n,).
        horizon_bars: how many bars the rows' labels reach ahead, at least 1.
        level: between 0 and 1.

    Returns:
        Lower and upper end; infinite where the rows are too few, equal for a constant.

    Raises:
        ValueError: x is not a finite series, or the level is no level.
    """
    from scipy.special import stdtrit

    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, but is {level}")
    (x,) = as_series(x=x)
    mean, error = _mean_and_error(x, horizon_bars)
    if 0.0 < error < math.inf:
        error *= float(stdtrit(_freedom(len(x), hac_lag(len(x), horizon_bars)), 0.5 + level / 2))
    return mean - error, mean + error


def clark_west(actual: Array, forecast: Array, horizon_bars: int, sigma: Array | None = None) -> TestResult:
    """Whether a forecast holds information that "the price stays" does not (Clark and West 2007); one-sided.

    The random walk (a forecast of 0) is nested in every model, and a model that estimates what is really 0 has the
    larger squared error for its estimation noise alone. Clark and West take that noise out: the mean of y^2 - (y - m)^2
    + m^2 = 2 y m is tested. With `sigma`, each row counts in units of its variance, which leaves the test valid and
    makes it sharper where volatility changes.

    Args:
        actual: log returns y over the horizon, shape (n,).
        forecast: of them, m, made without them, shape (n,).
        horizon_bars: how many bars they reach ahead.
        sigma: volatility over the horizon as known at the row, positive, shape (n,).

    Returns:
        A small p-value says that there is information, not that the forecast as it is beats the random walk.

    Raises:
        ValueError: an input is not a finite series, they differ in length, or sigma is not positive.
    """
    if sigma is None:
        actual, forecast = as_series(actual=actual, forecast=forecast)
    else:
        actual, forecast = in_sigmas(actual, forecast, sigma)
    with np.errstate(over="ignore"):  # what overflows is refused as not finite
        gain = 2.0 * actual * forecast
    return mean_test(gain, horizon_bars, "greater")


def diebold_mariano(loss_a: Array, loss_b: Array, horizon_bars: int) -> TestResult:
    """Whether forecaster a loses more than b (Diebold and Mariano 1995); positive: a loses more; one-sided.

    The statistic is multiplied by the factor of Harvey, Leybourne and Newbold (1997) for n forecasts h bars ahead,
    sqrt((n + 1 - 2h + h (h - 1) / n) / n), and held against Student's t as they propose, but with the degrees of
    freedom of this module, which are fewer than their n - 1.

    Args:
        loss_a: loss a row, of any kind, shape (n,).
        loss_b: the same kind on the same rows, shape (n,).
        horizon_bars: how many bars the forecasts reach ahead.

    Raises:
        ValueError: an input is not a finite series, or they differ in length.
    """
    loss_a, loss_b = as_series(loss_a=loss_a, loss_b=loss_b)
    with np.errstate(over="ignore"):
        plain = mean_test(loss_a - loss_b, horizon_bars, "greater")
    if plain.statistic == 0.0:
        return plain
    n, h = len(loss_a), horizon_bars
    factor = math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    statistic, error = plain.statistic * factor, plain.standard_error / factor
    p_value = _p_value(statistic, _freedom(n, hac_lag(n, h)), "greater")
    return TestResult(statistic, p_value, plain.mean, error, plain.effective_size)


def as_series(**named: Array) -> list[Array]:
    """Each as a float64 series; `ValueError` for what is no series, not finite, or of another length than the first."""
    series = {name: np.asarray(values, np.float64) for name, values in named.items()}
    first = next(iter(series.values()))
    for name, values in series.items():
        if values.ndim != 1 or values.shape != first.shape:
            raise ValueError(f"{name} has the shape {values.shape}; all must be series of one length")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has {int((~np.isfinite(values)).sum())} values that are not finite")
    return list(series.values())


def in_sigmas(actual: Array, forecast: Array, sigma: Array) -> list[Array]:
    """`actual` and `forecast` over `sigma`; `ValueError` as in `as_series`, or where sigma is not positive."""
    actual, forecast, sigma = as_series(actual=actual, forecast=forecast, sigma=sigma)
    if not (sigma > 0).all():
        raise ValueError("sigma must be positive everywhere")
    with np.errstate(over="ignore"):
        return as_series(actual=actual / sigma, forecast=forecast / sigma)


def _centred(x: Array) -> tuple[Array, float]:
    """The series less its mean in units of its largest value, so that no square overflows; zeros for a constant."""
    unit = float(np.abs(x).max(initial=0.0))
    if unit == 0.0:
        return x, 0.0
    scaled = x / unit
    if scaled.max() - scaled.min() <= _ROUNDING:
        return np.zeros_like(x), unit
    return scaled - scaled.mean(), unit


def _bartlett(centred: Array, lag: int) -> float:
    if lag < 0:
        raise ValueError(f"lag must not be negative, but is {lag}")
    if len(centred) == 0:
        return 0.0
    width = min(lag + 1, len(centred))
    running = np.cumsum(centred)
    padded = np.concatenate([np.zeros(width), running, np.full(width - 1, running[-1])])
    sums = padded[width:] - padded[:-width]
    # Not a dot product: BLAS adds up in another order on another number of cores.
    return float(np.sum(sums**2)) / (len(centred) * width)


def _mean_and_error(x: Array, horizon_bars: int) -> tuple[float, float]:
    """The mean and its standard error: infinite where rows are too few, 0 for a constant."""
    if horizon_bars < 1:
        raise ValueError(f"horizon_bars must be at least 1, but is {horizon_bars}")
    centred, unit = _centred(x)
    mean = float((x / unit).mean()) * unit if unit else 0.0
    if len(x) < MIN_INDEPENDENT_LABELS * horizon_bars:
        return mean, math.inf
    lag = hac_lag(len(x), horizon_bars)
    share = (lag + 1) / len(x)
    seen = 1.0 - share + (share**2 - 1.0 / len(x) ** 2) / 3.0  # exact for independent rows
    return mean, unit * math.sqrt(_bartlett(centred, lag) / seen / len(x))


def _freedom(rows: int, lag: int) -> float:
    return min(1.5 * rows / (lag + 1), max(rows - 1.0, 1.0))


def _p_value(statistic: float, freedom: float, alternative: Alternative) -> float:
    from scipy.special import stdtr

    if alternative == "two-sided":
        return float(2.0 * stdtr(freedom, -abs(statistic)))
    return float(stdtr(freedom, -statistic if alternative == "greater" else statistic))
