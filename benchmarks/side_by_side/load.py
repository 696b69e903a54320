"""Load on a server, in a process of its own: the same prepared request again and again.

    python benchmarks/side_by_side/load.py < task.json

A task tells the protocol, the address, the bytes to send, how many connections ask at once, and for how long. Each
connection sends its next request once it has its answer. What it measured is printed as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import sys
import time
from typing import Any

METHOD = "/inference.GRPCInferenceService/ModelInfer"
OK = (b"HTTP/1.1 200", b"HTTP/1.0 200")


class Tally:
    """What the connections saw between two moments; answers outside of them count for nothing."""

    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.end = begin, end
        self.latencies: list[float] = []
        self.failed = 0
        self.first_failure = ""

    def add(self, sent: float, failure: str) -> None:
        if failure:
            self.failed += 1
            self.first_failure = self.first_failure or failure
        elif self.begin <= (now := time.perf_counter()) <= self.end:
            self.latencies.append(now - sent)


async def http(host: str, port: int, request: bytes, tally: Tally) -> None:
    """One connection, kept alive."""
    reader, writer = await asyncio.open_connection(host, port)
    while (sent := time.perf_counter()) < tally.end:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await body_after(head.lower(), reader)
        tally.add(sent, "" if head.startswith(OK) else f"{head[:40]!r} {body[:300]!r}")
    writer.close()


async def body_after(head: bytes, reader: asyncio.StreamReader) -> bytes:
    """What follows a head; KServe's binary answers come in chunks."""
    _, told, length = head.partition(b"\r\ncontent-length:")
    if told:
        return await reader.readexactly(int(length[: length.index(b"\r")]))
    chunks = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(chunks)


async def grpc(host: str, port: int, request: bytes, tally: Tally) -> None:
    """One channel with a connection of its own; bytes in and out."""
    import grpc

    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"{host}:{port}", options=options) as channel:
        ask = channel.unary_unary(METHOD)
        while (sent := time.perf_counter()) < tally.end:
            try:
                await ask(request)
                tally.add(sent, "")
            except grpc.aio.AioRpcError as error:
                tally.add(sent, f"{error.code()} {error.details()}")


async def put_load(task: dict[str, Any]) -> dict[str, Any]:
    request = base64.b64decode(task["request"])
    begin = time.perf_counter() + task["warm_up_s"]
    tally = Tally(begin, begin + task["seconds"])
    connect = grpc if task["protocol"] == "grpc" else http
    asking = [connect(task["host"], task["port"], request, tally) for _ in range(task["connections"])]
    began, worked = time.perf_counter(), time.process_time()
    await asyncio.gather(*asking)
    busy = (time.process_time() - worked) / (time.perf_counter() - began)
    latencies = sorted(tally.latencies)
    at = {name: latencies[min(int(q * len(latencies)), len(latencies) - 1)] if latencies else float("nan")
          for name, q in (("p50_ms", 0.5), ("p99_ms", 0.99))}  # fmt: skip
    return {
        "answers": len(latencies),
        "per_s": len(latencies) / task["seconds"],
        **{name: 1e3 * value for name, value in at.items()},
        "failed": tally.failed,
        "first_failure": tally.first_failure,
        "busy": busy,
    }


def main() -> None:
    task = json.load(sys.stdin)
    gc.disable()
    if task["protocol"] == "grpc":
        print(json.dumps(asyncio.run(put_load(task))))
        return
    import uvloop

    print(json.dumps(uvloop.run(put_load(task))))


if __name__ == "__main__":
    main()
