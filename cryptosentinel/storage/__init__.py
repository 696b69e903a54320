"""Where everything is kept: the feature store, the model registry, the forecast log.

`open_storage` opens all three; `protocols` says what each is. Delta Lake is imported once a store is opened: what only
names its tables, as the predictor does, needs none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cryptosentinel.storage.protocols import FeatureStore, ForecastLog, ModelRegistry, RegisteredModel, Storage, Written
from cryptosentinel.storage.schemas import ALERTS, BARS, FORECASTS

if TYPE_CHECKING:
    from cryptosentinel.storage.features import DeltaFeatureStore
    from cryptosentinel.storage.forecast_log import DeltaForecastLog
    from cryptosentinel.storage.opening import open_storage
    from cryptosentinel.storage.registry import DeltaModelRegistry

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

_ON_DELTA_LAKE = {
    "DeltaFeatureStore": "features",
    "DeltaForecastLog": "forecast_log",
    "DeltaModelRegistry": "registry",
    "open_storage": "opening",
}


def __getattr__(name: str) -> Any:
    if name in _ON_DELTA_LAKE:
        return getattr(import_module(f"{__name__}.{_ON_DELTA_LAKE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
