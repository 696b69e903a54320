"""The concept test in the store: of the champion alone, in the predict step's alerts and on the command line."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.bundle import Bundle
from cryptosentinel.drift import champion_concept
from cryptosentinel.features import FeatureSpec
from cryptosentinel.storage import Storage
from cryptosentinel.workspace import Workspace, open_workspace, remember
from tests.builders import FIVE, at, make_tiny_bundle, settings_of
from tests.drift.test_concept import forecasts, overlapping
from tests.predicting.builders import forecast
from tests.test_cli import run

SPEC = FeatureSpec(FIVE)
SOUND, SPOILT = 144, 300
NOW = at(SOUND + SPOILT)


def log_rows(outcomes: np.ndarray, *, version: int, **made_so: object) -> pd.DataFrame:
    """Settled forecasts as rows of the log."""
    rows = forecasts(outcomes, version=version, **made_so)
    blank = forecast(0).drop(columns=list(rows.columns))
    blank = blank.loc[blank.index.repeat(len(rows))].reset_index(drop=True)
    whole = pd.concat([blank, rows], axis=1)[forecast(0).columns]
    known = whole["actual_price"].notna()
    return whole.assign(
        forecast_id=[f"{made:%Y%m%dT%H%M}" for made in whole["made_at"]],
        sigma=0.003,
        outcome=np.where(known, "correct", None),
        settled_at=whole["target_at"].where(known),
    )


def market(folder: Path, **settings: object) -> Workspace:
    """A market with a champion that was trained, version 1."""
    chosen = settings_of(home=str(folder), market__source="simulated:3", **settings)
    workspace = open_workspace(chosen, now=NOW)
    remember(workspace)
    workspace.champion()
    register(workspace, 0.001)
    return workspace


def register(workspace: Workspace, log_return: float) -> Bundle:
    """One more version, which is champion."""
    registry = workspace.storage.registry
    bundle = make_tiny_bundle(workspace.root / f"made-{log_return}", SPEC, log_return=log_return)
    before = registry.champion()
    assert before is not None
    made = registry.register(bundle.path, metrics={}, verdict="promoted: for a test")
    registry.promote(made.version, expected=before.version)
    return bundle


def spoil(storage: Storage, version: int = 1, *, until: int = SOUND + SPOILT) -> None:
    """A log in which a version's price forecasts turn to noise."""
    outcomes, noise = overlapping(SOUND + SPOILT), np.random.default_rng(5).normal(size=SOUND + SPOILT)
    noise[:SOUND] = 0
    outcomes[max(until - 6, 0) :] = np.nan
    storage.log.write_forecasts(log_rows(outcomes, version=version, middle=noise).iloc[:until])


def level(workspace: Workspace, now: datetime = NOW) -> float:
    found = champion_concept(workspace.storage, FIVE.delta, workspace.settings, now=now)
    return math.nan if found is None else found.level


def test_the_champions_forecasts_are_read_from_the_log(tmp_path: Path) -> None:
    workspace = market(tmp_path)
    assert math.isnan(level(workspace))
    spoil(workspace.storage)
    assert level(workspace) > 1


def test_another_champion_begins_anew(tmp_path: Path) -> None:
    workspace = market(tmp_path)
    spoil(workspace.storage)
    register(workspace, 0.002)
    assert math.isnan(level(workspace))


def test_only_the_last_days_are_looked_at(tmp_path: Path) -> None:
    workspace = market(tmp_path, drift__concept__window_days=0.5)
    spoil(workspace.storage)
    within = champion_concept(workspace.storage, FIVE.delta, workspace.settings, now=NOW)
    assert within is not None
    assert within.settled == 144 - 6


def test_it_does_not_depend_on_how_often_or_when_it_was_asked(tmp_path: Path) -> None:
    workspace = market(tmp_path)
    spoil(workspace.storage)
    once = level(workspace)
    assert [level(workspace), level(open_workspace(workspace.settings, now=NOW))] == [once, once]


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Only read."""
    workspace = market(tmp_path_factory.mktemp("spoilt"))
    spoil(workspace.storage)
    return workspace


class TestTheCommand:
    def test_says_what_speaks_against_the_champion(self, spoilt: Workspace) -> None:
        ran = run("concept", "--home", spoilt.settings.home)
        assert (ran.code, ran.err) == (0, "")
        assert "Version 1's forecasts do not do what they say: the price that stays is a better middle" in ran.words
        assert max(len(line) for line in ran.out.splitlines()) <= 80

    def test_json_has_all_figures(self, spoilt: Workspace) -> None:
        answer = run("concept", "--home", spoilt.settings.home, "--json").json
        assert (answer["champion"], answer["test"]["drifted"], answer["record"]["made"]) == (1, True, SOUND + SPOILT)
        assert answer["test"]["by"]["middle"] > 0.9

    def test_without_a_settled_forecast_it_says_so(self, tmp_path: Path) -> None:
        market(tmp_path)
        assert "no forecast that version 1 has learnt to make is settled" in run("concept", "--home", tmp_path).words
