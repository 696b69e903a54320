"""Where everything is kept: the feature store, the model registry, the forecast log.

`open_storage` opens all three; `protocols` says what each is.
"""

from cryptosentinel.storage.features import DeltaFeatureStore
from cryptosentinel.storage.forecast_log import DeltaForecastLog
from cryptosentinel.storage.opening import Storage, open_storage
from cryptosentinel.storage.protocols import FeatureStore, ForecastLog, ModelRegistry, RegisteredModel, Written
from cryptosentinel.storage.registry import DeltaModelRegistry
from cryptosentinel.storage.schemas import ALERTS, BARS, FORECASTS

__all__ = [
    "ALERTS",
    "BARS",
    "FORECASTS",
    "DeltaFeatureStore",
    "DeltaForecastLog",
    "DeltaModelRegistry",
    "FeatureStore",
    "ForecastLog",
    "ModelRegistry",
    "RegisteredModel",
    "Storage",
    "Written",
    "open_storage",
]
