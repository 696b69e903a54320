"""What every component does around its call of the library: settings in, errors out, numbers for the UI and metrics."""

from __future__ import annotations

import json
import logging
import math
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any

from components.marks import FAILURE_MARK, TOLD_MARK
from cryptosentinel.config import load_settings
from cryptosentinel.errors import CryptoSentinelError, SettingsError
from cryptosentinel.market.bars import utc
from cryptosentinel.monitoring import RunWatch
from cryptosentinel.workspace import Workspace, open_workspace

_watch: ContextVar[RunWatch] = ContextVar("watch")


@contextmanager
def step(name: str, settings: str, as_of: str, part: str = "") -> Iterator[Workspace]:
    """The workspace that a component's shared parameters name; a failure inside names itself, its cause and its remedy.

    What comes of it is noted in the store, and told to whoever gathers metrics (`cryptosentinel.monitoring`).

    Args:
        name: the step's.
        settings: `Settings.public_json()`.
        as_of: an ISO time that sets the clock of a recorded or simulated market; empty for the market's own clock.
        part: which of those that run beside each other, where there are several.
    """
    watch = None
    try:
        try:
            overrides = json.loads(settings)
        except ValueError as error:
            raise SettingsError(f"The parameter 'settings' is not JSON ({error}).") from error
        loaded = load_settings(overrides=overrides)
        logging.basicConfig(level=loaded.log_level.upper(), format="%(levelname)s %(name)s %(message)s")
        watch = RunWatch(name, part, loaded)
        _watch.set(watch)
        workspace = open_workspace(loaded, now=utc(as_of) if as_of else None)
        watch.began(workspace)
        yield workspace
    except Exception as error:
        tell_failure(name, error)
        if watch is not None:
            watch.ended(error)
        raise
    watch.ended()


def observe(rows: Mapping[str, int], newest: datetime | None = None, **figures: float) -> None:
    """What the step that is running has to tell of its work.

    Args:
        rows: how many, by what became of them.
        newest: the close of the newest bar that it worked on.
        figures: what else it found out.
    """
    _watch.get().found(rows, newest, figures)


def leave_out() -> None:
    """The step that is running has nothing to do: no run of it is noted, and no metrics are sent."""
    _watch.get().left_out()


def tell_failure(name: str, error: Exception) -> None:
    """Tells whoever runs the pipeline why a step failed, and the log where; to be called while it is handled."""
    traceback.print_exc()
    sys.stderr.flush()
    print(FAILURE_MARK + json.dumps(_describe(name, error)), flush=True)  # noqa: T201


def _describe(name: str, error: Exception) -> dict[str, Any]:
    cause = type(error).__name__
    if isinstance(error, CryptoSentinelError):
        told = {"message": error.message, "remedy": error.remedy, "exit_code": error.exit_code}
    else:
        remedy = "This is not a fault we foresaw; the run's log has the traceback."
        told = {"message": f"{cause}: {error}", "remedy": remedy, "exit_code": 1}
    return {"step": name, "cause": cause, **told}


def tell(name: str, text: str) -> None:
    """Tells whoever runs the pipeline, in a sentence, what came of a step."""
    print(TOLD_MARK + json.dumps({"step": name, "text": text}), flush=True)  # noqa: T201


def log_metrics(artifact: Any, values: Mapping[str, float]) -> None:
    """Writes numbers into a Kubeflow `Metrics` artifact; it takes only finite ones."""
    for name, value in values.items():
        if math.isfinite(value):
            artifact.log_metric(name, value)


def write_text(artifact: Any, text: str) -> None:
    """Writes a `Markdown` or `HTML` artifact, or one of plain text."""
    Path(artifact.path).write_text(text, encoding="utf-8")
