"""`cryptosentinel alerts`: what is open and past, who was told, and a test of everybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptosentinel.workspace import open_workspace, remember
from tests.alerting.builders import Clock, receiving, step
from tests.builders import T0, at, settings_of
from tests.test_cli import run

CLOSED = "http://127.0.0.1:9/closed"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with an alert that is over and one that is open, of which Slack could not be told."""
    folder = tmp_path_factory.mktemp("alerts")
    with receiving() as receiver:
        more = {"alerts__webhook_url": receiver.url, "alerts__slack_url": CLOSED}
        settings = settings_of(home=str(folder), market__source="simulated:3", **more)
        workspace = open_workspace(settings, now=at(2))
        remember(workspace)
        clock = Clock(T0)
        for drawdown in (0.0, 0.15, 0.0):
            step(workspace.storage, settings, clock, drawdown=drawdown, volatility=1.2)
            clock.forward(5)
    return folder


def test_open_alerts_come_with_their_remedy_and_who_was_told(home: Path) -> None:
    ran = run("alerts", "--home", home)
    assert (ran.code, ran.err) == (0, "")
    assert "SIMULATED market" in ran.out
    assert "CRITICAL since 2025-01-06 00:00 UTC volatility" in ran.words
    assert "Annualised volatility over 20 bars of 5m is 120%." in ran.words
    assert "Nothing is broken." in ran.words
    assert "Told: webhook." in ran.words
    assert "Not told yet: slack, 3 attempts. slack cannot be reached" in ran.words
    assert CLOSED not in ran.out
    assert ["01-06", "00:05", "01-06", "00:10", "warning"] in [line.split()[:5] for line in ran.out.splitlines()]


def test_json_has_all_there_is(home: Path) -> None:
    answer = run("alerts", "--home", home, "--json").json
    ((opened,), (past,)) = answer["open"], answer["past"]
    assert answer["simulated"] is True
    assert (opened["kind"], opened["severity"], opened["value"]) == ("volatility", "critical", 1.2)
    assert (past["kind"], past["resolved_at"]) == ("drawdown", "2025-01-06T00:10:00.000Z")
    told = {(each["sink"], each["event"]): each["delivered_at"] for each in past["deliveries"]}
    assert {sink for (sink, _), when in told.items() if when} == {"webhook"}
    assert set(told) == {(sink, event) for sink in ("webhook", "slack") for event in ("raised", "resolved")}


def test_where_nothing_is_wrong_it_says_so(tmp_path: Path) -> None:
    remember(open_workspace(settings_of(home=str(tmp_path), market__source="simulated:3"), now=at(2)))
    assert "No alert is open." in run("alerts", "--home", tmp_path).out


def test_a_test_reaches_everybody_and_says_what_came_back(tmp_path: Path) -> None:
    with receiving() as receiver:
        told = ["--home", tmp_path, "--set", f"alerts.webhook_url={receiver.url}"]
        assert run("alerts", "test", *told).out.split() == ["ok", "webhook:", "200", "OK"]
        half = run("alerts", "test", *told, "--set", f"alerts.slack_url={CLOSED}", "--json")
    assert half.code == 1
    assert [(each["sink"], each["ok"]) for each in half.json] == [("webhook", True), ("slack", False)]
    first, second = (request.json for request in receiver.requests)
    assert (first["event"], first["kind"]) == ("test", "test")
    assert first["id"] != second["id"]
    assert list(tmp_path.iterdir()) == []  # nothing is kept


def test_a_test_of_nobody_says_what_to_set(tmp_path: Path) -> None:
    ran = run("alerts", "test", "--home", tmp_path)
    assert ran.code == 2
    assert "alerts.webhook_url" in ran.words
