"""What follows once the champion is called useless: each once a version, whatever a step is killed at."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.bundle import BOUNDS, Bundle
from cryptosentinel.errors import RolledBackError, StoreUnavailableError
from cryptosentinel.forecasting import Promote
from cryptosentinel.predicting import (
    Answer,
    BundlePredictor,
    PredictReport,
    Rows,
    awaiting_training,
    describe_forecast,
    fall_back,
    note_training,
    predict,
)
from cryptosentinel.storage import DeltaForecastLog, DeltaModelRegistry
from cryptosentinel.workspace import Workspace, open_workspace
from pipelines.retraining import train_when_asked
from tests.builders import add_bars, at, make_random_bars, settings_of
from tests.drift.concept_builders import NOW, SOUND, SPEC, SPOILT, market, register, spoil
from tests.test_cli import run

FOLLOWS = {"drift__concept__follows": "retrain,widen,random_walk"}
LATER = NOW + timedelta(minutes=5)


class Trained(BundlePredictor):
    """A predictor whose bundle knows a regime, as one that was trained."""

    def infer(self, rows: Rows) -> Answer:
        answer = super().infer(rows)
        return replace(answer, inference=replace(answer.inference, regime=np.array(["uptrend"])))


def step(workspace: Workspace, *, now: datetime = NOW) -> PredictReport:
    """The predict step with the champion."""
    champion = workspace.champion()
    bundle = Bundle.load(workspace.storage.registry.fetch(champion.version, workspace.root / "bundles"))
    return predict(workspace.storage, Trained(bundle, champion.version), SPEC, workspace.settings, now=now)


@cache
def template() -> Path:
    """The home folder of a market with features, where version 1 has turned useless; tests copy it."""
    home = Path(tempfile.mkdtemp(prefix="spoilt-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    workspace = market(home)
    add_bars(workspace.storage, make_random_bars(SOUND + SPOILT), SPEC)
    spoil(workspace.storage)
    return home


def spoilt(folder: Path, **settings: object) -> Workspace:
    """That market."""
    shutil.copytree(template(), folder, dirs_exist_ok=True)
    chosen = settings_of(home=str(folder), market__source="simulated:3", **(settings or FOLLOWS))
    return open_workspace(chosen, now=NOW)


def back(workspace: Workspace, promote: Promote | None = None, *, now: datetime = NOW) -> str:
    registry = workspace.storage.registry
    return fall_back(workspace.storage, workspace.settings, workspace.random_walk, promote or registry.promote, now=now)


def champion(workspace: Workspace) -> int:
    return workspace.champion().version


def detections(workspace: Workspace) -> pd.DataFrame:
    return workspace.storage.log.read_detections("bitcoin")


class TestTheStep:
    def test_raises_an_alert_and_writes_down_that_it_was_called_useless(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path)
        report = step(workspace)
        assert report.concept is not None
        (alert,) = report.alerts[report.alerts["kind"] == "concept_drift"].itertuples()
        assert alert.value == report.concept.level > 1
        assert "version 1's forecasts do not do what they say: the price that stays" in alert.message
        assert "What follows by itself: retrain, widen, random_walk." in alert.message
        (called,) = detections(workspace).itertuples()
        assert (called.bundle_version, called.detected_at, called.reason) == (1, NOW, report.concept.sentence())
        assert called.evidence > called.limit
        assert pd.isna([called.retrained_at, called.fell_back_at]).all()

    def test_writes_it_down_once(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path)
        step(workspace)
        first = detections(workspace)
        step(workspace, now=LATER)
        pd.testing.assert_frame_equal(detections(workspace), first)

    def test_the_alert_ends_with_another_champion(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path)
        step(workspace)
        register(workspace, 0.002)
        ended = step(workspace, now=LATER).alerts
        assert ended.loc[ended["resolved_at"].notna(), "kind"].tolist() == ["concept_drift"]

    def test_a_sound_champion_is_not_called_useless(self, tmp_path: Path) -> None:
        workspace = market(tmp_path, **FOLLOWS)
        add_bars(workspace.storage, make_random_bars(SOUND), SPEC)
        spoil(workspace.storage)
        report = step(workspace, now=at(SOUND))
        assert report.concept is not None
        assert not report.concept.drifted
        assert detections(workspace).empty
        assert "concept_drift" not in set(report.alerts["kind"])


class TestWiden:
    def test_intervals_are_wider_by_the_factor_and_say_so(self, tmp_path: Path) -> None:
        plain = step(spoilt(tmp_path / "plain", drift__concept__follows="")).forecast
        wide = step(spoilt(tmp_path / "wide", drift__concept__follows="widen", drift__concept__widen_by=2)).forecast
        assert plain is not None
        assert wide is not None
        assert (plain["widened"], wide["widened"]) == (1, 2)
        assert wide["predicted_price"] == plain["predicted_price"]
        middle = np.log(plain["predicted_price"])
        bounds = [np.log(row[list(BOUNDS)].to_numpy(float)) - middle for row in (plain, wide)]
        assert bounds[1] == pytest.approx(2 * bounds[0])
        assert "intervals widened 2 times" in describe_forecast(wide, "usd")
        assert "widened" not in describe_forecast(plain, "usd")

    def test_those_of_another_version_are_not(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path)
        step(workspace)
        register(workspace, 0.002)
        add_bars(workspace.storage, make_random_bars(SOUND + SPOILT + 1), SPEC)
        row = step(workspace, now=LATER).forecast
        assert row is not None
        assert (row["bundle_version"], row["widened"]) == (2, 1)


class TestFallBack:
    def test_the_random_walk_serves_until_another_version_passes_the_gate(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path)
        step(workspace)
        assert back(workspace) == "version 0, the random walk, serves in the place of version 1"
        assert champion(workspace) == 0
        verdict = workspace.storage.registry.get(1).verdict
        assert verdict.startswith("fell back: version 1's forecasts do not do what they say: ")
        assert verdict.endswith("; promoted: for a test")
        assert detections(workspace)["fell_back_at"].tolist() == [NOW]
        assert back(workspace, now=LATER) == ""
        register(workspace, 0.002)
        assert (back(workspace, now=LATER), champion(workspace)) == ("", 2)

    def test_the_command_says_what_was_called_useless_and_what_followed(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path)
        step(workspace)
        back(workspace)
        ran = run("concept", "--home", tmp_path, "--source", "simulated:3")
        assert "Version 1 was called useless on 2025-01-07 13:00 UTC" in ran.words
        assert "the random walk took its place at 01-07 13:00" in ran.words
        assert "Nothing to say yet: no forecast that version 0 has learnt to make is settled." in ran.words
        (called,) = run("concept", "--home", tmp_path, "--source", "simulated:3", "--json").json["called_useless"]
        assert (called["bundle_version"], called["retrained_at"]) == (1, None)
        assert called["fell_back_at"] == "2025-01-07T13:00:00.000Z"

    def test_nothing_happens_where_it_is_not_to_follow_or_nothing_was_called_useless(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path / "one", drift__concept__follows="retrain,widen")
        step(workspace)
        assert (back(workspace), champion(workspace)) == ("", 1)
        fresh = market(tmp_path / "other", **FOLLOWS)
        assert (back(fresh), champion(fresh)) == ("", 1)

    def test_a_version_that_is_promoted_again_by_hand_stays(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path)
        step(workspace)
        back(workspace)
        workspace.storage.registry.promote(1, expected=0)
        step(workspace, now=LATER)
        assert (back(workspace, now=LATER), champion(workspace)) == ("", 1)

    def test_a_champion_that_came_meanwhile_stays(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path)
        step(workspace)

        def overtaken(version: int, *, expected: int | None) -> None:
            register(workspace, 0.002)
            workspace.storage.registry.promote(version, expected=expected)

        assert (back(workspace, overtaken), champion(workspace)) == ("", 2)
        assert workspace.storage.registry.get(1).verdict == "promoted: for a test"

    def test_where_it_does_not_come_to_serve_the_next_step_tries_again(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path)
        step(workspace)

        def refused(version: int, *, expected: int | None) -> None:
            raise RolledBackError("It did not serve.")

        with pytest.raises(RolledBackError):
            back(workspace, refused)
        assert (champion(workspace), detections(workspace)["fell_back_at"].isna().all()) == (1, True)
        assert back(workspace).startswith("version 0")

    def test_a_step_that_is_killed_at_any_write_is_finished_by_the_next(self, tmp_path: Path) -> None:
        for write in count():
            workspace = spoilt(tmp_path / str(write))
            ended = killed_at(write, partial(step, workspace), partial(back, workspace))
            step(workspace)
            back(workspace)
            assert champion(workspace) == 0
            assert workspace.storage.registry.get(1).verdict.count("fell back") == 1
            assert detections(workspace)[["detected_at", "fell_back_at"]].notna().all(axis=None)
            alerts = workspace.storage.log.read_alerts("bitcoin")
            assert (alerts["kind"] == "concept_drift").sum() == 1
            assert back(workspace) == ""
            if not ended:
                break
        assert write >= 7  # settled, called useless, forecast, alerts, version 0, alias, verdict, written down


class KilledError(BaseException):
    """As if the process had ended."""


WRITES = [
    *((DeltaForecastLog, name) for name in ("write_forecasts", "settle", "write_alerts", "write_detections")),
    *((DeltaModelRegistry, name) for name in ("register", "promote", "amend")),
]


def killed_at(number: int, *work: Callable[[], object]) -> bool:
    """Does the work up to its write of this number; False where it has fewer."""
    done = 0

    def counted(original: Callable[..., object], *args: object, **kwargs: object) -> object:
        nonlocal done
        done += 1
        if done > number:
            raise KilledError
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patched:
        for owner, name in WRITES:
            original = getattr(owner, name)
            patched.setattr(owner, name, lambda *args, _write=original, **more: counted(_write, *args, **more))
        try:
            for part in work:
                part()
        except KilledError:
            return True
    return False


class TestRetrain:
    def test_a_training_is_asked_for_once_a_version(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path)
        assert awaiting_training(workspace.storage, workspace.settings) is None
        step(workspace)
        asked = awaiting_training(workspace.storage, workspace.settings)
        assert asked is not None
        assert asked["bundle_version"] == 1
        note_training(workspace.storage.log, asked, now=NOW)
        step(workspace, now=LATER)
        assert awaiting_training(workspace.storage, workspace.settings) is None
        assert detections(workspace)["retrained_at"].tolist() == [NOW]

    def test_it_is_asked_for_after_a_fall_back_too_and_not_once_another_version_serves(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path)
        step(workspace)
        back(workspace)
        assert awaiting_training(workspace.storage, workspace.settings) is not None
        register(workspace, 0.002)
        assert awaiting_training(workspace.storage, workspace.settings) is None

    def test_on_one_machine_up_trains_once(self, tmp_path: Path) -> None:
        workspace, stop, trained = spoilt(tmp_path), threading.Event(), []

        def train() -> None:
            trained.append(detections(workspace)["retrained_at"].notna().all())
            threading.Timer(0.3, stop.set).start()

        step(workspace)
        train_when_asked(workspace, train, stop, poll_s=0.01)
        assert trained == [True]  # written down before it begins

    def test_a_store_that_is_away_is_asked_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        workspace, stop, asked = spoilt(tmp_path), threading.Event(), []
        step(workspace)
        read = workspace.storage.log.read_detections

        def away(asset: str) -> pd.DataFrame:
            asked.append(asset)
            if len(asked) == 1:
                raise StoreUnavailableError("It is away.")
            return read(asset)

        monkeypatch.setattr(workspace.storage.log, "read_detections", away)
        train_when_asked(workspace, stop.set, stop, poll_s=0.01)
        assert len(asked) >= 2

    def test_where_none_is_to_follow_up_does_not_look(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path, drift__concept__follows="widen")
        train_when_asked(workspace, pytest.fail, threading.Event())
