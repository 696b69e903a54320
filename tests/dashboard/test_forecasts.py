"""The page of forecasts: what it reads, what it draws, and the page in each of its states."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from cryptosentinel.predicting import measure
from cryptosentinel.predicting.settling import settle_due
from cryptosentinel.storage import FORECASTS
from cryptosentinel.workspace import Workspace
from dashboard.charts import forecasts as charts
from dashboard.data.forecasts import (
    Choice,
    History,
    Period,
    choose,
    export,
    in_order,
    read_history,
    read_opened,
    shares_over_time,
)
from dashboard.parts_forecasts import ASKED
from dashboard.zone import Zone
from tests.builders import FIVE
from tests.dashboard.builders import settings_for, some_forecasts, with_bars

NOW = datetime(2025, 1, 6, 12, tzinfo=UTC)
ALL = Period()


def build(home: Path, now: datetime, *, written_until: timedelta) -> Workspace:
    """A forecast at each of the last 60 closes, of three bundles; those that were due some time ago are settled."""
    workspace = with_bars(settings_for(home), now, hours=8)
    rows = some_forecasts(workspace, 60)
    rows["bundle_version"] = np.arange(60) // 20
    rows["regime"] = np.where(np.arange(60) % 2, "uptrend", "downtrend")
    rows["by_model"] = '{"ridge": 1.0, "random_walk": 2.0}'
    workspace.storage.log.write_forecasts(rows)
    settle(workspace, now - written_until)
    return workspace


def settle(workspace: Workspace, now: datetime) -> None:
    storage, settings = workspace.storage, workspace.settings
    step = workspace.spec.interval
    settle_due(storage.log, storage.features, settings.market.asset, step, settings.forecast, now=now)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return build(tmp_path_factory.mktemp("home"), NOW, written_until=timedelta(hours=1))


@pytest.fixture(scope="module")
def history(workspace: Workspace) -> History:
    return read_history(workspace, ALL, NOW)


def test_what_is_due_is_told_as_it_will_be_written(tmp_path: Path) -> None:
    workspace = build(tmp_path, NOW, written_until=timedelta(hours=1))
    told = read_history(workspace, ALL, NOW)
    assert told.due == 12
    assert list(told.rows["outcome"]).count("pending") == 6
    settle(workspace, NOW)
    written = read_history(workspace, ALL, NOW)
    assert written.due == 0
    pd.testing.assert_frame_equal(told.rows.drop(columns="written"), written.rows.drop(columns="written"))


def test_nothing_is_written_by_reading(workspace: Workspace) -> None:
    before = workspace.storage.log.version()
    assert read_history(workspace, ALL, NOW).due
    assert workspace.storage.log.version() == before


def test_only_what_was_made_in_the_period_is_read(workspace: Workspace) -> None:
    made = read_history(workspace, Period.last(1 / 24, NOW), NOW).rows["made_at"]
    assert made.min() == NOW - timedelta(hours=1)
    day = Period.between(NOW.date(), NOW.date())
    assert (day.start, day.end) == (datetime(2025, 1, 6, tzinfo=UTC), datetime(2025, 1, 7, tzinfo=UTC))
    assert read_history(workspace, Period(end=NOW - timedelta(hours=6)), NOW).rows.empty


@pytest.mark.parametrize(
    ("choice", "asked"),
    [
        (Choice(), lambda rows: rows["made_at"].notna()),
        (Choice(state="settled"), lambda rows: rows["outcome"] != "pending"),
        (Choice(state="pending"), lambda rows: rows["outcome"] == "pending"),
        (Choice(state="not written"), lambda rows: ~rows["written"]),
        (Choice(outcomes=("correct", "flat")), lambda rows: rows["outcome"].isin(["correct", "flat"])),
        (Choice(regimes=("uptrend",)), lambda rows: rows["regime"] == "uptrend"),
        (
            Choice("settled", ("flat",), ("uptrend",), (0, 2)),
            lambda rows: (rows["outcome"] == "flat") & (rows["regime"] == "uptrend") & (rows["bundle_version"] != 1),
        ),
    ],
)
def test_what_is_asked_for_is_chosen_newest_first_and_measured(history: History, choice: Choice, asked: Any) -> None:
    chosen = choose(history, choice)
    expected = history.rows[asked(history.rows)]
    assert list(chosen.positions) == list(expected.index[::-1])
    assert repr(chosen.accuracy) == repr(measure(expected))
    assert len(expected)


def test_the_table_can_begin_with_the_largest_error_or_the_surest(history: History) -> None:
    rows, chosen = history.rows, choose(history, Choice())
    by_error = rows.iloc[in_order(history, chosen, "largest error")]
    assert (by_error["error"] / by_error["price"]).abs().dropna().is_monotonic_decreasing
    assert list(by_error.tail(6)["outcome"]) == ["pending"] * 6
    assert rows["confidence"].iloc[in_order(history, chosen, "surest")].is_monotonic_decreasing
    assert list(in_order(history, chosen, "newest")) == list(range(59, -1, -1))


def test_files_have_every_column_of_what_is_asked_for_with_times_in_utc(workspace: Workspace) -> None:
    choice = Choice(bundles=(2,))
    table = pq.read_table(io.BytesIO(export(workspace, ALL, choice, NOW, "parquet")))
    assert table.column_names == [*FORECASTS.names, "written"]
    assert str(table.schema.field("made_at").type) == "timestamp[ms, tz=UTC]"
    assert set(table["bundle_version"].to_pylist()) == {2}
    read = pd.read_csv(io.BytesIO(export(workspace, ALL, choice, NOW, "csv")))
    assert list(read.columns) == table.column_names
    assert len(read) == table.num_rows == 20
    assert read["made_at"].iloc[0] == "2025-01-06 10:25:00.000Z"
    pending = export(workspace, ALL, Choice("pending", ("pending",)), NOW, "parquet")
    assert pq.read_table(io.BytesIO(pending)).num_rows == 6
    assert list(read["written"]).count(False) == read_history(workspace, ALL, NOW).due


def test_stretches_are_long_enough_to_tell_and_add_up(history: History) -> None:
    (row,) = shares_over_time(history.rows).to_dict("records")
    accuracy = measure(history.rows)
    assert row["covered_80"] == accuracy.covered[80].value
    assert (row["hits_lower"], row["hits_upper"]) == (accuracy.hits.lower, accuracy.hits.upper)
    year = pd.concat(
        [
            history.rows.assign(
                **{name: history.rows[name] + day * pd.Timedelta("1D") for name in ("made_at", "target_at")}
            )
            for day in range(200)
        ]
    )
    shares = shares_over_time(year)
    assert len(shares) == 40
    assert shares["middle"].diff().dropna().nunique() == 1
    assert shares_over_time(history.rows.tail(3)).empty


def test_a_forecast_is_opened_with_the_bars_around_it(workspace: Workspace) -> None:
    made_at = NOW - timedelta(hours=1)
    opened = read_opened(workspace, made_at, NOW)
    assert opened is not None
    assert opened.forecast["made_at"] == made_at
    assert not opened.written
    assert opened.bars["timestamp"].min() == made_at - timedelta(hours=2)
    assert opened.bars["timestamp"].max() == NOW - timedelta(minutes=5)
    assert read_opened(workspace, made_at + timedelta(minutes=1), NOW) is None


def trace(figure: go.Figure, name: str) -> Any:
    return next(figure.select_traces({"name": name}))


def settled(history: History) -> pd.DataFrame:
    return history.rows[history.rows["actual_price"].notna()]


def test_actual_prices_are_drawn_at_their_targets_and_marked_by_outcome(history: History) -> None:
    rows = settled(history)
    marked = rows[rows["outcome"] == "correct"]
    figure = charts.against_actual(rows, marked, FIVE, "usd")
    line = trace(figure, "actual")
    assert list(line.y[:-1]) == list(rows["actual_price"])
    assert list(line.x[:-1]) == list(rows["target_at"].dt.tz_localize(None))
    assert len(trace(figure, "correct").y) == len(marked) > 0
    assert len(trace(figure, "incorrect").y) == 0


def test_of_many_marks_those_of_the_largest_errors_are_drawn(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "MANY_MARKS", 5)
    rows = settled(history)
    figure = charts.against_actual(rows, rows, FIVE, "usd")
    drawn = {y for outcome in ("correct", "incorrect", "flat") for y in trace(figure, outcome).y}
    assert drawn == set(rows.loc[(rows["error"] / rows["price"]).abs().nlargest(5).index, "actual_price"])


def test_a_year_is_thinned_and_joined(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "POINTS", 20)
    line = trace(charts.against_actual(settled(history), history.rows.head(0), FIVE, "usd"), "actual")
    assert len(line.y) < 40
    assert np.isnan(line.y).sum() == 1  # the end
    assert max(settled(history)["actual_price"]) in line.y


def test_one_forecast_is_drawn_with_what_came_of_it_in_the_viewers_zone(workspace: Workspace) -> None:
    opened = read_opened(workspace, NOW - timedelta(hours=1), NOW)
    assert opened is not None
    forecast = opened.forecast
    figure = charts.fan(forecast, opened.bars, FIVE, "usd", Zone.of("GMT+5", None))
    actual = trace(figure, f"actual: {forecast['outcome']}")
    assert actual.y == (forecast["actual_price"],)
    assert actual.x[0] - forecast["target_at"].tz_localize(None) == timedelta(hours=5)
    assert trace(figure, "forecast").x[-1] == actual.x[0]
    pending = charts.fan(forecast.copy().replace({forecast["outcome"]: None}), opened.bars, FIVE, "usd")
    assert not [each.name for each in pending.data if each.name.startswith("actual")]


def test_shares_over_time_have_shapes_and_intervals(history: History) -> None:
    figure = charts.over_time(shares_over_time(history.rows))
    lines = [trace(figure, called) for called, *_ in charts.SHARES.values()]
    assert len({line.marker.symbol for line in lines}) == 3
    assert all(line.error_y.array[0] > 0 for line in lines)


@pytest.fixture
def show(look: Callable[..., AppTest], tmp_path: Path):
    def run(**query: str) -> AppTest:
        return look(settings_for(tmp_path), "forecasts", framed=True, **query)

    return run


def said(page: AppTest) -> str:
    kinds = (page.title, page.header, page.markdown, page.info, page.warning, page.error)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def test_the_page_shows_the_history_its_figures_and_one_of_them(show, tmp_path: Path) -> None:
    build(tmp_path, datetime.now(UTC), written_until=timedelta(hours=1))
    page = show()
    figures = {metric.label: (metric.value, metric.delta) for metric in page.metric}
    assert figures["Settled"] == ("54", "of 60 made")
    assert [label for label in figures if label.startswith("Forecast for ")]
    assert "12 not written yet: told from the bars, written at " in said(page)
    assert "60 forecasts" in said(page)
    assert len(page.get("plotly_chart")) == 2
    table = page.dataframe[0].value
    assert list(table["Outcome"][:6]) == ["… pending"] * 6
    assert table["Outcome"][6].endswith(", not written yet")
    assert list(page.dataframe[1].value["Model"]) == ["Ridge", "Random walk"]
    assert not page.error
    page.selectbox(key="settled").select("pending").run()
    assert len(page.dataframe[0].value) == 6
    assert [button.proto.label for button in page.get("download_button")] == ["CSV", "Parquet"]
    # What a click will give, though the buttons are not of the part that the filters run.
    assert page.session_state[ASKED]["choice"] == Choice("pending")
    page.multiselect(key="outcome").select("correct").run()
    assert "No forecast is as the filters ask" in said(page)
    page.selectbox(key="settled").select(None).run()
    assert "Chosen by what came of them" in said(page)


def test_filters_and_the_open_forecast_are_in_the_link(show, tmp_path: Path) -> None:
    workspace = build(tmp_path, datetime.now(UTC), written_until=timedelta(hours=0))
    made_at = workspace.storage.log.read_forecasts("bitcoin")["made_at"].iloc[5]
    page = show(bundle="0", view="Hits", order="Surest first", made=f"{made_at:%Y-%m-%dT%H:%MZ}", zone="UTC")
    assert set(page.dataframe[0].value["Bundle"]) == {0}
    assert "20 forecasts" in said(page)
    assert f"Made {made_at:%H:%M} UTC at " in said(page)
    assert "not written" not in said(page)
    assert "Too few of these forecasts" in said(page)  # to see shares over time
    earlier, later = page.button
    assert (earlier.label, later.label) == ("Earlier", "Later")
    later.click().run()
    assert f"Made {made_at + FIVE.delta:%H:%M} UTC at " in said(page)


def test_a_link_that_makes_no_sense_opens_the_newest_that_is_known(show, tmp_path: Path) -> None:
    build(tmp_path, datetime.now(UTC), written_until=timedelta(hours=0))
    for made in ("<b>x</b>", "0001-01-01T00:00Z"):
        page = show(made=made, order="worst", period="1y")
        assert "Made " in said(page)
        assert not page.error


def test_without_a_forecast_the_page_says_when_one_comes(show, tmp_path: Path) -> None:
    with_bars(settings_for(tmp_path), datetime.now(UTC), hours=4)
    page = show()
    assert "No forecast yet" in said(page)
    assert "No forecast was made in this time" in said(page)
    assert not page.error
