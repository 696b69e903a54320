"""Where everything is kept: the feature store, the model registry, the forecast log, the outbox, leases.

`open_storage` opens all of them; `protocols` says what each is. Delta Lake is imported once a store is opened: what
only names its tables, as the predictor does, needs none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cryptosentinel.storage.protocols import (
    Backlog,
    FeatureStore,
    ForecastLog,
    Lease,
    Leases,
    ModelRegistry,
    Outbox,
    RegisteredModel,
    Storage,
    Written,
)
from cryptosentinel.storage.schemas import ALERTS, BARS, DELIVERIES, DETECTIONS, DRIFT_REPORTS, FORECASTS, MUTES

if TYPE_CHECKING:
    from cryptosentinel.storage.features import DeltaFeatureStore
    from cryptosentinel.storage.forecast_log import DeltaForecastLog
    from cryptosentinel.storage.leases import DeltaLeases
    from cryptosentinel.storage.opening import open_storage
    from cryptosentinel.storage.outbox import DeltaOutbox
    from cryptosentinel.storage.registry import DeltaModelRegistry
    from cryptosentinel.storage.runs import STEPS, RunLog, StepRun, open_run_log

__all__ = [
    "ALERTS",
    "BARS",
    "DELIVERIES",
    "DETECTIONS",
    "DRIFT_REPORTS",
    "FORECASTS",
    "MUTES",
    "STEPS",
    "Backlog",
    "DeltaFeatureStore",
    "DeltaForecastLog",
    "DeltaLeases",
    "DeltaModelRegistry",
    "DeltaOutbox",
    "FeatureStore",
    "ForecastLog",
    "Lease",
    "Leases",
    "ModelRegistry",
    "Outbox",
    "RegisteredModel",
    "RunLog",
    "StepRun",
    "Storage",
    "Written",
    "open_run_log",
    "open_storage",
]

_ON_DELTA_LAKE = {
    "DeltaFeatureStore": "features",
    "DeltaForecastLog": "forecast_log",
    "DeltaLeases": "leases",
    "DeltaModelRegistry": "registry",
    "DeltaOutbox": "outbox",
    "STEPS": "runs",
    "RunLog": "runs",
    "StepRun": "runs",
    "open_run_log": "runs",
    "open_storage": "opening",
}


def __getattr__(name: str) -> Any:
    if name in _ON_DELTA_LAKE:
        return getattr(import_module(f"{__name__}.{_ON_DELTA_LAKE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
