"""Runs of the pipelines and the settings in force, as the page shows them. Knows no Streamlit."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from cryptosentinel.config import Settings, load_settings, setting_names
from cryptosentinel.errors import CryptoSentinelError
from cryptosentinel.runs import STEPS_OF, Kind, Run, Step, runner
from cryptosentinel.workspace import Workspace

NAMES: Mapping[Kind, str] = {
    "feature": "Feature",
    "training": "Training",
    "inference": "Inference",
    "drift": "Drift check",
}
ABOUT: Mapping[Kind, str] = {
    "feature": "New bars, and features from them",
    "training": "Drift, models, their figures, the registry",
    "inference": "A forecast; older ones settled; alerts",
    "drift": "Whether the market is what the model knows",
}
STATES: Mapping[str, str] = {
    "waiting": "… waiting",
    "running": "▶ running",
    "succeeded": "● succeeded",
    "failed": "✕ failed",
    "stopped": "■ stopped",
}
BY: Mapping[str, str] = {
    "schedule": "schedule",
    "start": "start of up",
    "command": "command line",
    "useless": "champion useless",
    "": "not known",
}
# How many runs the history holds.
SHOWN = 400


@dataclass(frozen=True)
class Recent:
    """The newest runs, the newest first; where they cannot be read, `problem` says why."""

    runs: tuple[Run, ...] = ()
    problem: str = ""

    def newest(self, kind: Kind) -> Run | None:
        """The newest of a kind."""
        return next((run for run in self.runs if run.kind == kind), None)


def read_recent(workspace: Workspace) -> Recent:
    """What ran; that it cannot be told is an answer, so that not every viewer waits for it anew."""
    try:
        return Recent(tuple(runner(workspace).runs(SHOWN)))
    except CryptoSentinelError as error:
        return Recent(problem=str(error))


def who(run: Run) -> str:
    """Who or what asked for a run."""
    return run.user or BY.get(run.by, run.by)


def chosen(runs: Collection[Run], kinds: Collection[str], states: Collection[str]) -> list[Run]:
    """Those of the kinds and states; none named: of all."""
    return [run for run in runs if (not kinds or run.kind in kinds) and (not states or run.state in states)]


def run_table(runs: Collection[Run], now: datetime) -> pd.DataFrame:
    """A row a run."""
    return pd.DataFrame(
        [
            {
                "Began": pd.Timestamp(run.began_at),
                "Pipeline": NAMES[run.kind],
                "Outcome": STATES[run.state],
                "Took": round(run.seconds(now), 1),
                "Asked for by": who(run),
                "What came of it": run.message or " ".join(run.told),
            }
            for run in runs
        ],
        columns=["Began", "Pipeline", "Outcome", "Took", "Asked for by", "What came of it"],
    )


def duration_table(runs: Collection[Run]) -> pd.DataFrame:
    """How long those took that have ended, the oldest first: `timestamp`, `kind`, `state`, `seconds`."""
    ended = [run for run in runs if run.ended_at is not None]
    frame = pd.DataFrame(
        {
            "timestamp": pd.to_datetime([run.began_at for run in ended], utc=True),
            "kind": [run.kind for run in ended],
            "state": [run.state for run in ended],
            "seconds": [run.seconds(run.began_at) for run in ended],
        }
    )
    return frame.sort_values("timestamp", ignore_index=True)


def steps_of(run: Run) -> list[Step]:
    """The steps of a run, and those that are still to come."""
    begun = {step.name for step in run.steps}
    coming = [Step(name, "waiting") for name in STEPS_OF[run.kind] if name not in begun]
    return [*run.steps, *(coming if run.under_way else ())]


def progress(run: Run) -> float:
    """Which part of a run's tasks has ended."""
    steps = steps_of(run)
    done = sum(max(step.done, step.tasks * (step.state == "succeeded")) for step in steps)
    return min(1.0, done / max(1, sum(step.tasks for step in steps)))


@dataclass(frozen=True)
class Setting:
    """A setting in force."""

    name: str
    value: str
    default: str

    @property
    def changed(self) -> bool:
        """Whether it is another than the default."""
        return self.value != self.default


def read_settings(workspace: Workspace) -> list[Setting]:
    """All settings in force, with secrets hidden, in addresses too."""
    now, usual = _flat(workspace.settings), _flat(load_settings(environ={}))
    return [Setting(name, now[name], usual[name]) for name in setting_names()]


def setting_table(settings: Collection[Setting]) -> pd.DataFrame:
    """A row a setting."""
    rows = [(each.name, each.value, "● changed" if each.changed else "", each.default) for each in settings]
    return pd.DataFrame(rows, columns=["Setting", "Value", "Changed", "Default"])


def _flat(settings: Settings) -> dict[str, str]:
    masked = settings.masked()
    return {name: _hidden(_written(_at(masked, name.split(".")))) for name in setting_names()}


def _at(values: Any, path: list[str]) -> Any:
    for name in path:
        values = values[name]
    return values


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_written(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_written, value))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _hidden(text: str) -> str:
    """Without who logs in where an address says it, and without what a query gives away."""
    return re.sub(r"(://)[^/@\s]+@", r"\1**********@", text)


def utc_now() -> datetime:
    """Now."""
    return datetime.now(UTC)
