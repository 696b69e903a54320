"""What people do about alerts: say that they have seen one, and have nobody told of a kind for a while.

Both are by the clock on the wall, where people live, and not by a replayed market's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from cryptosentinel.alerting.rules import RULES
from cryptosentinel.errors import UserInputError
from cryptosentinel.storage import ForecastLog
from cryptosentinel.storage.frames import of_records
from cryptosentinel.storage.schemas import MUTES

# What is never to be told of is for a limit; a mute is to be thought of again.
LONGEST_MUTE = timedelta(days=31)
_REASON_LETTERS = 500


@dataclass(frozen=True)
class Mute:
    """A kind of alert that nobody is told of until a time.

    Attributes:
        by: who muted it, at `at`.
        reason: why; may be empty.
    """

    kind: str
    until: datetime
    by: str
    at: datetime
    reason: str


def acknowledge(
    log: ForecastLog, asset: str, which: str, by: str, *, seen: str | None = None, now: datetime
) -> pd.DataFrame:
    """Notes that somebody has seen an alert and looks after it. It stays open, and its end is told as ever.

    The first to do so counts, and one that has got worse since it was seen has to be seen again.

    Args:
        log: where alerts are.
        asset: whose.
        which: an alert's id, or its kind.
        by: who.
        seen: how bad it was when they saw it; None: as bad as it is.
        now: the time.

    Returns:
        The alerts as they are now; `acknowledged_by` is null where one got worse or ended meanwhile.

    Raises:
        UserInputError: no such alert is open.
    """
    opened = log.read_alerts(asset, open_only=True)
    mine = opened[(opened["alert_id"] == which) | (opened["kind"] == which)]
    if mine.empty:
        kinds = ", ".join(opened["kind"]) or "none"
        raise UserInputError(f"No alert '{which}' is open.", remedy=f"Name one that is by its kind or id: {kinds}.")
    asked = mine.assign(acknowledged_by=by, acknowledged_at=pd.Timestamp(now))
    log.acknowledge(asked if seen is None else asked.assign(severity=seen))
    alerts = log.read_alerts(asset)
    return alerts[alerts["alert_id"].isin(mine["alert_id"])].reset_index(drop=True)


def mute(log: ForecastLog, asset: str, kind: str, until: datetime, by: str, *, reason: str = "", now: datetime) -> Mute:
    """Has nobody told of a kind of alert until a time. It is raised and ends all the same; what is open then, is told.

    Raises:
        UserInputError: there is no such kind, or the time is past or too far away.
    """
    _check_kind(kind)
    if not now < until <= now + LONGEST_MUTE:
        raise UserInputError(
            f"A mute ends later than now, and within {LONGEST_MUTE.days} days.",
            remedy="What you never want to be told of is better given a higher limit (docs/operations.md).",
        )
    muted = Mute(kind, until, by, now, " ".join(reason.split())[:_REASON_LETTERS])
    _write(log, asset, muted)
    return muted


def unmute(log: ForecastLog, asset: str, kind: str, by: str, *, now: datetime) -> Mute | None:
    """Ends a mute before its time; returns it, or None where there was none.

    Raises:
        UserInputError: there is no such kind.
    """
    _check_kind(kind)
    muted = read_mutes(log, asset, now=now).get(kind)
    if muted is not None:
        _write(log, asset, Mute(kind, now, by, now, muted.reason))
    return muted


def read_mutes(log: ForecastLog, asset: str, *, now: datetime) -> dict[str, Mute]:
    """What is muted, by kind."""
    rows = log.read_mutes(asset)
    found = {}
    for row in rows[rows["muted_until"] > pd.Timestamp(now)].itertuples():
        until, at = row.muted_until.to_pydatetime(), row.muted_at.to_pydatetime()
        found[row.kind] = Mute(row.kind, until, row.muted_by, at, row.reason or "")
    return found


def _check_kind(kind: str) -> None:
    kinds = [rule.kind for rule in RULES]
    if kind not in kinds:
        raise UserInputError(f"There is no kind of alert '{kind}'.", remedy=f"There are {', '.join(kinds)}.")


def _write(log: ForecastLog, asset: str, muted: Mute) -> None:
    row = {
        "asset": asset,
        "kind": muted.kind,
        "muted_until": muted.until,
        "muted_by": muted.by,
        "muted_at": muted.at,
        "reason": muted.reason,
    }
    log.write_mutes(of_records([row], MUTES))
