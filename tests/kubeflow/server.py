"""The double over HTTP: faults that are asked for, authentication, and every request counted."""

from __future__ import annotations

import email
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import kfp_server_api as api

from tests.kubeflow.double import Double, RefusedError

PREFIX = "/apis/v2beta1"
_LOCK = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: the second would wait 40 ms for the first to be acknowledged
    double: Double

    def _serve(self) -> None:
        double, parts = self.double, urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = parts.path.removeprefix(PREFIX)
        with _LOCK:
            double.requests.append((self.command, path))
            double.advance(double.latency_s)
            fault = next(
                (f for f in double.faults if f.times and f.method == self.command and re.fullmatch(f.path, path)), None
            )
            status, answer, headers = 200, b"", {}
            if fault is None or fault.done:
                status, answer = self._answer(path, dict(parse_qsl(parts.query)), content)
            if fault is not None:
                fault.times -= 1
                double.advance(fault.takes_s)
                status, answer, headers = fault.status, b'{"message": "a fault that was asked for"}', fault.headers
        if status == -1:
            threading.Event().wait(1.0)
            status = 400
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(answer)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def _answer(self, path: str, query: dict[str, str], content: bytes) -> tuple[int, bytes]:
        if self.double.token and self.headers.get("Authorization") != f"Bearer {self.double.token}":
            return 401, b'{"code": 16, "message": "the user identity is empty"}'
        try:
            given = self.double.answer(self.command, path, query, self._body(content))
        except RefusedError as error:
            return error.status, json.dumps({"code": 3, "message": str(error)}).encode()
        if isinstance(given, bytes):
            return 200, given
        return 200, json.dumps(api.ApiClient().sanitize_for_serialization(given)).encode()

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def _body(self, content: bytes) -> Any:
        kind = self.headers.get("Content-Type", "")
        if not kind.startswith("multipart/form-data"):
            return json.loads(content) if content else None
        message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
        (part,) = message.get_payload()
        return part.get_payload(decode=True)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def serving(double: Double) -> Iterator[Double]:
    """The double on a free port, whose address is its `url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"double": double}))
    server.daemon_threads = True
    double.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
