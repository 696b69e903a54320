"""An object store on this machine, as much of S3 as Delta Lake asks for, that fails as it is told to.

It sees every write. So a process can be killed, by SIGKILL, after each one of them. It is a process of its own: Delta
Lake's client of files waits for an answer without letting another thread of its process give it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import Request, urlopen
from xml.sax.saxutils import escape

NAME = "bucket"
_CONTROL = "/_control"


@dataclass(frozen=True)
class Orders:
    """How it is to fail.

    Attributes:
        delay_s: before each answer.
        status: answered instead, where it is not 0, to requests of these methods (a regular expression).
        code: of that answer.
        served: what was asked for is done all the same.
        kill: a process that is killed once its n-th write (`at`, from 1) is stored, and before it hears of that.
    """

    delay_s: float = 0.0
    status: int = 0
    code: str = "InternalError"
    methods: str = ".*"
    served: bool = False
    kill: int = 0
    at: int = 0


@dataclass(frozen=True)
class Bucket:
    """One that runs; `options` are what Delta Lake has to be told to come there."""

    url: str

    @property
    def options(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "here",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }

    def obey(self, orders: Orders = Orders()) -> None:
        """Fails so from now on; by default not at all. Writes are counted anew."""
        self._ask(json.dumps(asdict(orders)).encode())

    def writes(self) -> list[str]:
        """The keys that were written to, or tried to be, since the last orders."""
        return self._ask()

    def copy(self, prefix: str, to: str) -> None:
        """What is below one prefix, below another."""
        self._ask(json.dumps({"copy": prefix, "to": to}).encode())

    def _ask(self, body: bytes | None = None) -> Any:
        with urlopen(Request(self.url + _CONTROL, data=body), timeout=60) as answer:
            return json.loads(answer.read())


@contextmanager
def bucket() -> Iterator[Bucket]:
    """An object store as long as the block runs."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Bucket(process.stdout.readline().strip())
        finally:
            process.kill()


@dataclass
class _Store:
    objects: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    orders: Orders = Orders()
    writes: list[str] = field(default_factory=list)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, key: str, body: bytes, *, only_if_new: bool) -> bool:
        with self.lock:
            self.writes.append(key)
            stored = not (only_if_new and key in self.objects)
            if stored:
                self.objects[key] = (body, datetime.now(UTC).replace(microsecond=0))
            if self.orders.kill and len(self.writes) == self.orders.at:
                with suppress(ProcessLookupError):
                    os.kill(self.orders.kill, signal.SIGKILL)
                raise ConnectionAbortedError
            return stored

    def control(self, body: bytes) -> list[str]:
        given = json.loads(body) if body else {}
        with self.lock:
            if "copy" in given:
                for key in [key for key in self.objects if key.startswith(given["copy"] + "/")]:
                    self.objects[given["to"] + key.removeprefix(given["copy"])] = self.objects[key]
            elif given:
                self.orders, self.writes = Orders(**given), []
            return self.writes

    def listing(self, query: dict[str, str]) -> bytes:
        prefix, after, delimiter = (query.get(name, "") for name in ("prefix", "start-after", "delimiter"))
        with self.lock:
            found = {key: value for key, value in self.objects.items() if key.startswith(prefix) and key > after}
        folders = {key[: key.index("/", len(prefix)) + 1] for key in found if delimiter and "/" in key[len(prefix) :]}
        files = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{at:%Y-%m-%dT%H:%M:%S}.000Z</LastModified>"
            f"<ETag>{escape(_etag(content))}</ETag><Size>{len(content)}</Size></Contents>"
            for key, (content, at) in sorted(found.items())
            if not (delimiter and "/" in key[len(prefix) :])
        )
        shared = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>false</IsTruncated>'
            f"<Name>{NAME}</Name><Prefix>{escape(prefix)}</Prefix>{files}{shared}</ListBucketResult>"
        ).encode()


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def _handler(store: _Store) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 2**16  # an answer in one piece, or the network waits for more
        refusal = 0

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:  # of a process that was killed
                self.close_connection = True

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            if self.refusal:
                status, body, headers = self.refusal, _error(store.orders.code), {}
            self.send_response(status)
            for name, value in {"content_length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def serve(self) -> None:
            parts = urlsplit(self.path)
            key = unquote(parts.path).removeprefix(f"/{NAME}").lstrip("/")
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if parts.path == _CONTROL:
                self.refusal = 0
                self.answer(200, json.dumps(store.control(body)).encode())
                return
            orders = store.orders
            time.sleep(orders.delay_s)
            self.refusal = orders.status if re.fullmatch(orders.methods, self.command) else 0
            if self.refusal and not orders.served:
                self.answer(0)
            else:
                getattr(self, f"serve_{self.command}")(key, query, body)

        do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = serve

        def serve_GET(self, key: str, query: dict[str, str], _body: bytes) -> None:
            if "list-type" in query:
                self.answer(200, store.listing(query), content_type="application/xml")
                return
            found = store.objects.get(key)
            if found is None:
                self.answer(404, _error("NoSuchKey"))
                return
            content, modified = found
            headers = {"etag": _etag(content), "last_modified": format_datetime(modified, usegmt=True)}
            wanted = self.headers.get("range")
            if wanted is None:
                self.answer(200, content, **headers)
                return
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin = int(first) if first else max(0, len(content) - int(last))
            end = min(int(last), len(content) - 1) if first and last else len(content) - 1
            part = f"bytes {begin}-{end}/{len(content)}"
            self.answer(206, content[begin : end + 1], content_range=part, **headers)

        serve_HEAD = serve_GET

        def serve_PUT(self, key: str, query: dict[str, str], body: bytes) -> None:
            if upload := query.get("uploadId"):
                store.parts[upload][int(query["partNumber"])] = body
                self.answer(200, etag=_etag(body))
            elif store.put(key, body, only_if_new=self.headers.get("if-none-match") == "*"):
                self.answer(200, etag=_etag(body))
            else:
                self.answer(412, _error("PreconditionFailed"))

        def serve_DELETE(self, key: str, _query: dict[str, str], _body: bytes) -> None:
            with store.lock:
                store.objects.pop(key, None)
            self.answer(204)

        def serve_POST(self, key: str, query: dict[str, str], body: bytes) -> None:
            if "uploads" in query:
                upload = str(len(store.parts))
                store.parts[upload] = {}
                text = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            elif upload := query.get("uploadId"):
                content = b"".join(part for _, part in sorted(store.parts[upload].items()))
                store.put(key, content, only_if_new=False)
                text = (
                    f"<CompleteMultipartUploadResult><Key>{escape(key)}</Key><ETag>{escape(_etag(content))}</ETag>"
                    "</CompleteMultipartUploadResult>"
                )
            else:
                with store.lock:
                    for each in re.findall(r"<Key>(.*?)</Key>", body.decode()):
                        store.objects.pop(each, None)
                text = "<DeleteResult></DeleteResult>"
            self.answer(200, text.encode(), content_type="application/xml")

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>as it was told</Message></Error>".encode()


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(_Store()))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()  # until whoever started it is gone


if __name__ == "__main__":
    main()
