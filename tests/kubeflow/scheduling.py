"""Kubeflow's scheduler as the double has it, after the source of the ScheduledWorkflow controller.

It looks at each recurring run every 30 s. One that is enabled and has no run under way starts one for the newest tick
since the last that it started one for; before the first, since its start time, or its creation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from croniter import croniter

RESYNC = timedelta(seconds=30)
BEGIN = datetime(2026, 3, 2, 10, 3, 20, tzinfo=UTC)
ENDED = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"}


@dataclass
class RecurringRun:
    id: str
    name: str
    body: dict[str, object]
    cron: str
    created_at: datetime
    start_at: datetime | None
    enabled: bool
    last_tick: datetime | None = None

    def due(self, now: datetime) -> datetime | None:
        """The newest tick that it has not started a run for."""
        since = self.last_tick or self.start_at or self.created_at
        tick: datetime = croniter(self.cron, now + timedelta(microseconds=1), second_at_beginning=True).get_prev(
            datetime
        )
        return tick if tick > since else None


@dataclass
class Run:
    id: str
    name: str
    pipeline_id: str
    version_id: str
    experiment_id: str
    created_at: datetime
    recurring_run_id: str = ""
    scheduled_at: datetime | None = None
    finished_at: datetime | None = None
    state: str = "RUNNING"
    description: str = ""
    tasks: list[dict[str, object]] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, object] = field(default_factory=dict)


@dataclass
class Scheduler:
    """Recurring runs and runs, on a clock of its own.

    Attributes:
        phase_s: when, within 30 s, it looks.
        run_s: how long a run takes.
    """

    now: datetime = BEGIN
    phase_s: float = 7.0
    run_s: float = 40.0
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    recurring: dict[str, RecurringRun] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    _count: int = 0

    def new_id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count:06d}"

    def advance(self, seconds: float) -> None:
        """Lets time pass, and the scheduler see it."""
        end = self.now + timedelta(seconds=seconds)
        while True:
            since = (self.now - BEGIN - timedelta(seconds=self.phase_s)) // RESYNC
            sync = BEGIN + timedelta(seconds=self.phase_s) + (since + 1) * RESYNC
            if sync > end:
                break
            self.now = sync
            self._finish()
            for recurring in list(self.recurring.values()):
                self._start_if_due(recurring)
        self.now = end
        self._finish()

    def _finish(self) -> None:
        for run in self.runs.values():
            if run.state == "RUNNING" and run.created_at + timedelta(seconds=self.run_s) <= self.now:
                run.state, run.finished_at = "SUCCEEDED", run.created_at + timedelta(seconds=self.run_s)

    def under_way(self, recurring_id: str) -> list[Run]:
        return [run for run in self.runs.values() if run.recurring_run_id == recurring_id and run.state not in ENDED]

    def _start_if_due(self, recurring: RecurringRun) -> None:
        tick = recurring.due(self.now)
        if not recurring.enabled or tick is None or len(self.under_way(recurring.id)) >= 1:
            return
        recurring.last_tick = tick
        reference = recurring.body["pipeline_version_reference"]
        assert isinstance(reference, dict)
        self.add_run(
            pipeline_id=reference["pipeline_id"],
            version_id=reference["pipeline_version_id"],
            recurring_run_id=recurring.id,
            scheduled_at=tick,
        )

    def add_run(self, **given: Any) -> Run:
        run_id = self.new_id("run")
        experiment_id = next(iter(self.experiments), "")
        run = Run(**{"id": run_id, "name": run_id, "experiment_id": experiment_id, "created_at": self.now} | given)
        self.runs[run.id] = run
        return run

    def ticks(self, pipeline: str) -> list[datetime]:
        """The ticks that a pipeline ran for, in order; by its name."""
        ids = {key for key, value in self.pipelines.items() if value["display_name"] == pipeline}
        return sorted(run.scheduled_at for run in self.runs.values() if run.pipeline_id in ids and run.scheduled_at)
