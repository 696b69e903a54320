"""What the figures show; how they look is for eyes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from dashboard.charts import price as charts
from dashboard.data.home import Home, read_home, settled
from dashboard.zone import Zone
from tests.builders import FIVE
from tests.dashboard.builders import settings_for, with_forecasts

NOW = datetime(2025, 1, 6, 12, 1, tzinfo=UTC)
CLOSED_AT = datetime(2025, 1, 6, 12, tzinfo=UTC)
START = CLOSED_AT - timedelta(hours=3)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = read_home(with_forecasts(settings_for(tmp_path_factory.mktemp("home")), NOW), NOW)
    assert home is not None
    return home


def price_chart(home: Home, **changes: Any) -> go.Figure:
    shown = {"bars": home.bars, "forecasts": home.forecasts, "interval": FIVE, "hours": 3, "currency": "usd", **changes}
    return charts.price_chart(**shown)


def trace(figure: go.Figure, name: str) -> Any:
    return next(figure.select_traces({"name": name}))


def names(figure: go.Figure) -> set[str]:
    return {trace.name for trace in figure.data}


def test_the_fan_begins_at_the_price_and_ends_in_the_bands_at_the_target(home: Home) -> None:
    figure, newest = price_chart(home), home.forecasts.iloc[-1]
    for level in (80, 95):
        band = trace(figure, f"{level}% band")
        target = newest["target_at"].tz_localize(None)
        at_target = sorted(y for x, y in zip(pd.to_datetime(band.x), band.y, strict=True) if x == target)
        assert at_target == pytest.approx([newest[f"lower_{level}"], newest[f"upper_{level}"]])
        made = newest["made_at"].tz_localize(None)
        at_start = {y for x, y in zip(pd.to_datetime(band.x), band.y, strict=True) if x == made}
        assert at_start == {newest["price"]}
    assert trace(figure, "forecast").y == (newest["price"], newest["predicted_price"])


def test_past_forecasts_are_drawn_at_their_targets_up_to_the_newest_close(home: Home) -> None:
    line = trace(price_chart(home), "past forecast")
    drawn = dict(zip(line.x[:-1], line.y[:-1], strict=True))
    due = home.forecasts[home.forecasts["target_at"].between(START, CLOSED_AT)]
    assert drawn == dict(zip(due["target_at"].dt.tz_localize(None), due["predicted_price"], strict=True))
    assert len(due) == 37


def test_a_gap_between_forecasts_is_not_drawn_over(home: Home) -> None:
    with_gap = home.forecasts.drop(index=home.forecasts.index[30:33])
    for name, breaks in (("past forecast", 2), ("its 80% band", 2)):
        assert np.isnat(trace(price_chart(home, forecasts=with_gap), name).x).sum() == breaks
        assert np.isnat(trace(price_chart(home), name).x).sum() == breaks - 1


def test_a_forecast_whose_target_has_passed_gets_no_fan(home: Home) -> None:
    assert "forecast" in names(price_chart(home, forecasts=home.forecasts.iloc[:43]))
    assert "forecast" not in names(price_chart(home, forecasts=home.forecasts.iloc[:42]))


def test_a_forecast_past_its_target_by_the_clock_is_grey_and_named_so(home: Home) -> None:
    figure = price_chart(home, expired=True)
    assert "forecast" not in names(figure)
    assert trace(figure, "forecast, its time is past").line.color == charts.QUIET
    assert {trace(figure, f"{level}% band").fillcolor for level in (80, 95)} == {charts.FILL_PAST}


def test_axes_name_their_units(home: Home) -> None:
    for figure, unit in (
        (price_chart(home), "USD"),
        (charts.error_chart(settled(home.forecasts), FIVE), "actual - for"),
    ):
        assert figure.layout.xaxis.title.text == "UTC"
        assert figure.layout.yaxis.title.text.startswith(unit)


def test_bars_are_drawn_without_forecasts(home: Home) -> None:
    figure = price_chart(home, forecasts=home.forecasts.iloc[:0])
    assert len(trace(figure, "price").x) == 2 * 36  # as much again to the left
    assert "forecast" not in names(figure)


def test_over_days_candles_last_longer_and_lose_no_price(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "CANDLES", 60)
    candles, bars = trace(price_chart(home, hours=24), "price"), home.bars
    assert len(candles.x) < 60
    assert candles.xperiod == 30 * 60 * 1000
    assert (max(candles.high), min(candles.low)) == (bars["high"].max(), bars["low"].min())
    assert (candles.open[0], candles.close[-1]) == (bars["open"].iloc[0], bars["close"].iloc[-1])


def test_what_lies_left_of_the_start_does_not_stretch_the_prices(home: Home) -> None:
    bars = home.bars.copy()
    bars.loc[bars["timestamp"] < START, "high"] *= 10
    assert price_chart(home, bars=bars).layout.yaxis.range == price_chart(home).layout.yaxis.range
    low, high = price_chart(home).layout.yaxis.range
    shown = bars[bars["timestamp"] >= START]
    assert low < shown["low"].min()
    assert high > max(shown["high"].max(), home.forecasts["upper_95"].iloc[-1])


def test_times_are_utc_whatever_zone_they_come_in(home: Home) -> None:
    bars = home.bars.assign(timestamp=home.bars["timestamp"].dt.tz_convert("Asia/Kathmandu"))
    assert (trace(price_chart(home, bars=bars), "price").x == trace(price_chart(home), "price").x).all()
    assert trace(price_chart(home), "price").x[-1] == datetime(2025, 1, 6, 11, 55)  # noqa: DTZ001


def test_rising_and_falling_bars_differ_without_colour(home: Home) -> None:
    candles = trace(price_chart(home), "price")
    assert candles.increasing.fillcolor.endswith(",0)")  # hollow
    assert candles.decreasing.fillcolor == charts.DOWN


def test_errors_are_told_apart_by_shape_and_measured_against_the_forecast(home: Home) -> None:
    known = settled(home.forecasts)
    figure = charts.error_chart(known, FIVE)
    shapes = [trace(figure, outcome).marker.symbol for outcome in charts.MARKERS]
    assert len(set(shapes)) == len(shapes)
    points = np.concatenate([trace(figure, outcome).y for outcome in charts.MARKERS])
    expected = 100 * (known["actual_price"] / known["predicted_price"] - 1)
    assert sorted(points) == pytest.approx(sorted(expected))
    assert {round(y, 9) for y in trace(figure, "80% band").y if not np.isnan(y)} == {0.3, -0.3}


def test_no_text_of_a_figure_comes_from_data(home: Home) -> None:
    """Plotly reads markup in texts."""
    evil = home.forecasts.assign(champion="<b>x</b>", regime="<b>x</b>", forecast_id="<b>x</b>")
    assert "<b>" not in price_chart(home, forecasts=evil).to_json()
    assert "<b>" not in charts.error_chart(settled(evil), FIVE).to_json()


def test_times_are_those_of_the_zone_and_hovering_tells_utc(home: Home) -> None:
    zone = Zone.of("GMT+5", None)
    here, utc = price_chart(home, zone=zone), price_chart(home)
    candles, candles_utc = trace(here, "price"), trace(utc, "price")
    assert [x - y for x, y in zip(candles.x, candles_utc.x, strict=True)] == [timedelta(hours=5)] * len(candles.x)
    assert candles.text[-1] == "11:55 UTC"
    assert candles_utc.text is None  # nothing to add
    for name in ("forecast", "past forecast", "80% band"):
        moved = [x - y for x, y in zip(trace(here, name).x, trace(utc, name).x, strict=True) if not np.isnat(x)]
        assert set(moved) == {timedelta(hours=5)}
    assert here.layout.xaxis.title.text == "GMT+5"
    known = settled(home.forecasts)
    errors = charts.error_chart(known, FIVE, zone)
    assert list(trace(errors, "correct").text) == [
        f"{row.actual_price:,.2f}, forecast {row.predicted_price:,.2f} ({row.target_at:%H:%M} UTC)"
        for row in known[known["outcome"] == "correct"].itertuples()
    ]
