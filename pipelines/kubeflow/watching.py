"""What runs on Kubeflow Pipelines now, beside what should."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipelines.kubeflow.api import Kubeflow
from pipelines.kubeflow.records import Run
from pipelines.kubeflow.ticks import next_tick
from pipelines.kubeflow.wanted import Wanted, is_ours


@dataclass(frozen=True)
class Status:
    """One pipeline on Kubeflow Pipelines.

    Attributes:
        pipeline: which.
        state: `scheduled` as the settings have it; `changed`: by older or other settings; `off`: not at all.
        cron: of the enabled recurring run; None where there is none.
        next_at: when it runs next.
        runs: the newest, the newest first.
    """

    pipeline: str
    state: str
    cron: str | None
    next_at: datetime | None
    runs: list[Run]


def status(kubeflow: Kubeflow, wanted: list[Wanted], *, prefix: str, now: datetime, last: int) -> list[Status]:
    """Each pipeline's schedule and newest runs; writes nothing."""
    experiment = kubeflow.experiment()
    schedules = kubeflow.schedules(experiment) if experiment else []
    found = []
    for one in wanted:
        enabled = [s for s in schedules if s.enabled and is_ours(s.name, prefix, one.pipeline)]
        pipeline_id = kubeflow.pipeline(one.name)
        current = [s for s in enabled if s.name == one.schedule]
        state = "scheduled" if current and len(enabled) == 1 else "changed" if enabled else "off"
        cron = (current or enabled)[0].cron if enabled else None
        runs = kubeflow.newest_runs(experiment, pipeline_id, last) if experiment and pipeline_id else []
        found.append(Status(one.pipeline, state, cron, next_tick(cron, now) if cron else None, runs))
    return found
