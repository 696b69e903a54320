"""The report as a file."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs
from rich.console import Console

from cryptosentinel.backtest import (
    BacktestFigures,
    BacktestMeta,
    Training,
    charts_value,
    charts_width,
    drawing,
    summarise,
    summary_text,
    write_figures,
    write_report,
)
from cryptosentinel.backtest.rows import Rows
from tests.backtest.builders import make_forecasts, make_meta, make_trainings


def report(
    folder: Path, forecasts: pd.DataFrame, trainings: list[Training] | None = None, **meta: object
) -> tuple[str, BacktestFigures]:
    """The report's text without the library in it, and the figures it shows."""
    runs = make_trainings(forecasts) if trainings is None else trainings
    replayed: BacktestMeta = make_meta(forecasts, **meta)
    figures = summarise(forecasts, runs, replayed)
    path = folder / "report.html"
    write_report(path, forecasts, runs, replayed, figures)
    before, library, after = path.read_text(encoding="utf-8").partition(get_plotlyjs())
    assert library, "plotly.js is in the page"
    assert library not in after, "once"
    return before + after, figures


def charts_of(page: str) -> dict[str, dict[str, object]]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


@pytest.fixture(scope="module")
def forecasts() -> pd.DataFrame:
    return make_forecasts(28)


@pytest.fixture(scope="module")
def page(forecasts: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(tmp_path_factory.mktemp("page"), forecasts)[0]


def test_nothing_is_fetched(page: str) -> None:
    assert re.findall(r"<link|<img|<iframe|@import|url\(|\bsrc=|\bhref=|fetch\(|https?:", page) == []


def test_every_chart_has_its_place_and_every_place_its_chart(page: str) -> None:
    places = re.findall(r'<div class="chart" id="(\w+)"', page)
    assert len(places) == len(set(places)) == 12
    assert set(places) == set(charts_of(page))


def test_the_same_backtest_gives_the_same_bytes(forecasts: pd.DataFrame, page: str, tmp_path: Path) -> None:
    slower = [run.model_copy(update={"fit_seconds": 99.0}) for run in make_trainings(forecasts)]
    again, _ = report(tmp_path, forecasts.copy(), slower)
    assert again == page


def test_each_key_figure_stands_beside_its_limit(page: str) -> None:
    tiles = re.findall(r'<div class="tile">.*?</div>', page)
    assert len(tiles) == 8
    for tile in tiles:
        assert re.search(r'class="limit">(<span class="(held|missed)">.*?</span>|· not judged): \S', tile)


def test_texts_from_data_are_texts(forecasts: pd.DataFrame, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><b onclick='x'>"
    nasty = forecasts.assign(
        regime=evil, by_model=[json.dumps({**json.loads(text), evil: 9e4}) for text in forecasts["by_model"]]
    )
    runs = [
        run.model_copy(
            update={
                "gate": run.gate.model_copy(update={"reasons": [evil], "champion": evil}),
                "candidates": {evil: {"skill": 0.1}},
            }
        )
        for run in make_trainings(forecasts)
    ]
    page, _ = report(
        tmp_path,
        nasty,
        runs,
        asset=evil,
        currency=evil,
        market=evil,
        command=evil,
        settings={evil: evil},
        libraries={evil: evil},
        data_digest=evil,
    )
    assert "<script>alert" not in page.lower()
    assert "<b onclick" not in page.lower()
    # A chart's texts are decoded from JSON, and then read as markup by plotly.js.
    assert "<b onclick" not in json.dumps(charts_of(page))
    assert "&lt;b onclick" in page


def test_a_forecast_of_zero_is_called_one_in_words(tmp_path: Path) -> None:
    page, _ = report(tmp_path, make_forecasts(12, point=False, information=0.0))
    assert "forecast of zero" in page
    assert "cannot be told from chance" in page
    assert "skill" not in charts_of(page), "there is nothing to draw"


def test_a_simulated_market_is_called_one(page: str, forecasts: pd.DataFrame, tmp_path: Path) -> None:
    assert "This market is simulated" in page
    assert "This market is simulated" not in report(tmp_path, forecasts, simulated=False)[0]


def test_a_backtest_that_has_just_begun_has_a_report(tmp_path: Path) -> None:
    page, _ = report(tmp_path, make_forecasts(0.5), [])
    assert {"coverage", "gate"}.isdisjoint(charts_of(page))


@pytest.mark.parametrize(("interval", "step", "horizon"), [("1h", "1h", 24), ("1m", "1min", 7)])
def test_other_intervals_and_horizons_have_a_report(tmp_path: Path, interval: str, step: str, horizon: int) -> None:
    frame = make_forecasts(20, pending=horizon)
    frame["made_at"] = pd.date_range("2025-01-06", periods=len(frame), freq=step, tz="UTC")
    frame["target_at"] = frame["made_at"] + horizon * pd.Timedelta(step)
    page, figures = report(tmp_path, frame, interval=interval, horizon_bars=horizon)
    assert ("24 hours" if interval == "1h" else "7 minutes") + " ahead" in page
    assert all(len(one.values) == len(figures.strategy.times) for one in figures.strategy.accounts)


def test_a_period_of_two_days_has_no_charts_and_buttons_of_more(tmp_path: Path) -> None:
    page, _ = report(tmp_path, make_forecasts(2))
    assert {"coverage", "gain", "accuracy", "skill", "grid"}.isdisjoint(charts_of(page))
    assert "14 days<" not in page
    assert "last 14 days<" in report(tmp_path, make_forecasts(16))[0]
    assert "all 10 days<" in report(tmp_path, make_forecasts(10))[0]


def test_a_weight_that_the_gate_let_not_speak_is_not_shown_as_served(forecasts: pd.DataFrame, tmp_path: Path) -> None:
    runs = make_trainings(forecasts)
    silent = [run.model_copy(update={"gate": run.gate.model_copy(update={"champion": "random_walk"})}) for run in runs]
    for trainings, told in ((runs, False), (silent, True)):
        chart = charts_value.gate_timeline(trainings, make_meta(forecasts).end)
        assert chart is not None
        served, promoted, _, rings = chart.data
        assert served.y.any() == promoted.y.any() == (not told)
        assert len(rings.y) == (len(runs) if told else sum(not run.gate.promote for run in runs))
        assert ("% estimated)" in report(tmp_path, forecasts, trainings)[0]) == told


def test_only_cells_beyond_luck_are_signed(forecasts: pd.DataFrame) -> None:
    cell = (forecasts["made_at"].dt.dayofweek == 1) & (forecasts["made_at"].dt.hour == 7)
    missed = forecasts.assign(upper_80=forecasts["upper_80"].where(~cell, 0.0))
    signs = []
    for frame in (forecasts, missed):
        chart = charts_width.coverage_grid(summarise(frame, [], make_meta(frame)), Rows(frame, "5m", 6))
        assert chart is not None
        signs.append(np.array(chart.data[0].text))
    assert (signs[0] != "").mean() < 0.1
    assert signs[1][1, 7] == "−"  # noqa: RUF001


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0.5, 1e6))
def test_error_bars_of_a_share_stay_between_nothing_and_all(shares: list[float], independent: float) -> None:
    came = np.array(shares)
    bars = drawing.wilson(came, np.full(len(came), independent), "black")
    assert (100 * came - bars["arrayminus"] >= -1e-9).all()
    assert (100 * came + bars["array"] <= 100 + 1e-9).all()
    assert (bars["array"] + bars["arrayminus"] > 0).all()


def test_a_gap_in_the_market_is_a_gap_in_the_chart(forecasts: pd.DataFrame, tmp_path: Path) -> None:
    page, _ = report(tmp_path, forecasts.drop(forecasts.index[-400:-300]))
    whole, _ = report(tmp_path, forecasts)
    pieces = []
    for text in (page, whole):
        trace = next(one for one in charts_of(text)["prices"]["data"] if one.get("name") == "price")  # type: ignore[attr-defined]
        values = np.frombuffer(base64.b64decode(trace["y"]["bdata"]), np.float32)
        pieces.append(int(np.isnan(values).sum()))
    assert pieces[0] == pieces[1] + 1


def test_a_band_ends_where_forecasts_end_and_begins_anew() -> None:
    times = np.array([0, 5, 10, 60, 65], "datetime64[m]").astype("datetime64[ms]")
    band = drawing.band(times, np.arange(5.0), np.arange(5.0) + 10, np.timedelta64(7, "m"))
    nan = np.nan
    np.testing.assert_array_equal(band["y"], np.array([10, 11, 12, 2, 1, 0, nan, 13, 14, 4, 3, nan], np.float32))


def test_times_are_utc_whatever_their_zone(forecasts: pd.DataFrame, page: str, tmp_path: Path) -> None:
    elsewhere = forecasts.assign(
        made_at=forecasts["made_at"].dt.tz_convert("Asia/Tokyo"),
        target_at=forecasts["target_at"].dt.tz_convert("Asia/Tokyo"),
    )
    meta = make_meta(forecasts)
    figures = summarise(elsewhere, [], meta)
    assert figures.hours == summarise(forecasts, [], meta).hours
    assert [part.name for part in figures.months] == ["2025-01", "2025-02"]


@pytest.mark.slow
def test_a_year_stays_below_six_megabytes(tmp_path: Path) -> None:
    page, _ = report(tmp_path, make_forecasts(365))
    assert len(page.encode()) + len(get_plotlyjs().encode()) < 6e6


def test_the_json_holds_what_the_page_shows(forecasts: pd.DataFrame, tmp_path: Path) -> None:
    figures = summarise(forecasts, [], make_meta(forecasts))
    write_figures(tmp_path / "figures.json", figures)
    held = json.loads((tmp_path / "figures.json").read_text())
    assert held["overall"]["covered_80"] == figures.overall.covered_80
    assert held["verdict"] == figures.verdict


def test_the_terminal_has_the_verdict_and_every_limit(forecasts: pd.DataFrame) -> None:
    figures = summarise(forecasts, make_trainings(forecasts), make_meta(forecasts))
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(summary_text(figures))
    text = console.export_text()
    assert " ".join(figures.verdict[0].split()) in " ".join(text.split())
    assert text.count("✓ held") + text.count("✗ missed") + text.count("· not judged") == len(figures.checks)
    assert "The limits are meant for a year. Over 28 days, luck alone" in " ".join(text.split())
    assert max(len(line) for line in text.splitlines()) <= 80
