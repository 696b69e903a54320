"""The models of volatility: the forecast of the spread is the geometric mean of theirs.

Two kinds that err differently: boosted trees on every feature, and a ridge regression on logarithms with a profile of
the day, a richer HAR (Corsi 2009). Together they lose less than either (`docs/study.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cryptosentinel.bundle.inference import Array
from cryptosentinel.features.kernels import LOG_FLOOR
from cryptosentinel.forecasting.candidates import Setup
from cryptosentinel.forecasting.dataset import Dataset

_LOGARITHMS = (
    "log_volatility_6",
    "log_volatility_24",
    "log_volatility_72",
    "log_volatility_288",
    "log_volatility_a_day_ago",
    "volatility_6_to_288",
    "volatility_36_to_288",
    "log_largest_move_288",
    "absolute_to_root_mean_square_36",
    "volume_to_usual_1",
    "volume_to_usual_12",
)
_CLOCK, _WEEKEND, _HOURS = "new_york_minute", "is_weekend", 24


def volatility_target(rows: Dataset) -> Array:
    """What the models are fitted on: the logarithm of the volatility of the horizon, shape (n,).

    That is the root of the mean of two measures of its variance: the sum of the squared returns of its bars, which is
    precise, and the square of their sum, which is what is asked for.
    """
    target: Array = 0.5 * np.log((rows.realised**2 + rows.y**2) / 2 + LOG_FLOOR)
    return target


def _trees(setup: Setup, _names: Sequence[str]) -> Any:
    from xgboost import XGBRegressor

    return XGBRegressor(
        n_estimators=200,
        max_depth=5,
        learning_rate=0.05,
        subsample=0.5,
        colsample_bynode=0.5,
        min_child_weight=50,
        reg_lambda=10.0,
        max_bin=128,
        tree_method="hist",
        random_state=setup.seed,
        n_jobs=setup.threads,
    )


def _linear(_setup: Setup, names: Sequence[str]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler, StandardScaler

    hours = KBinsDiscretizer(_HOURS, encode="onehot-dense", strategy="uniform", subsample=None)
    # Clipped to what was trained on: a straight line in logarithms, drawn on, soon forecasts a volatility of 10^70.
    logarithms = make_pipeline(MinMaxScaler(clip=True), StandardScaler())
    columns = ColumnTransformer(
        [
            ("logarithms", logarithms, [names.index(name) for name in _LOGARITHMS]),
            ("hours", hours, [names.index(_CLOCK)]),
            ("weekend", "passthrough", [names.index(_WEEKEND)]),
        ]
    )
    return make_pipeline(columns, Ridge(alpha=30.0))


# By the name of the part that trains it, an unfitted model for a setup and the names of the features.
VOLATILITY_MODELS: Mapping[str, Callable[[Setup, Sequence[str]], Any]] = {
    "volatility_trees": _trees,
    "volatility_linear": _linear,
}
