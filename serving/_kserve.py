"""What we use of KServe, imported so that it does not read this process's command line.

`import kserve` parses `sys.argv` for options of its own, abbreviations included, and ends the process where one is
malformed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_arguments() -> Iterator[None]:
    kept, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = kept


with _no_arguments():
    from kserve import (
        InferenceRESTClient,
        InferInput,
        InferOutput,
        InferRequest,
        InferResponse,
        Model,
        ModelServer,
        RESTConfig,
    )
    from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady, UnsupportedProtocol
    from kserve.metrics import PREDICT_HIST_TIME, get_labels
    from kserve.model import InferenceVerb
    from kserve.model_repository import ModelRepository
    from kserve.protocol.dataplane import DataPlane
    from kserve.protocol.grpc.grpc_predict_v2_pb2 import DESCRIPTOR, ModelInferRequest, ModelInferResponse
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
    from kserve.protocol.grpc.servicer import InferenceServicer
    from kserve.protocol.infer_type import RequestedOutput, to_http_parameters
    from kserve.protocol.model_repository_extension import ModelRepositoryExtension
    from kserve.protocol.rest.server import RESTServer
    from kserve.protocol.rest.timeseries.dataplane import TimeSeriesDataPlane
    from kserve.protocol.rest.timeseries.endpoints import TimeSeriesEndpoints
    from kserve.protocol.rest.timeseries.error import create_error_response
    from kserve.protocol.rest.timeseries.types import (
        ErrorResponse,
        ForecastRequest,
        ForecastResponse,
        TimeSeriesInput,
        TimeSeriesType,
    )
    from kserve.protocol.rest.v2_datamodels import InferenceRequest

__all__ = [
    "DESCRIPTOR",
    "PREDICT_HIST_TIME",
    "DataPlane",
    "ErrorResponse",
    "ForecastRequest",
    "ForecastResponse",
    "InferInput",
    "InferOutput",
    "InferRequest",
    "InferResponse",
    "InferenceRESTClient",
    "InferenceRequest",
    "InferenceServicer",
    "InferenceVerb",
    "InvalidInput",
    "Model",
    "ModelInferRequest",
    "ModelInferResponse",
    "ModelNotFound",
    "ModelNotReady",
    "ModelRepository",
    "ModelRepositoryExtension",
    "ModelServer",
    "RESTConfig",
    "RESTServer",
    "RequestedOutput",
    "ServerNotReady",
    "TimeSeriesDataPlane",
    "TimeSeriesEndpoints",
    "TimeSeriesInput",
    "TimeSeriesType",
    "UnsupportedProtocol",
    "add_GRPCInferenceServiceServicer_to_server",
    "create_error_response",
    "get_labels",
    "to_http_parameters",
]
