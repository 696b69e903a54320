"""The feature spec: what is computed from bars, as a table.

Level features (prices and averages of prices) are stored because people look at them, but only scale-free features feed
the models: a model of levels learns where the price was, not where it goes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cryptosentinel.features.kernels import Array, Run
from cryptosentinel.market.bars import Interval

Group = Literal["trend", "bands", "momentum", "returns", "lags", "volatility", "volume", "calendar"]

# Raise it whenever a formula changes: stored features and bundles of another version are then refused, not mixed up.
SPEC_VERSION = 2


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        warm_up_bars: bars without a gap, its own included, before the value counts.
        feeds_models: whether candidates see it; only scale-free features do.
        formula: from a gapless run of bars to one value a bar.
    """

    name: str
    group: Group
    warm_up_bars: int
    feeds_models: bool
    description: str
    formula: Callable[[Run], Array]


def _settled(seed_bars: int, decay: float, digits: int = 14) -> int:
    """Warm-up of a recursive average: until what it began with weighs less than 10^-digits."""
    return seed_bars + math.ceil(-digits * math.log(10) / math.log(decay))


def _family(
    name: str,
    group: Group,
    numbers: tuple[int, ...],
    warm_up: Callable[[int], int],
    feeds_models: bool,
    description: str,
    formula: Callable[[Run, int], Array],
) -> tuple[Feature, ...]:
    """One feature a number, which stands for `{n}` in name and description."""

    def member(n: int) -> Feature:
        return Feature(
            name.format(n=n), group, warm_up(n), feeds_models, description.format(n=n), lambda run: formula(run, n)
        )

    return tuple(member(n) for n in numbers)


_MACD_WARM_UP = _settled(34, 1 - 2 / 27)
_RSI_WARM_UP = _settled(28, 13 / 14)
_LAGS = (1, 2, 3, 5, 10)
_DAY_S, _WEEK_S = 86_400, 7 * 86_400

# The realised volatility that scales targets and the random walk's intervals: needs three hours of 5-minute bars.
SCALE_FEATURE = "realised_volatility_36"

# fmt: off
FEATURES: tuple[Feature, ...] = (
    *_family("sma_{n}", "trend", (5, 10, 20), lambda n: n, False,
             "Simple moving average of {n} closes", lambda r, n: r.sma(n)),
    *_family("ema_{n}", "trend", (5, 10, 20), lambda n: _settled(n, 1 - 2 / (n + 1)), False,
             "Exponential moving average of {n} closes", lambda r, n: r.ema(n)),
    Feature("price_to_sma_20", "trend", 20, True,
            "Close over SMA 20, less 1", lambda r: r.close / r.sma(20) - 1),
    Feature("sma_5_to_sma_20", "trend", 20, True,
            "SMA 5 over SMA 20, less 1", lambda r: r.sma(5) / r.sma(20) - 1),
    Feature("macd", "trend", _MACD_WARM_UP, False,
            "MACD 12/26 line", lambda r: r.macd(0)),
    Feature("macd_signal", "trend", _MACD_WARM_UP, False,
            "MACD 12/26/9 signal", lambda r: r.macd(1)),
    Feature("macd_histogram", "trend", _MACD_WARM_UP, False,
            "MACD line less signal", lambda r: r.macd(2)),
    Feature("macd_to_price", "trend", _MACD_WARM_UP, True,
            "MACD line over close", lambda r: r.macd(0) / r.close),
    Feature("macd_histogram_to_price", "trend", _MACD_WARM_UP, True,
            "MACD histogram over close", lambda r: r.macd(2) / r.close),

    Feature("bollinger_upper", "bands", 20, False,
            "Upper Bollinger band 20/2", lambda r: r.bollinger(0)),
    Feature("bollinger_middle", "bands", 20, False,
            "Middle Bollinger band (SMA 20)", lambda r: r.bollinger(1)),
    Feature("bollinger_lower", "bands", 20, False,
            "Lower Bollinger band 20/2", lambda r: r.bollinger(2)),
    Feature("bollinger_position", "bands", 20, True,
            "Where the close lies between the bands, 0 to 1", lambda r: r.bollinger_position()),
    Feature("bollinger_width", "bands", 20, True,
            "Distance of the bands over the middle", lambda r: (r.bollinger(0) - r.bollinger(2)) / r.bollinger(1)),

    Feature("rsi_14", "momentum", _RSI_WARM_UP, True,
            "Relative strength index 14, 0 to 100", lambda r: r.rsi(14)),
    Feature("momentum_10", "momentum", 11, False,
            "Close less the close 10 bars ago", lambda r: r.close - r.lag(r.close, 10)),
    Feature("roc_10", "momentum", 11, True,
            "Relative change over 10 bars", lambda r: r.close / r.lag(r.close, 10) - 1),

    Feature("return", "returns", 2, False,
            "Relative change over 1 bar", lambda r: r.close / r.lag(r.close, 1) - 1),
    Feature("log_return", "returns", 2, True,
            "Log change over 1 bar", lambda r: r.log_return),
    *_family("price_lag_{n}", "lags", _LAGS, lambda n: n + 1, False,
             "Close {n} bars ago", lambda r, n: r.lag(r.close, n)),
    *_family("return_lag_{n}", "lags", _LAGS, lambda n: n + 2, True,
             "Log return {n} bars ago", lambda r, n: r.lag(r.log_return, n)),

    *_family("return_{n}_to_volatility", "returns", (36, 72, 288), lambda _: 289, True,
             "Log return over {n} bars in units of the usual one", lambda r, n: r.return_to_volatility(n)),

    Feature("volatility_20", "volatility", 21, True,
            "Annualised standard deviation of 20 log returns", lambda r: r.volatility_annualised(20)),
    *_family("realised_volatility_{n}", "volatility", (6, 12, 36, 288), lambda n: n + 1, True,
             "Root mean square of {n} log returns", lambda r, n: r.realised_volatility(n)),
    *_family("volatility_{n}_to_288", "volatility", (6, 36), lambda _: 289, True,
             "Log of realised volatility {n} over 288",
             lambda r, n: np.log(r.realised_volatility(n) / r.realised_volatility(288))),
    *_family("log_volatility_{n}", "volatility", (6, 24, 72, 288), lambda n: n, True,
             "Log of Garman and Klass's volatility of {n} bars", lambda r, n: r.log_volatility(n)),
    Feature("log_volatility_a_day_ago", "volatility", 291, True,
            "Log of Garman and Klass's volatility, 279 to 290 bars ago", lambda r: r.lag(r.log_volatility(12), 279)),
    Feature("absolute_to_root_mean_square_36", "volatility", 37, True,
            "Mean absolute log return over their root mean square, 36 bars",
            lambda r: r.absolute_to_root_mean_square(36)),
    Feature("log_largest_move_288", "volatility", 289, True,
            "Log of the largest absolute log return of 288 bars", lambda r: r.log_largest_move(288)),
    Feature("parkinson_volatility_12", "volatility", 12, True,
            "Parkinson's range volatility of 12 bars", lambda r: r.parkinson_volatility(12)),
    Feature("garman_klass_volatility_36", "volatility", 36, True,
            "Garman and Klass's range volatility of 36 bars", lambda r: r.garman_klass_volatility(36)),
    Feature("range", "volatility", 1, True,
            "Log of high over low", lambda r: r.log_range),

    *_family("volume_to_usual_{n}", "volume", (1, 12), lambda n: 287 + n, True,
             "Volume of {n} bars against its day: 1 usual, 0 none", lambda r, n: r.volume_to_usual(n)),
    *_family("close_location_volume_{n}", "volume", (3, 6, 12, 36), lambda n: 287 + n, True,
             "Where {n} closes lie in their range, by volume", lambda r, n: r.volume_pressure(r.close_location, n)),
    *_family("signed_volume_{n}", "volume", (6, 36), lambda n: 287 + n, True,
             "Volume of {n} bars, each with its return's sign",
             lambda r, n: r.volume_pressure(np.sign(r.log_return), n)),

    Feature("hour", "calendar", 1, False,
            "Hour of the day, UTC", lambda r: r.hour()),
    Feature("day_of_week", "calendar", 1, False,
            "Monday 0 to Sunday 6, UTC", lambda r: r.day_of_week()),
    Feature("new_york_minute", "calendar", 1, True,
            "Minute of the day in New York", lambda r: r.new_york_minute()),
    Feature("is_weekend", "calendar", 1, True,
            "1 on Saturday and Sunday, UTC", lambda r: (r.day_of_week() >= 5).astype(np.float64)),
    Feature("day_sin", "calendar", 1, True,
            "Time of day as sine", lambda r: r.cyclic(_DAY_S, np.sin)),
    Feature("day_cos", "calendar", 1, True,
            "Time of day as cosine", lambda r: r.cyclic(_DAY_S, np.cos)),
    Feature("week_sin", "calendar", 1, True,
            "Time of week as sine", lambda r: r.cyclic(_WEEK_S, np.sin)),
    Feature("week_cos", "calendar", 1, True,
            "Time of week as cosine", lambda r: r.cyclic(_WEEK_S, np.cos)),
)
# fmt: on


@dataclass(frozen=True)
class FeatureSpec:
    """The features of one interval, and the hash that names them.

    A store keeps one table a hash; a bundle refuses features of another hash.
    """

    interval: Interval
    features: tuple[Feature, ...] = FEATURES

    @property
    def names(self) -> list[str]:
        """All features, in table order."""
        return [feature.name for feature in self.features]

    @property
    def model_names(self) -> list[str]:
        """Those that feed the models, in table order."""
        return [feature.name for feature in self.features if feature.feeds_models]

    @property
    def warm_up_bars(self) -> int:
        """Bars without a gap until every feature counts."""
        return max(feature.warm_up_bars for feature in self.features)

    @property
    def hash(self) -> str:
        """sha256 of names, order, warm-ups, use, interval and `SPEC_VERSION`."""
        rows = [[f.name, f.group, f.warm_up_bars, f.feeds_models] for f in self.features]
        text = json.dumps([SPEC_VERSION, self.interval.name, rows])
        return hashlib.sha256(text.encode()).hexdigest()
