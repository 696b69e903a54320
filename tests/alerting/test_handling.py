"""Alerts are acknowledged and kinds of them muted: what that changes, and what nothing may change."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cryptosentinel.alerting import Event, Facts, acknowledge, deliver, mute, read_mutes, unmute, watch
from cryptosentinel.errors import DeliveryError, UserInputError
from cryptosentinel.monitoring.figures import waiting_deliveries
from cryptosentinel.storage import Storage, Written
from cryptosentinel.storage.forecast_log import DeltaForecastLog
from cryptosentinel.storage.frames import positions, to_arrow
from cryptosentinel.storage.keyed import take_offered
from cryptosentinel.storage.outbox import DeltaOutbox
from tests.alerting.builders import CALM, WILD, Clock, Receiver, step, telling, told
from tests.builders import T0, open_delta

WORSE = 1.2
SETTINGS = telling("http://unused")


def muting(storage: Storage, clock: Clock, minutes: float, kind: str = "volatility", *, by: str = "ann") -> None:
    mute(storage.log, "bitcoin", kind, clock() + timedelta(minutes=minutes), by, now=clock())


def steps(storage: Storage, receiver: Receiver, clock: Clock, *volatilities: float) -> list[str]:
    """What is told in steps five minutes apart."""
    before = len(receiver.taken)
    for volatility in volatilities:
        step(storage, telling(receiver.url), clock, volatility=volatility)
        clock.forward(5)
    return [event for _, event in receiver.events()[before:]]


def test_what_is_still_open_when_a_mute_ends_is_told_then_as_it_is_by_then(tmp_path: Path, receiver: Receiver) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    muting(storage, clock, 14)
    assert steps(storage, receiver, clock, WILD, WILD, WORSE) == []
    assert storage.log.read_alerts("bitcoin", open_only=True)["severity"].tolist() == ["critical"]
    assert steps(storage, receiver, clock, WILD, WILD) == ["raised"]
    assert receiver.taken[0].json["severity"] == "critical"


def test_of_what_began_and_ended_while_muted_nobody_hears(tmp_path: Path, receiver: Receiver) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    muting(storage, clock, 9)
    assert steps(storage, receiver, clock, WILD, CALM, CALM, CALM) == []
    assert len(storage.log.read_alerts("bitcoin")) == 1


def test_that_it_got_worse_and_that_it_is_over_waits_for_the_end_of_the_mute(
    tmp_path: Path, receiver: Receiver
) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    assert steps(storage, receiver, clock, WILD) == ["raised"]
    muting(storage, clock, 60)
    assert steps(storage, receiver, clock, WORSE) == []
    assert unmute(storage.log, "bitcoin", "volatility", "bob", now=clock()).by == "ann"
    assert steps(storage, receiver, clock, WORSE) == ["escalated"]
    muting(storage, clock, 60)
    assert steps(storage, receiver, clock, CALM) == []
    unmute(storage.log, "bitcoin", "volatility", "bob", now=clock())
    assert steps(storage, receiver, clock, CALM, CALM) == ["resolved"]


def test_what_waits_for_its_receiver_waits_on_while_muted_and_is_no_failure(tmp_path: Path, receiver: Receiver) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    receiver.answer = 503
    step(storage, telling(receiver.url), clock, volatility=WILD, drawdown=0.15)
    clock.forward(5)
    muting(storage, clock, 8)
    receiver.answer = 200
    assert told(storage, telling(receiver.url), clock).delivered == 1
    assert receiver.events() == [("drawdown", "raised")]
    clock.forward(8)
    assert told(storage, telling(receiver.url), clock).delivered == 1


def test_what_is_muted_is_not_counted_as_waiting(tmp_path: Path) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    shown = telling("http://127.0.0.1:9/closed")
    step(storage, shown, clock, volatility=WILD, drawdown=0.15)
    now = pd.Timestamp.now("UTC").to_pydatetime()
    mute(storage.log, "bitcoin", "volatility", now + timedelta(hours=1), "ann", now=now)
    assert waiting_deliveries(SimpleNamespace(storage=storage, settings=shown))["alert_id"].nunique() == 1
    unmute(storage.log, "bitcoin", "volatility", "ann", now=pd.Timestamp.now("UTC").to_pydatetime())
    assert waiting_deliveries(SimpleNamespace(storage=storage, settings=shown))["alert_id"].nunique() == 2


def test_alertmanager_is_still_told_that_a_muted_alert_is_open_lest_it_ends_there(
    tmp_path: Path, receiver: Receiver
) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    shown = telling("", alerts__alertmanager_url=receiver.url)
    step(storage, shown, clock, volatility=WILD)
    muting(storage, clock, 30)
    clock.forward(5)
    step(storage, shown, clock, volatility=WORSE)
    labels = [[alert["labels"]["severity"] for alert in each.json] for each in receiver.requests]
    assert labels == [["warning"], ["warning"]]


def test_an_acknowledged_alert_stays_open_and_its_end_is_told(tmp_path: Path, receiver: Receiver) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    steps(storage, receiver, clock, WILD)
    (kind,) = acknowledge(storage.log, "bitcoin", "volatility", "ann", now=clock())["kind"]
    assert kind == "volatility"
    assert steps(storage, receiver, clock, WILD) == []
    opened = storage.log.read_alerts("bitcoin", open_only=True)
    assert opened["acknowledged_by"].tolist() == ["ann"]
    assert opened["acknowledged_at"].tolist() == [pd.Timestamp(T0 + timedelta(minutes=5))]
    assert steps(storage, receiver, clock, CALM) == ["resolved"]


def test_who_looks_at_what_is_not_so_bad_any_more_does_not_acknowledge_what_is(
    tmp_path: Path, receiver: Receiver
) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    steps(storage, receiver, clock, WILD)
    acknowledge(storage.log, "bitcoin", "volatility", "ann", now=clock())
    assert steps(storage, receiver, clock, WORSE) == ["escalated"]
    (identity,) = storage.log.read_alerts("bitcoin")["alert_id"]
    late = acknowledge(storage.log, "bitcoin", identity, "bob", seen="warning", now=clock())
    assert late["acknowledged_by"].tolist() == [None]
    again = acknowledge(storage.log, "bitcoin", identity, "bob", seen="critical", now=clock())
    assert again["acknowledged_by"].tolist() == ["bob"]


def test_an_acknowledgement_between_a_steps_reading_and_its_writing_is_kept(tmp_path: Path, receiver: Receiver) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    steps(storage, receiver, clock, WILD)
    other, write = open_delta(tmp_path), storage.log.write_alerts

    def acknowledged_first(alerts: pd.DataFrame) -> Written:
        acknowledge(other.log, "bitcoin", "volatility", "ann", now=clock())
        return write(alerts)

    storage.log.write_alerts = acknowledged_first
    assert steps(storage, receiver, clock, CALM) == ["resolved"]
    assert storage.log.read_alerts("bitcoin")["acknowledged_by"].tolist() == ["ann"]


def test_what_is_not_open_cannot_be_acknowledged(tmp_path: Path, receiver: Receiver) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    steps(storage, receiver, clock, WILD, CALM)
    with pytest.raises(UserInputError, match="No alert 'volatility' is open"):
        acknowledge(storage.log, "bitcoin", "volatility", "ann", now=clock())


@pytest.mark.parametrize(("kind", "minutes"), [("luck", 60), ("drift", 0), ("drift", -1), ("drift", 32 * 1440)])
def test_a_mute_is_of_a_kind_there_is_and_ends(tmp_path: Path, kind: str, minutes: float) -> None:
    storage = open_delta(tmp_path)
    with pytest.raises(UserInputError):
        muting(storage, Clock(T0), minutes, kind)
    assert read_mutes(storage.log, "bitcoin", now=T0) == {}


@dataclass
class MemoryTable:
    """What `KeyedTable` does, with the rows in memory: thousands of orders of events can be tried on the real rules."""

    key: str
    schema: pa.Schema
    rows: pa.Table = field(init=False)

    def __post_init__(self) -> None:
        columns = [
            field.with_type(pa.timestamp("ms", "UTC")) if field.name.endswith(("_at", "_until")) else field
            for field in self.schema
        ]
        self.schema = pa.schema(columns)
        self.rows = self.schema.empty_table()

    def read(self, where: Sequence[str]) -> pa.Table:
        only_open = any("resolved_at IS NULL" in condition for condition in where)
        return self.rows.filter(self.rows["resolved_at"].is_null()) if only_open else self.rows

    def upsert(
        self,
        rows: pd.DataFrame,
        _: pa.Schema,
        *,
        resolve: Callable[..., pa.Table] = take_offered,
        insert: bool = True,
    ) -> Written:
        offered = to_arrow(rows, self.schema)
        where = positions(offered, self.rows, (self.key,))
        known = where >= 0
        assert insert or known.all()
        parts = [self.rows.filter(pa.array(~np.isin(np.arange(self.rows.num_rows), where)))]
        if known.any():
            parts.append(resolve(self.rows.take(where[known]), offered.filter(pa.array(known))))
        self.rows = pa.concat_tables([*parts, offered.filter(pa.array(~known))])
        return Written(0, 0, 0, 0)


def in_memory() -> SimpleNamespace:
    """A store of alerts, mutes and deliveries, with the rules of the real one."""
    from cryptosentinel.storage import ALERTS, DELIVERIES, MUTES

    log, outbox = DeltaForecastLog.__new__(DeltaForecastLog), DeltaOutbox.__new__(DeltaOutbox)
    log._alerts, log._mutes = MemoryTable("alert_id", ALERTS), MemoryTable("kind", MUTES)
    outbox._table = MemoryTable("delivery_id", DELIVERIES)
    return SimpleNamespace(log=log, outbox=outbox)


@dataclass
class World:
    """A platform and its people: each method is something that may happen at any time.

    Attributes:
        taken: what the receiver was told, and whether its kind was muted at that moment.
        seen: the alerts as they were at an earlier time, which a late process still goes by. None was raised since:
            of two processes at once, the lease lets one go on, and the other raises the same by its tick.
        quiet: alerts whose kind was muted at some time while they were open.
    """

    storage: Any = field(default_factory=in_memory)
    clock: Clock = field(default_factory=lambda: Clock(T0))
    name: str = "webhook"
    is_away: bool = False
    taken: list[tuple[Event, bool]] = field(default_factory=list)
    seen: list[pd.DataFrame] = field(default_factory=list)
    quiet: set[str] = field(default_factory=set)
    resolved: dict[str, pd.Timestamp] = field(default_factory=dict)

    @property
    def alerts(self) -> pd.DataFrame:
        return self.storage.log.read_alerts("bitcoin")

    def send(self, event: Event) -> str:
        if self.is_away:
            raise DeliveryError("away", away=True)
        self.taken.append((event, event.kind in read_mutes(self.storage.log, "bitcoin", now=self.clock())))
        return "200"

    def look(self, volatility: float, drawdown: float, late: bool) -> None:
        facts = Facts(volatility=volatility, drawdown=drawdown, tick=self.clock().isoformat(), interval="5m")
        storage = self.storage
        if late and self.seen and set(self.seen[-1]["alert_id"]) == set(self.alerts["alert_id"]):
            log = SimpleNamespace(**{name: getattr(storage.log, name) for name in ("read_mutes", "write_alerts")})
            answers = iter([self.seen[-1]])
            log.read_alerts = lambda asset: next(answers, self.alerts)
            storage = SimpleNamespace(log=log, outbox=storage.outbox)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys.modules[watch.__module__], "open_sinks", lambda _: [self])
            watch(storage, facts, SETTINGS, now=self.clock(), clock=self.clock)

    def tell(self, is_away: bool) -> None:
        self.is_away = is_away
        deliver(self.storage, "bitcoin", [self], SETTINGS.alerts, clock=self.clock)

    def acknowledge(self, kind: str, seen: str | None) -> None:
        if kind in set(self.storage.log.read_alerts("bitcoin", open_only=True)["kind"]):
            acknowledge(self.storage.log, "bitcoin", kind, "ann", seen=seen, now=self.clock())

    def mute(self, kind: str, minutes: int) -> None:
        muting(self.storage, self.clock, minutes, kind)

    def unmute(self, kind: str) -> None:
        unmute(self.storage.log, "bitcoin", kind, "ann", now=self.clock())

    def remember(self) -> None:
        self.seen.append(self.alerts)

    def check(self) -> None:
        """What holds at any time."""
        rows, muted = self.alerts, read_mutes(self.storage.log, "bitcoin", now=self.clock())
        opened = rows[rows["resolved_at"].isna()]
        assert opened["kind"].is_unique
        self.quiet |= set(opened.loc[opened["kind"].isin(muted), "alert_id"])
        ended = rows[rows["resolved_at"].notna()].set_index("alert_id")["resolved_at"].to_dict()
        assert self.resolved.items() <= ended.items(), "what is resolved stays so"
        self.resolved = ended


KINDS = st.sampled_from(["volatility", "drawdown"])
EVENTS = st.one_of(
    st.tuples(st.just("look"), st.sampled_from([CALM, WILD, WORSE]), st.sampled_from([0.0, 0.15, 0.3]), st.booleans()),
    st.tuples(st.just("tell"), st.booleans()),
    st.tuples(st.just("acknowledge"), KINDS, st.sampled_from([None, "warning", "critical"])),
    st.tuples(st.just("mute"), KINDS, st.integers(1, 30)),
    st.tuples(st.just("unmute"), KINDS),
    st.tuples(st.just("remember")),
)


STORY = [
    *(("look", WILD, 0.15, False), ("remember",), ("acknowledge", "volatility", None), ("mute", "drawdown", 9)),
    *(("tell", False), ("look", WORSE, 0.15, True), ("acknowledge", "volatility", "warning"), ("tell", True)),
    *(("mute", "volatility", 9), ("look", WORSE, 0.3, False), ("tell", False), ("unmute", "volatility")),
    *(("remember",), ("look", CALM, 0.3, False), ("look", WILD, 0.0, True), ("tell", False)),
]

LATE = [("look", WILD, 0.0, False), ("remember",), ("look", CALM, 0.0, False), ("look", WORSE, 0.0, True)]


@example(STORY)
@example(LATE)
@given(st.lists(EVENTS, max_size=20))
@settings(max_examples=20, deadline=None)
def test_whatever_the_order_nobody_is_told_twice_and_nobody_is_left_untold(events: list[tuple[Any, ...]]) -> None:
    world = World()
    for name, *arguments in events:
        before = world.alerts.set_index("alert_id")
        getattr(world, name)(*arguments)
        world.check()
        for alert in world.alerts.itertuples():
            if alert.alert_id in before.index and pd.notna(before.loc[alert.alert_id, "acknowledged_at"]):
                worse = alert.severity != before.loc[alert.alert_id, "severity"]
                assert pd.isna(alert.acknowledged_at) == worse
        world.clock.forward(3)
    while read_mutes(world.storage.log, "bitcoin", now=world.clock()):
        world.clock.forward(10)
    world.look(float("nan"), float("nan"), False)  # nothing is known, so that all alerts stay as they are
    world.clock.forward(60)
    world.tell(False)

    told = Counter(event.id for event, _ in world.taken)
    assert set(told.values()) <= {1}
    assert not any(was_muted for _, was_muted in world.taken)
    for alert in world.alerts.itertuples():
        mine = [event for event, _ in world.taken if event.alert_id == alert.alert_id]
        names = [event.event for event in mine]
        assert names == sorted(names, key=["raised", "escalated", "resolved"].index)
        if pd.isna(alert.resolved_at):
            assert mine, "what is open is told"
            assert mine[-1].severity == alert.severity, "and how bad it is"
        else:
            assert ("resolved" in names) == ("raised" in names), "who knows that it began knows that it is over"
            assert names or alert.alert_id in world.quiet, "only a mute keeps it from them"
