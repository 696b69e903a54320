"""The newest run of each step of the pipelines: when it began and ended, what came of it, how often it failed in a row.

A small file a step in the store, below `runs/`, that the next run of the step replaces. It is there for people and for
alerts; nothing that a pipeline does depends on it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cryptosentinel.config import StorageSettings
from cryptosentinel.storage.files import Files

# The steps of each pipeline, in their order.
STEPS = {
    "feature": ("ingest", "featurize"),
    "training": ("drift", "train", "evaluate", "register"),
    "inference": ("predict",),
}
_FOLDER = "runs"


class StepRun(BaseModel):
    """One run of a step, or where it was tried several times, one try.

    Attributes:
        part: which of those that run beside each other, as each part of a training does; else empty.
        began_at: by this machine's clock, like the other times.
        ended_at: None while it runs, and for ever where it was killed.
        succeeded_at: when the step last ended well, in this run or in one before it.
        failures: how many runs up to this one failed, or were killed, in a row.
        cause: what the newest failure was, by the name of its error; empty where the newest run that ended went well.
        message: the same in a sentence.
        rows: how many rows it worked on, by what became of them.
        newest: the close of the newest bar that it worked on.
        figures: what else it found out, by name.
    """

    model_config = ConfigDict(frozen=True)

    step: str
    part: str = ""
    began_at: datetime
    ended_at: datetime | None = None
    succeeded_at: datetime | None = None
    failures: int = 0
    cause: str = ""
    message: str = ""
    rows: dict[str, int] = {}
    newest: datetime | None = None
    figures: dict[str, float] = {}

    @property
    def name(self) -> str:
        """The step, and its part where it has some."""
        return f"{self.step} {self.part}".strip()

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        return self.ended_at is not None and self.ended_at == self.succeeded_at

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it has not ended."""
        return None if self.ended_at is None else (self.ended_at - self.began_at).total_seconds()

    def succeeds(self, now: datetime, **found: Any) -> StepRun:
        """The same run, ended well; `found` sets `rows`, `newest` and `figures`."""
        well = {"ended_at": now, "succeeded_at": now, "failures": 0, "cause": "", "message": ""}
        return self.model_copy(update=well | found)

    def fails(self, now: datetime, cause: str, message: str) -> StepRun:
        """The same run, failed."""
        badly = {"ended_at": now, "failures": self.failures + 1, "cause": cause, "message": message}
        return self.model_copy(update=badly)


class RunLog:
    """The newest run of each step.

    Two runs of one step at the same time write over each other, whole: the one that ends last counts.

    Args:
        files: of the store.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def begin(self, step: str, part: str = "", *, now: datetime) -> tuple[StepRun | None, StepRun]:
        """Notes that a step begins; one before it that never ended counts as failed.

        Returns:
            The run before, if there was one, and the one that begins.

        Raises:
            StorageError: the store cannot be read or written.
        """
        before = self._read(_file(step, part))
        run = StepRun(step=step, part=part, began_at=now)
        if before is not None:
            kept = before if before.ended_at else before.fails(now, "Killed", "it never ended: it was killed, or hangs")
            names = ("succeeded_at", "failures", "cause", "message", "rows", "newest", "figures")
            run = run.model_copy(update={name: getattr(kept, name) for name in names})
        self.write(run)
        return before, run

    def forget(self, run: StepRun, before: StepRun | None) -> None:
        """Notes again the run that was there before this one began, unless another has been noted meanwhile.

        Raises:
            StorageError: the store cannot be read or written.
        """
        path = _file(run.step, run.part)
        if self._read(path) != run:
            return
        if before is None:
            self._files.remove_file(path)
        else:
            self.write(before)

    def write(self, run: StepRun) -> None:
        """Notes how a run is now.

        Raises:
            StorageError: the store cannot be written.
        """
        self._files.write(_file(run.step, run.part), run.model_dump_json().encode())

    def read(self) -> list[StepRun]:
        """The newest run of every step that ever ran, in the steps' order.

        Raises:
            StorageError: the store cannot be read.
        """
        names = sorted(file.path for file in self._files.walk(_FOLDER))
        found = [run for name in names if (run := self._read(f"{_FOLDER}/{name}")) is not None]
        order = [step for steps in STEPS.values() for step in steps]
        return sorted((run for run in found if run.step in order), key=lambda run: (order.index(run.step), run.part))

    def _read(self, path: str) -> StepRun | None:
        content = self._files.read(path)
        try:
            return None if content is None else StepRun.model_validate_json(content)
        except ValidationError:
            return None  # of another release, or damaged: the next run writes it anew


def open_run_log(storage: StorageSettings, uri: str) -> RunLog:
    """The newest runs of the steps that work on an open store.

    Args:
        storage: has the options of its client.
        uri: of the store (`Storage.uri`).
    """
    return RunLog(Files(uri, {name: value.get_secret_value() for name, value in storage.options.items()}))


def _file(step: str, part: str) -> str:
    return f"{_FOLDER}/{step}{f'-{part}' if part else ''}.json"
