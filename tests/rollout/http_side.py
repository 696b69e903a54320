"""How the API is spoken over HTTP, and how it fails to answer."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.rollout.objects import Json
from tests.rollout.rights import Asked, allows, asked_of

if TYPE_CHECKING:
    from tests.rollout.kubernetes_api import Api


@dataclass
class Fault:
    """What happens to the next `times` requests of a verb and resource, in place of an answer.

    `status` 0 cuts the connection, -1 lets it hang. `served` does what was asked all the same, and then fails.
    """

    verb: str
    resource: str
    status: int
    times: int = 1
    retry_after: str = ""
    served: bool = False


class RefusalError(Exception):
    def __init__(self, status: int, message: str, causes: list[Json] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"kind": "Status", "status": "Failure", "code": status, "message": message}
        self.body |= {"details": {"causes": causes}} if causes else {}


def handler_of(api: Api) -> type[BaseHTTPRequestHandler]:
    """What answers the requests to an API."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            asked = asked_of(self.command, url.path, query)
            with api.changed:
                api.asked.append(asked)
                fault = next(
                    (f for f in api.faults if f.times and (f.verb, f.resource) == (asked.verb, asked.resource)),
                    None,
                )
                if fault:
                    fault.times -= 1
            try:
                if fault and not fault.served:
                    return self.fail(fault)
                if asked.verb == "watch":
                    return self.watch(asked, query)
                found = api.answer(asked, query, self.headers.get("content-type", ""), body)
            except RefusalError as refusal:
                return self.send(refusal.status, refusal.body)
            if fault:
                return self.fail(fault)
            return self.send(200, found)

        do_GET = do_POST = do_PUT = do_PATCH = do  # noqa: N815

        def fail(self, fault: Fault) -> None:
            if fault.status > 0:
                more = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                text = {"kind": "Status", "code": fault.status, "message": "the server is not well"}
                return self.send(fault.status, text, more)
            if fault.status < 0:
                api._stop.wait(2)
            self.close_connection = True
            return None

        def send(self, status: int, found: Json, headers: dict[str, str] | None = None) -> None:
            content = json.dumps(found).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def watch(self, asked: Asked, query: dict[str, str]) -> None:
            if not any(allows(rule, asked) for rule in api.rules):
                raise RefusalError(403, "cannot watch resource")
            if api.watch_fault == "refused":
                raise RefusalError(403, "cannot watch resource")
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.close_connection = True
            deadline, since = time.monotonic() + float(query["timeoutSeconds"]), int(query["resourceVersion"])
            if api.watch_fault == "vanishes":
                return
            if api.watch_fault == "expired":
                self.event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
                return
            while (left := deadline - time.monotonic()) > 0 and not api._stop.is_set():
                if api.watch_fault == "stale":
                    api._stop.wait(left)
                    continue
                with api.changed:
                    api.changed.wait(min(left, 0.02))
                    news = [each for each in api.history if each["version"] > since]
                    since = api.version
                for each in news:
                    if each["object"]["metadata"]["name"] == asked.name:
                        self.event(each["type"], each["object"])
            self.chunk(b"")

        def event(self, kind: str, found: Json) -> None:
            self.chunk(json.dumps({"type": kind, "object": found}).encode() + b"\n")

        def chunk(self, content: bytes) -> None:
            with suppress(OSError):  # the client has seen enough
                self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

        def log_message(self, *_: object) -> None: ...

    return Handler
