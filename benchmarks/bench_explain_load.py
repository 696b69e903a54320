"""What explanations cost a forecast: its latency alone, and while clients ask for LIME without pause.

    python benchmarks/bench_explain_load.py [--home HOME] [--clients 4] [--seconds 10] [--rounds 3]

Real servers on free ports: a predictor, an explainer beside it, and forecasts over V1 on one connection,
one after the other. Rounds alternate between both states, so that whatever else the machine does falls on both. Without
`--home` (of an earlier `cryptosentinel up`) a bundle is trained on a simulated market first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from cryptosentinel.config import load_settings
from cryptosentinel.workspace import Workspace, stored_workspace
from serving.explainer.process import start_explainer, with_explainer
from serving.process import start_predictor

LIMIT = 4.0
FREE_PORTS = {"serving.http_port": 0, "serving.grpc_port": 0, "serving.explainer_port": 0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--clients", type=int, default=4, help="that ask for LIME at once")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3, help="of each state")
    given = parser.parse_args()
    with ExitStack() as stack:
        home = given.home or trained_home(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        workspace = stored_workspace(load_settings(overrides={"home": str(home)} | FREE_PORTS))
        body = {"instances": [newest_row(workspace)]}
        url = stack.enter_context(served(workspace))
        wait_for_explanations(url, body)
        return measure(url, body, given)


def trained_home(home: Path) -> Path:
    ports = [part for name, port in FREE_PORTS.items() for part in ("--set", f"{name}={port}")]
    command = [sys.executable, "-m", "cryptosentinel.cli", "up", "--once", "--source", "simulated", *ports]
    subprocess.run([*command, "--home", str(home)], check=True, stdout=subprocess.DEVNULL)
    return home


def newest_row(workspace: Workspace) -> dict[str, Any]:
    store, asset, spec = workspace.storage.features, workspace.settings.market.asset, workspace.spec
    newest = store.last_timestamp(asset, spec.hash)
    assert newest is not None, "this home has no features"
    row = store.read_features(asset, spec.hash, newest)[spec.model_names].iloc[-1]
    close = store.read_bars(asset, newest)["close"].iloc[-1]
    return {"close": float(close), "features": {name: float(value) for name, value in row.items()}}


@contextmanager
def served(workspace: Workspace) -> Iterator[str]:
    settings, root = with_explainer(workspace.settings), workspace.root
    logs = root / "logs"
    with (
        start_explainer(settings, store_root=root, log_path=logs / "explainer.log"),
        start_predictor(
            settings, store_root=root, market=workspace.market, log_path=logs / "predictor.log"
        ) as predictor,
    ):
        yield f"{predictor.url}/v1/models/{settings.serving.model_name}"


def wait_for_explanations(url: str, body: dict[str, Any]) -> None:
    began = time.monotonic()
    while (answer := post(f"{url}:explain", body | {"lime": True})).status_code != 200:
        if time.monotonic() - began > 120:
            raise SystemExit(f"It does not explain: {answer.text}")
        time.sleep(0.1)
    print(f"explanations after {time.monotonic() - began:.1f} s: {answer.json()['sentence'][0]}")


def measure(url: str, body: dict[str, Any], given: argparse.Namespace) -> int:
    times: dict[str, list[float]] = {"idle": [], "explaining": []}
    failed, explained, explain_s = Counter[int](), Counter[int](), []
    with httpx.Client(trust_env=False, timeout=30) as client:
        for _ in range(200):
            client.post(f"{url}:predict", json=body)
        for number in range(2 * given.rounds):
            state = "explaining" if number % 2 else "idle"
            with explaining(url, body, given.clients if number % 2 else 0, explained, explain_s):
                until = time.perf_counter() + given.seconds
                while time.perf_counter() < until:
                    began = time.perf_counter()
                    status = client.post(f"{url}:predict", json=body).status_code
                    times[state].append(time.perf_counter() - began)
                    if status != 200:
                        failed[status] += 1
    print(f"{'':<12}{'forecasts':>10}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    p99 = {}
    for state, seconds in times.items():
        p50, p99[state] = np.percentile(seconds, [50, 99]) * 1e3
        print(f"{state:<12}{len(seconds):>10,}{p50:9.2f}{p99[state]:9.2f}{max(seconds) * 1e3:9.2f}")
    answers = ", ".join(f"{count} times {status}" for status, count in sorted(explained.items()))
    print(f"LIME for {given.clients} clients: {answers}; p50 {np.median(explain_s) * 1e3:.0f} ms with waiting")
    ratio = p99["explaining"] / p99["idle"]
    print(f"p99 ratio {ratio:.2f} (limit {LIMIT:g}), failed forecasts {sum(failed.values())} {dict(failed) or ''}")
    return int(ratio >= LIMIT or bool(failed))


@contextmanager
def explaining(
    url: str, body: dict[str, Any], clients: int, answers: Counter[int], seconds: list[float]
) -> Iterator[None]:
    """Clients that ask for LIME without pause, while the block runs."""
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not stop.is_set():
                began = time.perf_counter()
                answer = client.post(f"{url}:explain", json=body | {"lime": True})
                answers[answer.status_code] += 1
                seconds.append(time.perf_counter() - began)
                if answer.status_code == 503:
                    stop.wait(float(answer.headers["retry-after"]))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def post(url: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(url, json=body, trust_env=False, timeout=30)


if __name__ == "__main__":
    sys.exit(main())
