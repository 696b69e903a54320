"""The commands that need Kubeflow Pipelines: `up`, `run`, `pipelines`."""

from __future__ import annotations

import enum
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

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
)


class PipelineName(enum.StrEnum):
    """The three pipelines."""

    feature = "feature"
    training = "training"
    inference = "inference"


def add_commands(app: typer.Typer) -> None:
    """Adds this package's commands to the command line."""
    app.command()(up)
    app.command()(run)
    pipelines = typer.Typer(help="Compile the pipelines for Kubeflow.", no_args_is_help=True)
    pipelines.command("compile")(compile_)
    app.add_typer(pipelines, name="pipelines")


def up(
    source: SourceOption = None,
    once: Annotated[bool, typer.Option("--once", help="One full cycle, then exit: 0 if a forecast was made.")] = False,
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
    from pipelines.up import bring_up, keep_running, next_runs

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
    # SIGTERM ends us as Ctrl-C does: children are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with bring_up(settings, err, once=once) as running:
            if as_json:
                print_json(running.summary())
            else:
                _show(running)
            if once:
                return
            if running.as_of is not None:
                err.print("The recording has ended; it stays served. Ctrl-C stops everything.")
                signal.pause()
            for name, at in next_runs(running.workspace.settings, datetime.now(UTC)).items():
                err.print(f"{name}: next run at {at:%H:%M:%S} UTC", highlight=False)
            err.print("Ctrl-C stops everything; the next start goes on from here.")
            keep_running(running, err, threading.Event())
    except KeyboardInterrupt:
        err.print("Stopped. What was stored stays; the next start goes on from it.")
        raise typer.Exit(130) from None


def _show(running: object) -> None:
    from rich.markdown import Markdown

    from cryptosentinel.cli import say_if_simulated, sentence
    from cryptosentinel.predicting import describe_forecast, forecast_table, record
    from pipelines.up import Up

    assert isinstance(running, Up)
    say_if_simulated(running.workspace.source.simulated)
    settled = running.log[running.log["outcome"].notna()]
    if len(settled):
        out.print(forecast_table(settled.tail(12)))
    out.print(sentence(record(running.log)), highlight=False)
    out.print()
    out.print(Markdown(describe_forecast(running.forecast, running.workspace.settings.market.currency)))
    for name, url in running.urls.items():
        out.print(f"{name + ':':<11}{url}", highlight=False)


def run(
    name: Annotated[PipelineName, typer.Argument(help="Which pipeline.", show_default=False)],
    source: SourceOption = None,
    as_of: Annotated[str, typer.Option(help="The clock of a recorded or simulated market (ISO).")] = "",
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one pipeline on this machine through Kubeflow's local runner."""
    from cryptosentinel.market.bars import utc
    from cryptosentinel.workspace import open_workspace, remember
    from pipelines.console import Stages
    from pipelines.local import run_pipeline
    from serving.process import running_predictor

    settings = read_settings(config, assignments, {"home": home, "market.source": source})
    settings.home.mkdir(parents=True, exist_ok=True)
    workspace = open_workspace(settings, now=utc(as_of) if as_of else None)
    remember(workspace)
    settings = workspace.settings
    if name is PipelineName.inference and settings.serving.url is None:
        url = running_predictor(workspace.root)
        settings = settings.model_copy(update={"serving": settings.serving.model_copy(update={"url": url})})
    stages = Stages(1, err)
    if workspace.notice:
        stages.notice(workspace.notice)
    with stages.stage(f"{name} pipeline") as say:
        done = run_pipeline(name, settings, workspace.root, as_of=utc(as_of) if as_of else None, progress=say)
        say("done")
    if as_json:
        print_json({"pipeline": name, "seconds": done.seconds, "log": str(done.log), "market": workspace.market})
    else:
        err.print(f"log: {done.log}", highlight=False, soft_wrap=True)


def compile_(
    folder: Annotated[Path, typer.Option("--output", help="Where the YAML goes.")] = Path("manifests/pipelines"),
    as_json: JsonOption = False,
) -> None:
    """Compile the pipelines into YAML for Kubeflow Pipelines."""
    from pipelines.compiling import compile_pipelines

    compiled = compile_pipelines(folder)
    if as_json:
        print_json([{"name": c.name, "path": str(c.path), "changed": c.changed} for c in compiled])
        return
    for one in compiled:
        out.print(f"{one.path}: {'written' if one.changed else 'unchanged'}", highlight=False)
