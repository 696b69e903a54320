"""What Kubeflow Pipelines knows, as far as we ask: pipelines' versions, schedules and runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

# The states that a run stays in.
ENDED = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"})
ENDED_WELL = frozenset({"SUCCEEDED", "SKIPPED"})


@dataclass(frozen=True)
class Version:
    """One uploaded version of a pipeline; its name ends in the hash of its content."""

    id: str
    pipeline_id: str
    name: str
    created_at: datetime


@dataclass(frozen=True)
class Schedule:
    """A recurring run; its name ends in the hash of what it should be."""

    id: str
    name: str
    enabled: bool
    cron: str
    version_id: str
    created_at: datetime


@dataclass(frozen=True)
class Run:
    """A run; `state` is Kubeflow's word."""

    id: str
    name: str
    state: str
    pipeline_id: str
    version_id: str
    schedule_id: str
    created_at: datetime
    finished_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether it does no more work."""
        return self.state in ENDED
