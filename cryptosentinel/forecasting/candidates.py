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
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge(alpha=1.0 if setup.preset == "classic" else 10_000.0))


def _random_forest(setup: Setup) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    settings: dict[str, Any] = {"n_estimators": 100, "max_depth": 10}
    if setup.preset == "default":
        settings |= {"max_features": 0.33, "max_samples": setup.share(0.1), "min_samples_leaf": 50}
    return RandomForestRegressor(**settings, random_state=setup.seed, n_jobs=setup.threads)


def _boosting(setup: Setup) -> dict[str, Any]:
    """Settings of scikit-learn's gradient boosting, as regressor and as classifier."""
    if setup.preset == "classic":
        settings: dict[str, Any] = {"max_depth": 5, "learning_rate": 0.1}
    else:
        settings = {"max_depth": 3, "learning_rate": 0.03, "max_features": "sqrt", "min_samples_leaf": 50}
        settings |= {"subsample": setup.share(0.5)}
    return settings | {"n_estimators": 100, "random_state": setup.seed}


def _gradient_boosting(setup: Setup) -> Any:
    from sklearn.ensemble import GradientBoostingRegressor

    return GradientBoostingRegressor(**_boosting(setup))


def make_direction_classifier(setup: Setup) -> Any:
    """An unfitted gradient-boosting classifier of the return's sign."""
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(**_boosting(setup))


def _xgboost(setup: Setup) -> Any:
    from xgboost import XGBRegressor

    settings: dict[str, Any] = {"n_estimators": 100, "max_depth": 6, "learning_rate": 0.1}
    if setup.preset == "default":
        settings |= {"max_depth": 4, "learning_rate": 0.03, "subsample": 0.5, "colsample_bynode": 0.33}
        settings |= {"min_child_weight": 50, "reg_lambda": 10.0}
    return XGBRegressor(**settings, tree_method="hist", random_state=setup.seed, n_jobs=setup.threads)


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
