"""Each event reaches each sink once, whatever fails: nothing is lost, nothing is told twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cryptosentinel.alerting import Event, delivery
from cryptosentinel.errors import DeliveryError
from cryptosentinel.storage import DELIVERIES
from tests.alerting.builders import Clock, Receiver, receiving, step, telling, told
from tests.builders import T0, open_delta

WILD, CALM = 0.8, 0.1


@pytest.fixture
def receiver():
    with receiving() as found:
        yield found


def test_an_event_is_told_once_however_often_steps_run(tmp_path: Path, receiver: Receiver) -> None:
    storage, settings, clock = open_delta(tmp_path), telling(receiver.url), Clock(T0)
    for volatility in (CALM, WILD, WILD, WILD, CALM, CALM):
        step(storage, settings, clock, volatility=volatility)
        clock.forward(5)
    assert receiver.events() == [("volatility", "raised"), ("volatility", "resolved")]
    assert len(receiver.requests) == 2


def test_what_gets_worse_is_told_once_more(tmp_path: Path, receiver: Receiver) -> None:
    storage, settings, clock = open_delta(tmp_path), telling(receiver.url), Clock(T0)
    for volatility in (WILD, 1.2, 1.3, WILD, 1.4, CALM):
        step(storage, settings, clock, volatility=volatility)
        clock.forward(5)
    assert [event for _, event in receiver.events()] == ["raised", "escalated", "resolved"]
    assert [request.json["severity"] for request in receiver.taken] == ["warning", "critical", "critical"]


def test_a_webhook_that_answers_500_for_an_hour_gets_each_alert_once(tmp_path: Path, receiver: Receiver) -> None:
    storage, settings, clock = open_delta(tmp_path), telling(receiver.url), Clock(T0)
    receiver.answer = 500
    for minute in range(0, 60, 5):
        figures = {"volatility": WILD if minute < 30 else CALM, "drawdown": 0.15 if minute >= 10 else 0.0}
        step(storage, settings, clock, **figures)
        clock.forward(5)
    assert receiver.taken == []
    tried_in_vain = len(receiver.requests)
    assert 4 <= tried_in_vain <= 36  # three events; later and later
    receiver.answer = 200
    for _ in range(4):
        step(storage, settings, clock, volatility=CALM, drawdown=0.15)
        clock.forward(5)
    taken = Counter(request.headers["idempotency-key"] for request in receiver.taken)
    assert sorted(receiver.events()) == [("drawdown", "raised"), ("volatility", "raised"), ("volatility", "resolved")]
    assert set(taken.values()) == {1}
    assert receiver.events().index(("volatility", "raised")) < receiver.events().index(("volatility", "resolved"))
    assert storage.outbox.read("bitcoin")["delivered_at"].notna().all()


def test_what_failed_waits_twice_as_long_each_time_up_to_a_limit(tmp_path: Path, receiver: Receiver) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    settings = telling(receiver.url, alerts__retry_s=60, alerts__retry_max_s=240)
    receiver.answer = 503
    tried = []
    step(storage, settings, clock, volatility=WILD)
    for minute in range(1, 16):
        clock.forward(1)
        before = len(receiver.requests)
        told(storage, settings, clock)
        if len(receiver.requests) > before:
            tried.append(minute)
    assert tried == [1, 3, 7, 11, 15]


def test_a_receiver_that_asks_to_wait_is_not_asked_before(tmp_path: Path, receiver: Receiver) -> None:
    storage, settings, clock = open_delta(tmp_path), telling(receiver.url), Clock(T0)
    receiver.answer, receiver.headers = 429, {"retry-after": "1800"}
    step(storage, settings, clock, volatility=WILD)
    clock.forward(29)
    assert told(storage, settings, clock).failed == ()
    assert len(receiver.requests) == 1
    clock.forward(1)
    receiver.answer = 200
    assert told(storage, settings, clock).delivered == 1


def test_an_alert_that_is_refused_does_not_hold_up_the_others(tmp_path: Path, receiver: Receiver) -> None:
    storage, settings, clock = open_delta(tmp_path), telling(receiver.url), Clock(T0)

    def refuse_volatility() -> None:
        receiver.answer = 400 if receiver.requests[-1].json["kind"] == "volatility" else 200

    receiver.on_request = refuse_volatility
    found = step(storage, settings, clock, volatility=WILD, drawdown=0.15, change_24h=-0.06)
    assert (found.delivered, len(found.failed)) == (2, 1)
    assert "400" in found.failed[0]


def test_where_a_receiver_is_away_the_rest_waits_for_the_next_step(tmp_path: Path, receiver: Receiver) -> None:
    storage, settings, clock = open_delta(tmp_path), telling(receiver.url), Clock(T0)
    receiver.answer = 500
    assert len(step(storage, settings, clock, volatility=WILD, drawdown=0.15).failed) == 1
    assert len(receiver.requests) == 1


def test_sinks_do_not_wait_for_each_other(tmp_path: Path, receiver: Receiver) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    settings = telling("http://127.0.0.1:9/closed", alerts__slack_url=receiver.url)
    found = step(storage, settings, clock, volatility=WILD)
    assert (found.delivered, len(found.failed)) == (1, 1)
    assert "volatility" in receiver.taken[0].json["text"]


def test_a_sink_that_is_new_hears_of_what_is_open_and_not_of_the_past(tmp_path: Path, receiver: Receiver) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    nobody = telling("")
    step(storage, nobody, clock, volatility=WILD, drawdown=0.15)
    step(storage, nobody, clock, volatility=CALM, drawdown=0.15)
    assert storage.outbox.read("bitcoin").empty
    for _ in range(2):
        clock.forward(5)
        step(storage, telling(receiver.url), clock, volatility=CALM, drawdown=0.15)
    assert receiver.events() == [("drawdown", "raised")]


def test_an_alert_whose_step_died_before_it_was_queued_is_told_by_the_next(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, settings, clock = open_delta(tmp_path), telling(receiver.url), Clock(T0)

    def die(rows: pd.DataFrame) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(type(storage.outbox), "add", lambda self, rows: die(rows))
        with pytest.raises(SystemExit):
            step(storage, settings, clock, volatility=WILD)
    clock.forward(5)
    step(storage, settings, clock, volatility=CALM)  # it is over by then
    assert [event for _, event in receiver.events()] == ["raised", "resolved"]


_DELIVER = """
import sys
from datetime import datetime
from pathlib import Path
from tests.alerting.builders import Clock, telling, told
from tests.builders import open_delta
told(open_delta(Path(sys.argv[1])), telling(sys.argv[2]), Clock(datetime.fromisoformat(sys.argv[3])))
"""


def test_a_process_killed_between_sending_and_recording_has_its_event_told_again_by_the_same_id(
    tmp_path: Path, receiver: Receiver
) -> None:
    storage, settings, clock = open_delta(tmp_path), telling(receiver.url), Clock(T0)
    step(storage, telling("http://127.0.0.1:9/closed"), clock, volatility=WILD)
    clock.forward(5)
    repository = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", _DELIVER, str(tmp_path), receiver.url, clock().isoformat()]
    process = subprocess.Popen(command, cwd=repository, env=os.environ | {"PYTHONPATH": str(repository)})
    receiver.on_request = lambda: os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    receiver.on_request = lambda: None
    (sent,) = receiver.taken

    told(storage, settings, clock)
    assert len(receiver.requests) == 1  # the dead one's claim is alive
    clock.forward(delivery.CLAIM_S / 60 + 0.1)
    told(storage, settings, clock)
    clock.forward(5)
    told(storage, settings, clock)
    first, again = receiver.taken
    assert first == sent
    assert (again.raw, again.headers["idempotency-key"]) == (first.raw, first.headers["idempotency-key"])


def test_of_two_processes_one_tells(tmp_path: Path, receiver: Receiver) -> None:
    storage, settings, clock = open_delta(tmp_path), telling(receiver.url), Clock(T0)
    inner = []

    def deliver_too() -> None:
        receiver.on_request = lambda: None
        inner.append(told(open_delta(tmp_path), settings, clock))

    receiver.on_request = deliver_too
    step(storage, settings, clock, volatility=WILD, drawdown=0.15)
    assert [found.delivered for found in inner] == [0]
    assert len(receiver.requests) == 2
    assert len(set(receiver.events())) == 2


def test_two_schedulers_that_look_at_the_same_raise_one_alert(tmp_path: Path, receiver: Receiver) -> None:
    settings, clock = telling(receiver.url), Clock(T0)
    storage, other = open_delta(tmp_path), open_delta(tmp_path)
    seen = storage.log.read_alerts("bitcoin")
    step(storage, settings, clock, volatility=WILD)
    other.log.read_alerts = lambda asset, open_only=False: seen  # as it was before the first one wrote
    step(other, settings, clock, volatility=WILD)
    assert len(storage.log.read_alerts("bitcoin")) == 1
    assert receiver.events() == [("volatility", "raised")]


def test_a_late_process_does_not_open_again_what_is_over(tmp_path: Path) -> None:
    storage, settings, clock = open_delta(tmp_path), telling(""), Clock(T0)
    step(storage, settings, clock, volatility=WILD)
    raised = storage.log.read_alerts("bitcoin")
    step(storage, settings, clock, volatility=CALM)
    storage.log.write_alerts(raised)
    assert storage.log.read_alerts("bitcoin", open_only=True).empty


def test_alertmanager_is_told_at_every_step_of_what_is_open_and_not_of_what_is_over(
    tmp_path: Path, receiver: Receiver
) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    settings = telling("", alerts__alertmanager_url=receiver.url)
    sent = []
    for volatility in (WILD, WILD, 1.2, WILD, CALM, CALM):
        before = len(receiver.requests)
        step(storage, settings, clock, volatility=volatility)
        sent.append([[alert["labels"]["severity"] for alert in each.json] for each in receiver.requests[before:]])
        clock.forward(5)
    raised, renewed, worse, renewed_worse, over, nothing = sent
    assert raised == renewed == [["warning"]]
    assert worse == [["critical", "warning"]]
    assert renewed_worse == over == [["critical"]]
    assert nothing == []


def test_a_renewal_that_fails_is_made_up_for_by_the_next(tmp_path: Path, receiver: Receiver) -> None:
    storage, clock = open_delta(tmp_path), Clock(T0)
    settings = telling("", alerts__alertmanager_url=receiver.url)
    step(storage, settings, clock, volatility=WILD)
    receiver.answer = 502
    assert "502" in told(storage, settings, clock).failed[0]
    receiver.answer = 200
    assert told(storage, settings, clock).failed == ()
    assert len(receiver.requests) == 3


def test_a_step_that_dies_at_any_write_loses_nothing_and_doubles_only_what_it_could_not_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, storage, clock = random.Random(0), open_delta(tmp_path), Clock(T0)
    settings, taken, unsure = telling("http://127.0.0.1:9/unused"), [], set()
    well = [False]

    def die(name: str, share: float) -> None:
        if not well[0] and chance.random() < share:
            raise Killed(name)

    class Flaky:
        name = "webhook"

        def send(self, event: Event) -> str:
            die("before sending", 0.05)
            if not well[0] and chance.random() < 0.4:
                raise DeliveryError("no", away=chance.random() < 0.5)
            taken.append(event)
            return "200"

    monkeypatch.setattr("tests.alerting.builders.open_sinks", lambda _: [Flaky()])
    for owner, name in [("outbox", "add"), ("outbox", "claim"), ("outbox", "record"), ("log", "write_alerts")]:
        thing = getattr(storage, owner)
        monkeypatch.setattr(thing, name, dying(getattr(thing, name), lambda when, of=name: die(f"{of} {when}", 0.08)))

    for number in range(24):
        well[0] = number >= 20
        wild = {"volatility": chance.choice([WILD, 1.2, CALM]), "drawdown": chance.choice([0.15, 0.0])}
        try:
            step(storage, settings, clock, **wild)
        except Killed as killed:
            if killed.where == "record before" and taken:
                unsure.add(taken[-1].id)
        clock.forward(5)
    clock.forward(60)
    told(storage, settings, clock)

    count = Counter(event.id for event in taken)
    assert len(count) > 5
    assert {identity for identity, times in count.items() if times > 1} <= unsure
    outbox = storage.outbox.read("bitcoin")
    assert set(outbox["event_id"]) == set(count)
    assert outbox["delivered_at"].notna().all()
    log = storage.log.read_alerts("bitcoin")
    assert {f"{alert}-raised" for alert in log["alert_id"]} <= set(count)
    assert {f"{alert}-resolved" for alert in log.loc[log["resolved_at"].notna(), "alert_id"]} <= set(count)
    for alert in log["alert_id"]:
        order = list(dict.fromkeys(event.event for event in taken if event.alert_id == alert))
        assert order == sorted(order, key=["raised", "escalated", "resolved"].index)


class Killed(BaseException):
    """The process ends here."""

    def __init__(self, where: str) -> None:
        self.where = where


def dying(call: Callable[..., Any], die: Callable[[str], None]) -> Callable[..., Any]:
    """A write before or after which the process may end."""

    def write(*args: Any, **kwargs: Any) -> Any:
        die("before")
        result = call(*args, **kwargs)
        die("after")
        return result

    return write


class TestTheOutbox:
    def queued(self, tmp_path: Path):
        storage, settings = open_delta(tmp_path), telling("http://127.0.0.1:9/closed")
        step(storage, settings, Clock(T0), volatility=WILD, drawdown=0.15)
        return storage.outbox

    def test_its_rows_have_the_columns_of_its_schema(self, tmp_path: Path) -> None:
        empty = open_delta(tmp_path / "empty").outbox.read("bitcoin")
        rows = self.queued(tmp_path).read("bitcoin")
        assert list(rows) == list(empty) == DELIVERIES.names
        assert rows["attempts"].tolist() == [1, 0]

    def test_a_claim_is_for_one_and_ends(self, tmp_path: Path) -> None:
        outbox, clock = self.queued(tmp_path), Clock(T0)
        rows, until = outbox.read("bitcoin"), Clock(T0)
        until.forward(4)
        assert len(outbox.claim(rows, "one", until(), now=clock())) == 2
        assert outbox.claim(rows, "two", until(), now=clock()).empty
        assert len(outbox.claim(rows, "two", until(), now=until())) == 2

    def test_who_lost_its_claim_records_what_it_delivered_and_no_failure(self, tmp_path: Path) -> None:
        outbox, later = self.queued(tmp_path), Clock(T0)
        later.forward(10)
        first = outbox.claim(outbox.read("bitcoin"), "one", T0, now=T0)
        outbox.claim(first, "two", later(), now=T0)
        outbox.record(first.assign(attempts=9, answer="no"), "one")
        assert outbox.read("bitcoin")["attempts"].tolist() == [1, 0]
        outbox.record(first.head(1).assign(delivered_at=pd.Timestamp(T0)), "one")
        assert outbox.read("bitcoin")["delivered_at"].notna().tolist() == [True, False]

    def test_maintenance_keeps_what_is_due(self, tmp_path: Path) -> None:
        outbox = self.queued(tmp_path)
        outbox.maintain()
        assert len(outbox.read("bitcoin")) == 2
