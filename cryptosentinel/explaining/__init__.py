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
from cryptosentinel.explaining.tables import contribution_tables, local_tables
from cryptosentinel.explaining.words import sentence

__all__ = [
    "DIRECTION_TARGET",
    "FORECAST",
    "SPREAD_TARGET",
    "Attribution",
    "Explainer",
    "Explanation",
    "Importances",
    "LocalModel",
    "contribution_tables",
    "local_tables",
    "sentence",
]
