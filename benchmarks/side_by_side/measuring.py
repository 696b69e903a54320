"""Rounds of load on several servers, interleaved so that what disturbs the machine disturbs them all alike."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cryptosentinel.bundle import Bundle
from side_by_side.asking import PROTOCOLS, http_request, wire
from side_by_side.naive import NaiveModels
from side_by_side.servers import HERE, Server

CONNECTIONS = (1, 16)
WARM_UP_S = 0.3
FIGURES = ("p50_ms", "p99_ms", "per_s", "processor_ms")
Cell = dict[str, Any]


class Sender:
    """Puts load on servers with one row of a bundle's features."""

    def __init__(self, bundle: Bundle, features: np.ndarray, close: float, seconds: float) -> None:
        self.seconds = seconds
        self._wires = {p: wire(p, bundle.manifest.features, features, close) for p in PROTOCOLS}

    def send(self, server: Server, protocol: str, connections: int) -> Cell:
        """One measurement.

        Raises:
            SystemExit: a request failed: figures of a server that refuses mean nothing.
        """
        path, headers, body = self._wires[protocol]
        port = server.port(protocol)
        request = body if protocol == "grpc" else http_request(f"127.0.0.1:{port}", path, headers, body)
        task = {
            "protocol": "grpc" if protocol == "grpc" else "http",
            "host": "127.0.0.1",
            "port": port,
            "request": base64.b64encode(request).decode(),
            "connections": connections,
            "seconds": self.seconds,
            "warm_up_s": WARM_UP_S,
        }
        worked, asked = server.processor_s(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, str(HERE / "load.py")], input=json.dumps(task), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"The load on {server.name} ({protocol}) failed:\n{done.stderr[-2000:]}")
        cell: Cell = json.loads(done.stdout)
        if cell["failed"] or not cell["answers"]:
            raise SystemExit(f"{server.name} failed {cell['failed']} times over {protocol}: {cell['first_failure']}")
        # Of warm-up requests as well, which are not counted: in proportion.
        share = self.seconds / (self.seconds + WARM_UP_S)
        cell["processor_ms"] = 1e3 * (server.processor_s() - worked) * share / cell["answers"]
        cell["took_s"] = time.perf_counter() - asked
        return {"server": server.name, "protocol": protocol, "connections": connections, **cell}

    def wrk(self, server: Server, connections: int, folder: Path) -> Cell | None:
        """The same V2 request with wrk, where it is installed: a generator that is certainly fast enough."""
        if not shutil.which("wrk"):
            return None
        path, _, body = self._wires["v2"]
        script = folder / "post.lua"
        content_type = 'wrk.headers["Content-Type"] = "application/json"'
        script.write_text(f'wrk.method = "POST"\n{content_type}\nwrk.body = [==[{body.decode()}]==]\n')
        url = f"http://127.0.0.1:{server.http_port}{path}"
        seconds = max(1, round(self.seconds))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in said:
            raise SystemExit(f"wrk: {said}")
        per_s, (value, unit) = re.search(r"Requests/sec:\s+([\d.]+)", said), _p50(said)
        assert per_s
        p50_ms = float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]
        return {"server": server.name, "connections": connections, "p50_ms": p50_ms, "per_s": float(per_s[1])}


def _p50(said: str) -> tuple[str, str]:
    found = re.search(r"\s50%\s+([\d.]+)(us|ms|s)", said)
    assert found
    return found[1], found[2]


def rounds(sender: Sender, servers: Sequence[Server], count: int, folder: Path) -> tuple[list[Cell], list[Cell]]:
    """Every protocol and number of connections on every server, `count` times; and wrk beside it on the lightest."""
    cells, by_wrk = [], []
    for number in range(count):
        turn = number % len(servers)
        order = [*servers[turn:], *servers[:turn]]  # nobody is always first
        for protocol in PROTOCOLS:
            for connections in CONNECTIONS:
                for server in (one for one in order if protocol in one.protocols):
                    cells.append({"round": number, **sender.send(server, protocol, connections)})
                    print(".", end="", flush=True, file=sys.stderr)
        empty = next(server for server in servers if server.name == "empty")
        found = [sender.wrk(empty, connections, folder) for connections in CONNECTIONS]
        by_wrk += [{"round": number, **cell} for cell in found if cell is not None]
    print(file=sys.stderr)
    return cells, by_wrk


def median(cells: list[Cell], figure: str, **where: Any) -> float:
    """Of a figure over the rounds."""
    return float(np.median([cell[figure] for cell in cells if where.items() <= cell.items()]))


def ratio(cells: list[Cell], figure: str, other: str, **where: Any) -> float:
    """Ours to another server's, each round's own, their median."""

    def of(server: str) -> dict[int, float]:
        return {c["round"]: c[figure] for c in cells if {**where, "server": server}.items() <= c.items()}

    ours, theirs = of("ours"), of(other)
    return float(np.median([ours[number] / theirs[number] for number in ours]))


def in_process(path: Path, features: np.ndarray, close: float, count: int) -> dict[str, float]:
    """Milliseconds for one row without a server: the bundle, with everything in the output; the predict calls alone."""
    bundle, naive = Bundle.load(path), NaiveModels(path)
    row, prices = features[None], np.array([close])
    single = row.astype(np.float32)
    asks: dict[str, Callable[[], object]] = {
        "bundle": lambda: bundle.infer(row, prices),
        "predict_calls": lambda: naive.predict_calls(single),
    }
    taken: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(count):
        for name, ask in asks.items():
            for _ in range(10 if name == "bundle" else 1):
                began = time.perf_counter()
                ask()
                taken[name].append(1e3 * (time.perf_counter() - began))
    figures = {f"{name}_p50_ms": float(np.median(times[len(times) // 10 :])) for name, times in taken.items()}
    return figures | {"times_faster": figures["predict_calls_p50_ms"] / figures["bundle_p50_ms"]}
