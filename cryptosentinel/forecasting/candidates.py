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


@dataclass(frozen=True)
class Candidate:
    """A model that forecasts the return.

    Attributes:
        label: for people.
        make: from preset, seed and threads to an unfitted estimator; None for the random walk: nothing to fit.
    """

    name: str
    label: str
    make: Callable[[Preset, int, int], Any] | None

    def target(self, preset: Preset) -> Target:
        """What the model is fitted on."""
        return "log_return" if preset == "classic" or self.make is None else "standardised"


def _ridge(preset: Preset, seed: int, threads: int) -> Any:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    del seed, threads
    return make_pipeline(StandardScaler(), Ridge(alpha=1.0 if preset == "classic" else 10_000.0))


def _random_forest(preset: Preset, seed: int, threads: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    settings: dict[str, Any] = {"n_estimators": 100, "max_depth": 10}
    if preset == "default":
        settings |= {"max_features": 0.33, "max_samples": 0.1, "min_samples_leaf": 50}
    return RandomForestRegressor(**settings, random_state=seed, n_jobs=threads)


_BOOSTING_CLASSIC = {"n_estimators": 100, "max_depth": 5, "learning_rate": 0.1}
_BOOSTING_DEFAULT = {
    "n_estimators": 100,
    "max_depth": 3,
    "learning_rate": 0.03,
    "subsample": 0.5,
    "max_features": "sqrt",
    "min_samples_leaf": 50,
}


def _gradient_boosting(preset: Preset, seed: int, threads: int) -> Any:
    from sklearn.ensemble import GradientBoostingRegressor

    del threads
    settings = _BOOSTING_CLASSIC if preset == "classic" else _BOOSTING_DEFAULT
    return GradientBoostingRegressor(**settings, random_state=seed)


def _xgboost(preset: Preset, seed: int, threads: int) -> Any:
    from xgboost import XGBRegressor

    settings: dict[str, Any] = {"n_estimators": 100, "max_depth": 6, "learning_rate": 0.1}
    if preset == "default":
        settings |= {"max_depth": 4, "learning_rate": 0.03, "subsample": 0.5, "colsample_bynode": 0.33}
        settings |= {"min_child_weight": 50, "reg_lambda": 10.0}
    return XGBRegressor(**settings, tree_method="hist", random_state=seed, n_jobs=threads)


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


def make_direction_classifier(preset: Preset, seed: int) -> Any:
    """An unfitted gradient-boosting classifier of the return's sign."""
    from sklearn.ensemble import GradientBoostingClassifier

    settings = _BOOSTING_CLASSIC if preset == "classic" else _BOOSTING_DEFAULT
    return GradientBoostingClassifier(**settings, random_state=seed)


def predict_log_return(
    candidate: Candidate, preset: Preset, estimator: Any, X: NDArray[np.float32], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A fitted candidate's log returns, shape (n,)."""
    if candidate.make is None:
        return np.zeros(len(X))
    answer = np.asarray(estimator.predict(X), dtype=np.float64).reshape(-1)
    return answer * scale if candidate.target(preset) == "standardised" else answer
