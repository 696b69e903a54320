"""Steps that die anywhere and processes that do the same at once: nothing is lost, nothing is told twice."""

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
from tests.alerting.builders import CALM, WILD, Clock, Receiver, step, telling, told
from tests.builders import T0, open_delta


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
