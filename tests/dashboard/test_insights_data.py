"""What the page on the models reads: versions, their figures, and what the log says of calibration and coverage."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.bundle import DataWindow, Gate, Manifest, ModelEntry
from cryptosentinel.drift import DriftReport, FeatureDrift, WindowDrift, keep_report
from cryptosentinel.forecasting.looks import verdict_metrics
from cryptosentinel.predicting import Share
from cryptosentinel.storage import RegisteredModel
from cryptosentinel.workspace import Workspace, open_workspace
from dashboard.data import insights, versions
from dashboard.data.insights import Registry, Version
from tests.dashboard.builders import register, settings_for, some_forecasts, with_bars

NOW = datetime(2025, 1, 6, 12, 1, tzinfo=UTC)
POINT = {"rmse": 0.002, "mae": 0.001, "r2": -0.01, "skill": 0.0, "rmse_price": 190.0}
METRICS = {
    "ridge": POINT | {"rmse": 0.0021, "skill": -0.012, "direction_accuracy": 0.5},
    "random_walk": POINT,
    "shrunk": POINT | {"rmse": 0.0019, "skill": 0.001, "direction_accuracy": 0.52},
    "direction": {"accuracy": 0.52, "base_rate": 0.51, "brier_skill": 0.001, "calibration_error": 0.03},
    "spread": {"pinball_bp": 3.2, "coverage_80": 0.8, "coverage_95": 0.96},
}


def manifest(**changed: Any) -> Manifest:
    fields = {
        "created_at": NOW,
        "asset": "bitcoin",
        "currency": "usd",
        "market": "test",
        "simulated": False,
        "interval": "5m",
        "horizon_bars": 6,
        "spec_hash": "abc",
        "features": ["rsi_14", "range"],
        "scale_feature": "range",
        "champion": "blend",
        "blend": {"ridge": 1.0},
        "shrinkage": 0.1,
        "models": {"random_walk": ModelEntry(), "ridge": ModelEntry()},
        "data": DataWindow(
            start=NOW - timedelta(days=30),
            training_end=NOW - timedelta(days=7),
            holdout_start=NOW - timedelta(days=6),
            end=NOW,
            training_rows=6_891,
            oof_rows=4_132,
            holdout_rows=1_726,
            bars_version=1,
            features_version=1,
        ),
        "metrics": METRICS,
        "gate": Gate(promote=True, reasons=["so it is"], figures={"independent_labels": 287.7, "information_t": 0.5}),
        "settings": {"folds": 4, "preset": "default"},
        "libraries": {"numpy": "2.4.6"},
    }
    return Manifest.model_validate(fields | changed)


def model(number: int, verdict: str = "promoted: it is better; by far", **changed: Any) -> RegisteredModel:
    gate = Gate(promote=True, reasons=["x"], figures={"blend_may_speak": 0.0, "look_tested": 0.0}, look=True)
    metrics = POINT | verdict_metrics(gate, NOW)
    return replace(RegisteredModel(number, "uri", "d" * 64, NOW, metrics, verdict), **changed)


def version(number: int = 1, **changed: Any) -> Version:
    return Version(model(number), manifest(**changed), "# A card")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A random walk, and a version 1."""
    workspace = with_bars(settings_for(tmp_path_factory.mktemp("home")), NOW)
    register(workspace, "refused: it is worse", NOW)
    return workspace


def test_the_league_is_by_error_and_says_which_forecast_is_served() -> None:
    table = versions.league(version())
    assert table["Forecast"].tolist() == ["Shrunk", "Random walk", "Ridge"]
    assert table["Serves"].tolist() == ["● serves", "", ""]
    assert table["RMSE bp"].tolist() == pytest.approx([19, 20, 21])
    assert table["Skill"].tolist() == pytest.approx([0.1, 0, -1.2])
    # 52% of 288 outcomes that do not overlap, by Wilson's formula: 46.2% to 57.7%.
    assert table["95% interval"].tolist() == ["46% to 58%", "", "44% to 56%"]
    served = versions.league(version(champion="random_walk"))
    assert served.loc[served["Serves"] != "", "Forecast"].tolist() == ["Random walk"]


def test_what_learnt_nothing_has_no_figures() -> None:
    walk = version(data=None, metrics={})
    assert versions.league(walk).empty
    assert versions.held_out(walk) == {}
    assert versions.league(Version(model(1), None, "")).empty


def test_coverage_before_serving_is_that_of_the_unseen_rows() -> None:
    held = versions.held_out(version())
    assert {level: share.value for level, share in held.items()} == {80: 0.8, 95: 0.96}
    assert held[80].independent == 288
    assert held[80].lower < 0.8 < held[80].upper


@pytest.mark.parametrize(
    ("number", "verdict", "word", "why"),
    [
        (1, "promoted: it is better; by far", "● promoted", "it is better; by far"),
        (2, "refused: worse", "✕ refused", "worse"),
        (3, "rolled back: it did not serve; x", "▬ rolled back", "it did not serve; x"),
        (0, "Version 0: the random walk", "■ first", "Version 0: the random walk"),
    ],
)
def test_a_verdict_is_a_sign_a_word_and_a_reason(number: int, verdict: str, word: str, why: str) -> None:
    assert versions.verdict(model(number, verdict)) == (word, why)


def test_the_gate_s_history_says_of_each_version_what_came_of_it() -> None:
    pruned = model(2, "refused: worse", pruned_at=NOW, metrics={})
    table = versions.gate_history(Registry((pruned, model(1)), 1, 2))
    assert table["Version"].tolist() == [2, 1]
    assert table["Serves"].tolist() == ["", "● serves"]
    assert table["Bundle"].tolist() == ["deleted 2025-01-06", "there"]
    assert table["Formal look"].tolist() == ["", "yes"]
    assert table["Data to"].tolist()[1] == NOW
    assert np.isnan(table["Skill"][0])


def test_two_versions_are_held_side_by_side_and_where_they_differ_is_marked() -> None:
    left, right = version(1), version(2, shrinkage=0.2, settings={"folds": 5, "preset": "default"}, features=["range"])
    table = versions.side_by_side(versions.figures(left), versions.figures(right), ["one", "other"])
    differing = table[table["≠"] != ""]
    assert differing["Figure"].tolist() == ["Share of the blend believed"]
    assert differing[["one", "other"]].to_numpy().tolist() == [["10.0%", "20.0%"]]
    assert table.loc[table["Figure"] == "Inside 95%", "one"].tolist() == ["96.0%"]
    assert versions.settings_that_differ(left, right) == {"folds": ("4", "5")}
    assert versions.features_that_differ(left, right) == (["rsi_14"], [])


def test_a_figure_that_only_one_has_is_there_all_the_same() -> None:
    walk = Version(model(0, metrics={}), None, "")
    table = versions.side_by_side(versions.figures(walk), versions.figures(version(1)), ["one", "other"])
    assert table.loc[table["Figure"] == "Inside 80%", ["≠", "one"]].to_numpy().tolist() == [["≠", "—"]]


def test_versions_are_read_newest_first_with_manifest_and_card(stored: Workspace) -> None:
    registry = insights.read_registry(stored)
    assert [each.version for each in registry.versions] == [1, 0]
    assert (registry.champion, registry.count) == (0, 2)
    assert registry.get(1).version == 1
    found = insights.read_version(stored, 1)
    assert found.card == "# A bundle for tests\n"
    assert found.manifest is not None
    assert found.trained is None


def test_of_many_versions_the_newest_are_shown_and_the_one_that_serves(
    stored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(insights, "NEWEST_VERSIONS", 1)
    assert [each.version for each in insights.read_registry(stored).versions] == [1, 0]
    monkeypatch.setattr(stored.storage.registry, "champion", lambda: None)
    assert [each.version for each in insights.read_registry(stored).versions] == [1]


def test_a_pruned_version_and_one_of_an_earlier_release_keep_what_is_known(
    stored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored.storage.registry, "get", lambda number: model(number, pruned_at=NOW))
    assert insights.read_version(stored, 1) == Version(model(1, pruned_at=NOW), None, "")
    monkeypatch.undo()
    bundle = stored.bundle(1)
    text = (bundle / "manifest.json").read_text(encoding="utf-8")
    monkeypatch.setattr(Workspace, "bundle", lambda *_: Path(tmp))
    tmp = stored.root / "old"
    tmp.mkdir()
    (tmp / "manifest.json").write_text(text.replace('"format_version": 2', '"format_version": 1'), encoding="utf-8")
    assert insights.read_version(stored, 1).manifest is None


def log_of(workspace: Workspace, p_up: list[float], moves: list[float], *, version: int = 0) -> None:
    """Settled forecasts, half an hour apart so that none overlaps."""
    rows = some_forecasts(workspace, 6 * len(p_up), move=0.0).iloc[::6].reset_index(drop=True)
    bounds = {f"{side}_{level}": rows["price"] * (1 + sign * 1e-5 * level)
              for level in insights.LEVELS for side, sign in (("lower", -1), ("upper", 1))}  # fmt: skip
    settled = rows.assign(
        p_up=p_up, actual_price=rows["price"] * (1 + np.array(moves)), bundle_version=version, **bounds
    )
    settled["forecast_id"] = settled["forecast_id"] + f"v{version}"
    workspace.storage.log.write_forecasts(settled)


def test_calibration_and_coverage_are_those_of_the_log(tmp_path: Path) -> None:
    workspace = with_bars(settings_for(tmp_path), NOW, hours=12)
    assert insights.read_record(workspace, None).settled == 0
    # The lower half rose once in ten, the upper nine times; moves of 0.06% are inside of 80% (0.08%), not of 50%.
    log_of(workspace, [0.4] * 10 + [0.6] * 10, ([-0.0006] * 9 + [0.0006]) + ([0.0006] * 9 + [-0.0006]))
    found = insights.read_record(workspace, None)
    assert found.settled == 20
    assert [(each.forecast, each.count) for each in found.reliability] == [
        (pytest.approx(0.4), 10),
        (pytest.approx(0.6), 10),
    ]
    assert [each.rose.value for each in found.reliability] == [0.1, 0.9]
    assert found.reliability[0].rose.independent == 10
    assert {level: share.value for level, share in found.covered.items()} == {50: 0, 80: 1, 90: 1, 95: 1}
    assert isinstance(found.covered[50], Share)
    assert insights.read_record(workspace, 7).settled == 0


def test_one_probability_is_one_bin_and_levels_that_were_not_logged_are_left_out(tmp_path: Path) -> None:
    workspace = with_bars(settings_for(tmp_path), NOW, hours=12)
    rows = some_forecasts(workspace, 6, move=0.0)
    workspace.storage.log.write_forecasts(rows.assign(p_up=0.5, actual_price=rows["price"] + 1))
    found = insights.read_record(workspace, 0)
    assert [(each.forecast, each.rose.value, each.count) for each in found.reliability] == [(0.5, 1.0, 6)]
    assert set(found.covered) == {80, 95}
    assert found.covered[80].independent == 1
    log_of(workspace, [0.4, 0.6], [0.001, -0.001], version=5)
    assert [each.count for each in insights.read_record(workspace, 5).reliability] == [1, 1]


def test_the_newest_forecasts_can_be_chosen(stored: Workspace, tmp_path: Path) -> None:
    assert insights.read_forecast_times(stored, 3).empty
    workspace = with_bars(settings_for(tmp_path), NOW, hours=2)
    workspace.storage.log.write_forecasts(some_forecasts(workspace, 10))
    times = insights.read_forecast_times(workspace, 3)
    assert times["made_at"].tolist() == [pd.Timestamp(NOW) - timedelta(minutes=m) for m in (1, 6, 11)]


def drift_report(number: int, weights: dict[str, float], *, weighted: bool = True) -> DriftReport:
    feature = {
        "statistic": 0.1,
        "p_value": 0.5,
        "corrected": 0.5,
        "naive_p_value": 0.5,
        "effect": 0.0,
        "drifted": False,
    }
    features = [FeatureDrift(feature=name, weight=weight, **feature) for name, weight in weights.items()]
    return DriftReport(
        asset="bitcoin",
        version=number,
        data_end=NOW,
        detector="scipy",
        reference_rows=100,
        reference_start=NOW,
        reference_end=NOW,
        weighted=weighted,
        threshold=0.3,
        windows=[WindowDrift(hours=1, rows=5, stretches=5, rate=0.1, features=features)],
        histograms=[],
    )


def test_weights_come_with_the_version_that_they_were_measured_of(tmp_path: Path) -> None:
    workspace = open_workspace(settings_for(tmp_path), now=NOW)
    assert insights.read_weights(workspace) is None
    keep_report(workspace.storage.log, drift_report(3, {"range": 0.2, "rsi_14": 0.8}), now=NOW)
    version, weights = insights.read_weights(workspace) or (0, {})
    assert version == 3
    assert list(weights.items()) == [("rsi_14", 0.8), ("range", 0.2)]
    keep_report(workspace.storage.log, drift_report(3, {"range": 1.0}, weighted=False), now=NOW)
    assert insights.read_weights(workspace) is None
