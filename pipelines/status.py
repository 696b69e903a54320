"""The command `cryptosentinel status`: all of the platform at a glance, with Kubeflow's runs where it is configured."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from cryptosentinel.cli import (
    ConfigOption,
    HomeOption,
    JsonOption,
    SetOption,
    SourceOption,
    out,
    print_json,
    read_settings,
)
from cryptosentinel.errors import KubeflowError, UserInputError

if TYPE_CHECKING:
    from cryptosentinel.config import KubeflowSettings, Settings
    from cryptosentinel.monitoring import Status

NOTHING_YET = "Nothing yet: `make run` (or `cryptosentinel up`) starts everything."
# Kubeflow's API is asked once, and not waited for: this is a look, not an operation.
_ANSWERS_WITHIN_S = 5.0


@dataclass(frozen=True)
class OnKubeflow:
    """The newest run of a pipeline on Kubeflow; `state` is Kubeflow's word, empty where there is none."""

    pipeline: str
    state: str = ""
    created_at: datetime | None = None
    finished_at: datetime | None = None
    url: str = ""


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every few seconds, until Ctrl-C.")] = False,
    every_s: Annotated[float, typer.Option("--every", min=1, help="With --watch: seconds between two looks.")] = 5.0,
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how everything is: data, champion, forecasts, drift, alerts, runs. Ends with 1 where something is wrong."""
    settings = read_settings(config, assignments, {"home": home, "market.source": source})
    if not watch:
        found = _look(settings)
        if as_json:
            print_json(_record(found))
        else:
            out.print(_shown(found))
        raise typer.Exit(1 if found is None or found[0].problems else 0)
    with Live(console=out, auto_refresh=False) as live:
        while True:
            found = _look(settings)
            if as_json:
                sys.stdout.write(json.dumps(_record(found)) + "\n")
                sys.stdout.flush()
            else:
                live.update(_shown(found), refresh=True)
            time.sleep(every_s)


def _look(settings: Settings) -> tuple[Status, list[OnKubeflow]] | None:
    """What there is; None where nothing has run yet."""
    from cryptosentinel.monitoring import Problem, read_status
    from cryptosentinel.workspace import stored_workspace, used_before

    try:
        workspace = stored_workspace(settings)
    except UserInputError:
        if settings.market.source == "auto" and used_before(settings):
            raise
        return None
    found, runs = read_status(workspace), list[OnKubeflow]()
    if settings.kubeflow.url is not None:
        try:
            runs = newest_runs(settings.kubeflow)
        except KubeflowError as error:
            problems = [Problem("runs", error.message, error.remedy)]
        else:
            problems = [
                Problem("runs", f"The newest {run.pipeline} run on Kubeflow ended as {run.state}.", f"See {run.url}.")
                for run in runs
                if run.state in {"FAILED", "CANCELED"}
            ]
        found = replace(found, problems=(*found.problems, *problems))
    return found, runs


def newest_runs(settings: KubeflowSettings) -> list[OnKubeflow]:
    """The newest run of each of our pipelines on Kubeflow.

    Raises:
        KubeflowError: it cannot be asked.
    """
    from pipelines.kubeflow.compiling import PIPELINE_NAMES
    from pipelines.kubeflow.connecting import connect

    quick = {"timeout_s": min(settings.timeout_s, _ANSWERS_WITHIN_S), "budget_s": _ANSWERS_WITHIN_S}
    kubeflow = connect(settings.model_copy(update=quick))
    experiment = kubeflow.experiment()
    found = []
    for name in PIPELINE_NAMES:
        pipeline = kubeflow.pipeline(f"{settings.name}-{name}") if experiment else None
        runs = kubeflow.newest_runs(experiment, pipeline, 1) if experiment and pipeline else []
        links = (f"{settings.ui_url or settings.url}/#/runs/details/{run.id}" for run in runs)
        found.append(
            OnKubeflow(name, runs[0].state, runs[0].created_at, runs[0].finished_at, next(links))
            if runs
            else OnKubeflow(name)
        )
    return found


def _record(found: tuple[Status, list[OnKubeflow]] | None) -> dict[str, Any]:
    if found is None:
        return {"ok": False, "market": None, "problems": [{"about": "runs", "what": NOTHING_YET, "remedy": ""}]}
    status, runs = found
    on_kubeflow = [
        {
            "pipeline": run.pipeline,
            "state": run.state or None,
            "created_at": run.created_at.isoformat() if run.created_at else None,
            "finished_at": run.finished_at.isoformat() if run.finished_at else None,
            "url": run.url or None,
        }
        for run in runs
    ]
    return status.record() | {"kubeflow": on_kubeflow}


def _shown(found: tuple[Status, list[OnKubeflow]] | None) -> Any:
    from cryptosentinel.monitoring import show

    if found is None:
        return NOTHING_YET
    status, runs = found
    if not runs:
        return show(status)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("on Kubeflow", "began (UTC)", "state", "took"):
        table.add_column(name, no_wrap=True)
    for run in runs:
        ended = run.created_at and run.finished_at
        took = f"{(run.finished_at - run.created_at).total_seconds():.0f} s" if ended else ""
        began = f"{run.created_at:%Y-%m-%d %H:%M}" if run.created_at else ""
        table.add_row(run.pipeline, began, run.state.lower() or "never", took)
    return Group(show(status), "", table)
