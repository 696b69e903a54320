"""What is told of an alert: that it was raised, that it got worse, that it is over."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from cryptosentinel.alerting.rules import remedy_of

EventName = Literal["raised", "escalated", "resolved", "test"]
RAISED: EventName = "raised"
ESCALATED: EventName = "escalated"
RESOLVED: EventName = "resolved"
TEST: EventName = "test"


class Event(BaseModel):
    """One thing to tell, as it was when it happened. Told again, it is told in the same words, byte for byte.

    Attributes:
        id: the same whenever and by whomever it is told: receivers know a repeat by it.
        market: what is watched, e.g. `bitcoin/usd 5m (coingecko)`.
        remedy: what to do about it.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    event: EventName
    alert_id: str
    kind: str
    severity: str
    asset: str
    market: str
    raised_at: datetime
    resolved_at: datetime | None
    value: float
    threshold: float
    message: str
    remedy: str

    @property
    def title(self) -> str:
        """A line that says what and how bad."""
        state = {RAISED: self.severity, ESCALATED: f"now {self.severity}"}.get(self.event, self.event)
        return f"[{state.upper()}] {self.kind.replace('_', ' ')}, {self.market}"

    @property
    def text(self) -> str:
        """What happened, in sentences."""
        if self.event == RESOLVED and self.resolved_at is not None:
            return f"Over since {self.resolved_at:%Y-%m-%d %H:%M} UTC. It was: {self.message}"
        return f"{self.message} {self.remedy}".strip()


def event_of(alert: Any, name: EventName, market: str) -> Event:
    """What is told of an alert of the log (a row of `itertuples`)."""
    over = name == RESOLVED and pd.notna(alert.resolved_at)
    return Event(
        id=f"{alert.alert_id}-{name}",
        event=name,
        alert_id=alert.alert_id,
        kind=alert.kind,
        severity=alert.severity,
        asset=alert.asset,
        market=market,
        raised_at=alert.raised_at.to_pydatetime(),
        resolved_at=alert.resolved_at.to_pydatetime() if over else None,
        value=alert.value,
        threshold=alert.threshold,
        message=alert.message,
        remedy=remedy_of(alert.kind),
    )
