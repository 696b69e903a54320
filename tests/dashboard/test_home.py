"""The first page in each of its states, as Streamlit runs it."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import plotly.graph_objects as go
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import dashboard.parts_home
import dashboard.shell
from cryptosentinel.alerting import mute
from cryptosentinel.config import Settings
from tests.builders import make_random_bars
from tests.dashboard.builders import an_alert, register, settings_for, some_forecasts, with_bars, with_forecasts

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
CARDS = ["Price, USD", "Likely range, 80%", "Chance of a rise", "Market regime", "Model"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture
def show(look: Callable[..., AppTest], settings: Settings):
    def run(shown: Settings | None = settings, **query: str) -> AppTest:
        return look(shown, "home", framed=True, **query)

    return run


def now() -> datetime:
    return datetime.now(UTC)


def cards(page: AppTest) -> dict[str, tuple[str, str]]:
    return {metric.label: (metric.value, metric.delta) for metric in page.metric}


def said(page: AppTest) -> str:
    kinds = (page.title, page.markdown, page.info, page.warning, page.error, page.caption)
    return "\n".join(element.value for kind in kinds for element in kind)


def test_a_market_with_forecasts_shows_them_all(show, settings: Settings) -> None:
    with_forecasts(settings, now())
    page = show()
    assert set(CARDS) < set(cards(page))
    assert cards(page)["Chance of a rise"] in {
        ("70.0%", "▲ up, 70.0% sure"),
        ("30.0%", "▼ down, 70.0% sure"),
    }
    assert cards(page)["Market regime"][0] == "Uptrend"
    assert cards(page)["Market regime"][1].startswith("rising, at ")
    assert cards(page)["Model"] == ("Bundle 0", "learnt nothing yet")
    assert r"Price \(ridge\)\, range and direction\: trained bundle 0" in said(page)
    assert cards(page)["Settled"] == ("42", "of 48 made")
    assert re.fullmatch(r"too few to judge, \d+ calls", cards(page)["Direction right"][1])
    assert re.fullmatch(r"random walk 0\.\d{3}%", cards(page)["Mean error"][1])
    assert cards(page)["vs. random walk"][1].endswith("too few to judge")
    assert {cards(page)[f"In the {level}% band"][1] for level in (80, 95)} == {"too few to judge"}
    assert "7 outcomes that do not overlap: too few to judge" in said(page)
    assert "Record of the last 3 h" in [header.value for header in page.header]
    assert all(metric.help for metric in page.metric if metric.label != "Price, USD")
    assert len(page.get("plotly_chart")) == 2
    assert len(page.dataframe[0].value) == 36
    assert "No open alerts" in said(page)
    assert not page.warning
    assert not page.error


def test_what_one_viewer_is_shown_is_not_drawn_again_for_another(show, settings: Settings, monkeypatch) -> None:
    with_bars(settings, now(), hours=2)
    drawn = []
    monkeypatch.setattr(dashboard.parts_home, "price_chart", lambda *shown, **_: drawn.append(shown[3]) or go.Figure())
    for _ in range(2):
        assert len(show().get("plotly_chart")) == 1
    assert drawn == [6]


def test_charts_stay_as_they_are_while_there_is_nothing_new(show, settings: Settings) -> None:
    """Streamlit mounts a figure that differs in anything anew, and a viewer's zoom would be gone."""
    with_forecasts(settings, now())
    page = show()
    before = [chart.proto.spec for chart in page.get("plotly_chart")]
    st.cache_data.clear()
    page.run()
    assert [chart.proto.spec for chart in page.get("plotly_chart")] == before
    assert before[0]


@pytest.mark.parametrize(("move", "way"), [(0.001, "▲ +0.10%"), (-0.001, "▼ -0.10%"), (0.0, "■ stays where it is")])
def test_a_move_has_a_sign_and_that_there_is_none_is_said(show, settings: Settings, move: float, way: str) -> None:
    with_forecasts(settings, now(), count=1, move=move)
    page = show()
    assert [delta for label, (_, delta) in cards(page).items() if label.startswith("Forecast for")] == [way]
    assert "No forecast for these hours has been settled yet" in said(page)


@pytest.mark.parametrize(("p_up", "said_of_it"), [(0.497, "no better than a coin"), (0.494, "▼ down, 50.6% sure")])
def test_a_chance_near_one_half_is_told_to_a_tenth_and_called_a_coin(
    show, settings: Settings, p_up: float, said_of_it: str
) -> None:
    workspace = with_bars(settings, now())
    row = some_forecasts(workspace, 1).assign(p_up=p_up, confidence=1 - p_up, direction="down")
    workspace.storage.log.write_forecasts(row)
    assert cards(show())["Chance of a rise"] == (f"{p_up:.1%}", said_of_it)


def test_an_alert_that_somebody_looks_after_or_that_is_muted_is_not_shouted_about(show, settings: Settings) -> None:
    log = with_bars(settings, now()).storage.log
    quiet = an_alert(now(), "known", severity="critical").assign(acknowledged_by="ann", acknowledged_at=now())
    for rows in (quiet, an_alert(now(), "new")):
        log.write_alerts(rows)
    page = show()
    assert not page.error
    assert ["new" in warning.value for warning in page.warning][-1]
    assert "Acknowledged by ann" in said(page)
    mute(log, "bitcoin", "volatility", now() + timedelta(hours=1), "bob", now=now())
    st.cache_data.clear()
    page.run()
    assert not any("new" in warning.value for warning in page.warning)
    assert "Muted until" in said(page)


def test_a_newer_bar_does_not_contradict_the_forecast(show, settings: Settings) -> None:
    workspace = with_bars(settings, now())
    row = some_forecasts(workspace, 2, move=0.0).iloc[[0]]
    workspace.storage.log.write_forecasts(row)
    made = f"{row['made_at'].iloc[0]:%H:%M} at {row['price'].iloc[0]:,.2f}"
    (note,) = [delta for label, (_, delta) in cards(show()).items() if label.startswith("Forecast for")]
    assert note.startswith("■ stays, made ")
    assert note.endswith(made)


def test_what_became_of_the_last_training_is_said_by_its_first_reason(show, settings: Settings) -> None:
    workspace = with_forecasts(settings, now(), count=1)
    assert "Last training" not in said(show())
    st.cache_data.clear()
    register(workspace, "refused: it is worse (p 0.01; of 30 rows); something else", now())
    shown = said(show()).replace("\\", "")
    assert re.search(r"Last training, [\d: -]+ UTC: version 1 refused: it is worse\.(?! something)", shown)


def test_a_market_unlike_any_trained_on_is_pointed_out(show, settings: Settings) -> None:
    workspace = with_bars(settings, now())
    older, newest = some_forecasts(workspace, 2).assign(outlying=[True, False]), some_forecasts(workspace, 1)
    workspace.storage.log.write_forecasts(older)
    assert "Unlike anything trained on" not in said(show())
    st.cache_data.clear()
    workspace.storage.log.write_forecasts(newest.assign(forecast_id="x", outlying=True, made_at=now()))
    assert "Unlike anything trained on: range widened" in said(show())


def test_a_market_without_forecasts_shows_its_price_and_says_when_one_comes(show, settings: Settings) -> None:
    with_bars(settings, now(), hours=4)
    page = show()
    assert set(cards(page)) == {"Price, USD"}
    assert cards(page)["Price, USD"][1] == "24 h: not known"
    assert re.search(r"No forecast yet\. The inference pipeline makes the first at \d\d:\d\d UTC", page.info[0].value)
    assert len(page.get("plotly_chart")) == 1


def test_why_no_forecast_can_be_made_is_on_the_page(show, settings: Settings) -> None:
    with_bars(settings, now(), hours=2)
    page = show()
    (why,) = (warning.value for warning in page.warning)
    assert why.startswith("No forecast can be made now: too few bars since the last gap to know the volatility")
    assert "No forecast yet" not in said(page)


def test_stale_data_is_called_stale(show, settings: Settings) -> None:
    with_forecasts(settings, now() - timedelta(hours=2))
    page = show()
    assert "STALE" in said(page)
    stale, expired = (warning.value for warning in page.warning)
    assert stale.startswith("No forecast can be made now: the newest features are 2")
    assert "The feature pipeline runs again at " in stale
    assert "which is past" in expired


def test_a_forecast_of_the_past_is_called_so(show, settings: Settings) -> None:
    with_forecasts(settings, now() - timedelta(hours=2))
    with_bars(settings, now())
    page = show()
    assert "STALE" not in said(page)
    (expired,) = (warning.value for warning in page.warning)
    assert "which is past" in expired
    (forecast,) = [shown for label, shown in cards(page).items() if label.startswith("Forecast was for ")]
    assert forecast[0].startswith(":gray[")
    assert ", made " in forecast[1]
    assert cards(page)["Chance of a rise"][0].startswith(":gray[")


def test_a_simulated_market_is_labelled(show, settings: Settings) -> None:
    with_bars(settings, now(), hours=1)
    assert "SIMULATED market" in said(show())


def test_a_recorded_market_is_labelled_and_never_stale(show, tmp_path: Path) -> None:
    path = tmp_path / "recording.parquet"
    bars = make_random_bars(300)
    bars.drop(columns=["asset", "source"]).to_parquet(path)
    settings = settings_for(tmp_path, f"file:{path}")
    with_forecasts(settings, bars["timestamp"].iloc[-1].to_pydatetime() + timedelta(minutes=5))
    page = show(settings)
    assert "Recorded market" in said(page)
    assert "SIMULATED" not in said(page)
    assert "Ends at 2025-01-07 01:00 UTC" in said(page)
    assert not page.warning


def test_a_recording_that_is_not_replayed_yet_promises_no_time(show, tmp_path: Path) -> None:
    path = tmp_path / "recording.parquet"
    make_random_bars(300).drop(columns=["asset", "source"]).to_parquet(path)
    assert "when the recording is replayed" in show(settings_for(tmp_path, f"file:{path}")).info[0].value


def test_open_alerts_are_shown_as_plain_text(show, settings: Settings) -> None:
    workspace = with_bars(settings, now(), hours=1)
    workspace.storage.log.write_alerts(an_alert(now(), "<b>so</b> :red[wild]", severity="critical"))
    page = show()
    assert page.error[0].value.startswith("**Critical** since ")
    assert r"\<b\>so\<\/b\> \:red\[wild\]" in page.error[0].value
    assert "No open alerts" not in said(page)


def test_the_hours_shown_can_be_linked(show, settings: Settings) -> None:
    with_forecasts(settings, now())
    assert show().segmented_control(key="hours").value == 6
    assert show(hours="3d").segmented_control(key="hours").value == 72


def test_a_home_in_which_nothing_has_run_says_what_to_do(show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOSENTINEL_HOME", str(tmp_path))
    page = show(None)
    assert "Run \\`cryptosentinel up\\` first" in page.info[0].value
    assert len(page.info) == 1
    assert not page.error


def assert_explained(page: AppTest, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    """The failure is one sentence with an id, under which the log has the traceback."""
    (shown,) = [error.value for error in page.error]
    assert shown.startswith(sentence)
    assert "Traceback" not in shown
    reference = re.search(r"\*\*(\w{8})\*\*", shown)
    assert reference
    (logged,) = [entry for entry in caplog.records if reference[1] in entry.getMessage()]
    assert logged.levelno == logging.ERROR
    assert logged.exc_info


def test_a_store_that_cannot_be_opened_is_explained(show, settings: Settings, caplog) -> None:
    workspace = with_bars(settings, now(), hours=1)
    (Path(workspace.storage.uri) / "store.json").write_text("not a marker")
    assert_explained(show(), "The store cannot be read right now", caplog)


def test_a_store_that_goes_away_is_explained_and_comes_back(show, settings: Settings, caplog) -> None:
    store = Path(with_bars(settings, now(), hours=1).storage.uri)
    page = show()
    assert not page.error
    away = store.rename(store.with_name("away"))
    store.write_text("a file where the store was")
    st.cache_data.clear()
    page.run()
    assert_explained(page, "The store cannot be read right now", caplog)
    assert str(settings.home) not in said(page)
    store.unlink()
    shutil.move(away, store)
    page.run()
    assert not page.error
    assert page.metric


def test_a_fault_of_our_own_is_explained_too(show, settings: Settings, caplog, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(dashboard.shell, "read_home", broken)
    page = show()
    assert_explained(page, "Something went wrong here", caplog)
    assert "secret" not in said(page)


def test_a_link_to_a_page_shows_it_in_its_frame_even_where_nobody_has_opened_another_yet() -> None:
    """A folder `pages` beside app.py is a menu of Streamlit's own: app.py would not run before somebody opens it."""
    assert not (APP.parent / "pages").exists()


def test_no_page_is_longer_than_can_be_read_at_once() -> None:
    assert list((APP.parent / "views").glob("*.py"))
    for page in (APP.parent / "views").glob("*.py"):
        assert len(page.read_text().splitlines()) <= 150, page.name


def test_times_are_those_of_the_zone_that_a_link_names(show, settings: Settings) -> None:
    with_forecasts(settings, now())
    page = show(zone="GMT+5")
    (target,) = [label for label in cards(page) if label.startswith("Forecast for")]
    assert target.endswith(" GMT+5")
    assert not [line for line in said(page).splitlines() if "UTC" in line]
    assert re.search(r"For [\d :-]+ UTC\.", next(m.help for m in page.metric if m.label == target))
    (chart,) = [json.loads(each.proto.spec)["layout"]["xaxis"] for each in page.get("plotly_chart")][:1]
    assert chart["title"]["text"] == "GMT+5"
    assert page.selectbox[0].value == "GMT+5"
