"""A demo's past: as honest as if it had been lived through, and safe to make again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from cryptosentinel.bundle import Bundle
from cryptosentinel.config import Settings, load_settings
from cryptosentinel.errors import UserInputError
from cryptosentinel.predicting import BundlePredictor, predict
from cryptosentinel.workspace import Workspace, open_workspace
from pipelines.demo import folder
from pipelines.demo.command import Demo, demo_settings, make_demo
from pipelines.demo.then import Features, Log
from tests.pipelines.builders import SMALL

NOW = datetime(2025, 1, 6, tzinfo=UTC)
BAR, DAYS = timedelta(minutes=5), 0.25
# An alert at each bar that is not quite calm, and forecasts that are due soon.
LIVELY = {"forecast.horizon_bars": 2, "alerts.volatility": 0.2, "alerts.cool_down_s": 0}


def settings_in(home: Path, **others: object) -> Settings:
    given = {"home": str(home), "market.source": "simulated:3", **SMALL, **LIVELY}
    return load_settings(environ={}, overrides=given | {name.replace("__", "."): v for name, v in others.items()})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Six hours with two trainings. Only read by the tests."""
    return make_demo(settings_in(tmp_path_factory.mktemp("made") / "home"), DAYS, now=NOW, jobs=1)


def forecasts_of(demo: Demo) -> pd.DataFrame:
    return opened(demo).storage.log.read_forecasts("bitcoin")


def opened(demo: Demo) -> Workspace:
    return open_workspace(demo.settings, now=NOW)


def test_there_is_a_forecast_at_every_close(made: Demo) -> None:
    closes = pd.date_range(NOW - timedelta(days=DAYS) + BAR, NOW, freq=BAR)
    assert list(forecasts_of(made)["made_at"]) == list(closes)


def test_forecasts_are_settled_at_the_moment_that_they_are_due(made: Demo) -> None:
    rows = forecasts_of(made)
    due = rows["target_at"] <= pd.Timestamp(NOW)
    assert list(rows["outcome"].notna()) == list(due)
    assert (rows["settled_at"] == rows["target_at"])[due].all()
    assert rows["settled_at"][~due].isna().all()


def test_each_version_was_trained_on_what_had_happened_and_serves_from_then_on(made: Demo) -> None:
    workspace, rows = opened(made), forecasts_of(made)
    models = {model.version: model for model in workspace.storage.registry.versions()}
    assert made.history.versions == [1, 2]
    assert made.history.promoted, "no version passed the gate, so that nothing is shown here"
    for version in made.history.versions:
        path = workspace.storage.registry.fetch(version, workspace.root / "bundles")
        data_end = Bundle.load(path).manifest.data_end
        assert data_end is not None
        # Its newest row's outcome was known: two bars, and the bar itself.
        assert data_end + 3 * BAR <= models[version].registered_at
    for version, made_at in zip(rows["bundle_version"], rows["made_at"], strict=True):
        assert version == max(v for v in [0, *made.history.promoted] if v == 0 or models[v].registered_at < made_at)


def test_the_past_is_what_stepping_through_it_gives(made: Demo, tmp_path: Path) -> None:
    """Forecasts to the bit, and alerts: the live step is asked at each close, on a store of its own."""
    settings, source = replace_home(made.settings, tmp_path), opened(made)
    workspace = open_workspace(settings, now=NOW)
    workspace.champion()
    wanted, alerts = forecasts_of(made), source.storage.log.read_alerts("bitcoin")
    first = NOW - timedelta(days=DAYS)
    version = int(wanted["bundle_version"].iloc[0])
    path = source.storage.registry.fetch(version, tmp_path / "bundles")
    registry = workspace.storage.registry.at(first)
    assert registry.register(path, metrics={}, verdict="promoted").version == version
    registry.promote(version, expected=0)
    features = Features(
        source.storage.features.read_bars("bitcoin"),
        source.storage.features.read_features("bitcoin", source.spec.hash),
        BAR,
        (0, 0),
    )
    storage = replace(workspace.storage, features=features)
    predictor = BundlePredictor(Bundle.load(path), version)
    for now in wanted["made_at"].head(8):
        features.now = now.to_pydatetime()
        predict(storage, predictor, workspace.spec, settings, now=features.now)
    got = storage.log.read_forecasts("bitcoin")
    # The last two of these are not due yet.
    assert_frame_equal(got.head(6), wanted.head(6), check_exact=True)
    same = ["forecast_id", "predicted_price", "lower_95", "upper_80", "p_up", "bundle_version"]
    assert_frame_equal(got[same].tail(2), wanted[same].iloc[6:8], check_exact=True)
    raised = storage.log.read_alerts("bitcoin")
    seen = alerts[alerts["raised_at"] <= features.now]
    assert len(raised), "no alert was raised, so that nothing is shown here"
    assert_frame_equal(raised.drop(columns="resolved_at"), seen.drop(columns="resolved_at").reset_index(drop=True))


def replace_home(settings: Settings, home: Path) -> Settings:
    return settings.model_copy(update={"home": home})


def test_nothing_is_known_before_its_time(made: Demo) -> None:
    workspace, rows = opened(made), forecasts_of(made)
    bars = workspace.storage.features.read_bars("bitcoin")
    features = Features(bars, bars, BAR, (0, 0))
    log = Log(workspace.storage.log.read_alerts("bitcoin"), workspace.storage.log.read_detections("bitcoin"))
    log.hold(rows)
    now = NOW - timedelta(hours=1)
    features.now = log.now = now
    assert features.read_bars("bitcoin")["timestamp"].iloc[-1] == pd.Timestamp(now - BAR)
    assert features.last_timestamp("bitcoin") == now - BAR
    seen = log.read_forecasts("bitcoin")
    assert seen["made_at"].iloc[-1] == pd.Timestamp(now)
    assert seen["actual_price"].tail(2).isna().all()
    assert seen["actual_price"].iloc[-3] == rows["actual_price"][rows["made_at"] == now - 2 * BAR].iloc[0]
    assert len(log.read_forecasts("bitcoin", unsettled=True)) == 2


def test_a_demo_that_was_stopped_goes_on_with_what_it_missed(tmp_path: Path) -> None:
    # Too few bars to train on, which makes it quick.
    settings = settings_in(tmp_path / "home", training__min_rows=5000)
    first = make_demo(settings, 1 / 24, now=NOW)
    again = make_demo(settings, 1 / 24, now=NOW + 5 * BAR)
    assert first.said.startswith("begins")
    assert again.said.startswith("goes on")
    assert again.history.forecasts == 5
    rows = open_workspace(settings, now=NOW).storage.log.read_forecasts("bitcoin")
    assert len(rows) == first.history.forecasts + 5
    assert rows["outcome"].notna().sum() == len(rows) - 2
    assert (rows["settled_at"] == rows["target_at"]).sum() == len(rows) - 2
    assert first.history.versions == []


def test_what_cannot_go_on_begins_anew(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home", training__min_rows=5000)
    make_demo(settings, 1 / 24, now=NOW)
    told = {
        "goes on": folder.look(settings, 1 / 24, NOW).said,
        "other settings": folder.look(settings, 1 / 12, NOW).said,
        "ended more than": folder.look(settings, 1 / 24, NOW + timedelta(days=2)).said,
    }
    folder.begin(settings, 1 / 24)
    told["was interrupted"] = folder.look(settings, 1 / 24, NOW).said
    for said, sentence in told.items():
        assert said in sentence
    folder.clear(settings)
    assert not [path for path in settings.home.iterdir() if path.name not in {"lock", "holder.pid"}]


def test_a_folder_that_is_no_demos_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("mine")
    with pytest.raises(UserInputError, match="no demo's"):
        make_demo(settings_in(home), DAYS, now=NOW)
    assert (home / "thesis.txt").read_text() == "mine"


def test_a_real_market_has_no_demo(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="simulated"):
        make_demo(settings_in(tmp_path, market__source="coingecko"), DAYS, now=NOW)


def test_nobody_is_told_of_alerts_of_the_past(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home", training__min_rows=5000, alerts__webhook_url="http://127.0.0.1:9/")
    made = make_demo(settings, 1 / 8, now=NOW)
    assert made.history.alerts
    assert open_workspace(settings, now=NOW).storage.outbox.read("bitcoin").empty


def test_the_plan_trains_daily_and_just_before_the_end() -> None:
    plan = folder.plan(NOW - timedelta(days=7), NOW, resumed=False)
    assert plan.trainings[:2] == [NOW - timedelta(days=7), NOW - timedelta(days=6)]
    assert plan.trainings[-1] == NOW - timedelta(minutes=30)
    assert len(plan.trainings) == 8
    assert folder.plan(NOW - timedelta(minutes=20), NOW, resumed=True).trainings == []


def test_what_is_given_counts_more_than_what_a_demo_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CRYPTOSENTINEL_TRAINING__WINDOW_DAYS", raising=False)
    assert demo_settings(home=tmp_path).training.window_days == 24
    assert demo_settings(None, ["training.window_days=10"], tmp_path, 7).training.window_days == 10
    assert demo_settings(home=tmp_path, seed=7).market.source == "simulated:7"
