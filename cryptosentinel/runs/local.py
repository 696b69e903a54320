"""Runs on this machine: `cryptosentinel up` runs what is asked for, and each run leaves a record beside its log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from cryptosentinel.errors import StoreUnavailableError, UserInputError
from cryptosentinel.runs.asking import ask, is_listened_to, is_pending
from cryptosentinel.runs.files import read_json
from cryptosentinel.runs.processes import is_alive
from cryptosentinel.runs.recording import HISTORY, RECORD
from cryptosentinel.runs.records import KINDS, Asked, Kind, Run, read_run

LOG = "log.txt"
_ID = re.compile(rf"({'|'.join(KINDS)})-(\d{{8}}T\d{{6,12}})")
_KILLED = "It ended without saying why; it may have been killed."


class LocalRunner:
    """See `Runner`.

    Args:
        root: the market's folder, which `cryptosentinel up` shares.
    """

    name = "this machine"
    url = ""

    def __init__(self, root: Path) -> None:
        self._root = root

    def refusal(self, kind: Kind) -> str:
        """See `Runner`."""
        if is_listened_to(self._root):
            return ""
        once = "drift" if kind == "drift" else f"run {kind}"
        return (
            "Nothing runs pipelines here now. Start it with `cryptosentinel up`, "
            f"or do it once from a terminal: `cryptosentinel {once}`."
        )

    def ask(self, kind: Kind, user: str) -> Asked:
        """See `Runner`."""
        if refused := self.refusal(kind):
            return Asked(kind, refused=refused)
        running = next((run for run in self._recorded(kind) if run.under_way), None)
        if running is not None:
            return Asked(kind, id=running.id, run_id=running.id, joined=True)
        try:
            return Asked(kind, id=ask(self._root, kind, user).id)
        except OSError as error:
            raise StoreUnavailableError(
                f"The request cannot be written to {self._root}: {error.strerror or error}.",
                remedy="The dashboard must be able to write the market's folder, as `cryptosentinel up` does.",
            ) from error

    def answer(self, asked: Asked) -> Run | None:
        """See `Runner`."""
        for run in self._recorded(asked.kind):
            if run.id == asked.run_id or asked.id in run.requests:
                return run
        if is_listened_to(self._root) and is_pending(self._root, asked.kind, asked.id):
            return None
        gone = "It was not run: `cryptosentinel up` ended, or could not begin it."
        return Run(asked.id, asked.kind, "stopped", datetime.now(UTC), datetime.now(UTC), message=gone, has_log=False)

    def runs(self, limit: int = 200) -> list[Run]:
        """See `Runner`."""
        found = {run.id: run for run in _history((self._root / "runs").with_suffix(HISTORY))}
        found |= {run.id: run for kind in KINDS for run in self._recorded(kind)}
        return sorted(found.values(), key=lambda run: run.began_at, reverse=True)[:limit]

    def log(self, run: Run, most: int = 200_000) -> str:
        """See `Runner`."""
        if not _ID.fullmatch(run.id):
            raise UserInputError("There is no such run.")
        path = self._root / "runs" / run.id / LOG
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                file.seek(max(0, size - most))
                text = file.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            raise UserInputError(
                "Its log is gone.", remedy="The setting `retention.runs` says how many runs' logs are kept."
            ) from None
        return text if size <= most else text.partition("\n")[2]

    def _recorded(self, kind: Kind) -> Iterator[Run]:
        """Those whose folders are there, the newest first."""
        for folder in sorted((self._root / "runs").glob(f"{kind}-*"), reverse=True):
            if _ID.fullmatch(folder.name) and (run := _read(folder)) is not None:
                yield run


def _read(folder: Path) -> Run | None:
    record = read_json(folder / RECORD)
    if record is None:
        return _of_before(folder)
    try:
        run = read_run(record)
    except (KeyError, TypeError, ValueError):
        return _of_before(folder)
    if run.state == "running" and not is_alive(record["process"]):
        steps = tuple(replace(step, state="stopped") if step.ended_at is None else step for step in run.steps)
        message = _KILLED
        return replace(run, state="stopped", ended_at=_last_written(folder), steps=steps, message=message)
    return run


def _of_before(folder: Path) -> Run | None:
    """A run of a release that wrote no record, or one that has just begun, as far as its log tells."""
    kind, began = _ID.fullmatch(folder.name).groups()  # type: ignore[union-attr]
    ended = _last_written(folder)
    if ended is None:
        return None
    form = "%Y%m%dT%H%M%S%f" if len(began) > len("20260101T000000") else "%Y%m%dT%H%M%S"
    began_at = datetime.strptime(began, form).replace(tzinfo=UTC)
    well = _ended_well(folder / LOG, ended)
    state = "stopped" if well is None else "succeeded" if well else "failed"
    return Run(folder.name, kind, state, began_at, ended, message="" if well else _KILLED)  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def _ended_well(log: Path, _written: datetime) -> bool | None:
    found = re.findall(r"Pipeline '[\w-]+' finished with status (\w+)", log.read_text(encoding="utf-8"))
    return found[-1] == "SUCCESS" if found else None


def _last_written(folder: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp((folder / LOG).stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def _history(path: Path) -> tuple[Run, ...]:
    try:
        about = path.stat()
    except FileNotFoundError:
        return ()
    return _lines(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4)
def _lines(path: Path, _written: int, _size: int) -> tuple[Run, ...]:
    runs = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(KeyError, TypeError, ValueError):  # half a line, of a machine that lost its power
            runs.append(replace(read_run(json.loads(line)), has_log=False))
    return tuple(runs)
