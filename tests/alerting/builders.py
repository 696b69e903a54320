"""A receiver that listens, a clock that is set, and facts that alarm."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from cryptosentinel.alerting import Facts, Told, deliver, open_sinks, watch
from cryptosentinel.config import Settings
from cryptosentinel.storage import Storage
from tests.builders import settings_of

# Volatilities: one alarms, one does not.
WILD, CALM = 0.8, 0.1


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def forward(self, minutes: float) -> None:
        self.now += timedelta(minutes=minutes)


@dataclass(frozen=True)
class Request:
    """What a receiver was sent, and what it answered."""

    path: str
    headers: dict[str, str]
    raw: bytes
    answered: int

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


@dataclass
class Receiver:
    """A real HTTP server on this machine.

    Attributes:
        url: of the server.
        answer: the status of the next answers.
        headers: of the next answers.
        requests: what came.
        on_request: is called once a request is read, before it is answered.
    """

    url: str = ""
    answer: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    on_request: Callable[[], None] = lambda: None

    @property
    def taken(self) -> list[Request]:
        """Those that were answered with a success."""
        return [request for request in self.requests if request.answered < 300]

    def events(self) -> list[tuple[str, str]]:
        """Kind and event of what was taken in our own format, in order."""
        return [(request.json["kind"], request.json["event"]) for request in self.taken]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens inside the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.requests.append(Request(self.path, headers, raw, receiver.answer))
            receiver.on_request()
            self.send_response(receiver.answer)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def telling(url: str, **more: object) -> Settings:
    """Settings that name a webhook; volatility alarms above one half."""
    return settings_of(alerts__webhook_url=url, alerts__cool_down_s=0, **more)


def step(storage: Storage, settings: Settings, clock: Clock, **figures: float) -> Told:
    """What an inference step does about alerts, with these facts."""
    watch(storage, Facts(tick=clock().isoformat(), interval="5m", **figures), settings, now=clock(), clock=clock)
    return told(storage, settings, clock)


def told(storage: Storage, settings: Settings, clock: Clock) -> Told:
    return deliver(storage, "bitcoin", open_sinks(settings.alerts), settings.alerts, clock=clock)
