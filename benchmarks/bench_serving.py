"""The predictor beside an empty KServe model, a naive one and MLServer: latency, throughput, memory, start.

    python benchmarks/bench_serving.py [--quick] [--mlserver] [--seconds 3] [--rounds 5] [--bundle DIR] [--json FILE]
        [--out DIR]

Real servers as processes, side by side: ours; (a) a KServe model that answers one number and does nothing; (a') one
that does nothing and answers all our tensors; (b) the same models through scikit-learn's and XGBoost's `predict`, under
KServe. They are asked in turns, round by round, over REST V1, V2, binary V2 and gRPC, with 1 and 16 connections, one
row a request. All but ours run in KServe's own `ModelServer`, logs as quiet as ours. With --mlserver there is (c):
MLServer, in an environment of its own that is made from `requirements/mlserver.txt` in `.venv-mlserver`, with the
bundle's ONNX graph, over what it speaks of these. All of them compute with one thread: XGBoost's many, its default,
cost a single row more than they bring, and on a busy machine a hundred times more.

Without --bundle one is trained on an invented market with the pipelines' own code. Writes `serving.md` and
`serving.svg` into --out, by default `benchmarks/results`; with --quick, which shows only that it all works, into a
temporary folder, and prints. Ends with 1 where a limit is not held, unless --quick.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

os.environ["OMP_NUM_THREADS"] = "1"  # before what reads it is imported; the servers inherit it
sys.path.append(str(Path(__file__).resolve().parents[1]))  # for the tests' builders
from side_by_side.measuring import Sender, in_process, rounds
from side_by_side.mlserver_peer import make_environment
from side_by_side.report import draw, limits, markdown
from side_by_side.servers import MLSERVER, SERVERS, Server, start

from cryptosentinel.bundle import BLEND, REFERENCE_FILE, Bundle

ROOT = Path(__file__).resolve().parents[1]
CLOSE = 60_000.0
TRAINING_ROWS = 8_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--mlserver", action="store_true", help="measure MLServer too; installs it the first time")
    parser.add_argument("--seconds", type=float, help="of load a measurement (3; quick: 1)")
    parser.add_argument("--rounds", type=int, help="5; quick: 1")
    parser.add_argument("--bundle", type=Path, help="a trained bundle's folder")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--out", type=Path, help="where the table and the plot go")
    given = parser.parse_args()
    quick = given.quick
    names = [name for name in SERVERS if name != MLSERVER or given.mlserver]
    if given.mlserver:
        make_environment()
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = given.bundle or trained(temporary, 1_800 if quick else TRAINING_ROWS)
        measured = measure(
            path.resolve(),
            names,
            temporary,
            given.seconds or (1.0 if quick else 3.0),
            given.rounds or (1 if quick else 5),
            quick,
        )
        found = limits(measured["cells"], measured["starts"], measured["in_process"])
        out = given.out or (temporary if quick else ROOT / "benchmarks" / "results")
        out.mkdir(parents=True, exist_ok=True)
        draw(measured["cells"], out / "serving.svg")
        page = markdown(measured, found, "serving.svg")
        (out / "serving.md").write_text(page, encoding="utf-8")
        print(page)
        if given.json:
            verdicts = [{**limit._asdict(), "held": bool(limit.held)} for limit in found]
            given.json.write_text(json.dumps({**measured, "limits": verdicts}, indent=1), encoding="utf-8")
    return 0 if quick or all(limit.held for limit in found) else 1


def measure(path: Path, names: list[str], folder: Path, seconds: float, count: int, quick: bool) -> dict[str, Any]:
    """Everything, in one run."""
    bundle = Bundle.load(path)
    features = pd.read_parquet(bundle.file(REFERENCE_FILE))[bundle.manifest.features].to_numpy("float64")[-1]
    load_before = os.getloadavg()[0]
    alone = in_process(path, features, CLOSE, 30 if quick else 300)
    starts: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(0 if quick else 2):
        for name in names:
            server = start(name, path, folder / f"{name}.log")
            starts[name].append(server.ready_s)
            server.stop()
    with ExitStack() as stack:
        servers: list[Server] = []
        for name in names:
            servers.append(start(name, path, folder / f"{name}.log"))
            stack.callback(servers[-1].stop)
            starts[name].append(servers[-1].ready_s)
        fresh = {server.name: server.resident_mb() for server in servers}
        cells, by_wrk = rounds(Sender(bundle, features, CLOSE, seconds), servers, count, folder)
        resident = {server.name: server.resident_mb() for server in servers}
    return {
        "made_at": datetime.now(UTC).date().isoformat(),
        "machine": f"{psutil.cpu_count()} cores, Python {sys.version.split()[0]}",
        "rounds": count,
        "seconds": seconds,
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
        "in_process": alone,
        "starts": starts,
        "resident_fresh_mb": fresh,
        "resident_mb": resident,
        "cells": cells,
        "wrk": by_wrk,
    }


def trained(folder: Path, rows: int) -> Path:
    """A bundle trained on noise, told to answer with its blend."""
    from tests.explaining.builders import with_manifest
    from tests.forecasting.builders import evaluate_parts, make_bundle, make_dataset, make_settings, train_all

    dataset, settings = make_dataset(rows), make_settings()
    parts = train_all(dataset, folder / "parts", settings)
    bundle = make_bundle(folder / "trained", parts, evaluate_parts(parts, dataset, settings), settings)
    return with_manifest(bundle, folder / "bundle", champion=BLEND, shrinkage=0.5).path


if __name__ == "__main__":
    sys.exit(main())
