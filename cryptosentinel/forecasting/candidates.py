"""The field of models, as tables of settings.

Preset `classic` has the settings everyone uses; they fit noise. Preset `default` is regularised for returns that are
nearly all noise, fits on y / scale (least squares weighted by 1 / variance, so that wild days do not decide alone) and
costs a thirtieth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle import RANDOM_WALK
from cryptosentinel.errors import UserInputError

Preset = Literal["default", "classic"]
Target = Literal["log_return", "standardised"]


# Of longer histories each tree sees a sample of this size: it is enough to split on, and keeps eight years affordable.
_MAX_TREE_ROWS = 50_000


@dataclass(frozen=True)
class Setup:
    """What an estimator is made for.

    Attributes:
        rows: how many rows it will be fitted on.
        seed: of whatever it draws.
        threads: that the fit may use.
    """

    preset: Preset
    rows: int
    seed: int
    threads: int

    def share(self, wanted: float) -> float:
        """The share of the rows that a tree sees: `wanted`, or what makes `_MAX_TREE_ROWS`."""
        return min(wanted, _MAX_TREE_ROWS / self.rows)


@dataclass(frozen=True)
class Candidate:
    """A model that forecasts the return.

    Attributes:
        label: for people.
        make: from a fit's setup to an unfitted estimator; None for the random walk: nothing to fit.
    """

    name: str
    label: str
    make: Callable[[Setup], Any] | None

    def target(self, preset: Preset) -> Target:
        """What the model is fitted on."""
        return "log_return" if preset == "classic" or self.make is None else "standardised"


def _ridge(setup: Setup) -> Any:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    if setup.preset == "classic":
        return make_pipeline(StandardScaler(), Ridge(alpha=1.0))
    # Clipped to what was trained on: a straight line, drawn on, forecasts a doubled price for a wild row.
    return make_pipeline(MinMaxScaler(clip=True), StandardScaler(), Ridge(alpha=10_000.0))


def _random_forest(setup: Setup) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    settings: dict[str, Any] = {"n_estimators": 100, "max_depth": 10}
    if setup.preset == "default":
        settings = {"n_estimators": 60, "max_depth": 7, "max_features": 0.33, "min_samples_leaf": 50}
        settings |= {"max_samples": setup.share(0.1)}
    return RandomForestRegressor(**settings, random_state=setup.seed, n_jobs=setup.threads)


def _gradient_boosting(setup: Setup) -> Any:
    from sklearn.ensemble import GradientBoostingRegressor

    settings: dict[str, Any] = {"max_depth": 5, "learning_rate": 0.1}
    if setup.preset == "default":
        settings = {"max_depth": 3, "learning_rate": 0.03, "max_features": "sqrt", "min_samples_leaf": 50}
        settings |= {"subsample": setup.share(0.25)}
    return GradientBoostingRegressor(n_estimators=100, **settings, random_state=setup.seed)


def _boosting(setup: Setup) -> dict[str, Any]:
    """Settings of XGBoost, as regressor and as classifier."""
    settings: dict[str, Any] = {"max_depth": 6, "learning_rate": 0.1}
    if setup.preset == "default":
        settings = {"max_depth": 3, "learning_rate": 0.03, "subsample": 0.5, "colsample_bynode": 0.33, "max_bin": 64}
        settings |= {"min_child_weight": 100, "reg_lambda": 10.0}
    return settings | {"tree_method": "hist", "random_state": setup.seed, "n_jobs": setup.threads}


def make_direction_classifier(setup: Setup) -> Any:
    """An unfitted classifier of the return's sign."""
    from xgboost import XGBClassifier

    settings = _boosting(setup) | {"n_estimators": 100}
    if setup.preset == "default":
        # A row weighs a quarter here, and a tree sees half of them: 100 is 800 rows, more than half of a short history.
        settings |= {"n_estimators": 150, "min_child_weight": min(100, setup.rows / 50)}
    return XGBClassifier(**settings)


def _xgboost(setup: Setup) -> Any:
    from xgboost import XGBRegressor

    return XGBRegressor(n_estimators=100, **_boosting(setup))


CANDIDATES: dict[str, Candidate] = {
    candidate.name: candidate
    for candidate in (
        Candidate(RANDOM_WALK, "Random walk", None),
        Candidate("ridge", "Ridge", _ridge),
        Candidate("random_forest", "Random forest", _random_forest),
        Candidate("gradient_boosting", "Gradient boosting", _gradient_boosting),
        Candidate("xgboost", "XGBoost", _xgboost),
    )
}


def get_candidate(name: str) -> Candidate:
    """A candidate by name.

    Raises:
        UserInputError: there is none of that name.
    """
    if name not in CANDIDATES:
        raise UserInputError(f"There is no candidate '{name}'.", remedy=f"Choose from {', '.join(CANDIDATES)}.")
    return CANDIDATES[name]


def predict_log_return(
    candidate: Candidate, preset: Preset, estimator: Any, X: NDArray[np.float32], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A fitted candidate's log returns, shape (n,)."""
    if candidate.make is None:
        return np.zeros(len(X))
    answer = np.asarray(estimator.predict(X), dtype=np.float64).reshape(-1)
    return answer * scale if candidate.target(preset) == "standardised" else answer
