"""A server under full load over every protocol while its champion changes: every answer is checked.

    python benchmarks/soak_serving.py [--minutes 10] [--swap-every 20] [--connections 16] [--json FILE]

A predictor in a home with a registry of three different bundles: the random walk, and two trained ones. REST V1, V2,
binary V2 and gRPC ask at once, each with a share of the connections: single rows, many rows, rows that are not warm,
raw bars. Every so many seconds the next bundle is promoted in the registry, which the predictor follows. Each answer
must be, in all its outputs and all that it says of itself, that of the very version that it names, and no connection
may see a version come back after the next one. Ends with 1 where an answer failed or was wrong, a swap was not seen,
the log tells an error, or the server's memory at the end is more than a tenth above that after the first round of
bundles.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for the tests' builders
from side_by_side.asking import MODEL, PROTOCOLS
from side_by_side.servers import HERE, ROOT

from cryptosentinel.config import StorageSettings, load_settings
from cryptosentinel.storage import ModelRegistry, open_storage
from serving import ServedPredictor, start_predictor
from serving.state import PredictorState
from tests.serving.builders import make_random_walk, make_trained

MARKET = "soak"
GROWTH = 0.10
SWAP_TIMEOUT_S = 30.0
LEAST_SWAP_EVERY_S = 5.0  # the predictor looks every 2 s, and a busy connection must see each version


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--swap-every", type=float, default=20.0, help=f"seconds; at least {LEAST_SWAP_EVERY_S:g}")
    parser.add_argument("--connections", type=int, default=16, help="in all; at least one a protocol")
    parser.add_argument("--json", type=Path, help="write every figure here")
    given = parser.parse_args()
    if given.swap_every < LEAST_SWAP_EVERY_S or given.connections < len(PROTOCOLS):
        parser.error(f"give at least {LEAST_SWAP_EVERY_S:g} s and {len(PROTOCOLS)} connections")
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), 60 * given.minutes, given.swap_every, given.connections)
    show(found)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return int(bool(found["failures"]))


def soak(home: Path, seconds: float, swap_every_s: float, connections: int) -> dict[str, Any]:
    """The whole run."""
    registry = open_storage(StorageSettings(), root=home, market=MARKET).registry
    made = [
        make_random_walk(home / "made" / "0"),
        make_trained(home / "made" / "1", lean=1.0, seed=1),
        make_trained(home / "made" / "2", lean=-1.0, seed=2, horizon_bars=12),
    ]
    bundles = [(registry.register(b.path, metrics={}, verdict="to soak").version, str(b.path)) for b in made]
    settings = load_settings(environ={}, overrides={"home": str(home), "serving.http_port": 0, "serving.grpc_port": 0})
    log = home / "predictor.log"
    with (
        start_predictor(settings, store_root=home, market=MARKET, log_path=log) as server,
        watched(psutil.Process(server.process.pid)) as memory,
        ServedPredictor(server.url, MODEL) as client,
    ):
        loads = start_loads(server.state, bundles, connections, seconds)
        until, versions = time.monotonic() + seconds, [version for version, _ in bundles]
        swaps, first_round = swap_champions(registry, client, versions, until, swap_every_s, memory)
        reports = [ended(load) for load in loads]
    return judged(
        {
            "seconds": seconds,
            "connections": connections,
            "bundles": len(bundles),
            "swaps": len(swaps),
            "swap_s": {"median": sorted(swaps)[len(swaps) // 2], "max": max(swaps)} if swaps else {},
            "answers_per_s": sum(report["answers"] for report in reports) / seconds,
            "resident_mb": {
                "start": memory[0],
                "after_first_round": first_round,
                "end": memory[-1],
                "peak": max(memory),
            },
            "exit_code": server.process.returncode,
            "errors_in_log": [line for line in log.read_text().splitlines() if "level=ERROR" in line],
            "protocols": reports,
        }
    )


def start_loads(
    state: PredictorState, bundles: list[tuple[int, str]], connections: int, seconds: float
) -> list[subprocess.Popen[str]]:
    """A process a protocol, which all ask by now."""
    rest, (grpc_host, _, grpc_port) = urlsplit(state.url), state.grpc.rpartition(":")
    path = os.pathsep.join(filter(None, (str(HERE.parent), str(ROOT), os.environ.get("PYTHONPATH"))))
    loads = []
    for number, protocol in enumerate(PROTOCOLS):
        host, port = (grpc_host, int(grpc_port)) if protocol == "grpc" else (rest.hostname, rest.port)
        share = connections // len(PROTOCOLS) + (number < connections % len(PROTOCOLS))
        task = {"protocol": protocol, "host": host, "port": port, "bundles": bundles}
        task |= {"connections": share, "seconds": seconds}
        load = subprocess.Popen(
            [sys.executable, "-m", "side_by_side.soaking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert load.stdin is not None
        load.stdin.write(json.dumps(task))
        load.stdin.close()
        loads.append(load)
    for load in loads:
        assert load.stdout is not None
        if load.stdout.readline() != "ready\n":
            raise SystemExit("A process that should put load on the server ended; see above.")
    return loads


def ended(load: subprocess.Popen[str]) -> dict[str, Any]:
    """What a process saw."""
    assert load.stdout is not None
    said = load.stdout.read()
    if load.wait():
        raise SystemExit("A process that should put load on the server failed; see above.")
    report: dict[str, Any] = json.loads(said)
    return report


def swap_champions(
    registry: ModelRegistry,
    client: ServedPredictor,
    versions: list[int],
    until: float,
    every_s: float,
    memory: list[float],
) -> tuple[list[float], float]:
    """Promotes one version after the other; returns how long each took, and the memory after the first round."""
    took: list[float] = []
    after_first = memory[-1]
    order = cycle([*versions[1:], versions[0]])
    while time.monotonic() + every_s + SWAP_TIMEOUT_S / 6 < until:
        time.sleep(every_s)
        champion, version = registry.champion(), next(order)
        promoted = time.monotonic()
        registry.promote(version, expected=champion.version if champion else None)
        client.wait_ready(SWAP_TIMEOUT_S, version)
        took.append(time.monotonic() - promoted)
        print(f"{version} ", end="", flush=True, file=sys.stderr)
        if len(took) == len(versions):
            after_first = memory[-1]
    print(file=sys.stderr)
    return took, after_first


@contextmanager
def watched(process: psutil.Process) -> Iterator[list[float]]:
    """The megabytes that a process keeps resident, once a second."""
    seen, stop = [process.memory_info().rss / 1e6], threading.Event()

    def watch() -> None:
        while not stop.wait(1.0):
            seen.append(process.memory_info().rss / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def judged(found: dict[str, Any]) -> dict[str, Any]:
    """With what failed, in words."""
    resident, reports = found["resident_mb"], found["protocols"]
    growth = resident["end"] / resident["after_first_round"] - 1
    failures = [f"{r['protocol']}, {count} times: {text}" for r in reports for text, count in r["faults"].items()]
    failures += [
        f"{r['protocol']}: a connection saw {r['swaps_seen']} of {found['swaps']} swaps"
        for r in reports
        if r["swaps_seen"] != found["swaps"]
    ]
    if found["swaps"] < found["bundles"]:
        failures.append(f"{found['swaps']} swaps are too few for {found['bundles']} bundles; let it take longer")
    elif growth > GROWTH:
        failures.append(f"memory grew by {growth:.1%}")
    if found["exit_code"]:
        failures.append(f"the server ended with {found['exit_code']}")
    return found | {"growth": growth, "failures": failures + found["errors_in_log"]}


def show(found: dict[str, Any]) -> None:
    resident = found["resident_mb"]
    print(
        f"{found['seconds']:.0f} s, {found['connections']} connections, {found['swaps']} swaps,"
        f" {found['answers_per_s']:.0f} answers/s\n"
    )
    print("| Protocol | Answers | Failed | Wrong | p50, ms | p99, ms | Longest, ms | By version |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    for r in found["protocols"]:
        versions = ", ".join(f"{version}: {count:,}" for version, count in sorted(r["by_version"].items()))
        print(
            f"| {PROTOCOLS[r['protocol']]} | {r['answers']:,} | {r['failed']} | {r['wrong']} | {r['p50_ms']:.1f}"
            f" | {r['p99_ms']:.1f} | {r['max_ms']:.0f} | {versions} |"
        )
    if found["swap_s"]:
        print(
            f"\nPromoted to served: median {found['swap_s']['median']:.1f} s, at most {found['swap_s']['max']:.1f} s."
        )
    print(
        f"Resident MB: {resident['start']:.0f} at the start, {resident['after_first_round']:.0f} after the first round"
        f" of bundles, {resident['end']:.0f} at the end ({found['growth']:+.1%}), {resident['peak']:.0f} at most."
    )
    for failure in found["failures"]:
        print(f"FAILED: {failure}")


if __name__ == "__main__":
    sys.exit(main())
