"""The predictor: a KServe model server that answers from a bundle, its client, and starting it as a process.

Importing KServe takes more than a second, so everything here is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.client import BarsAnswer, Explained, ServedPredictor, predictor_for
    from serving.info import ModelInfo
    from serving.predictor import ForecastModel
    from serving.process import PredictorProcess, running_predictor, start_predictor

__all__ = [
    "BarsAnswer",
    "Explained",
    "ForecastModel",
    "ModelInfo",
    "PredictorProcess",
    "ServedPredictor",
    "predictor_for",
    "running_predictor",
    "start_predictor",
]

_LAZY = {
    "BarsAnswer": "client",
    "Explained": "client",
    "ForecastModel": "predictor",
    "ModelInfo": "info",
    "PredictorProcess": "process",
    "ServedPredictor": "client",
    "predictor_for": "client",
    "running_predictor": "process",
    "start_predictor": "process",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"serving.{_LAZY[name]}"), name)
