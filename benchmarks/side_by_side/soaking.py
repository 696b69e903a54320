"""Load on a server whose every answer is checked, in a process of its own.

    python -m side_by_side.soaking < task.json

Each connection asks one question after another, drawn at random. An answer whose bytes were found right once is right
again; all others are read and compared with what the version that it names says (see `questions`). Versions are
promoted one after the other, in the order that the task names them in and round again, and no connection may see one
come back too early. What was seen is printed as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from cryptosentinel.bundle import Bundle
from side_by_side.asking import MODEL, http_request
from side_by_side.load import METHOD, body_after
from side_by_side.questions import Judge, questions

PATHS = {
    "v1": f"/v1/models/{MODEL}:predict",
    "v2": f"/v2/models/{MODEL}/infer",
    "v2_binary": f"/v2/models/{MODEL}/infer",
}
MOST_FAULTS, MOST_KNOWN = 20, 5_000
PAUSE_S = 0.2  # before a connection that failed is opened again


class Soak:
    """What the connections of one protocol ask, and what they saw."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.protocol, self.host, self.port = task["protocol"], task["host"], task["port"]
        self.end = time.perf_counter() + task["seconds"]
        bundles = {version: Bundle.load(Path(path)) for version, path in task["bundles"]}
        versions = list(bundles)
        self._next = dict(zip(versions, [*versions[1:], versions[0]], strict=True))
        asked = questions()
        self._judge = Judge(bundles, asked)
        numbers = [n for n, question in enumerate(asked) if self.protocol != "v1" or question.v1 is not None]
        self._weights = [asked[number].weight for number in numbers]
        self._requests = [(number, self._request(*asked[number].wire(self.protocol))) for number in numbers]
        self._known: dict[tuple[int, bytes], int] = {}
        self.seconds: list[float] = []
        self.versions: Counter[int] = Counter()
        self.swaps: list[int] = []  # seen, by connection
        self.failed = self.wrong = self.compared = 0
        self.faults: Counter[str] = Counter()

    def _request(self, headers: dict[str, str], body: bytes) -> bytes:
        return (
            body
            if self.protocol == "grpc"
            else http_request(f"{self.host}:{self.port}", PATHS[self.protocol], headers, body)
        )

    def report(self) -> dict[str, Any]:
        at = np.percentile(self.seconds, [50, 99, 100]) if self.seconds else [float("nan")] * 3
        return {
            "protocol": self.protocol,
            "answers": len(self.seconds),
            "compared": self.compared,
            "failed": self.failed,
            "wrong": self.wrong,
            "faults": self.faults,
            "swaps_seen": min(self.swaps, default=0),
            "by_version": dict(self.versions),
            **{f"{name}_ms": 1e3 * value for name, value in zip(("p50", "p99", "max"), at, strict=True)},
        }

    def new_connection(self) -> _Seen:
        return _Seen(self, self._next)

    async def connection(self, number: int) -> None:
        """One connection after the other until the time is over."""
        random, seen = Random(number), self.new_connection()
        while time.perf_counter() < self.end:
            try:
                await (self._over_grpc if self.protocol == "grpc" else self._over_http)(random, seen)
            except (OSError, EOFError, asyncio.IncompleteReadError) as error:
                self.fail(f"{type(error).__name__}: {error}")
                await asyncio.sleep(PAUSE_S)
        self.swaps.append(seen.swaps)

    async def _over_http(self, random: Random, seen: _Seen) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            while time.perf_counter() < self.end:
                ((number, request),) = random.choices(self._requests, self._weights)
                sent = time.perf_counter()
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                body = await body_after(head, reader)
                seconds = time.perf_counter() - sent
                if head.startswith(b"http/1.1 200"):
                    self.check(number, head, body, seconds, seen)
                else:
                    self.fail(f"{head[9:12].decode()} {body[:300]!r}")
        finally:
            writer.close()

    async def _over_grpc(self, random: Random, seen: _Seen) -> None:
        import grpc

        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"{self.host}:{self.port}", options=options) as channel:
            ask = channel.unary_unary(METHOD)
            while time.perf_counter() < self.end:
                ((number, request),) = random.choices(self._requests, self._weights)
                sent = time.perf_counter()
                try:
                    body = await ask(request)
                except grpc.aio.AioRpcError as error:
                    self.fail(f"{error.code()} {error.details()}")
                    await asyncio.sleep(PAUSE_S)
                else:
                    self.check(number, b"", body, time.perf_counter() - sent, seen)

    def check(self, number: int, head: bytes, body: bytes, seconds: float, seen: _Seen) -> None:
        self.seconds.append(seconds)
        version = self._known.get((number, body))
        if version is None:
            self.compared += 1
            version, fault = self._judged(number, head, body)
            if fault:
                self.blame(f"question {number}: {fault}")
                return
            if len(self._known) < MOST_KNOWN:
                self._known[number, body] = version
        self.versions[version] += 1
        seen.version_is(version)

    def _judged(self, number: int, head: bytes, body: bytes) -> tuple[int, str]:
        lines = [line.partition(b":") for line in head.split(b"\r\n")]
        headers = {name.decode(): value.strip().decode() for name, _, value in lines}
        try:
            return self._judge.fault(self.protocol, number, headers, body)
        except Exception as error:  # noqa: BLE001 (an answer that cannot be read is a finding, whatever the reason)
            return -1, f"{type(error).__name__}: {error}: {body[:200]!r}"

    def fail(self, fault: str) -> None:
        self.failed += 1
        self._tell(fault)

    def blame(self, fault: str) -> None:
        self.wrong += 1
        self._tell(fault)

    def _tell(self, fault: str) -> None:
        if fault in self.faults or len(self.faults) < MOST_FAULTS:
            self.faults[fault] += 1


class _Seen:
    """The versions that one connection saw."""

    def __init__(self, soak: Soak, following: dict[int, int]) -> None:
        self._soak = soak
        self._following = following
        self._version: int | None = None
        self.swaps = 0

    def version_is(self, version: int) -> None:
        if self._version == version:
            return
        if self._version is not None:
            self.swaps += 1
            if self._following[self._version] != version:
                self._soak.blame(f"version {version} came after {self._version}")
        self._version = version


async def put(soak: Soak, connections: int) -> None:
    await asyncio.gather(*(soak.connection(number) for number in range(connections)))


def main() -> None:
    task = json.load(sys.stdin)
    soak = Soak(task)
    print("ready", flush=True)
    if soak.protocol == "grpc":
        asyncio.run(put(soak, task["connections"]))
    else:
        import uvloop

        uvloop.run(put(soak, task["connections"]))
    print(json.dumps(soak.report()))


if __name__ == "__main__":
    main()
