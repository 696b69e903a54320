"""Each event reaches each sink once, in order, as often as it has to be tried."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.alerting.builders import CALM, WILD, Clock, Receiver, step, telling, told
from tests.builders import T0, open_delta


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
