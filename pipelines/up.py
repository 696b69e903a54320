"""`cryptosentinel up`: everything on one machine, from bars to a served forecast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd
from rich.console import Console

from cryptosentinel.bundle import read_manifest
from cryptosentinel.config import Settings
from cryptosentinel.errors import NotEnoughDataError, PipelineError
from cryptosentinel.predicting import abstention, forecast_records, record
from cryptosentinel.runs import Kind
from cryptosentinel.storage import RegisteredModel
from cryptosentinel.workspace import Workspace, open_workspace, remember
from pipelines.console import Say
from pipelines.dashboard import free_port, running_dashboard
from pipelines.home import locked_home
from pipelines.local import run_pipeline
from pipelines.replay import replay, replay_start
from pipelines.scheduler import next_tick
from pipelines.stopping import CheckedStages

if TYPE_CHECKING:
    from serving.explainer.process import ExplainerProcess
    from serving.process import PredictorProcess

SCHEDULED: tuple[Kind, ...] = ("feature", "training", "inference")
# A bundle whose data ends this long before the newest bar is retrained at the start.
STALE_BUNDLE = timedelta(hours=1)
# How long the predictor may take to follow a new champion.
FOLLOW_S = 60.0


@dataclass(frozen=True)
class Up:
    """A running platform.

    Attributes:
        workspace: as it is now; its settings name the predictor.
        forecast: of the newest bar, a row of the log; None where none could be made.
        abstained: why not; empty where there is one.
        log: all forecasts of this market.
        urls: by name: predictor, grpc, dashboard.
        recorded: whether the market is a recording, which has ended.
        process: the predictor.
        explainer: None with `once`, or where the settings name one that runs elsewhere.
    """

    workspace: Workspace
    forecast: pd.Series | None
    abstained: str
    log: pd.DataFrame
    urls: dict[str, str]
    recorded: bool
    process: PredictorProcess
    explainer: ExplainerProcess | None

    def summary(self) -> dict[str, Any]:
        """For machines."""
        champion = self.workspace.champion()
        return {
            "market": self.workspace.market,
            "simulated": self.workspace.source.simulated,
            "urls": self.urls,
            "forecast": None if self.forecast is None else forecast_records(self.forecast.to_frame().T)[0],
            "abstained": self.abstained,
            "record": record(self.log),
            "champion": {"version": champion.version, "verdict": champion.verdict, "metrics": champion.metrics},
        }


@contextmanager
def bring_up(
    settings: Settings, console: Console, *, once: bool, train: bool = True, check: Callable[[], None] = lambda: None
) -> Iterator[Up]:
    """Brings everything up, and takes it down again when the block ends.

    Args:
        settings: of everything.
        console: where progress goes.
        once: without the dashboard, and with a training run whatever the registry holds.
        train: where the champion is older than `STALE_BUNDLE`; else the schedule does.
        check: is called after each stage and each replayed bar; what it raises ends everything.

    Raises:
        HomeInUseError: another `up` runs in the same home folder.
        StoreUnavailableError: the home folder cannot be written.
        PipelineError: a step failed.
        ServingError: the predictor or the dashboard did not start.
    """
    from serving.client import ServedPredictor

    stages = CheckedStages(5 + train + (not once), console, check)
    with ExitStack() as stack:
        stack.enter_context(locked_home(settings.home))
        with stages.stage("Market and stores") as say:
            dashboard_port = None if once else free_port(settings.dashboard)  # told now, not after all the work
            workspace = open_workspace(settings)
            start = replay_start(workspace)
            before = workspace.storage.registry.champion()
            champion = workspace.champion()
            remember(workspace)
            say(f"{workspace.source.name}, in {workspace.root}")
        for notice in _notices(workspace, before, champion):
            stages.notice(notice)

        with stages.stage("Predictor (KServe)") as say:
            own_explainer = not once and workspace.settings.serving.explainer_url is None
            settings = _with_explainer(workspace.settings) if own_explainer else workspace.settings
            process = stack.enter_context(start_predictor_of(on_free_ports(settings, once), workspace, say))
            settings = _at(settings, process)
            predictor = stack.enter_context(
                ServedPredictor(process.url, settings.serving.model_name, timeout_s=settings.serving.timeout_s)
            )
            say(f"{process.url} serves version {champion.version}")

        with stages.stage("Feature pipeline") as say:
            told = run_pipeline("feature", settings, workspace.root, as_of=start, progress=say, by="start").told
            say(f"{_data_sentence(workspace)}. {told.get('cleaning', '')}")

        if train:
            with stages.stage("Training pipeline") as say:
                say(_train(settings, workspace, start, say, anyway=once))
                predictor.wait_ready(timeout_s=FOLLOW_S, version=workspace.champion().version)

        with stages.stage("Inference pipeline") as say:
            run = run_pipeline("inference", settings, workspace.root, as_of=start, progress=say, by="start")
            say(run.told["predict"])

        with stages.stage("Recorded market" if start else "Forecast log") as say:
            made = 0
            if start is not None:
                end = workspace.source.now()
                made = replay(settings, predictor, start, end, lambda done, of: stages.step(say, f"bar {done} of {of}"))
            log = workspace.storage.log.read_forecasts(settings.market.asset)
            logged = f"{len(log):,} forecast{'s' * (len(log) != 1)} logged"
            forecast, abstained = _newest(workspace, log)
            say(f"{made:,} bars replayed, {logged}" if start and not abstained else logged)
        if abstained:
            stages.notice(f"No forecast now: {abstained}.")

        # Only now, since its imports would take a processor from all of the above, and nobody was told of it yet.
        explainer = stack.enter_context(start_explainer_of(settings, workspace)) if own_explainer else None
        urls = {"predictor": process.url, "grpc": process.grpc}
        if dashboard_port is not None:
            with stages.stage("Dashboard") as say:
                path = workspace.root / "logs" / "dashboard.log"
                urls["dashboard"] = stack.enter_context(running_dashboard(settings, dashboard_port, path))
                say(urls["dashboard"])
        yield Up(open_workspace(settings), forecast, abstained, log, urls, start is not None, process, explainer)


def _newest(workspace: Workspace, log: pd.DataFrame) -> tuple[pd.Series | None, str]:
    """The forecast from the newest bar with features, or why there is none."""
    store, spec, settings = workspace.storage.features, workspace.spec, workspace.settings
    newest = store.last_timestamp(settings.market.asset, spec.hash)
    if len(log) and newest is not None and log["made_at"].iloc[-1] > pd.Timestamp(newest):
        return log.iloc[-1], ""
    data_end, now = read_manifest(workspace.champion_bundle()).data_end, workspace.source.now()
    reason = abstention(store, spec, settings.market.asset, settings.forecast, data_end, now=now)
    return None, reason or "a bar came while the others were forecast from; the next run takes it"


def _notices(workspace: Workspace, before: RegisteredModel | None, champion: RegisteredModel) -> Iterator[str]:
    """What a person must know of the market, and of the champion that there was before."""
    if workspace.notice:
        yield workspace.notice
    elif workspace.source.simulated:
        yield "SIMULATED market: its prices are invented."
    if before is not None and before.version != champion.version:
        yield (
            f"Version {before.version} is of an earlier release, whose bundles this one cannot serve: "
            f"version {champion.version}, the random walk, serves until a new one is trained."
        )


def on_free_ports(settings: Settings, once: bool) -> Settings:
    """For one cycle any ports will do, unless they are named: another predictor may have the usual ones."""
    if not once:
        return settings
    free = dict.fromkeys({"http_port", "grpc_port"} - settings.serving.model_fields_set, 0)
    return settings.model_copy(update={"serving": settings.serving.model_copy(update=free)})


def start_predictor_of(settings: Settings, workspace: Workspace, say: Say) -> PredictorProcess:
    """Starts the predictor of a market."""
    from serving.process import start_predictor

    return start_predictor(
        settings,
        store_root=workspace.root,
        market=workspace.market,
        log_path=workspace.root / "logs" / "predictor.log",
        progress=lambda seconds: say(f"starting, {seconds:.0f} s"),
    )


def _with_explainer(settings: Settings) -> Settings:
    from serving.explainer.process import with_explainer

    return with_explainer(settings)


def start_explainer_of(settings: Settings, workspace: Workspace) -> ExplainerProcess:
    """Starts the explainer of a market."""
    from serving.explainer.process import start_explainer

    return start_explainer(settings, store_root=workspace.root, log_path=workspace.root / "logs" / "explainer.log")


def _at(settings: Settings, process: PredictorProcess) -> Settings:
    """The settings with the addresses at which the predictor answers, which it keeps when it is started again."""
    address = {
        "url": process.url,
        "http_port": urlsplit(process.url).port,
        "grpc_port": int(process.grpc.rpartition(":")[2]),
    }
    return settings.model_copy(update={"serving": settings.serving.model_copy(update=address)})


def _train(settings: Settings, workspace: Workspace, as_of: datetime | None, say: Say, *, anyway: bool) -> str:
    if not anyway and is_fresh(settings, workspace):
        return f"version {workspace.champion().version} is fresh"
    try:
        told = run_pipeline("training", settings, workspace.root, as_of=as_of, progress=say, by="start").told
    except PipelineError as error:
        if error.cause != NotEnoughDataError.__name__:
            raise
        return str(error)  # there is always a champion
    return told.get("register") or told["drift"]


def is_fresh(settings: Settings, workspace: Workspace) -> bool:
    """Whether the champion was trained as the settings say, on data that ends about now."""
    newest = workspace.storage.features.last_timestamp(settings.market.asset, workspace.spec.hash)
    manifest = read_manifest(workspace.champion_bundle())
    if newest is None or manifest.data is None or manifest.spec_hash != workspace.spec.hash:
        return False
    horizon = workspace.spec.interval.delta * settings.forecast.horizon_bars
    as_now = (manifest.horizon_bars, manifest.settings) == (
        settings.forecast.horizon_bars,
        settings.training.model_dump(mode="json"),
    )
    return as_now and newest - manifest.data.end < STALE_BUNDLE + horizon


def _data_sentence(workspace: Workspace) -> str:
    store, asset = workspace.storage.features, workspace.settings.market.asset
    newest = store.last_timestamp(asset, workspace.spec.hash)
    rows = len(store.read_features(asset, workspace.spec.hash, columns=[]))
    return f"{rows:,} bars of {workspace.spec.interval.name} with features, to {newest:%Y-%m-%d %H:%M} UTC"


def next_runs(settings: Settings, now: datetime) -> dict[str, datetime]:
    """When each pipeline runs next."""
    return {name: next_tick(getattr(settings.schedules, name), now) for name in SCHEDULED}
