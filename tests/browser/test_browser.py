"""The dashboard in a real browser, over a demo that goes on: what somebody does with it works, for everybody."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.browser.looking import PATIENCE_MS, Looking
from tests.browser.running import pages
from tests.browser.screenshots import settle

# What axe calls these; the milder ones are matters of taste.
GRAVE = ("serious", "critical")
COUNT = re.compile(r"^[\d,]+ forecasts$")


def test_every_page_is_reached_by_the_navigation_and_shows_something(look: Looking) -> None:
    for path in [*pages(), ""]:
        look.open(path)
        main = look.page.get_by_test_id("stMain")
        expect(main.get_by_role("heading").nth(1)).to_be_visible()
        expect(look.page.get_by_test_id("stException")).to_have_count(0)
        assert "dashboard's log says more" not in main.inner_text()
    assert not look.complaints


def test_a_filter_changes_what_is_shown_and_its_address_shows_it_again(look: Looking) -> None:
    look.open("forecasts")
    count = look.page.get_by_role("heading", name=COUNT)
    before = count.inner_text()
    look.page.get_by_role("combobox", name="Outcome").click()
    look.page.keyboard.type("incorrect")
    look.page.keyboard.press("Enter")
    look.page.keyboard.press("Escape")
    expect(count).not_to_have_text(before)
    after, address = count.inner_text(), look.page.url
    look.page.goto(address)
    settle(look.page)
    expect(count).to_have_text(after)


def test_forecasts_are_downloaded_as_they_are_shown(look: Looking) -> None:
    look.open("forecasts")
    shown = look.page.get_by_role("heading", name=COUNT).inner_text()
    with look.page.expect_download() as waiting:
        look.page.get_by_test_id("stDownloadButton").filter(has_text="CSV").get_by_role("button").click()
    with Path(waiting.value.path()).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == int(shown.partition(" ")[0].replace(",", ""))
    assert {"made_at", "predicted_price", "outcome"} <= set(rows[0])


def test_the_keyboard_reaches_the_navigation_and_what_the_page_offers(look: Looking) -> None:
    look.open("")
    told = ""
    for _ in range(60):
        look.page.keyboard.press("Tab")
        told += look.page.evaluate("(at => ` ${at?.innerText} ${at?.ariaLabel}`)(document.activeElement)")
    for wanted in ("Home", "About", "Market", "Model", "Operations", "24h"):
        assert wanted in told, f"{wanted} is not reached by Tab: {told}"


def test_a_pipeline_is_run_and_the_new_forecast_appears_without_a_reload(
    look: Looking, browser: Browser, demo: dict[str, Any]
) -> None:
    look.page.evaluate("window.sameDocument = true")
    before = look.page.get_by_test_id("stMetric").nth(1).inner_text()
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    other = Looking(context, demo["urls"]["dashboard"], "pipelines")
    for name in ("Feature", "Inference"):
        box = other.page.get_by_test_id("stColumn").filter(has=other.page.get_by_role("heading", name=name))
        box.get_by_role("button", name="Run now").click()
        expect(box.get_by_role("button", name="Run now")).to_be_disabled(timeout=PATIENCE_MS)
        expect(box.get_by_role("button", name="Run now")).to_be_enabled(timeout=PATIENCE_MS)
        expect(box.get_by_text("Succeeded").first).to_be_visible(timeout=PATIENCE_MS)
    context.close()
    expect(look.page.get_by_test_id("stMetric").nth(1)).not_to_have_text(before, timeout=60_000, use_inner_text=True)
    assert look.page.evaluate("window.sameDocument"), "the page was loaded anew"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_grave_keeps_anybody_out_of_any_page(scheme: str, browser: Browser, demo: dict[str, Any]) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    look, grave = Looking(context, demo["urls"]["dashboard"]), []
    for path, title in pages().items():
        look.open(path)
        grave += grave_of(look, title)
    context.close()
    assert not grave, "\n".join(grave)


def test_a_phone_opens_pages_at_their_addresses_with_nothing_grave_and_no_error(
    browser: Browser, demo: dict[str, Any]
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    look, grave = Looking(context, demo["urls"]["dashboard"]), []
    chosen = {"forecasts": "?outcome=incorrect", "alerts": "?kinds=Drift"}
    for path, title in pages().items():
        look.page.goto(f"{look.url}/{path}{chosen.get(path, '')}")
        settle(look.page)
        expect(look.page.locator("[data-tag]")).to_have_count(int(path in chosen))
        grave += grave_of(look, title)
    look.page.locator(".st-key-menu").get_by_role("button").click()
    grave += grave_of(look, "Menu")
    look.page.get_by_role("link", name="Data analysis").click()
    expect(look.page.get_by_role("heading", level=1)).to_contain_text("Data analysis")
    expect(look.page.get_by_role("link", name="Insights")).to_have_count(0)
    assert look.page.url.partition("?")[0].endswith("/analysis")
    context.close()
    assert not grave, "\n".join(grave)
    assert not look.complaints


def grave_of(look: Looking, title: str) -> list[str]:
    """What axe finds on a page as it is now."""
    found = [each for each in Axe().run(look.page).response["violations"] if each["impact"] in GRAVE]
    return [f"{title}: {each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"][:4]]
