"""How much of a forecast to believe, when the alternative is that the price stays where it is."""

from __future__ import annotations

import numpy as np

from cryptosentinel.bundle.inference import Array
from cryptosentinel.forecasting.significance import in_sigmas, mean_test


def shrinkage_weight(actual: Array, forecast: Array, sigma: Array, horizon_bars: int) -> float:
    """The weight w in [0, 1] with which `w * forecast` is forecast: the slope that the evidence vouches for.

    The best weight in hindsight is the slope of y/sigma on m/sigma through the origin. It is as uncertain as the
    forecast is weak, so one HAC standard error is taken off, as in the one-standard-error rule (Breiman et al. 1984),
    and the rest is cut to [0, 1]. A forecast of noise mostly gets 0: its slope would have to be a standard error above
    0.

    Args:
        actual: log returns y over the horizon, shape (n,).
        forecast: of them, m, by models that have not seen them, shape (n,).
        sigma: volatility over the horizon as known at the row, positive, shape (n,).
        horizon_bars: how many bars the returns reach ahead.

    Returns:
        0 where there is nothing to say: forecasts of 0, or too few rows (see `significance`).

    Raises:
        ValueError: an input is not a finite series, they differ in length, or sigma is not positive.
    """
    y, m = in_sigmas(actual, forecast, sigma)
    largest = float(np.abs(m).max(initial=0.0))
    if largest == 0.0:
        return 0.0
    m = m / largest
    power = float(np.mean(m**2))
    slope = float(np.mean(y * m)) / power
    error = mean_test(m * (y - slope * m), horizon_bars, "two-sided").standard_error / power
    return float(np.clip((slope - error) / largest, 0.0, 1.0))
