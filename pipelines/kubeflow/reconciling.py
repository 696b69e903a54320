"""Makes the recurring runs on Kubeflow Pipelines what they should be.

A recurring run cannot be changed. One that is as it should be is left alone, without a write. Else, away from any tick,
a new one is made that starts counting now, and the old one is disabled: every tick fires once. The old one's run goes
on to its end, since to delete the one kills the other; it is deleted then, by the next `schedule` or by `prune`.

Stopped at any moment, or met by another that does the same, the next one finishes the job.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from typing import Literal

from cryptosentinel.errors import KubeflowError
from pipelines.kubeflow.api import Kubeflow
from pipelines.kubeflow.records import Schedule, Version
from pipelines.kubeflow.ticks import calm_moment, settled_moment
from pipelines.kubeflow.wanted import Wanted, is_ours

# What differs by more, beside the time that requests take, may mistake one side of a tick for the other.
_SKEW_S = 20
Kind = Literal["version", "schedule"]
Act = Literal["upload", "create", "disable", "delete", "keep", "leave to end"]


@dataclass(frozen=True)
class Change:
    """What was done, or would be.

    Attributes:
        pipeline: of which.
        kind: to a version of it, or to a schedule (a recurring run).
        action: `keep` and `leave to end` are no writes; to leave is to delete once its run has ended.
        name: of the version or the recurring run.
    """

    pipeline: str
    kind: Kind
    action: Act
    name: str


@dataclass(frozen=True)
class Clock:
    """The time, and how to let it pass."""

    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class _Plan:
    keep: Schedule | None
    disable: list[Schedule]
    retired: list[Schedule]

    @property
    def crons(self) -> list[str]:
        return [schedule.cron for schedule in self.disable]


def upload(kubeflow: Kubeflow, wanted: list[Wanted], *, dry_run: bool) -> tuple[dict[str, Version], list[Change]]:
    """Uploads the versions that are not there yet.

    Returns:
        The versions by pipeline (of a dry run, those that are there), and what was done.
    """
    versions, changes = {}, []
    for one in wanted:
        pipeline_id = kubeflow.pipeline(one.name)
        version = kubeflow.version(pipeline_id, one.version) if pipeline_id else None
        changes.append(Change(one.pipeline, "version", "keep" if version else "upload", one.version))
        if version is None and not dry_run:
            pipeline_id = pipeline_id or kubeflow.make_pipeline(one.name, one.package)
            version = kubeflow.upload_version(pipeline_id, one.version, one.package)
        if version is not None:
            versions[one.pipeline] = version
    return versions, changes


def reconcile(
    kubeflow: Kubeflow,
    wanted: list[Wanted],
    *,
    prefix: str,
    dry_run: bool = False,
    clock: Clock | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Change]:
    """Uploads what changed, and makes every recurring run what it should be.

    Args:
        kubeflow: where.
        wanted: all pipelines.
        prefix: of our names.
        dry_run: write nothing; say what would be written.
        clock: another than the wall clock, which the cluster's should agree with within some seconds.
        say: is told why it waits.
    """
    clock = clock or Clock()
    versions, changes = upload(kubeflow, wanted, dry_run=dry_run)
    experiment = kubeflow.experiment() if dry_run else kubeflow.make_experiment()
    if experiment is None:
        return [*changes, *(Change(one.pipeline, "schedule", "create", one.schedule) for one in wanted)]
    place = _Place(kubeflow, experiment, prefix, versions, clock, say)
    waiting = list(wanted)
    while waiting:
        # Again for each: others may be at it, and time has passed.
        existing = kubeflow.schedules(experiment)
        plans = [(one, place.plan(one, existing)) for one in waiting]
        now = clock.now()
        moment, one, plan = min(((_moment(one, plan, now), one, plan) for one, plan in plans), key=itemgetter(0))
        if moment > now and not dry_run:
            say(f"The {one.pipeline} schedule changes at {moment:%H:%M:%S} UTC, away from its ticks.")
            clock.sleep((moment - now).total_seconds())
            continue
        waiting.remove(one)
        changes += [Change(one.pipeline, "schedule", "keep" if plan.keep else "create", one.schedule)]
        if plan.keep is None and not dry_run:
            plan = place.make(one)
        changes += place.retire(one, plan, dry_run=dry_run)
    return changes


def _moment(one: Wanted, plan: _Plan, now: datetime) -> datetime:
    """When the plan may be carried out; where nothing has to be disabled, no tick can fire twice."""
    calm = calm_moment([one.cron, *plan.crons], now)  # in any case: it knows what is no cron expression
    return calm if plan.disable else now


@dataclass(frozen=True)
class _Place:
    """Where schedules are made and retired."""

    kubeflow: Kubeflow
    experiment: str
    prefix: str
    versions: dict[str, Version]
    clock: Clock
    say: Callable[[str], None]

    def plan(self, one: Wanted, existing: list[Schedule]) -> _Plan:
        """What to do about one pipeline, given all recurring runs that there are."""
        version = self.versions.get(one.pipeline)
        ours = [schedule for schedule in existing if is_ours(schedule.name, self.prefix, one.pipeline)]
        enabled = [schedule for schedule in ours if schedule.enabled]
        # One that refers to a version which was deleted and uploaded again runs nothing. Of equals, the oldest.
        keep = next((s for s in enabled if s.name == one.schedule and version and s.version_id == version.id), None)
        return _Plan(keep, [s for s in enabled if s is not keep], [s for s in ours if not s.enabled])

    def make(self, one: Wanted) -> _Plan:
        """Makes what is missing; gives what is left to do, at a moment when it may be done."""
        self.kubeflow.make_schedule(
            self.experiment,
            one.schedule,
            self.versions[one.pipeline],
            cron=one.cron,
            parameters=one.scheduled_parameters,
            service_account=one.service_account,
            start=self.clock.now,
        )
        # A request that was given up may have been followed late, and another of us may have made one too.
        plan = self.plan(one, self.kubeflow.schedules(self.experiment))
        if plan.keep is None:
            raise KubeflowError(f"The recurring run {one.schedule} was made, but is not among those that are enabled.")
        now = self.clock.now()
        apart = abs((plan.keep.created_at - now).total_seconds())
        if apart > _SKEW_S:
            self.say(
                f"The clocks of Kubeflow and of this machine are {apart:.0f} s apart: a tick may fire twice, or not."
            )
        if plan.disable:
            # Where that took its time, and a tick has passed meanwhile: the old one has still to see it.
            self.clock.sleep((settled_moment([one.cron, *plan.crons], now) - now).total_seconds())
        return plan

    def retire(self, one: Wanted, plan: _Plan, *, dry_run: bool) -> list[Change]:
        """Disables what is no longer wanted, and deletes what has no run under way."""
        changes = []
        for schedule in plan.disable:
            changes.append(Change(one.pipeline, "schedule", "disable", schedule.name))
            if not dry_run:
                self.kubeflow.disable(schedule)
        for schedule in [*plan.disable, *plan.retired]:
            if self.kubeflow.under_way(self.experiment, schedule):
                changes.append(Change(one.pipeline, "schedule", "leave to end", schedule.name))
                continue
            changes.append(Change(one.pipeline, "schedule", "delete", schedule.name))
            if not dry_run:
                self.kubeflow.delete_schedule(schedule)
        return changes


def remove(
    kubeflow: Kubeflow, *, prefix: str, wait_s: float, dry_run: bool = False, clock: Clock | None = None
) -> list[Change]:
    """Disables our recurring runs, and deletes them once their runs have ended, or when `wait_s` is over."""
    clock = clock or Clock()
    experiment = kubeflow.experiment()
    if experiment is None:
        return []
    ours = [schedule for schedule in kubeflow.schedules(experiment) if is_ours(schedule.name, prefix)]
    changes = []
    for schedule in ours:
        if schedule.enabled:
            changes.append(Change(_pipeline(schedule, prefix), "schedule", "disable", schedule.name))
            if not dry_run:
                kubeflow.disable(schedule)
    begin = clock.now()
    for schedule in ours:
        changes.append(Change(_pipeline(schedule, prefix), "schedule", "delete", schedule.name))
        if dry_run:
            continue
        while kubeflow.under_way(experiment, schedule) and (clock.now() - begin).total_seconds() < wait_s:
            clock.sleep(5)
        kubeflow.delete_schedule(schedule)
    return changes


def _pipeline(schedule: Schedule, prefix: str) -> str:
    return schedule.name.removeprefix(f"{prefix}-").rpartition("-")[0]
