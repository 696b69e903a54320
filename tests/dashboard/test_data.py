"""What the pages read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cryptosentinel.config import ScheduleSettings
from cryptosentinel.errors import UserInputError
from cryptosentinel.workspace import Workspace, remember
from dashboard.data.home import Home, forecast_table, read_home, settled, since
from dashboard.data.market import next_run, open_market
from tests.builders import make_random_bars
from tests.dashboard.builders import an_alert, register, settings_for, some_forecasts, with_bars, with_forecasts

NOW = datetime(2025, 1, 6, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return with_forecasts(settings_for(tmp_path_factory.mktemp("home")), NOW)


def read(workspace: Workspace, clock: datetime = NOW) -> Home:
    home = read_home(workspace, clock)
    assert home is not None
    return home


class Silent:
    """A source that must not be asked."""

    simulated = True

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the market was asked for {name}")


def test_the_settings_of_another_process_open_its_market(workspace: Workspace) -> None:
    opened = open_market(workspace.settings.public_json())
    assert (opened.market, opened.storage.uri) == (workspace.market, workspace.storage.uri)


def test_without_settings_the_market_used_last_is_opened(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(workspace)
    monkeypatch.setenv("CRYPTOSENTINEL_HOME", str(workspace.settings.home))
    assert open_market(None).market == workspace.market


def test_a_home_in_which_nothing_has_run_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOSENTINEL_HOME", str(tmp_path))
    with pytest.raises(UserInputError, match="Nothing has run"):
        open_market(None)


def test_the_market_itself_is_not_asked(workspace: Workspace) -> None:
    assert read(replace(workspace, source=Silent())).quote.price > 0


def test_the_price_is_that_of_the_newest_close(workspace: Workspace) -> None:
    home, bars = read(workspace), workspace.storage.features.read_bars("bitcoin")
    assert home.quote.price == bars["close"].iloc[-1]
    assert home.quote.at == datetime(2025, 1, 6, 12, tzinfo=UTC)
    assert home.age == timedelta(minutes=1)
    day_ago = bars.loc[bars["timestamp"] == pd.Timestamp("2025-01-05 11:55", tz="UTC"), "close"].item()
    assert home.quote.change_24h == pytest.approx(home.quote.price / day_ago - 1)


def test_no_bar_is_nothing_to_show(tmp_path: Path) -> None:
    assert read_home(open_market(settings_for(tmp_path).public_json()), NOW) is None


def test_bars_without_forecasts_are_shown(tmp_path: Path) -> None:
    home = read(with_bars(settings_for(tmp_path), NOW, hours=2))
    assert home.forecast is None
    assert not home.expired
    assert home.model is None
    assert home.quote.change_24h is None  # two hours of bars


def test_the_newest_forecast_comes_with_the_bundle_that_made_it(workspace: Workspace) -> None:
    home = read(workspace)
    assert home.forecast is not None
    assert home.forecast["made_at"] == home.quote.at
    assert home.model is not None
    assert home.model.version == home.forecast["bundle_version"] == 0
    assert home.learnt_to is None
    assert not home.moved_on


def test_a_forecast_is_told_from_the_bars_that_came_after_it(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with_forecasts(settings, NOW)
    assert read(with_bars(settings, NOW + timedelta(minutes=5)), NOW + timedelta(minutes=5)).moved_on


def test_the_version_trained_last_is_known_whether_it_serves_or_not(tmp_path: Path) -> None:
    workspace = with_forecasts(settings_for(tmp_path), NOW)
    assert read(workspace).trained is None
    register(workspace, "refused: too young; and more", NOW - timedelta(days=2))
    home = read(workspace)
    assert home.trained is not None
    assert (home.trained.version, home.trained.verdict) == (1, "refused: too young; and more")
    assert home.model is not None
    assert home.model.version == 0


def test_why_no_forecast_can_be_made_is_known_without_asking_a_predictor(workspace: Workspace) -> None:
    assert read(workspace).abstained == ""
    later = NOW + timedelta(minutes=29)
    assert read(workspace, later).abstained.startswith("the newest features are 30 minutes old, more than")


def test_a_champion_whose_data_are_too_old_is_why(tmp_path: Path) -> None:
    workspace = with_forecasts(settings_for(tmp_path), NOW)
    register(workspace, "promoted", NOW - timedelta(days=46))
    assert read(workspace).abstained == ""
    workspace.storage.registry.promote(1, expected=0)
    workspace.storage.log.write_forecasts(some_forecasts(workspace, 1).assign(forecast_id="x", bundle_version=1))
    assert read(workspace).abstained.startswith("the champion's data end 46 days ago, more than")


def test_bars_are_stale_once_too_old_to_forecast_from(workspace: Workspace) -> None:
    limit = timedelta(seconds=workspace.settings.forecast.max_data_age_s)
    closed_at = read(workspace).quote.at
    assert not read(workspace, closed_at + limit).stale
    assert read(workspace, closed_at + limit + timedelta(seconds=1)).stale


def test_a_forecast_expires_with_its_target(workspace: Workspace) -> None:
    target_at = read(workspace).quote.at + timedelta(minutes=30)
    assert not read(workspace, target_at).expired
    assert read(workspace, target_at + timedelta(seconds=1)).expired


def test_forecasts_from_before_the_records_window_are_left_out(workspace: Workspace) -> None:
    assert len(read(workspace).forecasts) == 48
    assert len(read(workspace, NOW + timedelta(days=6, hours=22)).forecasts) == 24  # from 10:05 on


def test_time_stands_still_at_the_end_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "recording.parquet"
    bars = make_random_bars(400)
    bars.drop(columns=["asset", "source"]).to_parquet(path)
    end = bars["timestamp"].iloc[-1] + timedelta(minutes=5)
    settings = settings_for(tmp_path, f"file:{path}")
    home = read(with_forecasts(settings, end.to_pydatetime()), datetime(2030, 1, 1, tzinfo=UTC))
    assert home.recorded
    assert home.now == home.quote.at == end
    assert not home.stale
    assert not home.expired
    assert len(home.forecasts) == 48


def test_only_open_alerts_are_shown(tmp_path: Path) -> None:
    workspace = with_bars(settings_for(tmp_path), NOW, hours=1)
    workspace.storage.log.write_alerts(
        pd.concat([an_alert(NOW, "now"), an_alert(NOW, "then", severity="critical", resolved=True)])
    )
    assert list(read(workspace).alerts["message"]) == ["now"]


def test_the_table_says_what_became_of_each_forecast_in_their_order(workspace: Workspace) -> None:
    forecasts = read(workspace).forecasts
    table = forecast_table(forecasts.iloc[::-1].head(20))
    assert len(table) == 20
    assert table["Made"].is_monotonic_decreasing
    assert table["Made"].iloc[0] == forecasts["made_at"].iloc[-1]
    assert set(table["Outcome"].iloc[:6]) == {"… pending"}
    assert table["Actual"].iloc[:6].isna().all()
    assert set(table["Outcome"].iloc[6:]) <= {"● correct", "✕ incorrect", "▬ flat"}
    known = table.iloc[6:]
    assert list(known["Actual - forecast"]) == pytest.approx(list(known["Actual"] - known["Forecast"]))
    assert set(table["Direction"]) == {"▲ up", "▼ down"}
    assert table["P(rise)"].between(0, 100).all()
    assert set(table["Model"]) == {"Ridge"}


def test_rows_are_chosen_by_time_and_by_what_is_known(workspace: Workspace) -> None:
    forecasts = read(workspace).forecasts
    assert len(settled(forecasts)) == 42
    start = forecasts["target_at"].iloc[10].to_pydatetime()
    assert len(since(forecasts, "target_at", start)) == 38


@pytest.mark.parametrize(("pipeline", "at"), [("feature", "12:05:00"), ("inference", "12:02:00")])
def test_the_next_run_is_read_from_the_schedule(pipeline: str, at: str) -> None:
    assert f"{next_run(ScheduleSettings(), pipeline, NOW):%H:%M:%S}" == at
