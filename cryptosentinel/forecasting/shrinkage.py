"""How much of a forecast to believe, when the alternative is that the price stays where it is."""

from __future__ import annotations

import numpy as np

from cryptosentinel.bundle.inference import Array
from cryptosentinel.forecasting.significance import in_sigmas, mean_test


def shrinkage_weight(actual: Array, forecast: Array, sigma: Array, horizon_bars: int) -> float:
    """The weight w in [0, 1] with which `w * forecast` is forecast: the slope that the evidence vouches for.

    The best weight in hindsight is the slope of y/sigma on m/sigma through the origin; cut to [0, 1], call it b. Where
    its HAC standard error is s, the multiple of b that comes closest to the truth in mean square is b^2 / (b^2 + s^2)
    (Thompson 1968, with the estimate in the truth's place), so that the weight is b^3 / (b^2 + s^2). Little is left of
    a slope that luck explains (a fifth at b = s / 2) and most of one that it does not (nine tenths at b = 3 s).

    Args:
        actual: log returns y over the horizon, shape (n,).
        forecast: of them, m, by models that have not seen them, shape (n,).
        sigma: volatility over the horizon as known at the row, positive, shape (n,).
        horizon_bars: how many bars the returns reach ahead.

    Returns:
        0 where there is nothing to say: forecasts of 0, ones that point the wrong way, or too few rows (see
        `significance`).

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
    slope, error = min(slope / largest, 1.0), error / largest
    return slope**3 / (slope**2 + error**2) if slope > 0 else 0.0
