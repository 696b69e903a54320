"""The folder of a demo: whether one is there that can go on, and what it was made with."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptosentinel.config import Settings
from cryptosentinel.errors import UserInputError
from cryptosentinel.workspace import open_workspace
from pipelines.demo.history import Plan

MARKER = "demo.json"
# A training is as far before the end as the live schedule has them apart, so that the champion is fresh.
LAST_TRAINING = timedelta(minutes=30)
EVERY, CHECKS = timedelta(days=1), timedelta(hours=8)


@dataclass(frozen=True)
class Found:
    """What is in the folder.

    Attributes:
        newest: of the forecasts of a demo that goes on; None where one begins.
        said: which of the two, and why, in a sentence.
    """

    newest: datetime | None
    said: str


def look(settings: Settings, days: float, end: datetime) -> Found:
    """Whether a demo goes on in the home folder, or begins anew; nothing is changed.

    Raises:
        UserInputError: the folder holds something else.
    """
    home = settings.home
    if not home.is_dir() or not any(path.name not in {"lock", "holder.pid"} for path in home.iterdir()):
        return Found(None, f"begins in {home}")
    note = _read(home / MARKER)
    if note is None:
        raise UserInputError(
            f"The folder {home} holds something that is no demo's.",
            remedy="Name another one with --home; a demo makes it.",
        )
    if not note.get("complete"):
        return Found(None, f"begins anew in {home}: the one there was interrupted")
    if note.get("made_with") != _made_with(settings, days):
        return Found(None, f"begins anew in {home}: the one there has other settings")
    newest = _newest(settings)
    if newest is None or end - newest > timedelta(days=days):
        return Found(None, f"begins anew in {home}: the one there ended more than {days:g} days ago")
    return Found(newest, f"goes on in {home}, from {newest:%Y-%m-%d %H:%M} UTC")


def clear(settings: Settings) -> None:
    """Makes the folder a demo's and empties it; `look` has seen that it is one's."""
    home = settings.home
    for path in home.iterdir() if home.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in {"lock", "holder.pid"}:
            path.unlink()


def begin(settings: Settings, days: float) -> None:
    """Notes that a demo is being made here."""
    _write(settings, days, complete=False)


def finish(settings: Settings, days: float) -> None:
    """Notes that its past is complete."""
    _write(settings, days, complete=True)


def plan(start: datetime, end: datetime, *, resumed: bool) -> Plan:
    """When is trained and checked between two moments.

    A demo that begins trains at once; both train once a day, and so that the champion is fresh at the end.
    """
    count = max(-(-(end - start) // EVERY), 1)
    trainings = [start + number * EVERY for number in range(int(resumed), count)]
    last = end - LAST_TRAINING
    if last - (trainings[-1] if trainings else start) >= 2 * LAST_TRAINING:
        trainings.append(last)
    checks = [start + number * CHECKS for number in range(1, (end - start) // CHECKS + 1)]
    return Plan(start, end, trainings, checks)


def _newest(settings: Settings) -> datetime | None:
    log = open_workspace(settings).storage.log
    made = log.read_forecasts(settings.market.asset, columns=["made_at"])["made_at"]
    return made.iloc[-1].to_pydatetime() if len(made) else None


def _made_with(settings: Settings, days: float) -> dict[str, Any]:
    public = json.loads(settings.public_json())
    return {"days": days, **{group: public[group] for group in ("market", "training", "gate", "forecast")}}


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        note = json.loads(path.read_text(encoding="utf-8"))
        return note if isinstance(note, dict) else None
    return None


def _write(settings: Settings, days: float, *, complete: bool) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    note = {"complete": complete, "made_with": _made_with(settings, days)}
    (settings.home / MARKER).write_text(json.dumps(note, indent=2), encoding="utf-8")
