"""What the simple baselines need of the past of each bar, and the volatility that was realised after it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.features import compute_target
from cryptosentinel.features.kernels import VOLATILITY_FLOOR
from cryptosentinel.forecasting.baselines import EWMA_HALF_LIVES, HAR_WINDOWS
from cryptosentinel.market.bars import Interval

Array = NDArray[np.float64]


def compute_history(bars: pd.DataFrame, interval: Interval, horizon_bars: int) -> dict[str, Array]:
    """Columns for `baselines`, each of shape (len(bars),), of what is known at each bar's close.

    Returns over a gap are left out, so that a gap costs nothing but its own bars.

    Args:
        bars: ordered bars, with as much before the first row of interest as there is: up to a week counts.
        interval: of the bars.
        horizon_bars: how far targets reach.

    Returns:
        `last_return`: log return over the last `horizon_bars`, 0 where unknown; `rv_<bars>`: root mean square of the
        last log returns; `ewma_<half-life>`: root of their squares' exponential average. Volatilities are a bar.
    """
    squared = pd.Series(_bar_returns(bars, interval) ** 2)
    past = compute_target(bars, interval, horizon_bars)
    last_return = np.zeros(len(bars))
    last_return[horizon_bars:] = np.nan_to_num(past[:-horizon_bars])
    columns = {"last_return": last_return}
    for count in HAR_WINDOWS:
        columns[f"rv_{count}"] = _root(squared.rolling(count, min_periods=1).mean())
    for half_life in EWMA_HALF_LIVES:
        columns[f"ewma_{half_life}"] = _root(squared.ewm(halflife=half_life, ignore_na=True).mean())
    return columns


def compute_realised(bars: pd.DataFrame, interval: Interval, horizon_bars: int) -> Array:
    """Root of the summed squared log returns of the `horizon_bars` after each bar; NaN where one is unknown."""
    squared = pd.Series(_bar_returns(bars, interval) ** 2)
    realised = np.full(len(bars), np.nan)
    if len(bars) > horizon_bars:
        sums = squared.rolling(horizon_bars, min_periods=horizon_bars).sum().to_numpy()
        realised[:-horizon_bars] = np.sqrt(np.maximum(sums[horizon_bars:], 0.0))
    return realised


def _bar_returns(bars: pd.DataFrame, interval: Interval) -> Array:
    """Log return of each bar; NaN after a gap."""
    returns = np.full(len(bars), np.nan)
    returns[1:] = compute_target(bars, interval, 1)[:-1]
    return returns


def _root(mean_square: pd.Series) -> Array:
    # The first bar has no return; a rolling sum may end a rounding error below zero.
    values: Array = np.sqrt(np.maximum(mean_square.fillna(0.0).to_numpy(np.float64), VOLATILITY_FLOOR**2))
    return values
