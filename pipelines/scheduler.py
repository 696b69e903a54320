"""Runs the pipelines at their cadence on this machine, as Kubeflow's recurring runs do on a cluster.

Each pipeline runs at most once at a time; a tick that passes while its pipeline is still running is skipped, not caught
up with.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import islice, pairwise

from croniter import CroniterError, croniter

from cryptosentinel.config import ScheduleSettings, Settings
from cryptosentinel.errors import UserInputError

_log = logging.getLogger(__name__)

Job = Callable[[], None]


def next_tick(cron: str, after: datetime) -> datetime:
    """When a six-field cron expression (seconds first, UTC) comes next after a time."""
    tick: datetime = croniter(cron, after, second_at_beginning=True).get_next(datetime)
    return tick


def shortest_pause_s(cron: str) -> float:
    """The shortest pause between two ticks of a cron expression: of intervals so long, none has two.

    Raises:
        UserInputError: it is none, or never comes.
    """
    try:
        ticks = croniter(cron, datetime(2025, 1, 1, tzinfo=UTC), second_at_beginning=True).all_next(datetime)
        return min((after - before).total_seconds() for before, after in pairwise(islice(ticks, 100)))
    except CroniterError as error:
        raise UserInputError(f"The schedule '{cron}' is none ({error}).", remedy="See `schedules`.") from error


def scheduled(settings: Settings, cron: str) -> Settings:
    """The settings of a run that a schedule starts: where another scheduler starts it too, one of the two works."""
    return settings.model_copy(
        update={"leases": settings.leases.model_copy(update={"interval_s": shortest_pause_s(cron)})}
    )


def start_schedules(
    schedules: ScheduleSettings, jobs: Mapping[str, Job], stop: threading.Event
) -> list[threading.Thread]:
    """Runs each job at the times of the schedule of the same name until `stop` is set, in a thread of its own.

    A job that raises is logged, and runs again at its next time.
    """
    threads = [
        threading.Thread(target=_keep, args=(getattr(schedules, name), job, stop), name=f"schedule-{name}")
        for name, job in jobs.items()
    ]
    for thread in threads:
        thread.start()
    return threads


def _keep(cron: str, job: Job, stop: threading.Event) -> None:
    while True:
        now = datetime.now(UTC)
        if stop.wait((next_tick(cron, now) - now).total_seconds()):
            return
        try:
            job()
        except Exception:  # noqa: BLE001 (what one run does must not end its schedule)
            _log.exception("A run by the schedule '%s' failed; the next one is tried at its time.", cron)
