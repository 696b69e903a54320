"""Runs of the pipelines and requests for them, whoever runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, get_args

Kind = Literal["feature", "training", "inference", "drift"]
State = Literal["waiting", "running", "succeeded", "failed", "stopped"]
# `start`: `cryptosentinel up`, as it begins. `useless`: the champion was called so. Empty: not known.
By = Literal["schedule", "start", "command", "useless", "user", ""]

# The three pipelines, and a drift check by itself.
KINDS: tuple[Kind, ...] = get_args(Kind)
STEPS_OF: Mapping[Kind, tuple[str, ...]] = {
    "feature": ("ingest", "featurize"),
    "training": ("drift", "train", "evaluate", "register"),
    "inference": ("predict",),
    "drift": ("drift",),
}


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        state: `stopped`: the run ended before it did.
        tasks: how many there are of it, beside each other; of those `done` have ended.
    """

    name: str
    state: State
    began_at: datetime | None = None
    ended_at: datetime | None = None
    tasks: int = 1
    done: int = 0


@dataclass(frozen=True)
class Run:
    """One run of a pipeline, or one drift check.

    Attributes:
        id: for `Runner.log`.
        state: `stopped`: it was ended from outside, or killed, and did not say why.
        began_at: by the clock of whoever runs it, like the other times.
        by: who or what asked for it; of a user `user` is the name.
        requests: the ids of those that it answers.
        steps: those that began, in their order.
        told: what its steps had to tell, a sentence each.
        failed_step: the one that failed; empty where none did.
        message: what went wrong, and `remedy`, what to do about it.
        url: where more of it can be seen; empty where nowhere.
        has_log: whether its log is still there.
    """

    id: str
    kind: Kind
    state: State
    began_at: datetime
    ended_at: datetime | None = None
    by: By = ""
    user: str = ""
    requests: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    told: tuple[str, ...] = ()
    failed_step: str = ""
    message: str = ""
    remedy: str = ""
    url: str = ""
    has_log: bool = True

    @property
    def under_way(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("waiting", "running")

    def seconds(self, now: datetime) -> float:
        """How long it took, or has been running."""
        return max(0.0, ((self.ended_at or now) - self.began_at).total_seconds())

    def record(self) -> dict[str, Any]:
        """As JSON holds it; `read_run` reads it again."""
        return asdict(self)


@dataclass(frozen=True)
class Asked:
    """What came of asking for a run.

    Attributes:
        id: of the request; empty where it was refused.
        refused: why, and what to do instead; empty where it was not.
        run_id: the run that will answer, where that is known already.
        joined: whether that run was under way before.
    """

    kind: Kind
    id: str = ""
    refused: str = ""
    run_id: str = ""
    joined: bool = False


def read_run(record: Mapping[str, Any]) -> Run:
    """A run from its `record`; names that a later release added are left out.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    known = {name: record[name] for name in Run.__dataclass_fields__ if name in record}
    steps = [{name: step[name] for name in Step.__dataclass_fields__ if name in step} for step in known["steps"]]
    more = {
        "steps": tuple(Step(**step | _times(step)) for step in steps),
        "requests": tuple(known["requests"]),
        "told": tuple(known["told"]),
    }
    return Run(**known | _times(known) | more)


def _times(record: Mapping[str, Any]) -> dict[str, datetime | None]:
    given = {name: record.get(name) for name in ("began_at", "ended_at")}
    return {name: datetime.fromisoformat(text) if text else None for name, text in given.items()}
