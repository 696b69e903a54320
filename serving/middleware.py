"""What happens to every REST request before and after KServe: its id, its limits, its metrics and its log line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving import metrics
from serving.admission import RETRY_AFTER_S, Admission, request_id_of
from serving.logs import RequestLog, request_id
from serving.refusals import refusal

log = logging.getLogger("serving")

MAX_HEAD_BYTES = 64 * 2**10  # of a request's first line and headers
BODY_TIMEOUT_S = 30  # for a body to arrive
FIRST_REQUEST_S = 0.5  # how long, at the end, a connection is kept that has asked nothing yet
# How long a body that was refused is still read, and how long it may pause: who closes before all of it has come resets
# the answer away.
LINGER_S, LINGER_PAUSE_S = 30, 5


class Operations:
    """ASGI middleware, the outermost of all. Bodies are read here, so that they count before anybody works on them."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission
        self._log = RequestLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by uvicorn."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        head = _read_head(scope)
        request_id.set(head.request_id)  # of this task alone: uvicorn starts one for each request
        status, error = 0, None

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", head.request_id.encode())]
                if status == 503 and not any(name == b"retry-after" for name, _ in headers):
                    headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
                if self._admission.draining:
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            await send(message)

        metrics.began(head.protocol)
        try:
            await self._admitted(scope, head, receive, answer)
        except _Refused as refused:
            await _refuse(refused, scope["path"], receive, answer)
        except Exception as failure:  # noqa: BLE001 (the edge: Starlette has answered it, and here it is logged)
            error = failure
            if status == 0:
                await _refuse(_Refused(500, "The predictor failed to answer."), scope["path"], receive, answer)
            status = 500
        finally:
            seconds = time.perf_counter() - started
            outcome = metrics.outcome_of(status)
            metrics.ended(head.protocol, outcome, seconds)
            self._log.answered(
                head.protocol, outcome, path=_template(scope), status=status, seconds=seconds, error=error
            )

    async def _admitted(self, scope: Scope, head: _Head, receive: Receive, send: Send) -> None:
        if head.protocol is metrics.OTHER:  # never refused: probes must see a server that is busy
            await self._work(scope, head, receive, send)
            return
        if not self._admission.enter():
            raise _busy("The predictor is answering as many requests as it takes at once")
        try:
            await self._work(scope, head, receive, send)
        finally:
            self._admission.leave()

    async def _work(self, scope: Scope, head: _Head, receive: Receive, send: Send) -> None:
        if scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        limit = self._admission.max_body_bytes
        if head.content_length > limit:
            raise _too_large(limit)
        chunks: list[bytes] = []
        held = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    chunk = message.get("body", b"")
                    if held + len(chunk) > limit:
                        raise _too_large(limit)
                    if not self._admission.hold(len(chunk)):
                        raise _busy("The predictor holds as many bytes of requests as it takes at once")
                    held += len(chunk)
                    chunks.append(chunk)
                    more = message.get("more_body", False)
            await self._app(scope, _replay(b"".join(chunks), receive), send)
        except TimeoutError as error:
            raise _Refused(408, f"The request's body did not arrive within {BODY_TIMEOUT_S} s.") from error
        finally:
            self._admission.release(held)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, which would keep reading a head that never ends, and at the end hangs up on who is about to ask."""

    _in_head = False
    _head_bytes = 0
    _asked = False

    def data_received(self, data: bytes) -> None:
        """Called with what came over the network."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response(f"The request's headers exceed {MAX_HEAD_BYTES:,} bytes.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Called at the first byte of a request."""
        self._in_head, self._head_bytes, self._asked = True, 0, True
        super().on_message_begin()

    def shutdown(self) -> None:
        """Called at the end. Who has connected and not asked yet may have a request on its way, which is answered."""
        if self._asked:
            super().shutdown()
        else:
            self.loop.call_later(FIRST_REQUEST_S, super().shutdown)

    def on_headers_complete(self) -> None:
        """Called at the end of a request's head."""
        self._in_head = False
        super().on_headers_complete()


class _Head(NamedTuple):
    protocol: metrics.Protocol
    request_id: str
    content_length: int


class _Refused(Exception):  # noqa: N818 (an answer, not a fault)
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def _too_large(limit: int) -> _Refused:
    return _Refused(413, f"The request's body is larger than {limit:,} bytes; send fewer rows a request.")


def _busy(reason: str) -> _Refused:
    return _Refused(503, f"{reason}; ask again in {RETRY_AFTER_S} s.")


def _read_head(scope: Scope) -> _Head:
    given, length, binary = None, 0, False
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = given or value.decode("latin-1")
        elif name == b"content-length":
            length = int(value)  # the parser let digits through, and nothing else
        elif name == b"inference-header-content-length":
            binary = True
    return _Head(_protocol_of(scope["path"], binary), request_id_of(given), length)


def _protocol_of(path: str, binary: bool) -> metrics.Protocol:
    if path.startswith("/v2/models/") and path.endswith("/infer"):
        return "v2_binary" if binary else "v2"
    if path.startswith("/v1/models/"):
        if path.endswith(":predict"):
            return "v1"
        if path.endswith(":explain"):
            return "explain"
    return "timeseries" if path == "/v1/timeseries/forecast" else metrics.OTHER


def _template(scope: Scope) -> str:
    """The path as a template, e.g. `/v2/models/{model_name}/infer`: the caller's own words are not for the log."""
    return getattr(scope.get("route"), "path", "unknown")


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body, once; after it whatever else comes."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return unread.pop() if unread else await receive()

    return again


async def _refuse(refused: _Refused, path: str, receive: Receive, send: Send) -> None:
    body = json.dumps(refusal(path, HTTPStatus(refused.status), str(refused))).encode()
    headers: list[Any] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            more = True
            while more:
                async with asyncio.timeout(LINGER_PAUSE_S):
                    more = (await receive()).get("more_body", False)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
