"""Whether the pipelines' steps run, and run well, by the newest run of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice, takewhile
from math import nan
from typing import TYPE_CHECKING, TypedDict

from cryptosentinel.config import ScheduleSettings

if TYPE_CHECKING:
    from cryptosentinel.storage import StepRun

# The step that each pipeline begins with.
FIRST = {"feature": "ingest", "training": "drift", "inference": "predict"}
# A part that the newest trainings do not have any more is left out.
_GONE = timedelta(days=1)
# More are not counted.
_MANY = 1000


class RunFacts(TypedDict):
    """What of `Facts` is about runs."""

    failures: float
    failed: str
    missed_runs: float
    missed: str


def facts_of_runs(runs: Sequence[StepRun], schedules: ScheduleSettings, *, now: datetime) -> RunFacts:
    """Which step failed most often in a row, and which pipeline missed most of its times; NaN where nothing ran."""
    failures, failed = most_failures(runs)
    missed_runs, missed = most_missed(runs, schedules, now=now)
    return RunFacts(failures=failures, failed=failed, missed_runs=missed_runs, missed=missed)


def most_failures(runs: Sequence[StepRun]) -> tuple[float, str]:
    """How often the step that is worst off failed in a row, and what there is to say of it."""
    newest = {step: max(run.began_at for run in runs if run.step == step) for step in {run.step for run in runs}}
    present = [run for run in runs if run.began_at > newest[run.step] - _GONE]
    if not present:
        return nan, ""
    worst = max(present, key=lambda run: run.failures)
    if not worst.failures:
        return 0.0, ""
    times = f"{worst.failures} times in a row" if worst.failures != 1 else "once"
    return worst.failures, f"Step '{worst.name}' failed {times}: {worst.message.rstrip('.')}."


def most_missed(runs: Sequence[StepRun], schedules: ScheduleSettings, *, now: datetime) -> tuple[float, str]:
    """How many of its times the pipeline that is worst off missed since it last began, and a sentence about it."""
    counts = {}
    for pipeline, first in FIRST.items():
        began = next((run.began_at for run in runs if run.step == first), None)
        if began is not None:  # else it has never run here, and nobody knows that it should
            counts[pipeline, began] = missed_ticks(getattr(schedules, pipeline), began, now)
    if not any(counts.values()):
        return (0.0 if counts else nan), ""
    (pipeline, began), count = max(counts.items(), key=lambda item: item[1])
    often = f"{count}{' or more' if count == _MANY else ''} of its times"
    return count, f"The {pipeline} pipeline last began at {began:%Y-%m-%d %H:%M} UTC, and missed {often} since."


def missed_ticks(cron: str, since: datetime, now: datetime) -> int:
    """How often a cron expression (six fields, UTC) came after one moment and up to another; at most 1,000."""
    return sum(1 for _ in takewhile(lambda tick: tick <= now, islice(_ticks(cron, since), _MANY)))


def next_tick(cron: str, after: datetime) -> datetime | None:
    """When a cron expression (six fields, UTC) comes next after a moment; None where it never does."""
    return next(_ticks(cron, after), None)


def _ticks(cron: str, after: datetime) -> Iterator[datetime]:
    from croniter import CroniterError, croniter

    with suppress(CroniterError):  # it is none: who keeps the schedules says so
        yield from croniter(cron, after, second_at_beginning=True).all_next(datetime)
