"""What happens to every gRPC call before and after KServe: the same as `serving.middleware` does for REST."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc
from grpc import StatusCode, aio

from serving import metrics, tracing
from serving._kserve import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady, UnsupportedProtocol
from serving.admission import RETRY_AFTER_S, Admission, request_id_of
from serving.logs import RequestLog, request_id

_INFER = "/inference.GRPCInferenceService/ModelInfer"
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


class Operations(aio.ServerInterceptor):
    """The only interceptor: KServe's own logs every refused call, and has no status for some of its own exceptions."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._log = RequestLog()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Called for each call; every method of the protocol takes one message and answers one."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        answer = functools.partial(self._answer, handler.unary_unary, handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)

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
            outcome = _OUTCOMES.get(status, "client_error")
            metrics.ended(protocol, outcome, seconds)
            self._log.answered(protocol, outcome, path=name, status=status.name, seconds=seconds, error=error)
        if status is StatusCode.OK:
            return answer
        return await context.abort(status, sentence)

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


def _status_of(error: Exception) -> StatusCode:
    return next((status for kinds, status in _STATUSES if isinstance(error, kinds)), StatusCode.INTERNAL)
