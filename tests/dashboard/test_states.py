"""Every page in the states that all pages have: no data yet, old data, and a store that is away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from cryptosentinel.config import Settings
from cryptosentinel.drift import keep_report
from cryptosentinel.workspace import Workspace
from tests.dashboard.builders import a_drift_report, settings_for, with_forecasts

AT = r"at \d\d:\d\d(:\d\d)? UTC"
NO_BARS = rf"No bars yet\. The feature pipeline brings them {AT}"
# What each page says while there is nothing, and once the newest bar is two hours old.
NOTHING = {
    "home": NO_BARS,
    "about": r"Nothing has been measured yet",
    "forecasts": NO_BARS,
    "analysis": NO_BARS,
    "insights": rf"No forecast yet\. The inference pipeline makes the first {AT}",
    "drift": NO_BARS,
    "pipelines": r"Nothing has run yet",
    "alerts": rf"No alert was ever raised here\. The inference pipeline looks again {AT}",
}
OLD = {
    "home": r"STALE: .* ago(.|\n)*No forecast can be made now",
    "about": r"The newest bar closed 2\.\d hours ago",
    "forecasts": r"STALE: .* ago(.|\n)*No forecast can be made now",
    "analysis": r"STALE: .* ago",
    "insights": r"The newest forecast was for .*, which is past",
    "drift": r"STALE: checked .* ago",
    "pipelines": r"Nothing runs it by its schedule now",
    "alerts": r"STALE: .* ago",
}
TITLES = {"home": "", "analysis": "Data analysis"}
# It shows what ran from the market's folder, which is not in the store.
WITHOUT_THE_STORE = {"pipelines"}
pages = pytest.mark.parametrize("page", list(NOTHING))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a market in which nothing has run."""
    return settings_for(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A market that stopped two hours ago, and whose drift was last looked for days ago."""
    then = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    workspace = with_forecasts(settings_for(tmp_path_factory.mktemp("old")), then, count=12)
    keep_report(workspace.storage.log, a_drift_report(then), now=then - timedelta(days=30))
    return workspace


@contextmanager
def away(workspace: Workspace) -> Iterator[None]:
    """The store is not where it was, and cannot be made anew: each of its tables answers as one that is not reached."""
    store = Path(workspace.storage.uri)
    kept = store.rename(store.with_name("away"))
    store.touch()
    try:
        yield
    finally:
        store.unlink()
        kept.rename(store)


def said(page: AppTest) -> str:
    kinds = (page.markdown, page.info, page.warning)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def stands(shown: AppTest, page: str) -> bool:
    """Whether the page is there under its heading, without a fault."""
    title = TITLES.get(page, page.capitalize())
    return (
        not shown.exception
        and [each.value for each in shown.title] == ["Bitcoin in USD" + (title and f" :gray[{title}]")]
        and "SIMULATED market" in said(shown)
    )


@pages
def test_before_there_is_anything_each_page_says_what_is_coming(look, empty: Settings, page: str) -> None:
    shown = look(empty, page, framed=True)
    assert stands(shown, page)
    assert not shown.error
    assert len(re.findall(NOTHING[page], said(shown))) == 1
    assert not shown.get("plotly_chart")


@pages
def test_each_page_says_that_its_data_are_old_and_keeps_its_heading_while_the_store_is_away(
    look, old: Workspace, page: str
) -> None:
    shown = look(old.settings, page, framed=True)
    assert stands(shown, page)
    assert re.search(OLD[page], said(shown))
    st.cache_data.clear()  # as time does
    with away(old):
        shown.run()
    assert stands(shown, page)
    told = [error.value for error in shown.error]
    assert bool(told) == (page not in WITHOUT_THE_STORE)
    for each in told:
        assert re.fullmatch(r"The store cannot be read right now; .* says more under \*\*\w{8}\*\*\.", each)
