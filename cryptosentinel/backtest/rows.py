"""The settled forecasts of a backtest as arrays, and the groups they are looked at in."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.config import IntervalName
from cryptosentinel.forecasting.losses import brier
from cryptosentinel.market.bars import Interval

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Times = NDArray[np.datetime64]

BASELINES = ("constant", "ewma", "har")
_WEEKDAYS = 7
_MONDAY = 3  # days from a Monday to 1970-01-01, a Thursday


class Rows:
    """The settled forecasts, by `made_at`: a view of a frame, of which only what is asked for becomes an array.

    Args:
        forecasts: a backtest's forecasts, finished or not, ordered by `made_at`.
        interval: of the bars.
        horizon_bars: how far the forecasts reach.
    """

    def __init__(self, forecasts: pd.DataFrame, interval: IntervalName, horizon_bars: int) -> None:
        self.interval, self.horizon_bars = Interval(interval), horizon_bars
        self._frame = forecasts
        settled = np.isfinite(forecasts["actual_return"].to_numpy(np.float64, na_value=np.nan))
        self._where: slice | Mask = slice(None) if settled.all() else settled
        self.count = int(settled.sum())

    def __call__(self, name: str) -> Array:
        """A column of numbers; what is missing is NaN."""
        return np.asarray(self._frame[name].to_numpy(np.float64, na_value=np.nan)[self._where])

    def texts(self, name: str) -> NDArray[np.object_]:
        """A column of texts."""
        return np.asarray(self._frame[name].to_numpy(object)[self._where])

    @cached_property
    def made_at(self) -> Times:
        """UTC, in milliseconds, without a zone."""
        return np.asarray(self._frame["made_at"].to_numpy("datetime64[ms]")[self._where])

    @cached_property
    def actual(self) -> Array:
        """Log returns that came."""
        return self("actual_return")

    @cached_property
    def forecast(self) -> Array:
        """Log returns as they were forecast."""
        return np.asarray(np.log(self("predicted_price") / self("price")))

    @cached_property
    def p_up(self) -> Array:
        """The stated probability of a rise."""
        return self("p_up")

    @cached_property
    def up(self) -> Mask:
        """Whether the price rose; one that stayed did not."""
        return np.asarray(self.actual > 0)

    @cached_property
    def stated(self) -> Mask:
        """Whether a direction was stated at all."""
        return np.asarray(np.isfinite(self.p_up) & (self.p_up != 0.5))

    @cached_property
    def right(self) -> Mask:
        """Whether the stated direction came."""
        return np.asarray(self.stated & ((self.p_up > 0.5) == self.up))

    def covered(self, level: int) -> Mask:
        """Whether the 80% or the 95% interval held the price."""
        return self._covered_80 if level == 80 else self._covered_95

    @cached_property
    def _covered_80(self) -> Mask:
        return self._inside("lower_80", "upper_80")

    @cached_property
    def _covered_95(self) -> Mask:
        return self._inside("lower_95", "upper_95")

    def _inside(self, lower: str, upper: str) -> Mask:
        actual = self("actual_price")
        return (actual >= self(lower)) & (actual <= self(upper))

    @cached_property
    def pinball(self) -> Array:
        """Mean pinball loss of the nine quantiles, in basis points."""
        return self("pinball")

    @cached_property
    def pinball_of(self) -> dict[str, Array]:
        """The same by baseline."""
        return {name: self(f"pinball_{name}") for name in BASELINES}

    @cached_property
    def brier(self) -> Array:
        """Squared error of the probability of a rise."""
        return brier(self.p_up, self.up)

    @cached_property
    def brier_base(self) -> Array:
        """The same of the trailing share of rises."""
        return brier(self("p_base"), self.up)

    @cached_property
    def months(self) -> dict[str, Mask]:
        """By calendar month, UTC."""
        month = self.made_at.astype("datetime64[M]")
        return {str(name): month == name for name in np.unique(month)}

    @cached_property
    def hour(self) -> NDArray[np.int64]:
        """Hour of day, UTC."""
        return self.made_at.astype("datetime64[h]").astype(np.int64) % 24

    @cached_property
    def weekday(self) -> NDArray[np.int64]:
        """0 is Monday, UTC."""
        return (self.made_at.astype("datetime64[D]").astype(np.int64) + _MONDAY) % _WEEKDAYS

    @property
    def hours(self) -> dict[str, Mask]:
        """By hour of day, UTC."""
        return {f"{hour:02d}": self.hour == hour for hour in np.unique(self.hour)}

    @property
    def terciles(self) -> dict[str, Mask]:
        """By the model's own volatility forecast, a third of the rows each."""
        sigma = self("sigma")
        low, high = np.nanquantile(sigma, (1 / 3, 2 / 3))
        return {"calm third": sigma <= low, "middle third": (sigma > low) & (sigma <= high), "wild third": sigma > high}

    @property
    def regimes(self) -> dict[str, Mask]:
        """By the regime that the bundle named."""
        codes, names = pd.factorize(self.texts("regime"), sort=True)
        return {str(name): codes == number for number, name in enumerate(names)}

    @property
    def familiarity(self) -> dict[str, Mask]:
        """By whether the features were like those trained on."""
        outlying = self("outlying") == 1
        return {"familiar features": ~outlying, "unfamiliar features": outlying}
