"""Runs the pipelines at their cadence on this machine, as Kubeflow's recurring runs do on a cluster.

Each pipeline runs at most once at a time; a tick that passes while its pipeline is still running is skipped, not caught
up with.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from croniter import croniter

from cryptosentinel.config import ScheduleSettings

_log = logging.getLogger(__name__)

Job = Callable[[], None]


def next_tick(cron: str, after: datetime) -> datetime:
    """When a six-field cron expression (seconds first, UTC) comes next after a time."""
    tick: datetime = croniter(cron, after, second_at_beginning=True).get_next(datetime)
    return tick


def start_schedules(schedules: ScheduleSettings, jobs: dict[str, Job], stop: threading.Event) -> list[threading.Thread]:
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
