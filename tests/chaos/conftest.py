"""A world a test, and a table of all faults at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.alerting.builders import receiving
from tests.chaos.gecko import playing
from tests.chaos.world import START, Place, World, at_another

DID, VERDICTS = "what was done", {"passed": "ok", "failed": "VIOLATED", "error": "FAILED", "skipped": "not tried"}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A platform that has run for four ticks."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving())
        gecko = stack.enter_context(playing(lambda: world.now))
        world = World(Place(str(tmp_path_factory.mktemp("template")), gecko.url), gecko, receiver, START)
        world.go_on(4)
    return world


@pytest.fixture
def world(template: World, tmp_path: Path) -> Iterator[World]:
    """A platform that has run for a while, in a folder of its own, with its own market and somebody who is told."""
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving())
        gecko = stack.enter_context(playing(lambda: found.now))
        place = at_another(template.place, tmp_path / "home", source=gecko.url, hook=receiver.url)
        found = World(place, gecko, receiver, template.now)
        yield found


@pytest.fixture(autouse=True)
def _noted(request: pytest.FixtureRequest) -> None:
    doc = request.function.__doc__
    if doc and request.path.stem != "test_invariants":
        request.node.user_properties.append((DID, doc.strip().splitlines()[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = []
    for outcome, verdict in VERDICTS.items():
        for report in terminalreporter.stats.get(outcome, []):
            did = dict(report.user_properties).get(DID)
            if did and (report.when == "call" or outcome in {"error", "skipped"}):
                name = report.nodeid.rpartition("::test_")[2].replace("_", " ")
                rows.append((name, did, verdict, report.duration))
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    terminalreporter.section("faults")
    for name, did, verdict, seconds in sorted(rows, key=lambda row: row[0]):
        terminalreporter.write_line(f"{name:<{widths[0]}}  {did:<{widths[1]}}  {verdict:<9} {seconds:6.1f} s")
