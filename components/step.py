"""What every component does around its call of the library: settings in, errors out, numbers for the UI."""

from __future__ import annotations

import json
import logging
import math
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.marks import FAILURE_MARK, TOLD_MARK
from cryptosentinel.config import load_settings
from cryptosentinel.errors import CryptoSentinelError, SettingsError
from cryptosentinel.market.bars import utc
from cryptosentinel.workspace import Workspace, open_workspace


@contextmanager
def step(name: str, settings: str, as_of: str) -> Iterator[Workspace]:
    """The workspace that a component's shared parameters name; a failure inside names itself, its cause and its remedy.

    Args:
        name: the step's.
        settings: `Settings.public_json()`.
        as_of: an ISO time that sets the clock of a recorded or simulated market; empty for the market's own clock.
    """
    try:
        try:
            overrides = json.loads(settings)
        except ValueError as error:
            raise SettingsError(f"The parameter 'settings' is not JSON ({error}).") from error
        loaded = load_settings(overrides=overrides)
        logging.basicConfig(level=loaded.log_level.upper(), format="%(levelname)s %(name)s %(message)s")
        yield open_workspace(loaded, now=utc(as_of) if as_of else None)
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        print(FAILURE_MARK + json.dumps(_describe(name, error)), flush=True)  # noqa: T201
        raise


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
