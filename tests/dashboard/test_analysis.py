"""The page Data analysis: what it reads, its figures, and the page as Streamlit runs it."""

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

from cryptosentinel.config import Settings
from cryptosentinel.workspace import Workspace
from dashboard.charts import analysis as charts
from dashboard.charts.regimes import regime_figure
from dashboard.data import analysis as data
from dashboard.data import statistics
from dashboard.zone import Zone
from tests.builders import FIVE, make_random_bars
from tests.dashboard.builders import settings_for, some_forecasts, with_bars, with_forecasts

NOW = datetime(2025, 1, 8, 12, 1, tzinfo=UTC)
TABS = ("Price", "Features", "Correlations", "Distributions", "Seasons", "Volatility", "Memory", "Regimes")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """40 hours of bars up to twelve o'clock, and 48 forecasts."""
    workspace = with_bars(settings_for(tmp_path_factory.mktemp("home")), NOW, hours=40)
    workspace.storage.log.write_forecasts(some_forecasts(workspace, 48))
    return workspace


# What is read


def test_the_price_of_a_stretch_is_that_of_its_bars(workspace: Workspace) -> None:
    bars = workspace.storage.features.read_bars("bitcoin")
    price = data.read_price(workspace, 1)
    assert price is not None
    assert (price.bars, price.missing) == (288, 0)
    assert price.end == datetime(2025, 1, 8, 12, tzinfo=UTC)
    assert price.end - price.start == timedelta(days=1)
    day = bars.tail(288)
    assert price.change == pytest.approx(day["close"].iloc[-1] / day["open"].iloc[0] - 1)
    assert (price.highest, price.lowest) == (day["high"].max(), day["low"].min())
    assert price.candles["volume"].sum() == pytest.approx(price.volume)
    assert len(data.read_bars(workspace, None)) == len(bars) > 288


def test_correlations_are_of_the_groups_that_were_chosen(workspace: Workspace) -> None:
    found = data.read_correlations(workspace, None, ("momentum", "volatility"))
    assert found is not None
    assert "rsi_14" not in found.names  # it takes 34 hours to be known
    groups = {feature.name: feature.group for feature in workspace.spec.features}
    assert {groups[name] for name in found.names} == {"momentum", "volatility"}
    assert len(found.names) > 15
    rows = workspace.storage.features.read_features("bitcoin", workspace.spec.hash, columns=found.names)
    rows = rows[found.names].dropna()
    assert found.rows == len(rows)
    assert found.matrix == pytest.approx(np.corrcoef(rows.to_numpy(), rowvar=False))
    assert data.read_correlations(workspace, None, ()) is None


def test_of_many_rows_as_many_are_taken_from_each_stretch(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stretch = pd.Timedelta("9h")
    rows = workspace.storage.features.read_features("bitcoin", workspace.spec.hash, columns=["range"])
    expected = [rows["range"][(rows["timestamp"] - rows["timestamp"].iloc[0]) // stretch == place] for place in (0, 4)]
    monkeypatch.setattr(data, "_STRETCH", "9h")
    monkeypatch.setattr(data, "_STRETCHES", 2)  # of the five that there are: the first and the last
    monkeypatch.setattr(data, "SAMPLE", 20)
    taken = data._sample(workspace, None, ("range",))[:, 0]
    assert len(taken) == 20
    assert set(taken[:10]) <= set(expected[0])
    assert set(taken[10:]) <= set(expected[1])
    assert taken[9] == expected[0].iloc[-1]


def test_the_strongest_pairs_are_those_that_move_together_either_way() -> None:
    matrix = np.array([[1, 0.2, -0.9], [0.2, 1, 0.5], [-0.9, 0.5, 1]])
    top = data.strongest(data.Correlations(["a", "b", "c"], matrix, 10), 2)
    assert top.to_numpy().tolist() == [[-0.9, "a", "c"], [0.5, "b", "c"]]


def test_lines_are_the_features_themselves(workspace: Workspace) -> None:
    lines = data.read_lines(workspace, 1, ("rsi_14", "hour"))
    rows = workspace.storage.features.read_features("bitcoin", workspace.spec.hash).tail(288)
    assert list(lines) == ["rsi_14", "hour"]
    assert lines["hour"].to_numpy() == pytest.approx(rows["hour"].to_numpy())


def test_a_distribution_is_of_returns_or_of_a_feature(workspace: Workspace) -> None:
    bars = workspace.storage.features.read_bars("bitcoin")
    returns = data.read_distribution(workspace, None, "return over 1")
    assert returns is not None
    assert returns.deviation == pytest.approx(100 * np.log(bars["close"]).diff().std(ddof=0))
    feature = data.read_distribution(workspace, None, "bollinger_position")
    assert feature is not None
    assert 0 < feature.mean < 1


def test_regimes_are_those_of_the_forecasts(tmp_path: Path) -> None:
    market = with_forecasts(settings_for(tmp_path), NOW, count=40)
    assert data.read_regimes(market, 1) is not None
    log = market.storage.log.read_forecasts("bitcoin")
    names = np.repeat(["uptrend", "downtrend", "uptrend", "unknown"], 10)
    later = log.assign(regime=names, forecast_id=log["forecast_id"] + "x", made_at=log["made_at"] + timedelta(hours=4))
    market.storage.log.write_forecasts(later)
    found = data.read_regimes(market, None)
    assert found is not None
    assert np.allclose(np.nansum(found.shares, axis=0)[~np.isnan(found.shares[0])], 1)
    assert np.isnan(found.shares[0]).sum() == 8  # from 12:05 to 12:40 there is no forecast
    table = found.table.set_index("Regime")
    assert dict(table["Of the time"]) == {"downtrend": 12.5, "uptrend": 75, "unknown": 12.5}
    assert table.loc["downtrend", "Typical stay"] == timedelta(minutes=50)
    assert table.loc["uptrend", "Typical stay"] == timedelta(minutes=50)  # of 40, 10 and 10 forecasts
    assert found.closes["timestamp"].iloc[0] == log["made_at"].iloc[0]
    assert list(found.closes["close"].iloc[:40]) == pytest.approx(list(log["price"]))


# Figures


def trace(figure: go.Figure, name: str) -> Any:
    return next(figure.select_traces({"name": name}))


def test_rising_and_falling_candles_and_volumes_differ_without_colour(workspace: Workspace) -> None:
    price = data.read_price(workspace, 1)
    assert price is not None
    figure = charts.price_figure(price, "usd", Zone.of("GMT+5", None))
    candles, volumes = trace(figure, "price"), list(figure.select_traces({"name": "volume"}))
    rose = (price.candles["close"] >= price.candles["open"]).to_numpy()
    assert [volume.marker.color.endswith(",0)") for volume in volumes] == [True, False]
    assert [list(volume.x) for volume in volumes] == [list(candles.x[rose]), list(candles.x[~rose])]
    assert [list(volume.y) for volume in volumes] == [list(price.candles["volume"][kind]) for kind in (rose, ~rose)]
    assert figure.layout.barmode == "stack"
    assert candles.x[0] - price.candles["timestamp"].iloc[0].tz_localize(None) == timedelta(hours=5)
    assert candles.text[0] == f"{price.candles['timestamp'].iloc[0]:%d %b %Y %H:%M} UTC"
    assert figure.layout.xaxis.title.text == "GMT+5"
    assert figure.layout.yaxis.type is None


def test_years_of_prices_are_drawn_by_their_ratios(workspace: Workspace) -> None:
    price = data.read_price(workspace, 1)
    assert price is not None
    grown = data.Price(**{**vars(price), "lowest": price.highest / 9})
    assert charts.price_figure(grown, "usd").layout.yaxis.type == "log"


def test_the_heat_map_has_figures_where_there_is_room_and_names_unless_there_are_too_many() -> None:
    def drawn(count: int) -> go.Figure:
        names = [f"f{number}" for number in range(count)]
        return charts.correlation_figure(data.Correlations(names, np.eye(count), 100))

    assert drawn(10).data[0].texttemplate
    assert not drawn(20).data[0].texttemplate
    assert drawn(20).layout.xaxis.showticklabels
    assert not drawn(60).layout.xaxis.showticklabels


def test_whiskers_end_where_the_intervals_do() -> None:
    hours, _ = statistics.seasons(make_random_bars(8 * 288), FIVE, "UTC")
    figure = charts.season_figure(hours, "volume", weekdays=False)
    (points,) = figure.data
    assert np.array(points.y) + np.array(points.error_y.array) == pytest.approx(hours["volume_high"].to_numpy())


def test_what_memory_is_beyond_chance_is_coloured_and_the_band_is_drawn() -> None:
    found = statistics.Memory(*(np.array(each) for each in ([0.5, 0.01], [0.1, 0.1], [0, 0], [0.1, 0.1])), count=9)
    figure = charts.memory_figure(found, "returns", 5)
    assert list(trace(figure, "autocorrelation").marker.color) == [charts.UP, charts.QUIET]
    assert max(y for y in figure.data[0].y) == 0.1
    assert list(trace(figure, "autocorrelation").x) == pytest.approx([5 / 60, 10 / 60])


def test_regimes_are_told_by_name_and_sign_and_cover_where_they_lead(workspace: Workspace) -> None:
    found = data.read_regimes(workspace, None)
    assert found is not None
    shares = np.zeros_like(found.shares)
    shares[0, :10], shares[1, 10:] = 1, 1
    figure = regime_figure(data.Regimes(**{**vars(found), "shares": shares}), "usd")
    lanes = list(figure.select_traces({"type": "heatmap"}))
    assert [lane.name for lane in lanes] == ["▼ Downtrend", "▲ Uptrend"]
    labels = {label.text: label.y for label in figure.layout.annotations}
    assert [labels[lane.name] for lane in lanes] == [lane.y[0] for lane in lanes]
    assert list(lanes[0].z[0]) == [100] * 10 + [0] * (shares.shape[1] - 10)
    behind = next(figure.select_traces({"type": "scatter", "name": "▼ Downtrend"}))
    edges = found.starts.tz_localize(None)
    assert {x for x in behind.x if x is not None} == {edges[0], edges[10]}


def test_hovering_tells_utc_where_times_are_in_another_zone(workspace: Workspace) -> None:
    lines, volatility = data.read_lines(workspace, 1, ("roc_10",)), data.read_volatility(workspace, None)
    for zone, told in ((Zone.of("GMT+5", None), "08 Jan 11:55 UTC"), (Zone(), "")):
        assert charts.lines_figure(lines, zone).data[0].text[-1] == told
        figure = charts.volatility_figure(volatility, 20, zone)
        assert figure.data[0].text[-1] == (told and "08 Jan 11:00 UTC")
        assert "%{text}" in figure.data[0].hovertemplate


# The page


@pytest.fixture
def show(look: Callable[..., AppTest]) -> Callable[..., AppTest]:
    def run(settings: Settings, **query: str) -> AppTest:
        page = look(settings, "analysis", **query)
        assert not page.error
        return page

    return run


@pytest.mark.parametrize("tab", TABS)
def test_each_tab_shows_its_own_and_nothing_else(show: Callable[..., AppTest], workspace: Workspace, tab: str) -> None:
    page = show(workspace.settings, range="All", show=tab)
    charts_of = {"Seasons": 0, "Memory": 2}  # a day has no seasons
    assert len(page.get("plotly_chart")) == charts_of.get(tab, 1)
    assert len(page.header) == 1
    assert "STALE" in page.markdown[0].value
    assert page.segmented_control(key="range").value == "all"
    if tab == "Seasons":
        assert sum("Not enough whole" in each.value for each in page.markdown) == 2


def test_what_is_looked_at_can_be_linked(show: Callable[..., AppTest], workspace: Workspace) -> None:
    page = show(workspace.settings, range="1 day", show="Features", first="Momentum: roc_10", second="none")
    assert [page.selectbox(key=key).value for key in ("first", "second", "third")] == ["roc_10", "none", "none"]
    assert any("Relative change over 10 bars" in each.value for each in page.markdown)
    assert sum("roc\\_10" in each.value for each in page.markdown) == 1
