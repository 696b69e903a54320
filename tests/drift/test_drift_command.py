"""`cryptosentinel drift`, on a market with a champion that was trained."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cryptosentinel.workspace import Workspace, open_workspace, remember
from tests.builders import T0, add_bars, make_tiny_bundle, settings_of
from tests.drift.builders import DAY, SPEC
from tests.test_cli import run

NOW = T0 + timedelta(days=22)


def market(folder: Path, *, trained: bool) -> Workspace:
    workspace = open_workspace(settings_of(home=str(folder), market__source="simulated:3"), now=NOW)
    add_bars(workspace.storage, workspace.source.bars(T0, NOW), SPEC)
    workspace.champion()
    remember(workspace)
    if trained:
        rows = workspace.storage.features.read_features("bitcoin", SPEC.hash, columns=SPEC.model_names)
        reference = rows[["timestamp", *SPEC.model_names]].iloc[: -2 * DAY].dropna().iloc[::4]
        registry = workspace.storage.registry
        made = registry.register(
            make_tiny_bundle(workspace.root / "made", SPEC, reference=reference).path,
            metrics={},
            verdict="promoted: for a test",
        )
        registry.promote(made.version, expected=0)
    return workspace


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Only read."""
    return market(tmp_path_factory.mktemp("drift"), trained=True)


def test_it_says_what_it_found_and_what_to_do(stored: Workspace) -> None:
    ran = run("drift", "--home", stored.settings.home, "--detector", "scipy")
    assert (ran.code, ran.err) == (0, "")
    assert "rift: " in ran.words
    assert "than champion 1 was trained on" in ran.words
    assert "detector scipy-ks." in ran.words
    assert "The last 3 hours:" in ran.words
    assert max(len(line) for line in ran.out.splitlines()) <= 80


def test_json_has_every_feature_of_both_windows(stored: Workspace) -> None:
    answer = run("drift", "--home", stored.settings.home, "--detector", "scipy", "--json").json
    assert (answer["checked"], answer["version"], answer["detector"]) == (True, 1, "scipy-ks")
    assert answer["drift_score"] == max(
        answer["drift_score_3h"], answer[f"drift_score_{answer['windows'][1]['hours']:g}h"]
    )
    assert {each["feature"] for each in answer["windows"][1]["features"]} == {
        each["feature"] for each in answer["histograms"]
    }


def test_nothing_is_kept_and_nobody_is_told(stored: Workspace) -> None:
    run("drift", "--home", stored.settings.home, "--set", "drift.threshold=0", "--set", "drift.least_distance=0")
    assert stored.storage.log.read_drift("bitcoin").empty
    assert stored.storage.log.read_alerts("bitcoin").empty


def test_an_unknown_detector_is_named(stored: Workspace) -> None:
    ran = run("drift", "--home", stored.settings.home, "--detector", "magic")
    assert ran.code == 2
    assert "--detector" in ran.words


def test_without_a_baseline_it_says_so(tmp_path: Path) -> None:
    market(tmp_path, trained=False)
    assert "no baseline yet, the champion has learnt nothing" in run("drift", "--home", tmp_path).words
    assert run("drift", "--home", tmp_path, "--json").json["checked"] is False
