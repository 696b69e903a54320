"""Why a bundle forecasts what it forecasts: SHAP, LIME, importances, and a sentence that says it."""

from cryptosentinel.explaining.explainer import Explainer
from cryptosentinel.explaining.records import (
    DIRECTION_TARGET,
    FORECAST,
    SPREAD_TARGET,
    Attribution,
    Explanation,
    Importances,
    LocalModel,
)
from cryptosentinel.explaining.tables import (
    ContributionSum,
    Subject,
    contribution_sums,
    contribution_tables,
    local_tables,
)
from cryptosentinel.explaining.words import DESCRIPTIONS, sentence

__all__ = [
    "DESCRIPTIONS",
    "DIRECTION_TARGET",
    "FORECAST",
    "SPREAD_TARGET",
    "Attribution",
    "ContributionSum",
    "Explainer",
    "Explanation",
    "Importances",
    "LocalModel",
    "Subject",
    "contribution_sums",
    "contribution_tables",
    "local_tables",
    "sentence",
]
