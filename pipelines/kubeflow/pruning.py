"""Deletes what Kubeflow Pipelines no longer needs: it keeps every run for ever, and we make 600 a day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptosentinel.config import KubeflowSettings
from pipelines.kubeflow.api import Kubeflow
from pipelines.kubeflow.compiling import PIPELINE_NAMES
from pipelines.kubeflow.records import ENDED_WELL, Run, Schedule, Version
from pipelines.kubeflow.wanted import is_ours


@dataclass(frozen=True)
class Pruned:
    """What was deleted, or would be."""

    runs: list[Run]
    schedules: list[Schedule]
    versions: list[Version]


def prune(
    kubeflow: Kubeflow,
    settings: KubeflowSettings,
    *,
    now: datetime,
    dry_run: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Pruned:
    """Deletes our old runs, recurring runs that gave way to another, and versions that none of either refers to.

    Only what is ours goes: runs of our pipelines in our experiment, and recurring runs named as we name them. A run
    that has not ended stays, however old, and a recurring run that somebody disabled by hand stays, as long as no other
    took its place.
    """
    experiment = kubeflow.experiment()
    if experiment is None:
        return Pruned([], [], [])
    pipelines = {name: kubeflow.pipeline(f"{settings.name}-{name}") for name in PIPELINE_NAMES}
    runs = kubeflow.runs(experiment)
    old = [run for run in runs if run.pipeline_id in pipelines.values() and _is_old(run, settings, now)]
    for number, run in enumerate(old):
        if not dry_run:
            kubeflow.delete_run(run)
        if number % 100 == 99:
            say(f"{number + 1} of {len(old)} old runs deleted.")

    schedules = kubeflow.schedules(experiment)
    replaced = [
        schedule
        for name in PIPELINE_NAMES
        for schedule in _replaced([s for s in schedules if is_ours(s.name, settings.name, name)])
        if not kubeflow.under_way(experiment, schedule)
    ]
    for schedule in replaced:
        if not dry_run:
            kubeflow.delete_schedule(schedule)

    gone = {run.id for run in old}
    referred_to = {run.version_id for run in runs if run.id not in gone}
    referred_to |= {schedule.version_id for schedule in schedules if schedule not in replaced}
    oldest = now - timedelta(days=settings.runs_kept_days)
    unused = [
        version
        for pipeline_id in pipelines.values()
        if pipeline_id is not None
        for version in _but_newest(kubeflow.versions(pipeline_id))
        if version.id not in referred_to and version.created_at < oldest
    ]
    for version in unused:
        if not dry_run:
            kubeflow.delete_version(version)
    return Pruned(old, replaced, unused)


def _is_old(run: Run, settings: KubeflowSettings, now: datetime) -> bool:
    days = settings.runs_kept_days if run.state in ENDED_WELL else settings.failed_runs_kept_days
    return run.ended and (run.finished_at or run.created_at) < now - timedelta(days=days)


def _replaced(schedules: list[Schedule]) -> list[Schedule]:
    """Those of one pipeline that are disabled, while another is enabled."""
    return [s for s in schedules if not s.enabled] if any(s.enabled for s in schedules) else []


def _but_newest(versions: list[Version]) -> list[Version]:
    return sorted(versions, key=lambda version: version.created_at)[:-1]
