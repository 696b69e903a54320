"""From alerts to those who are told: what is due goes into the outbox, and out of it to each sink.

Every event has an id, and goes to each sink under it once: a sink is claimed before anything is sent to it, and what
was sent is recorded before the next is. What fails stays in the outbox and is tried again, later and later, by the next
steps. One case is left, since no receiver can be asked whether it has an event: where an attempt ends without an answer
(the process dies before it has recorded one, the connection breaks), the event is sent again, with the same id and in
the same words, and the receiver tells the repeat by that.

Of a kind that is muted nothing is queued and nothing is sent: what is open, or over, when the mute ends is told then.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from cryptosentinel.alerting.events import ESCALATED, RAISED, RESOLVED, Event, EventName, event_of
from cryptosentinel.alerting.handling import read_mutes
from cryptosentinel.alerting.sinks import Renewed, Sink, utc_now
from cryptosentinel.config import AlertSettings
from cryptosentinel.errors import DeliveryError
from cryptosentinel.storage import Outbox, Storage
from cryptosentinel.storage.frames import of_records
from cryptosentinel.storage.schemas import CRITICAL, DELIVERIES

_log = logging.getLogger(__name__)

_ORDER = {RAISED: 0, ESCALATED: 1, RESOLVED: 2}

# A step spends about so long on telling people; what is left is told by the next one.
BUDGET_S = 30.0
# More than a step may take with one sink, and less than lies between two steps: the next may go on after a dead one.
CLAIM_S = 240.0


@dataclass(frozen=True)
class Told:
    """What a delivery run did.

    Attributes:
        delivered: how many events were taken.
        failed: what went wrong, a sentence each.
    """

    delivered: int
    failed: tuple[str, ...]


def due_deliveries(
    alerts: pd.DataFrame,
    queued: pd.DataFrame,
    sinks: Sequence[Sink],
    market: str,
    *,
    muted: Collection[str] = (),
    now: datetime,
) -> pd.DataFrame:
    """What has to be told of these alerts, and is not in the outbox yet.

    A sink hears of what is open, that it got worse, and that it is over, the latter only if it knows of the beginning.

    Args:
        alerts: rows of the log.
        queued: the outbox.
        sinks: who is told.
        market: what is watched, for people.
        muted: kinds of which nothing is told now.
        now: the time.
    """
    told = {(row.alert_id, row.sink, row.event): row.body for row in queued.itertuples()}
    rows: list[dict[str, object]] = []

    def queue(alert: object, sink: Sink, name: EventName) -> None:
        event = event_of(alert, name, market)
        told[event.alert_id, sink.name, name] = event.model_dump_json()
        rows.append(_delivery(event, sink, now))

    for alert in alerts[~alerts["kind"].isin(list(muted))].sort_values("raised_at").itertuples():
        for sink in sinks:
            is_open, key = pd.isna(alert.resolved_at), (alert.alert_id, sink.name)
            if is_open and (*key, RAISED) not in told:
                queue(alert, sink, RAISED)
            elif is_open and alert.severity == CRITICAL and (*key, ESCALATED) not in told:
                if Event.model_validate_json(told[*key, RAISED]).severity != CRITICAL:
                    queue(alert, sink, ESCALATED)
            elif not is_open and (*key, RAISED) in told and (*key, RESOLVED) not in told:
                queue(alert, sink, RESOLVED)
    return of_records(rows, DELIVERIES)


def is_muted(queued: pd.DataFrame, muted: Collection[str]) -> pd.Series:
    """Which deliveries are of a muted kind."""
    if not muted:  # their bodies need not be looked into
        return pd.Series(False, index=queued.index)
    return queued["body"].map(lambda body: Event.model_validate_json(body).kind in muted).astype(bool)


def deliver(
    storage: Storage,
    asset: str,
    sinks: Sequence[Sink],
    settings: AlertSettings,
    *,
    clock: Callable[[], datetime] = utc_now,
) -> Told:
    """Tells each sink what is due to it, oldest first, and renews what is open with those that forget.

    What is of a muted kind waits. It is renewed all the same: it would end there, and its end would be told.

    Receivers live in the world's time, so `clock` is not a replayed market's. A failure of a sink is no error: it is
    logged, and the delivery stays in the outbox.

    Raises:
        StorageError: the outbox or the mutes cannot be read, or the outbox not written.
    """
    outbox = storage.outbox
    muted = read_mutes(storage.log, asset, now=clock()) if sinks else {}
    stop = clock() + timedelta(seconds=BUDGET_S)
    delivered, failed = 0, []
    for sink in sinks:
        queued = outbox.read(asset)
        mine = queued[(queued["sink"] == sink.name) & queued["delivered_at"].isna()]
        count, failures = _deliver_to(sink, mine[~is_muted(mine, muted)], outbox, settings, clock, stop)
        delivered += count
        if not count and not failures and isinstance(sink, Renewed) and (events := _open_events(queued, sink)):
            try:
                sink.renew(events)
            except DeliveryError as error:
                failures.append(str(error))
        failed += failures
    for failure in failed:
        _log.warning("An alert was not delivered; it is tried again: %s", failure)
    return Told(delivered, tuple(failed))


def _deliver_to(
    sink: Sink,
    queued: pd.DataFrame,
    outbox: Outbox,
    settings: AlertSettings,
    clock: Callable[[], datetime],
    stop: datetime,
) -> tuple[int, list[str]]:
    waiting = _in_order(queued)
    # What is said of one alert is said in order: its first is the one that counts.
    first = waiting.drop_duplicates("alert_id")
    now = clock()
    if not (first["due_at"] <= pd.Timestamp(now)).any():
        return 0, []
    by, until = uuid.uuid4().hex, now + timedelta(seconds=CLAIM_S)
    claimed = outbox.claim(waiting, by, until, now=now)
    delivered, failures, held, rest = 0, [], set(), []
    last_start = min(stop, until - timedelta(seconds=2 * settings.timeout_s))
    is_away = False
    for _, row in _in_order(claimed).iterrows():
        free = row.to_dict() | {"claimed_by": None, "claimed_until": pd.NaT}
        now = clock()
        if is_away or now > last_start or row["alert_id"] in held or row["due_at"] > pd.Timestamp(now):
            held.add(row["alert_id"])
            rest.append(free)
            continue
        attempt = free | {"attempts": row["attempts"] + 1}
        try:
            answer = sink.send(Event.model_validate_json(row["body"]))
        except DeliveryError as error:
            is_away = error.away
            held.add(row["alert_id"])
            failures.append(error.message)
            wait = timedelta(seconds=max(_wait_s(attempt["attempts"], settings), error.retry_after_s))
            rest.append(attempt | {"due_at": pd.Timestamp(now + wait), "answer": error.message})
        else:
            delivered += 1
            taken = attempt | {"delivered_at": pd.Timestamp(clock()), "answer": answer}
            # At once: were this process killed later on, what it has sent would be sent again.
            outbox.record(of_records([taken], DELIVERIES), by)
    if rest:
        outbox.record(of_records(rest, DELIVERIES), by)
    return delivered, failures


def _wait_s(attempts: int, settings: AlertSettings) -> float:
    return min(settings.retry_s * 2.0 ** min(attempts - 1, 30), settings.retry_max_s)


def _open_events(queued: pd.DataFrame, sink: Sink) -> list[Event]:
    """The newest event of each alert that the sink was told of, and not that it is over."""
    mine = _in_order(queued[queued["sink"] == sink.name])
    over = set(mine.loc[mine["event"] == RESOLVED, "alert_id"])
    known = mine[mine["delivered_at"].notna() & ~mine["alert_id"].isin(over)]
    return [Event.model_validate_json(body) for body in known.drop_duplicates("alert_id", keep="last")["body"]]


def _in_order(queued: pd.DataFrame) -> pd.DataFrame:
    return queued.assign(rank=queued["event"].map(_ORDER)).sort_values(["created_at", "rank"]).drop(columns="rank")


def _delivery(event: Event, sink: Sink, now: datetime) -> dict[str, object]:
    return {
        "delivery_id": f"{event.id}-{sink.name}",
        "event_id": event.id,
        "alert_id": event.alert_id,
        "asset": event.asset,
        "event": event.event,
        "sink": sink.name,
        "body": event.model_dump_json(),
        "created_at": pd.Timestamp(now),
        "attempts": 0,
        "due_at": pd.Timestamp(event.resolved_at or event.raised_at),
        "claimed_by": None,
        "claimed_until": pd.NaT,
        "answer": None,
        "delivered_at": pd.NaT,
    }
