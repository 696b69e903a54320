"""A predictor that says what it is told, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptosentinel.explaining import Explanation, sentence
from tests.builders import make_explanation, make_local

LIME = {"blend": make_local(rsi_14=0.0012), "p_up": make_local("probability", rsi_14=-0.02)}
Answer = tuple[int, Any]


def answered(*explanations: Explanation, version: int = 0) -> Answer:
    """What the predictor says, by the models of its own answer."""
    body = {
        "explanations": [each.model_dump(mode="json") for each in explanations],
        "sentence": [sentence(each) for each in explanations],
        "bundle_version": version,
    }
    return 200, body


def explaining(question: dict[str, Any]) -> Answer:
    """Explains every row that is asked for, alike."""
    lime = LIME if question["lime"] else None
    return answered(*(make_explanation(row["close"], lime=lime) for row in question["instances"]))


@dataclass
class Stub:
    """One that runs.

    Attributes:
        url: its address.
        asked: the path and body of each question.
    """

    url: str = ""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@contextmanager
def predictor(answer: Callable[[dict[str, Any]], Answer] = explaining) -> Iterator[Stub]:
    """Runs one that answers a question with a status and a body."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))
            stub.asked.append((self.path, question))
            status, said = answer(question)
            body = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError):  # whoever asked waits no longer
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
