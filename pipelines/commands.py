"""The commands that need Kubeflow Pipelines, or more than the library: `up`, `run`, `pipelines`; `prune`, `backup`."""

from __future__ import annotations

import enum
import os
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryptosentinel.cli import (
    ConfigOption,
    HomeOption,
    JsonOption,
    SetOption,
    SourceOption,
    err,
    out,
    print_json,
    read_settings,
    say_if_simulated,
    sentence,
)
from cryptosentinel.config import CONFIG_VARIABLE
from cryptosentinel.errors import UserInputError
from pipelines import backup_commands
from pipelines.demo.command import demo
from pipelines.kubeflow import commands
from pipelines.prune_command import prune_all
from pipelines.status import status
from pipelines.stopping import Stopping

if TYPE_CHECKING:
    from pipelines.up import Up


class PipelineName(enum.StrEnum):
    """The three pipelines."""

    feature = "feature"
    training = "training"
    inference = "inference"


def add_commands(app: typer.Typer) -> None:
    """Adds this package's commands to the command line."""
    app.command()(up)
    app.command()(demo)
    app.command()(run)
    app.command("prune")(prune_all)
    app.command()(status)
    app.command()(backup_commands.backup)
    app.command()(backup_commands.restore)
    pipelines = typer.Typer(help="The pipelines on Kubeflow: compiled, uploaded, scheduled.", no_args_is_help=True)
    commands.add_commands(pipelines)
    app.add_typer(pipelines, name="pipelines")


def up(
    source: SourceOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="One full cycle, then exit; no forecast is said, with its reason.")
    ] = False,
    window_days: Annotated[
        float | None, typer.Option(help="How much history training sees.", show_default="90")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="default or classic.", show_default="default")] = None,
    replay_bars: Annotated[
        int | None, typer.Option(help="Bars of a file that are held back and stepped through.", show_default="48")
    ] = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run everything on this machine: bars, features, training, predictor, dashboard, schedules."""
    from pipelines.up import bring_up

    pass_on(config)
    settings = read_settings(
        config,
        assignments,
        {
            "home": home,
            "market.source": source,
            "training.window_days": window_days,
            "training.preset": preset,
            "market.file.replay_bars": replay_bars,
        },
    )
    stopping = Stopping()
    signal.signal(signal.SIGTERM, stopping)
    try:
        with bring_up(settings, err, once=once, check=stopping.check) as running:
            if as_json:
                print_json(running.summary())
            else:
                _show(running)
            stopping.check()
            if once:
                err.print("One cycle is done, and all is stopped again. Without --once it goes on, with a dashboard.")
                return
            stay(running, stopping)
    except KeyboardInterrupt:
        err.print("Stopped. What was stored stays; the next start goes on from it.")
        raise typer.Exit(130) from None


def stay(running: Up, stopping: Stopping) -> None:
    """Says where everything is and what comes next, and keeps it running until somebody stops it."""
    from pipelines.staying import keep_running
    from pipelines.up import next_runs

    for name, url in running.urls.items():
        err.print(f"{name + ':':<11}{url}", highlight=False)
    if running.recorded:
        err.print("The recording has ended; it stays served. Ctrl-C stops everything.")
    else:
        now = datetime.now(UTC)
        ticks = [f"{name} {at:%H:%M:%S}" for name, at in next_runs(running.workspace.settings, now).items()]
        err.print(f"It is {now:%H:%M:%S} UTC. Next runs: {', '.join(ticks)}.", highlight=False)
        err.print("Ctrl-C stops everything; the next start goes on from here.")
    keep_running(running, err, threading.Event(), stopping.check)


def _show(running: Up) -> None:
    from rich.markdown import Markdown

    from cryptosentinel.predicting import describe_forecast, forecast_table, record

    say_if_simulated(running.workspace.source.simulated)
    settled = running.log[running.log["outcome"].notna()]
    if len(settled):
        out.print(forecast_table(settled.tail(12)))
    out.print(sentence(record(running.log)), highlight=False)
    out.print()
    if running.forecast is None:
        out.print(f"No forecast now: {running.abstained}.", highlight=False, markup=False)
    else:
        out.print(Markdown(describe_forecast(running.forecast, running.workspace.settings.market.currency)))


def run(
    name: Annotated[PipelineName, typer.Argument(help="Which pipeline.", show_default=False)],
    source: SourceOption = None,
    as_of: Annotated[str, typer.Option(help="The clock of a recorded or simulated market (ISO).")] = "",
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one pipeline on this machine through Kubeflow's local runner, for the market used last or the one named."""
    from cryptosentinel.workspace import open_workspace, remember, stored_workspace, used_before
    from pipelines.console import Stages
    from pipelines.local import run_pipeline
    from serving.process import running_predictor

    pass_on(config)
    clock = _time(as_of) if as_of else None
    settings = read_settings(config, assignments, {"home": home, "market.source": source})
    if settings.market.source == "auto" and used_before(settings):
        settings = stored_workspace(settings).settings
    workspace = open_workspace(settings, now=clock)
    remember(workspace)
    settings = workspace.settings
    if name is PipelineName.inference and settings.serving.url is None:
        url = running_predictor(workspace.root)
        settings = settings.model_copy(update={"serving": settings.serving.model_copy(update={"url": url})})
    stages = Stages(1, err)
    if workspace.notice:
        stages.notice(workspace.notice)
    with stages.stage(f"{name} pipeline") as say:
        done = run_pipeline(name.value, settings, workspace.root, as_of=clock, progress=say, by="command")
        say("; ".join(done.told.values()))
    if as_json:
        answer = {"pipeline": name, "market": workspace.market, "seconds": done.seconds, "log": str(done.log)}
        print_json(answer | {"told": done.told})
    else:
        err.print(f"log: {done.log}", highlight=False, soft_wrap=True)


def pass_on(config: Path | None) -> None:
    """Lets the processes that we start read the settings file too, for the secrets in it: they get the rest from us."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.resolve())


def _time(text: str) -> datetime:
    from cryptosentinel.market.bars import utc

    try:
        return utc(text)
    except ValueError as error:
        raise UserInputError(f"'{text}' is no time.", remedy="Write --as-of 2025-06-01T12:05 (UTC).") from error
