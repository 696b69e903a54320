"""`cryptosentinel up`: everything on one machine, from bars to a served forecast."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from cryptosentinel.bundle import read_manifest
from cryptosentinel.config import Settings
from cryptosentinel.errors import CryptoSentinelError, ServingError
from cryptosentinel.predicting import record
from cryptosentinel.workspace import Workspace, open_workspace, remember
from pipelines.console import Stages
from pipelines.home import locked_home
from pipelines.local import end_runs, run_pipeline
from pipelines.replay import replay, replay_start
from pipelines.scheduler import next_tick, run_schedules

# A bundle whose data ends this long before the newest bar is retrained at the start.
STALE_BUNDLE = timedelta(hours=1)


@dataclass(frozen=True)
class Up:
    """A running platform.

    Attributes:
        forecast: the newest forecast, a row of the log.
        log: all forecasts of this market.
        urls: by name: predictor, grpc, dashboard.
        as_of: the clock of a recording that was stepped through; None for a market that goes on.
    """

    workspace: Workspace
    forecast: pd.Series
    log: pd.DataFrame
    urls: dict[str, str]
    as_of: datetime | None

    def summary(self) -> dict[str, Any]:
        """For machines."""
        import json

        champion = self.workspace.champion()
        return {
            "market": self.workspace.market,
            "simulated": self.workspace.source.simulated,
            "urls": self.urls,
            "forecast": json.loads(self.forecast.to_json(date_format="iso")),
            "record": record(self.log),
            "champion": {"version": champion.version, "verdict": champion.verdict, "metrics": champion.metrics},
        }


@contextmanager
def bring_up(settings: Settings, console: Console, *, once: bool) -> Iterator[Up]:
    """Brings everything up, and takes it down again when the block ends.

    Args:
        settings: of everything.
        console: where progress goes.
        once: without the dashboard, and with a training run whatever the registry holds.

    Raises:
        HomeInUseError: another `up` runs in the same home folder.
        PipelineError: a step failed.
        ServingError: the predictor did not start, or no forecast came of it.
    """
    from serving.client import ServedPredictor
    from serving.process import start_predictor

    stages = Stages(6 if once else 7, console)
    with ExitStack() as stack:
        stack.enter_context(locked_home(settings.home))
        with stages.stage("Market and stores") as say:
            workspace = open_workspace(settings)
            settings, start = workspace.settings, replay_start(workspace)
            champion = workspace.champion()
            remember(workspace)
            say(f"{workspace.source.name}, in {workspace.root}")
        if workspace.notice:
            stages.notice(workspace.notice)
        elif workspace.source.simulated:
            stages.notice("SIMULATED market: its prices are invented.")

        with stages.stage("Predictor (KServe)") as say:
            process = stack.enter_context(
                start_predictor(
                    settings,
                    store_root=workspace.root,
                    market=workspace.market,
                    log_path=workspace.root / "logs" / "predictor.log",
                )
            )
            serving = settings.serving.model_copy(update={"url": process.url})
            settings = settings.model_copy(update={"serving": serving})
            predictor = stack.enter_context(
                ServedPredictor(process.url, serving.model_name, timeout_s=serving.timeout_s)
            )
            say(f"{process.url} serves version {champion.version}")

        with stages.stage("Feature pipeline") as say:
            run_pipeline("feature", settings, workspace.root, as_of=start, progress=say)
            say(_data_sentence(workspace))

        with stages.stage("Training pipeline") as say:
            say(_train(settings, workspace, start, say, anyway=once))
            predictor.wait_ready(timeout_s=30.0, version=workspace.champion().version)

        with stages.stage("Inference pipeline") as say:
            run_pipeline("inference", settings, workspace.root, as_of=start, progress=say)
            say("forecast served and logged")

        with stages.stage("Recorded market" if start else "Forecast log") as say:
            if start is not None:
                end = workspace.source.now()
                made = replay(settings, predictor, start, end, lambda done, of: say(f"bar {done} of {of}"))
                say(f"{made} more forecasts at the close of each held-back bar")
                start = end
            log = workspace.storage.log.read_forecasts(settings.market.asset)
            if log.empty:
                raise ServingError(
                    "No forecast was made.", remedy="The inference run's log says why it abstained: see runs/."
                )
            if start is None:
                say(f"{len(log)} forecasts")

        urls = {"predictor": process.url, "grpc": process.grpc}
        if not once:
            with stages.stage("Dashboard") as say:
                urls["dashboard"] = stack.enter_context(_dashboard(settings, workspace.root))
                say(urls["dashboard"])
        workspace = open_workspace(settings, now=start)
        yield Up(workspace, log.iloc[-1], log, urls, start)


def _train(settings: Settings, workspace: Workspace, as_of: datetime | None, say: Any, *, anyway: bool) -> str:
    newest = workspace.storage.features.last_timestamp(settings.market.asset, workspace.spec.hash)
    manifest = read_manifest(workspace.champion_bundle())
    fresh = (
        manifest.data is not None
        and manifest.spec_hash == workspace.spec.hash
        and newest is not None
        and newest - manifest.data.end < STALE_BUNDLE + workspace.spec.interval.delta * settings.forecast.horizon_bars
    )
    if fresh and not anyway:
        return f"version {workspace.champion().version} is fresh"
    before = len(workspace.storage.registry.versions())
    run = run_pipeline("training", settings, workspace.root, as_of=as_of, progress=say)
    versions = workspace.storage.registry.versions()
    if len(versions) == before:
        return f"too few rows to train on yet: the random walk stays champion (details: {run.log})"
    return f"version {versions[-1].version} {versions[-1].verdict}"


def _data_sentence(workspace: Workspace) -> str:
    store, asset = workspace.storage.features, workspace.settings.market.asset
    newest = store.last_timestamp(asset, workspace.spec.hash)
    rows = len(store.read_features(asset, workspace.spec.hash, columns=[]))
    return f"{rows:,} bars of {workspace.spec.interval.name} with features, to {newest:%Y-%m-%d %H:%M} UTC"


@contextmanager
def _dashboard(settings: Settings, root: Path) -> Iterator[str]:
    """The Streamlit dashboard as a child process; gives its URL once it answers."""
    import dashboard
    from pipelines.ports import free_port, wait_for_http

    port = free_port(settings.dashboard.host, settings.dashboard.port, "dashboard.port")
    url = f"http://{settings.dashboard.host}:{port}"
    log = root / "logs" / "dashboard.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "streamlit", "run", str(Path(dashboard.__file__).parent / "app.py")]
    command += ["--server.headless=true", f"--server.address={settings.dashboard.host}", f"--server.port={port}"]
    command += ["--browser.gatherUsageStats=false", "--", "--settings", settings.public_json()]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_for_http(f"{url}/_stcore/health", process, log, timeout_s=30.0)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def keep_running(up: Up, console: Console, stop: threading.Event) -> None:
    """Runs the schedules until `stop` is set; a run that fails is reported, and the next one tried at its time."""
    settings, root = up.workspace.settings, up.workspace.root

    def job(name: str) -> None:
        try:
            run = run_pipeline(name, settings, root)
        except CryptoSentinelError as error:
            if stop.is_set():
                return
            console.print(
                f"{time.strftime('%H:%M:%S')} {name} failed: {error}", style="red", highlight=False, markup=False
            )
        else:
            console.print(f"{time.strftime('%H:%M:%S')} {name} done ({run.seconds:.1f} s)", highlight=False)

    try:
        run_schedules(settings.schedules, {name: partial(job, name) for name in _SCHEDULED}, stop)
    finally:
        stop.set()
        end_runs()


_SCHEDULED = ("feature", "training", "inference")


def next_runs(settings: Settings, now: datetime) -> dict[str, datetime]:
    """When each pipeline runs next."""
    return {name: next_tick(getattr(settings.schedules, name), now) for name in _SCHEDULED}
