"""Where metrics go: a push gateway and a collector that listen, and understand what they are sent."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote_plus

from prometheus_client.parser import text_string_to_metric_families

from cryptosentinel.config import Settings
from tests.builders import settings_of

Labels = frozenset[tuple[str, str]]


def watched(home: Path, **more: object) -> Settings:
    """Settings of a simulated market in a folder."""
    return settings_of(home=str(home), market__source="simulated:3", **more)


@dataclass
class Gateway:
    """A Pushgateway: groups of metrics by their grouping key; a POST replaces those of the names it brings.

    Attributes:
        url: where it listens.
        answer: the status of its answers.
        groups: by grouping key, each series with its value.
        authorized: the credentials that came.
    """

    url: str = ""
    answer: int = 200
    groups: dict[Labels, dict[tuple[str, Labels], float]] = field(default_factory=dict)
    authorized: set[str] = field(default_factory=set)

    def series(self) -> list[tuple[str, dict[str, str], float]]:
        """Every series as Prometheus scrapes it with `honor_labels`."""
        return [
            (name, {**dict(labels), **dict(key)}, value)
            for key, metrics in self.groups.items()
            for (name, labels), value in metrics.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """The one series of that name with these labels among its own."""
        (value,) = [found for each, has, found in self.series() if each == name and labels.items() <= has.items()]
        return value

    def names(self, **labels: str) -> set[str]:
        return {name for name, has, _ in self.series() if labels.items() <= has.items()}

    def take(self, path: str, text: str) -> None:
        words = path.removeprefix("/metrics/").split("/")
        key = frozenset(_decoded(*pair) for pair in zip(words[::2], words[1::2], strict=True))
        brought = [
            (sample.name, frozenset(sample.labels.items()), sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]
        assert not {name for _, labels, _ in brought for name, _ in labels} & {name for name, _ in key}
        names = {name for name, *_ in brought}
        kept = {series: value for series, value in self.groups.get(key, {}).items() if series[0] not in names}
        self.groups[key] = kept | {(name, labels): value for name, labels, value in brought}


def _decoded(name: str, value: str) -> tuple[str, str]:
    plain, is_coded, _ = name.partition("@base64")
    return plain, base64.urlsafe_b64decode(value + "==").decode() if is_coded else unquote_plus(value)


@dataclass
class Collector:
    """An OpenTelemetry collector that keeps what it is sent, as it was sent."""

    url: str = ""
    answer: int = 200
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def gateway() -> Iterator[Gateway]:
    """A push gateway that listens inside the block."""
    one = Gateway()

    def answer(handler: BaseHTTPRequestHandler, raw: bytes) -> int:
        assert handler.command == "POST"
        one.authorized.add(handler.headers.get("authorization", ""))
        if one.answer < 300:
            one.take(handler.path, raw.decode())
        return one.answer

    with _listening(answer) as one.url:
        yield one


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector that listens inside the block."""
    one = Collector()

    def answer(handler: BaseHTTPRequestHandler, raw: bytes) -> int:
        one.paths.append(handler.path)
        one.headers.append({name.lower(): value for name, value in handler.headers.items()})
        one.bodies.append(raw)
        return one.answer

    with _listening(answer) as one.url:
        yield one


@contextmanager
def _listening(answer: Callable[[BaseHTTPRequestHandler, bytes], int]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(answer(self, raw))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def nobody() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"
