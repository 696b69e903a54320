"""The commands about Kubeflow Pipelines: `cryptosentinel pipelines compile | submit | schedule | status | run | prune`.

To try a pipeline on this machine is `cryptosentinel run`. The two are different commands on purpose: whoever asks for a
run on the cluster is told when there is none, rather than given one elsewhere.
"""

from __future__ import annotations

import enum
import secrets
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cryptosentinel.cli import ConfigOption, JsonOption, SetOption, err, out, print_json, read_settings
from cryptosentinel.errors import PipelineError

if TYPE_CHECKING:
    from pipelines.kubeflow.reconciling import Change
    from pipelines.kubeflow.records import Run

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be done.")]


class ClusterPipeline(enum.StrEnum):
    """The pipelines on Kubeflow."""

    feature = "feature"
    training = "training"
    inference = "inference"
    upkeep = "upkeep"


def add_commands(pipelines: typer.Typer) -> None:
    """Adds the commands to `cryptosentinel pipelines`."""
    pipelines.command("compile")(compile_)
    for command in (submit, schedule, status, run, prune):
        pipelines.command()(command)


def compile_(
    folder: Annotated[Path, typer.Option("--output", help="Where the YAML goes.")] = Path("manifests/pipelines"),
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compile the pipelines into YAML for Kubeflow Pipelines; the settings of the group kubeflow say what pods get."""
    from pipelines.kubeflow.compiling import compile_pipelines

    compiled = compile_pipelines(folder, read_settings(config, assignments).kubeflow)
    if as_json:
        print_json([{"name": c.name, "path": str(c.path), "changed": c.changed} for c in compiled])
        return
    for one in compiled:
        out.print(f"{one.path}: {'written' if one.changed else 'unchanged'}", highlight=False)


def submit(
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upload the pipelines to Kubeflow; a version is named by what is in it, and uploaded once."""
    from pipelines.kubeflow.connecting import connect
    from pipelines.kubeflow.reconciling import upload
    from pipelines.kubeflow.wanted import compiled

    settings = read_settings(config, assignments)
    kubeflow = connect(settings.kubeflow)
    with compiled(settings) as wanted:
        _, changes = upload(kubeflow, wanted, dry_run=dry_run)
    _tell(changes, as_json=as_json, dry_run=dry_run)


def schedule(
    remove: Annotated[
        bool, typer.Option("--remove", help="Disable and delete our recurring runs; versions and runs stay.")
    ] = False,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="With --remove: seconds that runs under way are given to end.")
    ] = 120.0,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upload what changed, and make Kubeflow's recurring runs what the settings say; unchanged, nothing is written."""
    from pipelines.kubeflow import reconciling
    from pipelines.kubeflow.connecting import connect
    from pipelines.kubeflow.wanted import compiled

    settings = read_settings(config, assignments)
    kubeflow, prefix = connect(settings.kubeflow), settings.kubeflow.name
    if remove:
        changes = reconciling.remove(kubeflow, prefix=prefix, wait_s=wait_s, dry_run=dry_run)
    else:
        with compiled(settings) as wanted:
            changes = reconciling.reconcile(kubeflow, wanted, prefix=prefix, dry_run=dry_run, say=_say)
    _tell(changes, as_json=as_json, dry_run=dry_run)


def status(
    last: Annotated[int, typer.Option("--last", min=1, max=100, help="How many of the newest runs of each.")] = 3,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each pipeline's schedule on Kubeflow, and its newest runs."""
    from pipelines.kubeflow import watching
    from pipelines.kubeflow.connecting import connect
    from pipelines.kubeflow.wanted import compiled

    settings = read_settings(config, assignments)
    kubeflow, now = connect(settings.kubeflow), datetime.now(UTC)
    with compiled(settings) as wanted:
        found = watching.status(kubeflow, wanted, prefix=settings.kubeflow.name, now=now, last=last)
    if as_json:
        print_json(
            [
                {
                    "pipeline": one.pipeline,
                    "state": one.state,
                    "cron": one.cron,
                    "next_at": one.next_at.isoformat() if one.next_at else None,
                    "runs": [_run_record(run) for run in one.runs],
                }
                for one in found
            ]
        )
        return
    table = Table("pipeline", "schedule", "cron (UTC)", "next", "newest runs")
    for one in found:
        runs = [f"{run.created_at:%m-%d %H:%M} {run.state.lower()}{_took(run)}" for run in one.runs]
        upcoming = f"{one.next_at:%H:%M:%S}" if one.next_at else "-"
        table.add_row(one.pipeline, one.state, one.cron or "-", upcoming, "\n".join(runs) or "none yet")
    out.print(table)
    if any(one.state != "scheduled" for one in found):
        err.print("`cryptosentinel pipelines schedule` makes the schedules what the settings say.")


def run(
    name: Annotated[ClusterPipeline, typer.Argument(help="Which pipeline.", show_default=False)],
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended; fails where it failed.")] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one pipeline now on Kubeflow, beside its schedule; on this machine, `cryptosentinel run` does it."""
    from pipelines.kubeflow.connecting import connect
    from pipelines.kubeflow.reconciling import upload
    from pipelines.kubeflow.wanted import compiled

    settings = read_settings(config, assignments)
    kubeflow = connect(settings.kubeflow)
    with compiled(settings) as pipelines:
        wanted = next(one for one in pipelines if one.pipeline == name)
        versions, _ = upload(kubeflow, [wanted], dry_run=False)
    experiment = kubeflow.make_experiment()
    label = f"{wanted.name}-by-hand-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    started = kubeflow.start_run(
        experiment, label, versions[name], parameters=wanted.parameters, service_account=wanted.service_account
    )
    link = f"{settings.kubeflow.ui_url or settings.kubeflow.url}/#/runs/details/{started.id}"
    err.print(f"Started: {link}", highlight=False, soft_wrap=True)
    while wait and not started.ended:
        time.sleep(5)
        started = kubeflow.run(started.id)
    if as_json:
        print_json(_run_record(started) | {"url": link})
    if wait and started.state != "SUCCEEDED":
        raise PipelineError(name, f"its run ended as {started.state}.", remedy=f"See {link}.")


def prune(
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete our old runs on Kubeflow, recurring runs that were replaced, and versions nothing refers to."""
    from pipelines.kubeflow.connecting import connect
    from pipelines.kubeflow.pruning import prune as prune_all

    settings = read_settings(config, assignments)
    kubeflow = connect(settings.kubeflow)
    done = prune_all(kubeflow, settings.kubeflow, now=datetime.now(UTC), dry_run=dry_run, say=_say)
    if as_json:
        kinds = {"runs": done.runs, "schedules": done.schedules, "versions": done.versions}
        print_json({kind: [item.name for item in items] for kind, items in kinds.items()})
        return
    out.print(
        f"{'Would delete' if dry_run else 'Deleted'} {len(done.runs)} runs, {len(done.schedules)} schedules and "
        f"{len(done.versions)} versions.",
        highlight=False,
    )


def _say(text: str) -> None:
    err.print(text, highlight=False)


def _tell(changes: list[Change], *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json([asdict(change) for change in changes])
        return
    if dry_run:
        err.print("Nothing was written (--dry-run). It would be:")
    for change in changes:
        out.print(
            f"{change.pipeline:<10} {change.kind:<9} {change.action:<13} {change.name}", highlight=False, soft_wrap=True
        )


def _run_record(run: Run) -> dict[str, object]:
    return {
        "id": run.id,
        "name": run.name,
        "state": run.state,
        "created_at": run.created_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
    }


def _took(run: Run) -> str:
    return f" ({(run.finished_at - run.created_at).total_seconds():.0f} s)" if run.finished_at else ""
