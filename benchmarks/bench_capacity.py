"""What a market takes: bytes a day of each table, and what each step of the pipelines uses.

    python benchmarks/bench_capacity.py store [--interval 5m] [--hours 24]
    python benchmarks/bench_capacity.py steps [--interval 5m] [--window-days 90] [--set NAME=VALUE ...]
    python benchmarks/bench_capacity.py registry [--days 30] [--bundle-kb 100]

`store` works on a simulated market as the pipelines do: every bar is ingested, featurized, forecast from and settled,
every half hour the tables are compacted. Printed is what a day adds: rows that stay; files that later ones replaced,
which go after `storage.retention_days`; the tables' logs, which go after 30 days.

`steps` runs each pipeline once through Kubeflow's local runner and looks at each step's process: processor seconds, the
highest resident memory. On a busy machine they are right, and wall time is not.

`registry` registers a version every half hour for some days, one in ten of them promoted, and prunes after each by the
default settings.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import psutil
from deltalake import DeltaTable

from components.upkeep import BATCH
from cryptosentinel.bundle import Bundle
from cryptosentinel.config import Settings, StorageSettings, load_settings
from cryptosentinel.features import featurize
from cryptosentinel.market import ingest
from cryptosentinel.predicting import BundlePredictor, predict
from cryptosentinel.retention import prune
from cryptosentinel.storage import open_storage
from cryptosentinel.storage import registry as registry_module
from cryptosentinel.workspace import open_workspace
from serving import start_predictor

HALF_HOUR = timedelta(minutes=30)


def settings_of(home: str, interval: str, **others: object) -> Settings:
    given = {"home": home, "market.source": "simulated", "market.interval": interval}
    return load_settings(environ={}, overrides=given | others)


def tables(root: Path) -> Iterator[tuple[str, int, int, int, int]]:
    """Of each table: its name, and the bytes that its rows need, that were replaced, of its log; and its commits."""
    for log in sorted(root.rglob("_delta_log")):
        table = log.parent
        live = {str(path) for path in pd.Series(DeltaTable(table).file_uris()).map(Path)}
        data = {str(path): path.stat().st_size for path in table.rglob("*.parquet") if log not in path.parents}
        kept = sum(size for path, size in data.items() if path in live)
        logged = sum(path.stat().st_size for path in log.iterdir())
        name = str(table.relative_to(root))
        yield (
            (name if not name.startswith("features/") else "features"),
            kept,
            sum(data.values()) - kept,
            logged,
            DeltaTable(table).version(),
        )


def store(interval: str, hours: float) -> None:
    end = datetime(2025, 3, 10, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as home:
        settings = settings_of(home, interval)
        now = end - timedelta(hours=hours)
        workspace = open_workspace(settings, now=now)
        spec, storage = workspace.spec, workspace.storage
        history = timedelta(days=2) + spec.warm_up_bars * spec.interval.delta
        ingest(workspace.source, storage.features, history=history)
        featurize(storage.features, spec, "bitcoin")
        predictor = BundlePredictor(Bundle.load(workspace.champion_bundle()), 0)
        root = Path(storage.uri)
        before = {name: figures for name, *figures in tables(root)}
        while now < end:
            now += spec.interval.delta
            at = open_workspace(settings, now=now)
            touched = ingest(at.source, storage.features, history=history).touched_from
            featurize(storage.features, spec, "bitcoin", touched_from=touched)
            predict(storage, predictor, spec, settings, now=now)
            if now.timestamp() % HALF_HOUR.total_seconds() == 0:
                storage.maintain()
        print(f"{hours:g} hours of {interval} bars; MB a day")
        print(f"{'table':<20}{'rows':>9}{'replaced':>10}{'log':>8}{'commits':>9}")
        days = hours / 24
        for name, *figures in tables(root):
            *sizes, commits = (b - a for a, b in zip(before.get(name, (0, 0, 0, 0)), figures, strict=True))
            print(
                f"{name:<20}"
                + "".join(f"{size / 1e6 / days:{w}.2f}" for size, w in zip(sizes, (9, 10, 8), strict=True))
                + f"{commits / days:9.0f}"
            )


def steps(interval: str, window_days: float, assignments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as home:
        print(f"{interval} bars, a window of {window_days:g} days")
        print(f"{'step':<22}{'processor s':>13}{'peak MB':>9}")
        given = [f"market.interval={interval}", f"training.window_days={window_days:g}", "serving.http_port=0"]
        given += ["serving.grpc_port=0", *assignments]
        words = [part for text in given for part in ("--set", text)]
        run = [sys.executable, "-m", "cryptosentinel.cli", "run"]
        where = ["--source", "simulated", "--home", home, *words]
        for pipeline in ("feature", "training"):
            watched([*run, pipeline, *where], pipeline)
        settings = load_settings(environ={}, overrides=dict(text.split("=", 1) for text in given) | {"home": home})
        (root,) = (path for path in Path(home).iterdir() if path.is_dir())
        with start_predictor(settings, store_root=root, market=root.name, log_path=root / "logs" / "predictor.log"):
            watched([*run, "inference", *where], "inference")
            (predictor,) = psutil.Process().children()
            print(f"{'the predictor':<22}{'':13}{predictor.memory_info().rss / 1e6:9.0f}")
        for path in sorted(Path(home).glob("*/store/bundles/v*")):
            print(f"bundle {path.name.partition('-')[0]}: {size_of(path) / 1e6:.1f} MB")
        for path in sorted(Path(home).glob("*/runs/*")):
            print(f"artifacts of a run of {path.name.partition('-')[0]}: {size_of(path) / 1e6:.1f} MB")


def watched(line: list[str], pipeline: str) -> None:
    """Runs a command, and prints what each step's process used."""
    process = subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    used: dict[tuple[str, int], float] = {}
    peak: Counter[str] = Counter()
    root = psutil.Process(process.pid)
    while process.poll() is None:
        for child in root.children(recursive=True):
            try:
                command = child.cmdline()
                if "--function_to_execute" in command and "python" in Path(command[0]).name:  # not the shell before it
                    step = command[command.index("--function_to_execute") + 1]
                    used[step, child.pid] = sum(child.cpu_times()[:2])
                    peak[step] = max(peak[step], child.memory_info().rss)
            except psutil.Error:
                continue
        time.sleep(0.02)
    by_step: dict[str, list[float]] = defaultdict(list)
    for (step, _), seconds in used.items():
        by_step[step].append(seconds)
    for step, seconds in by_step.items():
        name = f"{step} ({len(seconds)} parts)" if len(seconds) > 1 else step
        print(f"{name:<22}{sum(seconds):13.1f}{peak[step] / 1e6:9.0f}")
    if process.returncode:
        print(f"{pipeline} ended with {process.returncode}: {process.stderr.read() if process.stderr else ''}")


def registry(days: float, bundle_kb: int) -> None:
    """The bytes of a registry under the default retention, in bundles and in its tables."""
    begin, settings = datetime(2025, 1, 1, tzinfo=UTC), load_settings(environ={})
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        made.mkdir()
        storage = open_storage(StorageSettings(), root=Path(folder), market="capacity")
        bundles, most = storage.registry, 0
        metrics = {f"figure_{number}": number / 7 for number in range(20)}
        for number in range(int(days * 48) + 1):
            now = begin + number * HALF_HOUR
            (made / "manifest.json").write_text(str(number))
            (made / "inference.onnx").write_bytes(os.urandom(bundle_kb * 1000))
            with patch.object(registry_module, "_now", lambda now=now: now):
                promoted = number % 10 == 0
                verdict = ("promoted: " if promoted else "refused: ") + "a sentence of the usual length. " * 12
                version = bundles.register(made, metrics=metrics, verdict=verdict).version
                if promoted and version:
                    bundles.promote(version, expected=bundles.champion().version)
                prune(storage, settings, now=now, in_use={}, batch=BATCH)
            if number % 48 == 0:
                bundles.maintain()
            most = max(most, len(bundles.sizes()))
        there = bundles.sizes()
        print(f"{days:g} days, {number + 1} versions: at most {most} bundles at a time, {len(there)} in the end")
        unpruned = (number + 1) * bundle_kb / 1e3
        print(f"bundles {sum(there.values()) / 1e6:.1f} MB, {bundle_kb} kB each; without pruning {unpruned:.0f} MB")
        print(f"{'table':<10}{'rows':>8}{'replaced':>10}{'log':>8}{'commits':>9}  MB")
        for name, *sizes, commits in tables(Path(storage.uri) / "registry"):
            print(
                f"{name:<10}" + "".join(f"{size / 1e6:{w}.2f}" for size, w in zip(sizes, (8, 10, 8), strict=True)),
                commits,
            )


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("store", "steps", "registry"))
    parser.add_argument("--interval", default="5m")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--window-days", type=float, default=90.0)
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--bundle-kb", type=int, default=100)
    given = parser.parse_args()
    if given.what in (None, "store"):
        store(given.interval, given.hours)
    if given.what in (None, "steps"):
        steps(given.interval, given.window_days, given.assignments)
    if given.what in (None, "registry"):
        registry(given.days, given.bundle_kb)


if __name__ == "__main__":
    main()
