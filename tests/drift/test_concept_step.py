"""The concept test in the store: of the champion alone, in the predict step's alerts and on the command line."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import pytest

from cryptosentinel.drift import champion_concept
from cryptosentinel.workspace import Workspace, open_workspace
from tests.builders import FIVE
from tests.drift.concept_builders import NOW, SOUND, SPOILT, market, register, spoil
from tests.test_cli import run


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
    assert within.settled == 144 - 5  # the others' targets are after now


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
        assert (answer["champion"], answer["test"]["drifted"], answer["record"]["made"]) == (
            1,
            True,
            SOUND + SPOILT - 1,
        )
        assert answer["test"]["by"]["middle"] > 0.9

    def test_without_a_settled_forecast_it_says_so(self, tmp_path: Path) -> None:
        market(tmp_path)
        assert "no forecast that version 1 has learnt to make is settled" in run("concept", "--home", tmp_path).words
