"""Asking a predictor why, over real HTTP, and what comes of it."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest

from cryptosentinel.bundle import BACKGROUND_FILE
from cryptosentinel.bundle.manifest import file_digest
from cryptosentinel.config import ServingSettings
from cryptosentinel.workspace import Workspace
from dashboard.explaining import (
    BACKGROUND_ROWS,
    MAX_ROWS,
    Explained,
    NotExplainedError,
    Unexplained,
    explain,
    explain_forecast,
    explain_nearby,
    importances,
)
from tests.builders import make_explanation, make_tiny_bundle
from tests.dashboard.builders import settings_for, with_bars
from tests.dashboard.predictors import LIME, answered, explaining, predictor

NOW = datetime(2025, 1, 8, 12, 1, tzinfo=UTC)
MADE_AT = datetime(2025, 1, 8, 12, tzinfo=UTC)
ROW = {"close": 600.0, "features": {"rsi_14": 1.0}}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Enough bars for warm features, and a version 1 with background rows."""
    workspace = with_bars(settings_for(tmp_path_factory.mktemp("home")), NOW, hours=42)
    with TemporaryDirectory() as folder:
        bundle = make_tiny_bundle(Path(folder) / "bundle", workspace.spec)
        rows = pd.DataFrame(0.5, index=range(200), columns=workspace.spec.model_names)
        rows.insert(0, "timestamp", pd.date_range(NOW, periods=200, freq="5min"))
        rows.to_parquet(bundle.path / BACKGROUND_FILE)
        files = bundle.manifest.files | {BACKGROUND_FILE: file_digest(bundle.path / BACKGROUND_FILE)}
        manifest = bundle.manifest.model_copy(update={"files": files})
        (bundle.path / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
        workspace.storage.registry.register(bundle.path, metrics={}, verdict="promoted: for a test")
    return workspace


def asking(workspace: Workspace, url: str | None) -> Workspace:
    serving = workspace.settings.serving.model_copy(update={"url": url})
    return replace(workspace, settings=workspace.settings.model_copy(update={"serving": serving}))


def outcome_of(answer: Any, rows: int = 1) -> Explained | Unexplained:
    with predictor(lambda _: answer) as stub:
        return explain(ServingSettings(url=stub.url), [ROW] * rows, "hash")


def test_a_row_is_asked_about_in_the_form_of_v1_and_its_answer_understood() -> None:
    with predictor() as stub:
        outcome = explain(ServingSettings(url=f"{stub.url}/", model_name="btc"), [ROW], "hash", lime=True)
    assert stub.asked == [("/v1/models/btc:explain", {"instances": [ROW], "spec_hash": "hash", "lime": True})]
    assert isinstance(outcome, Explained)
    assert outcome.explanations == [make_explanation(600.0, lime=LIME)]
    assert "forecast to rise" in outcome.sentence[0]


@pytest.mark.parametrize(
    ("status", "why"), [(503, "loading"), (501, "off"), (409, "other_bundle"), (400, "refused"), (404, "away")]
)
def test_each_refusal_is_told_from_the_others(status: int, why: str) -> None:
    outcome = outcome_of((status, {"error": "So it is."}))
    assert isinstance(outcome, Unexplained)
    assert outcome.why == why
    assert (outcome.sentence == "So it is.") is (why != "away")


@pytest.mark.parametrize(
    "answer",
    [
        (200, "no JSON"),
        (200, {}),
        (500, "<html>"),
        (500, {"error": "secret"}),
        answered(),
        answered(make_explanation(), make_explanation()),
    ],
)
def test_what_is_no_predictor_of_ours_is_not_believed(answer: Any) -> None:
    assert outcome_of(answer) == Unexplained("away", "What answers in the predictor's place is none of this release.")


def test_a_predictor_that_is_not_there_or_not_named_is_away() -> None:
    with predictor() as stub:
        pass
    for url in (stub.url, None, "no address"):
        outcome = explain(ServingSettings(url=url), [ROW], "hash")
        assert isinstance(outcome, Unexplained)
        assert outcome.why == "away"


@pytest.mark.parametrize(("lime", "patience"), [(False, "_SHAP_S"), (True, "_GRACE_S")])
def test_one_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, lime: bool, patience: str) -> None:
    monkeypatch.setattr(f"dashboard.explaining.{patience}", 0.05)
    done = threading.Event()

    def slow(_: object) -> Any:
        done.wait(20)
        return 200, {}

    with predictor(slow) as stub:
        settings = ServingSettings(url=stub.url, explain_timeout_s=0.05 if lime else 20)
        outcome = explain(settings, [ROW], "hash", lime=lime)
        done.set()
    assert isinstance(outcome, Unexplained)
    assert outcome.sentence.startswith("The predictor is away")


@pytest.mark.parametrize("method", ["shap", "lime"])
def test_the_row_that_a_forecast_was_made_from_is_sent(stored: Workspace, method: Any) -> None:
    with predictor() as stub:
        outcome = explain_forecast(asking(stored, stub.url), MADE_AT, method)
    assert isinstance(outcome, Explained)
    ((_, question),) = stub.asked
    (sent,) = question["instances"]
    step = stored.spec.interval.delta
    features = stored.storage.features.read_features("bitcoin", stored.spec.hash, MADE_AT - step, MADE_AT)
    assert sent["features"] == features[stored.spec.model_names].iloc[0].to_dict()
    assert sent["close"] == stored.storage.features.read_bars("bitcoin", MADE_AT - step, MADE_AT)["close"].iloc[0]
    assert question["spec_hash"] == stored.spec.hash
    assert question["lime"] is (method == "lime")


def test_lime_is_of_the_version_that_serves_or_it_is_said_why_not(stored: Workspace) -> None:
    with predictor() as stub:
        assert explain_nearby(asking(stored, stub.url), MADE_AT, 0).explanations[0].lime == LIME
        with pytest.raises(NotExplainedError, match="serves version 0 by now"):
            explain_nearby(asking(stored, stub.url), MADE_AT, 7)
    with pytest.raises(NotExplainedError, match="The predictor is away"):
        explain_nearby(asking(stored, stub.url), MADE_AT, 0)


def test_a_row_that_is_not_there_or_not_warm_is_not_asked_about(stored: Workspace) -> None:
    with predictor() as stub:
        there = asking(stored, stub.url)
        gone = explain_forecast(there, MADE_AT - timedelta(days=9), "shap")
        cold = explain_forecast(there, MADE_AT - timedelta(hours=40), "shap")
    assert not stub.asked
    assert [outcome.why for outcome in (gone, cold) if isinstance(outcome, Unexplained)] == ["refused", "refused"]
    assert "not in the store any more" in gone.sentence
    assert "Too few bars" in cold.sentence


def _promote(workspace: Workspace, version: int) -> None:
    registry = workspace.storage.registry
    registry.promote(version, expected=registry.champion().version)


def test_importances_are_mean_sizes_over_background_rows_asked_for_in_turn(stored: Workspace) -> None:
    _promote(stored, 1)
    with predictor(lambda question: answered(*map(_of, question["instances"]), version=1)) as stub:
        found = importances(asking(stored, stub.url), 1)
    assert [len(question["instances"]) for _, question in stub.asked] == [MAX_ROWS] * (BACKGROUND_ROWS // MAX_ROWS)
    assert found.rows == BACKGROUND_ROWS
    assert list(found.targets["forecast"].items())[:2] == [("rsi_14", 0.002), ("week_sin", 0.001)]


def _of(row: dict[str, Any]) -> Any:
    return make_explanation(row["close"])


@pytest.mark.parametrize(
    ("answer", "version", "why"),
    [
        (explaining, 1, "The predictor serves version 0, not version 1."),
        (lambda _: (503, {"error": "It loads."}), 1, "It loads."),
        (explaining, 0, "Version 0 learnt nothing: no feature matters to it."),
        (explaining, -1, "The predictor serves another bundle than the registry's champion."),
    ],
)
def test_without_importances_it_is_said_why(stored: Workspace, answer: Any, version: int, why: str) -> None:
    if version >= 0:
        _promote(stored, version)
    with predictor(answer) as stub, pytest.raises(NotExplainedError, match=why):
        importances(asking(stored, stub.url), version)


def test_the_page_imports_nothing_that_its_image_lacks() -> None:
    lacking = "scipy sklearn shap lime onnxruntime onnx skl2onnx xgboost skops kserve kfp serving pipelines components"
    code = (
        "import sys, dashboard.explaining, dashboard.charts.insights\n"
        f"print([name for name in '{lacking}'.split() if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
