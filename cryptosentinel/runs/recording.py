"""What a run on this machine writes down of itself, beside its log, as it goes; and a line once it has ended.

The folder of a run goes after ten more (`retention.runs`); the line stays, for the history.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptosentinel.runs.files import write_json
from cryptosentinel.runs.processes import this_process
from cryptosentinel.runs.records import By, Kind, Run, State, Step

RECORD = "run.json"
HISTORY = ".jsonl"  # beside the folder of all runs
# Lines: the history is cut to the first number once it has the second.
_KEPT, _MOST = 1_000, 1_500


class Recording:
    """See the module. In a `with` block a run has ended when the block has.

    Args:
        folder: the run's, whose name is its id.
        kind: what runs.
        by: who or what asked for it; a user is named in `user`.
        requests: the ids of requests that it answers.
        tasks: of steps with several, how many.

    Raises:
        OSError: the folder cannot be written; so does every other call.
    """

    def __init__(
        self,
        folder: Path,
        kind: Kind,
        *,
        by: By = "",
        user: str = "",
        requests: Sequence[str] = (),
        tasks: Mapping[str, int] | None = None,
    ) -> None:
        self._folder = folder
        self._tasks = dict(tasks or {})
        self._process = this_process()
        now = datetime.now(UTC)
        self._run = Run(folder.name, kind, "running", now, by=by, user=user, requests=tuple(requests))
        self._write()

    def step_began(self, name: str) -> None:
        """A task of a step began."""
        if all(step.name != name for step in self._run.steps):
            new = Step(name, "running", datetime.now(UTC), tasks=self._tasks.get(name, 1))
            self._run = replace(self._run, steps=(*self._run.steps, new))
            self._write()

    def step_ended(self, name: str, *, well: bool) -> None:
        """A task of a step ended."""
        self._run = replace(self._run, steps=tuple(_after_a_task(s, name, well=well) for s in self._run.steps))
        self._write()

    def end(
        self, *, well: bool, told: Sequence[str] = (), failed_step: str = "", message: str = "", remedy: str = ""
    ) -> None:
        """The run ended; where not well, `message` says why."""
        now = datetime.now(UTC)
        steps = tuple(
            replace(s, state="failed" if s.name == failed_step else "stopped", ended_at=now)
            if s.ended_at is None
            else s
            for s in self._run.steps
        )
        self._run = replace(
            self._run,
            state="succeeded" if well else "failed",
            ended_at=now,
            steps=steps,
            told=tuple(told),
            failed_step=failed_step,
            message=message,
            remedy=remedy,
        )
        self._write()
        _append(self._folder.parent.with_suffix(HISTORY), json.dumps(self._run.record(), default=str))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._run.state == "running":
            with suppress(OSError):  # on a full disk it is the record that is missing, not the reason
                self.end(well=False, message=str(error) if error else "")

    def _write(self) -> None:
        write_json(self._folder / RECORD, self._run.record() | {"process": self._process})


def _after_a_task(step: Step, name: str, *, well: bool) -> Step:
    if step.name != name:
        return step
    done = step.done + 1
    over = done >= step.tasks
    state: State = "failed" if not well or step.state == "failed" else "succeeded" if over else "running"
    return replace(step, done=done, state=state, ended_at=datetime.now(UTC) if over or not well else None)


def _append(history: Path, line: str) -> None:
    from filelock import FileLock

    with FileLock(history.with_suffix(".lock")):  # `up` and a command may end a run at once
        with history.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        lines = history.read_text(encoding="utf-8").splitlines(keepends=True)
        if len(lines) > _MOST:
            scratch = history.with_suffix(".new")
            scratch.write_text("".join(lines[-_KEPT:]), encoding="utf-8")
            scratch.replace(history)
