"""OpenTelemetry spans of the predictor, where `serving.tracing` asks for them.

They go over HTTP to where the OTEL_EXPORTER_OTLP_* variables say. A caller's `traceparent` is continued, and handed on
to the explainer. Unless `start` is called nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from serving.logs import request_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Span, Tracer
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SERVICE = "cryptosentinel-predictor"

_tracer: Tracer | None = None
_OFF: AbstractContextManager[None] = nullcontext()


def start(processor: SpanProcessor | None = None) -> TracerProvider:
    """Makes spans from now on; `shutdown` of what is returned sends the last of them.

    Args:
        processor: what takes the spans; by default they are sent in batches.
    """
    global _tracer  # noqa: PLW0603 (one a process, as metrics and logging are)
    from opentelemetry.sdk.trace import TracerProvider

    os.environ.setdefault("OTEL_SERVICE_NAME", SERVICE)
    if processor is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        processor = BatchSpanProcessor(OTLPSpanExporter())
    provider = TracerProvider()
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer("cryptosentinel.serving")
    return provider


def enabled() -> bool:
    """Whether `start` was called."""
    return _tracer is not None


def span(name: str) -> AbstractContextManager[Any]:
    """A part of the work on a request."""
    return _OFF if _tracer is None else _tracer.start_as_current_span(name)


def outgoing_headers() -> dict[str, str]:
    """What a request made on behalf of the present one carries: its id, and its trace if there is one."""
    headers = {"x-request-id": request_id.get()} if request_id.get() else {}
    if _tracer is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)
    return headers


def call(method: str, metadata: Mapping[str, str]) -> AbstractContextManager[Any]:
    """A gRPC call, e.g. of `/inference.GRPCInferenceService/ModelInfer`."""
    if _tracer is None:
        return _OFF
    service, _, name = method.removeprefix("/").rpartition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
    return _request(_tracer, f"{service}/{name}", metadata, attributes)


def call_ended(current: Span | None, status: str, error: Exception | None) -> None:
    """What came of a gRPC call: its status by name, and what failed in the server."""
    if current is not None:
        current.set_attribute("rpc.response.status_code", status)
        if error is not None:
            _failed(current, error)


class TracedApp:
    """ASGI middleware: a span around each REST request, named by the path's template."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by the server."""
        if scope["type"] != "http" or _tracer is None:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope["method"]
        with _request(_tracer, method, headers, {"http.request.method": method}) as current:

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    current.set_attribute("http.response.status_code", message["status"])
                    if route := getattr(scope.get("route"), "path", None):
                        current.update_name(f"{method} {route}")
                        current.set_attribute("http.route", route)
                await send(message)

            try:
                await self._app(scope, receive, answer)
            except Exception as error:
                _failed(current, error)
                raise


def _failed(current: Span, error: Exception) -> None:
    from opentelemetry.trace import StatusCode

    current.record_exception(error)
    current.set_status(StatusCode.ERROR, type(error).__name__)


@contextmanager
def _request(tracer: Tracer, name: str, carrier: Mapping[str, str], attributes: dict[str, str]) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract(carrier)
    attributes |= {"cryptosentinel.request_id": request_id.get()}
    # Not every exception is a failure: a refused request is one as well.
    with tracer.start_as_current_span(
        name, parent, SpanKind.SERVER, attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        yield current
