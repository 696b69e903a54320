"""One demo for all: six hours of a market of 1-minute bars, small models, actions on, and schedules that never come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.looking import Looking
from tests.browser.running import browser_path, running_demo

NEVER = "0 0 0 29 2 *"
SETTINGS = {
    "market.interval": "1m",
    "training.window_days": 2,
    "training.min_rows": 50,
    "training.candidates": "random_walk,ridge",
    "gate.min_independent_labels": 5,
    "dashboard.actions": "true",
    **dict.fromkeys(("schedules.feature", "schedules.training", "schedules.inference"), NEVER),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker("browser")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the demo said of itself once it ran; TEST_DASHBOARD_URL names one that runs already."""
    if url := os.environ.get("TEST_DASHBOARD_URL"):
        yield {"urls": {"dashboard": url}}
        return
    assigned = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    with running_demo(tmp_path_factory.mktemp("demo") / "home", "--days", "0.25", *assigned) as summary:
        yield summary


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's Chromium."""
    executable = browser_path()
    if executable is None:
        pytest.skip("no Chromium is found: install one, or name it with CHROMIUM")
    with sync_playwright() as player:
        launched = player.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def look(browser: Browser, demo: dict[str, Any]) -> Iterator[Looking]:
    """A window on the dashboard that tests use one after the other."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    looking = Looking(context, demo["urls"]["dashboard"])
    yield looking
    context.close()
