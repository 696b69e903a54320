"""`cryptosentinel alerts`: what is open and past, who was told, and a test of everybody."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
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


def test_an_open_alert_is_acknowledged_and_a_kind_muted_for_a_while(home: Path) -> None:
    seen = run("alerts", "acknowledge", "volatility", "--by", "ann", "--home", home)
    assert (seen.code, seen.err) == (0, "")
    assert "CRITICAL since 2025-01-06 00:00 UTC volatility: acknowledged by ann." in seen.words
    muted = run(
        "alerts", "mute", "drift", "--for", "2h", "--reason", "we know", "--by", "bob", "--home", home, "--json"
    )
    assert (muted.json["by"], muted.json["reason"]) == ("bob", "we know")
    assert datetime.fromisoformat(muted.json["until"]) - datetime.fromisoformat(muted.json["at"]) == timedelta(hours=2)
    ran = run("alerts", "--home", home)
    assert "Acknowledged by ann, 20" in ran.words
    assert re.search(r"Muted until 20\S+ \S+ UTC by bob: drift: we know", ran.words)
    answer = run("alerts", "--home", home, "--json").json
    assert answer["open"][0]["acknowledged_by"] == "ann"
    assert [each["kind"] for each in answer["muted"]] == ["drift"]
    for said in ("drift is not muted any more.", "drift was not muted."):
        assert said in run("alerts", "unmute", "drift", "--home", home).words
    assert run("alerts", "--home", home, "--json").json["muted"] == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("acknowledge", "drift"), "No alert 'drift' is open. Name one that is by its kind or id: volatility."),
        (("mute", "luck", "--for", "2h"), "There is no kind of alert 'luck'."),
        (("mute", "drift", "--for", "a while"), "'a while' is no length of time."),
        (("mute", "drift", "--for", "32d"), "within 31 days"),
    ],
)
def test_what_cannot_be_done_about_alerts_is_said(home: Path, command: tuple[str, ...], said: str) -> None:
    ran = run("alerts", *command, "--home", home)
    assert ran.code == 2
    assert said in ran.words


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
