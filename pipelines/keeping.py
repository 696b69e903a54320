"""What this machine keeps of runs and logs; imported by whatever runs a pipeline, so it imports next to nothing."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptosentinel.runs import KINDS

if TYPE_CHECKING:
    from cryptosentinel.config import RetentionSettings

# A run has this folder until it has ended.
SCRATCH = "tmp"
_DAY_S = 86_400


class Gone(NamedTuple):
    """A run or a log that was deleted, or would be."""

    kind: str
    name: str
    bytes: int


def prune_machine(root: Path, rules: RetentionSettings, *, dry_run: bool = False) -> list[Gone]:
    """Deletes old runs, and lets logs that grew too large begin anew.

    Args:
        root: the market's folder.
        rules: what is kept.
        dry_run: delete nothing.

    Raises:
        OSError: a log cannot be read or written.
    """
    runs = [gone for name in KINDS for gone in _old_runs(root / "runs", name, rules.runs, dry_run)]
    return [*runs, *_large_logs(root / "logs", rules.log_mb * 1e6, dry_run)]


def _old_runs(runs: Path, name: str, kept: int, dry_run: bool) -> Iterator[Gone]:
    for old in sorted(runs.glob(f"{name}-*"))[:-kept]:
        if _is_under_way(old):
            continue
        size = sum(file.stat().st_size for file in old.rglob("*") if file.is_file())
        if not dry_run:
            shutil.rmtree(old, ignore_errors=True)  # the next one goes on with what is left of it
        yield Gone("run", old.name, size)


def _is_under_way(run: Path) -> bool:
    try:
        return time.time() - (run / SCRATCH).stat().st_mtime < _DAY_S
    except FileNotFoundError:
        return False


def _large_logs(logs: Path, most: float, dry_run: bool) -> Iterator[Gone]:
    for log in sorted(logs.glob("*.log")):
        size = log.stat().st_size
        if size > most:
            if not dry_run:
                # Whoever writes it has it open to append, and goes on at its new end.
                shutil.copy2(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)
            yield Gone("log", log.name, size)
