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
    from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, UnsupportedProtocol
    from kserve.protocol.dataplane import DataPlane
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
    from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
    from kserve.protocol.grpc.servicer import InferenceServicer
    from kserve.protocol.infer_type import to_http_parameters
    from kserve.protocol.model_repository_extension import ModelRepositoryExtension
    from kserve.protocol.rest.server import RESTServer

__all__ = [
    "DataPlane",
    "ExceptionToStatusInterceptor",
    "InferInput",
    "InferOutput",
    "InferRequest",
    "InferResponse",
    "InferenceRESTClient",
    "InferenceServicer",
    "InvalidInput",
    "Model",
    "ModelNotFound",
    "ModelNotReady",
    "ModelRepositoryExtension",
    "ModelServer",
    "RESTConfig",
    "RESTServer",
    "UnsupportedProtocol",
    "add_GRPCInferenceServiceServicer_to_server",
    "to_http_parameters",
]
