"""Trying who is told: one test event to each, and what came back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptosentinel.alerting.events import TEST, Event
from cryptosentinel.alerting.sinks import Sink
from cryptosentinel.errors import DeliveryError


@dataclass(frozen=True)
class Trial:
    """What came of telling one sink.

    Attributes:
        sink: its name.
        ok: whether it took the event.
        answer: what it said.
    """

    sink: str
    ok: bool
    answer: str


def trial_event(asset: str, market: str, *, now: datetime) -> Event:
    """An event that says it is a test; each has an id of its own, and it is over as soon as it is told."""
    return Event(
        id=f"{uuid.uuid4().hex[:16]}-test",
        event=TEST,
        alert_id=TEST,
        kind=TEST,
        severity="warning",
        asset=asset,
        market=market,
        raised_at=now,
        resolved_at=now,
        value=0.0,
        threshold=0.0,
        message="This is a test of how alerts are told; nothing is wrong.",
        remedy="",
    )


def try_sinks(sinks: Sequence[Sink], event: Event) -> list[Trial]:
    """Tells each sink once; nothing is kept, and nothing is tried again."""
    trials = []
    for sink in sinks:
        try:
            trials.append(Trial(sink.name, True, sink.send(event)))
        except DeliveryError as error:
            trials.append(Trial(sink.name, False, str(error)))
    return trials
