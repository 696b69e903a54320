"""A real HTTP server on this machine that answers, or misbehaves, as told."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """`manner`: how the body is sent. `headers` replace those a well-behaved server sends."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    manner: Literal["whole", "reset", "silent", "dripping", "cut short", "endless"] = "whole"


def json_answer(content: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(
        json.dumps(content).encode(), status, {name.replace("_", "-"): value for name, value in headers.items()}
    )


class Server:
    """`route` maps a request to its answer; `requests` are those seen."""

    def __init__(self, route: Callable[[Request], Answer]) -> None:
        self.route = route
        self.requests: list[Request] = []
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(parts.path, dict(parse_qsl(parts.query)), headers)
                outer.requests.append(request)
                with contextlib.suppress(ConnectionError):
                    self.send(outer.route(request))

            def send(self, answer: Answer) -> None:
                self.close_connection = True
                if answer.manner == "silent":
                    outer.closing.wait()
                    return
                if answer.manner == "reset":
                    # Lingering for no time at all makes closing send a reset instead of an orderly end.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    return
                promised = {"cut short": len(answer.body) + 100, "endless": 2**40}.get(answer.manner, len(answer.body))
                self.send_response(answer.status)
                headers = {"content-type": "application/json", "content-length": str(promised), "connection": "close"}
                headers |= answer.headers
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if answer.manner == "dripping":
                    for byte in answer.body:
                        self.wfile.write(bytes([byte]))
                        if outer.closing.wait(0.02):
                            return
                    return
                self.wfile.write(answer.body)
                while answer.manner == "endless" and not outer.closing.is_set():
                    self.wfile.write(b" " * 2**20)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def serving(*answers: Answer) -> contextlib.AbstractContextManager[Server]:
    """A server that gives these answers in turn, whatever it is asked, and the last one ever after."""
    left = list(answers)
    return Server(lambda _: left.pop(0) if len(left) > 1 else left[0]).running()


def routing(routes: dict[str, Answer]) -> contextlib.AbstractContextManager[Server]:
    """A server with one answer a path."""
    return Server(lambda request: routes.get(request.path, json_answer({"error": "no such path"}, 404))).running()
