"""The page Drift: what it reads, its figures, and the page as Streamlit runs it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from cryptosentinel.config import ConceptSettings, DashboardSettings, Settings
from cryptosentinel.drift import keep_report
from cryptosentinel.runs import Kind, listening, pending
from cryptosentinel.storage import DETECTIONS
from cryptosentinel.storage.frames import of_records
from cryptosentinel.workspace import Workspace
from dashboard.charts import drift as charts
from dashboard.data import drift as data
from dashboard.zone import Zone
from tests.dashboard.builders import a_drift_report, register, settings_for, some_forecasts, with_bars

END = datetime(2025, 1, 8, 12, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return with_bars(settings_for(tmp_path), END + timedelta(minutes=6), hours=2)


def keep(workspace: Workspace, end: datetime, **report: Any) -> None:
    keep_report(workspace.storage.log, a_drift_report(end, **report), now=end + timedelta(minutes=6))


# What is read


def test_the_newest_report_counts_and_says_when_it_was_made(workspace: Workspace) -> None:
    assert data.read_drift(workspace).report is None
    keep(workspace, END, scores=(1, 0.2))
    keep(workspace, END - timedelta(hours=1))
    drift = data.read_drift(workspace)
    assert drift.report is not None
    assert drift.report.data_end == END
    assert drift.checked_at == END + timedelta(minutes=6)
    assert not drift.outdated


def test_a_report_of_an_earlier_champion_is_outdated(workspace: Workspace) -> None:
    keep(workspace, END)
    register(workspace, "promoted", END)
    assert not data.read_drift(workspace).outdated
    workspace.storage.registry.promote(1, expected=0)
    drift = data.read_drift(workspace)
    assert (drift.champion, drift.outdated) == (1, True)


def test_the_history_goes_back_from_the_newest_report(workspace: Workspace) -> None:
    assert data.read_history(workspace, 7).empty
    for days, version in ((40, 1), (6, 1), (3, 2), (0, 2)):
        keep(workspace, END - timedelta(days=days), version=version, scores=(0, days / 100))
    history = data.read_history(workspace, 7)
    assert list(history["score"]) == pytest.approx([0.06, 0.03, 0])
    assert len(data.read_history(workspace, 365)) == 4
    changes = data.champions(history)
    assert list(changes["bundle_version"]) == [2]
    assert list(changes["data_end"]) == [END - timedelta(days=3)]
    assert data.champions(history.iloc[:1]).empty


def test_the_table_begins_with_what_drifted_and_says_where() -> None:
    table = data.feature_table(a_drift_report(END, scores=(0, 0.2)))
    assert list(table["Feature"]) == ["range", "rsi_14"]  # though it weighs less
    assert list(table["Drifted"]) == ["● 3 days", "○ no"]
    assert list(table["Importance"]) == pytest.approx([20, 80])
    assert np.isnan(table["Distance, 3 hours"].iloc[0])
    assert list(table["p, 3 days"]) == [0.001, 0.5]
    both = data.feature_table(a_drift_report(END, scores=(1, 0)))
    assert list(both["Drifted"]) == ["● 3 hours", "○ no"]


def test_the_evidence_is_as_of_the_newest_forecast(workspace: Workspace) -> None:
    assert data.read_concept(workspace) is None
    made = some_forecasts(workspace, 12).assign(sigma=0.001)
    middle = made["predicted_price"]
    widths = dict(zip(("50", "80", "90", "95"), (0.001, 0.002, 0.003, 0.004), strict=True))
    for level, width in widths.items():
        made[f"lower_{level}"], made[f"upper_{level}"] = middle * (1 - width), middle * (1 + width)
    made = made.assign(median=middle, actual_price=middle, outcome="correct", settled_at=made["target_at"], error=0.0)
    workspace.storage.log.write_forecasts(made)
    found = data.read_concept(workspace)
    assert found is not None
    assert (found.version, found.settled) == (0, 12)
    assert not found.drifted


def test_what_follows_is_told_in_words() -> None:
    assert data.what_follows(ConceptSettings()).startswith("nothing but an alert")
    both = data.what_follows(ConceptSettings(follows=("retrain", "widen"), widen_by=2))
    assert both == "a training is started at once; its intervals become 2 times as wide"


# Figures


def trace(figure: go.Figure, name: str) -> Any:
    return next(figure.select_traces({"name": name}))


def test_a_score_above_the_threshold_is_told_by_more_than_its_colour() -> None:
    figure = charts.score_gauge(a_drift_report(END, scores=(1, 0.2)))
    bars = figure.data[1]
    assert list(bars.y) == ["last 3 hours", "last 3 days"]
    assert list(bars.x) == [1, 0.2]
    assert list(bars.marker.pattern.shape) == ["/", ""]
    assert bars.marker.color[0] != bars.marker.color[1]
    assert [each.text for each in figure.layout.annotations] == [" threshold 30% ", "<b>100%</b>", "<b>20%</b>"]
    assert figure.layout.shapes[0].x0 == 0.3


def test_then_and_now_are_shares_of_their_rows() -> None:
    report = a_drift_report(END)
    figure = charts.then_and_now(report.histograms[0], ["3 hours", "3 days"])
    assert list(trace(figure, "the baseline").y) == [75, 25]
    assert list(trace(figure, "the last 3 hours").y) == [0, 25, 75, 75]
    assert trace(figure, "the last 3 hours").line.dash != trace(figure, "the last 3 days").line.dash


def test_the_history_marks_drift_by_shape_and_each_change_of_the_champion() -> None:
    history = pd.DataFrame(
        {
            "data_end": pd.to_datetime([END + timedelta(hours=hour) for hour in range(4)], utc=True),
            "bundle_version": [1, 1, 2, 2],
            "score": [0.1, 0.5, 0.2, 0.0],
            "threshold": 0.3,
            "drifted": [False, True, False, False],
        }
    )
    figure = charts.history_figure(history, Zone.of("GMT+5", None))
    assert list(trace(figure, "drift").y) == [50]
    assert list(trace(figure, "drift").text) == ["08 Jan 13:00 UTC"]
    assert trace(figure, "drift").marker.symbol != trace(figure, "no drift").marker.symbol
    changed = trace(figure, "another champion")
    assert list(changed.customdata) == [2]
    assert changed.x[0] == datetime(2025, 1, 8, 19)  # noqa: DTZ001
    assert figure.layout.xaxis.title.text == "GMT+5"
    assert [each.text for each in figure.layout.annotations] == ["version 2"]


# The page


@pytest.fixture
def show(look: Callable[..., AppTest]) -> Callable[..., AppTest]:
    def run(settings: Settings, *, fine: bool = True, **query: str) -> AppTest:
        page = look(settings, "drift", **query)
        assert bool(page.error) != fine
        return page

    return run


def said(page: AppTest) -> str:
    kinds = (page.markdown, page.info, page.warning, page.success)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def test_a_check_without_drift_is_told_with_its_features_and_its_report(
    show: Callable[..., AppTest], workspace: Workspace
) -> None:
    keep(workspace, END, scores=(0, 0.2))
    page = show(workspace.settings, feature="rsi_14")
    assert page.success[0].value.startswith("No drift")
    assert "Nothing is to be done" in said(page)
    assert "STALE: checked " in said(page)
    assert list(page.dataframe[0].value["Feature"]) == ["range", "rsi_14"]
    assert page.selectbox(key="feature").value == "rsi_14"
    assert page.selectbox(key="feature").options == ["range, drifted", "rsi_14"]
    assert len(page.get("plotly_chart")) == 3
    assert len(page.get("download_button")) == 1
    assert "no forecast that version 0 has learnt to make is settled" in said(page)
    assert r"\<b\>scipy" in page.success[0].value


def test_drift_an_earlier_champions_report_and_detections_are_told_with_what_to_do(
    show: Callable[..., AppTest], workspace: Workspace
) -> None:
    keep(workspace, END, scores=(0, 0.6))
    register(workspace, "promoted", END)
    workspace.storage.registry.promote(1, expected=0)
    called = {"asset": "bitcoin", "bundle_version": 3, "detected_at": END, "reason": "it is", "retrained_at": END}
    workspace.storage.log.write_detections(of_records([called], DETECTIONS))
    page = show(workspace.settings)
    outdated, drifted = (warning.value for warning in page.warning)
    assert "made against version 0; version 1 serves by now" in outdated
    assert drifted.startswith("Drift")
    assert "cryptosentinel run training" in drifted
    assert "Version 3 was called useless 2025-01-08 12:00 UTC; a training was started" in said(page)


def test_a_viewer_who_may_not_act_is_told_why(show: Callable[..., AppTest], workspace: Workspace) -> None:
    keep(workspace, END)
    buttons = show(workspace.settings).button
    assert [button.label for button in buttons] == ["Check only", "Train and update the baseline"]
    assert all(button.disabled for button in buttons)
    assert all("ACTIONS" in button.help for button in buttons)


@pytest.mark.parametrize("kind", ["drift", "training"])
def test_each_button_asks_for_its_own_run(show: Callable[..., AppTest], workspace: Workspace, kind: Kind) -> None:
    acting = workspace.settings.model_copy(update={"dashboard": DashboardSettings(actions=True)})
    with listening(workspace.root):
        page = show(acting)
        page.button(key=f"run-{kind}").click().run()
        assert not page.error
        asked = {each: len(pending(workspace.root, each)) for each in ("drift", "training")}
    assert asked == {"drift": 0, "training": 0} | {kind: 1}
    assert any("asked for" in each.text for each in page.get("progress"))


def test_without_a_check_the_page_says_when_one_comes(show: Callable[..., AppTest], workspace: Workspace) -> None:
    page = show(workspace.settings)
    assert "has learnt nothing to hold the market against" in page.info[0].value
    assert "It runs at " in page.info[0].value
    assert not page.get("plotly_chart")


def test_a_store_that_is_away_is_explained_once_and_the_page_comes_back(
    show: Callable[..., AppTest], workspace: Workspace
) -> None:
    keep(workspace, END)
    marker = Path(workspace.storage.uri) / "store.json"
    before = marker.read_text()
    marker.write_text("not a marker")
    page = show(workspace.settings, fine=False)
    (error,) = page.error
    assert error.value.startswith("The store cannot be read right now")
    assert not page.button
    marker.write_text(before)
    page.run()
    assert not page.error
    assert len(page.button) == 2
