"""Whether the pipelines' steps run, and run well, by the newest run of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
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
    times = f"{worst.failures} times in a row" if worst.failures != 1 else "once"
    return worst.failures, f"Step '{worst.name}' failed {times}: {worst.message.rstrip('.')}."


def most_missed(runs: Sequence[StepRun], schedules: ScheduleSettings, *, now: datetime) -> tuple[float, str]:
    """How many of its times the pipeline that is worst off missed since it last began, and a sentence about it."""
    figure, words = nan, ""
    for pipeline, first in FIRST.items():
        began = next((run.began_at for run in runs if run.step == first), None)
        if began is None:
            continue  # it has never run here: nobody knows that it should
        count = missed_ticks(getattr(schedules, pipeline), began, now)
        if not figure >= count:  # NaN is not
            figure = count
            often = f"{count}{' or more' if count == _MANY else ''} of its times"
            words = f"The {pipeline} pipeline last began at {began:%Y-%m-%d %H:%M} UTC, and missed {often} since."
    return figure, words


def missed_ticks(cron: str, since: datetime, now: datetime) -> int:
    """How often a cron expression (six fields, UTC) came after one moment and up to another; at most 1,000."""
    from croniter import croniter

    ticks, count = croniter(cron, since, second_at_beginning=True), 0
    while count < _MANY and ticks.get_next(datetime) <= now:
        count += 1
    return count
