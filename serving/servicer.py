"""What happens to every gRPC call before and after KServe: the same as `serving.middleware` does for REST."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from grpc import StatusCode, aio, unary_unary_rpc_method_handler

from serving import metrics, tracing
from serving._kserve import (
    DESCRIPTOR,
    DataPlane,
    InferenceServicer,
    InvalidInput,
    ModelInferRequest,
    ModelInferResponse,
    ModelNotFound,
    ModelNotReady,
    ModelRepositoryExtension,
    ServerNotReady,
    UnsupportedProtocol,
    add_GRPCInferenceServiceServicer_to_server,
)
from serving.admission import RETRY_AFTER_S, Admission, request_id_of
from serving.logs import RequestLog, request_id
from serving.predictor import ForecastModel
from serving.v2_requests import request_of_message

SERVICE = DESCRIPTOR.services_by_name["GRPCInferenceService"]
_INFER = f"/{SERVICE.full_name}/ModelInfer"
_OUTCOMES: dict[StatusCode, metrics.Outcome] = {
    StatusCode.OK: "ok",
    StatusCode.UNAVAILABLE: "unavailable",
    StatusCode.INTERNAL: "server_error",
}
_STATUSES: tuple[tuple[tuple[type[Exception], ...], StatusCode], ...] = (
    ((InvalidInput, UnsupportedProtocol), StatusCode.INVALID_ARGUMENT),
    ((ModelNotFound,), StatusCode.NOT_FOUND),
    ((ModelNotReady, ServerNotReady), StatusCode.UNAVAILABLE),
    ((NotImplementedError,), StatusCode.UNIMPLEMENTED),
)


class _Metadatum(NamedTuple):
    """KServe reads metadata by these names."""

    key: str
    value: str


class _Busy(ServerNotReady):
    def __str__(self) -> str:
        return f"The predictor is answering as many requests as it takes at once; ask again in {RETRY_AFTER_S} s."


class ForecastServicer(InferenceServicer):
    """KServe's, with what happens around every call.

    Each method is wrapped, rather than an interceptor added, which gRPC would ask anew at each call. KServe's own
    interceptor logs every refused call, and has no status for some of its own exceptions.
    """

    def __init__(self, dataplane: DataPlane, repository: ModelRepositoryExtension, admission: Admission) -> None:
        super().__init__(dataplane, repository)
        self._admission = admission
        self._log = RequestLog()
        for method in SERVICE.methods:
            path = f"/{SERVICE.full_name}/{method.name}"
            setattr(self, method.name, functools.partial(self._answer, getattr(self, method.name), path))

    async def ModelInfer(  # noqa: N802
        self,
        request: ModelInferRequest,
        context: object,  # noqa: ARG002
    ) -> ModelInferResponse | bytes:
        """Called by gRPC. A call's metadata are for no model of ours."""
        model = self._data_plane.get_model_from_registry(request.model_name)
        if isinstance(model, ForecastModel) and (answer := await model.answer_row(request)) is not None:
            return answer
        response, _ = await model(request_of_message(request))
        return response.to_grpc()

    def add_to(self, server: aio.Server) -> None:
        """As KServe's generated function does, but for answers that are bytes already."""
        add_GRPCInferenceServiceServicer_to_server(self, server)
        handler = unary_unary_rpc_method_handler(self.ModelInfer, ModelInferRequest.FromString, _serialized)
        server.add_registered_method_handlers(SERVICE.full_name, {"ModelInfer": handler})

    async def _answer(self, method: Callable[..., Awaitable[Any]], name: str, request: Any, context: Any) -> Any:
        started = time.perf_counter()
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        identity = request_id_of(metadata.get("x-request-id"))
        request_id.set(identity)  # of this task alone: gRPC starts one for each call
        context.set_trailing_metadata((_Metadatum("x-request-id", identity),))
        protocol: metrics.Protocol = "grpc" if name == _INFER else metrics.OTHER
        answer, status, sentence, error = None, StatusCode.CANCELLED, "", None  # unless it ends by itself
        metrics.began(protocol)
        try:
            with tracing.call(name, metadata) as span:
                try:
                    answer = await self._admitted(protocol, method, request, context)
                    status = StatusCode.OK
                except Exception as failure:  # noqa: BLE001 (the edge: every exception becomes a status)
                    status = _status_of(failure)
                    error = failure if status is StatusCode.INTERNAL else None
                    sentence = "The predictor failed to answer." if error else str(failure)
                tracing.call_ended(span, status.name, error)
        finally:
            seconds = time.perf_counter() - started
            # The books are kept while the answer is on its way.
            asyncio.get_running_loop().call_soon(self._ended, protocol, name, status, seconds, error)
        if status is StatusCode.OK:
            return answer
        return await context.abort(status, sentence)

    def _ended(
        self, protocol: metrics.Protocol, name: str, status: StatusCode, seconds: float, error: Exception | None
    ) -> None:
        outcome = _OUTCOMES.get(status, "client_error")
        metrics.ended(protocol, outcome, seconds)
        self._log.answered(protocol, outcome, path=name, status=status.name, seconds=seconds, error=error)

    async def _admitted(
        self, protocol: metrics.Protocol, method: Callable[..., Awaitable[Any]], request: Any, context: Any
    ) -> Any:
        if protocol is metrics.OTHER:  # never refused: probes must see a server that is busy
            return await method(request, context)
        if not self._admission.enter():
            raise _Busy
        try:
            return await method(request, context)
        finally:
            self._admission.leave()


def _serialized(answer: ModelInferResponse | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else bytes(answer.SerializeToString())


def _status_of(error: Exception) -> StatusCode:
    return next((status for kinds, status in _STATUSES if isinstance(error, kinds)), StatusCode.INTERNAL)
