"""The page on the models in each of its states, as Streamlit runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from cryptosentinel.config import Settings, load_settings
from cryptosentinel.drift import keep_report
from cryptosentinel.predicting.settling import settle_due
from cryptosentinel.workspace import Workspace
from tests.builders import make_tiny_bundle
from tests.dashboard.builders import settings_for, some_forecasts, with_bars
from tests.dashboard.predictors import Answer, Stub, predictor
from tests.dashboard.test_insights_data import drift_report, manifest, model


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The random walk serves; version 1 was trained, and is described by `manifest`. The last forecasts are settled."""
    now = datetime.now(UTC)
    workspace = with_bars(settings_for(tmp_path_factory.mktemp("home")), now, hours=42)
    storage, spec = workspace.storage, workspace.spec
    with TemporaryDirectory() as folder:
        bundle = make_tiny_bundle(Path(folder) / "bundle", spec)
        described = manifest(spec_hash=spec.hash, features=spec.model_names, files=bundle.manifest.files)
        (bundle.path / "manifest.json").write_text(described.model_dump_json(), encoding="utf-8")
        storage.registry.register(bundle.path, metrics=model(1).metrics, verdict="refused: <b>worse</b>; by far")
    storage.log.write_forecasts(some_forecasts(workspace, 48))
    settle_due(storage.log, storage.features, "bitcoin", spec.interval, workspace.settings.forecast, now=now)
    return workspace


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with predictor() as running:
        yield running


@pytest.fixture
def show(look: Callable[..., AppTest]) -> Callable[..., AppTest]:
    def run(settings: Settings, url: str | None = None, **query: str) -> AppTest:
        overrides = json.loads(settings.public_json())
        overrides["serving"]["url"] = url
        return look(load_settings(environ={}, overrides=overrides), "insights", framed=True, **query)

    return run


def said(page: AppTest) -> str:
    kinds = (page.markdown, page.info, page.warning, page.caption)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def charts(page: AppTest) -> list[str]:
    return [chart.proto.id.rpartition("-")[2] for chart in page.get("plotly_chart")]


def test_the_newest_forecast_is_explained(show: Any, stored: Workspace, stub: Stub) -> None:
    page = show(stored.settings, stub.url)
    shown = said(page)
    assert "forecast to rise" in shown
    assert "Price forecast, in USD" in shown
    assert "Version 0 learnt nothing: no feature matters to it." in shown
    assert len(charts(page)) == 1
    assert not page.warning
    (explained,) = [question for _, question in stub.asked[-1:]]
    assert explained["instances"][0]["close"] == stored.storage.log.read_forecasts("bitcoin")["price"].iloc[-1]
    before = [chart.proto.spec for chart in page.get("plotly_chart")]
    st.cache_data.clear()  # Streamlit mounts a figure that differs in anything anew
    assert [chart.proto.spec for chart in page.run().get("plotly_chart")] == before


def test_a_link_names_the_forecast_its_side_and_lime(show: Any, stored: Workspace, stub: Stub) -> None:
    row = stored.storage.log.read_forecasts("bitcoin").iloc[-5]
    page = show(stored.settings, stub.url, made=f"{row.made_at:%Y-%m-%d %H:%M}", of="Range", lime="true")
    assert stub.asked[-1][1]["instances"][0]["close"] == row.price
    assert stub.asked[-1][1]["lime"] is True
    assert "Range, as factors of the volatility" in said(page)
    assert "Probability of a rise, in points" in said(page)
    assert len(charts(page)) == 3
    figures = json.loads(page.get("plotly_chart")[-1].proto.spec)
    assert figures["data"][0]["x"] == [-2.0]


def test_while_no_predictor_answers_the_page_shows_what_is_known(show: Any, stored: Workspace) -> None:
    assert "No predictor is named" in said(show(stored.settings))
    keep_report(stored.storage.log, drift_report(1, {"rsi_14": 0.6, "range": 0.4}), now=datetime.now(UTC))
    answers: list[Answer] = [(503, {"error": "The explainer loads."}), (200, "<b>no JSON</b>")]
    with predictor(lambda _: answers[0]) as stub:
        page = show(stored.settings, stub.url)
        assert page.info[0].value.startswith(r"The explainer loads\.")
        assert not page.warning
        del answers[0]
        st.cache_data.clear()  # as time does
        assert "is none of this release" in page.run().warning[0].value
    st.cache_data.clear()
    assert page.run().warning[0].value.startswith("The predictor is away")
    assert not page.error
    assert "answers of version 1" in said(page)
    assert len(charts(page)) == 1


def test_the_candidates_and_the_log_are_a_view(show: Any, stored: Workspace) -> None:
    page = show(stored.settings, view="How good", version="1")
    assert [metric.value for metric in page.metric] == ["✕ refused", "+0.000%", "52%", "80.0%", "96.0%"]
    assert page.dataframe[0].value["Forecast"].tolist() == ["Shrunk", "Random walk", "Ridge"]
    assert len(charts(page)) == 2
    assert "42 settled forecasts of the log" in said(page)
    assert "7 outcomes that do not overlap: too few to judge" in said(page)
    assert "None of these is settled yet" in said(
        show(stored.settings, view="How good", version="1", whose="This version")
    )


def test_the_gate_s_history_and_two_versions_beside_each_other_are_a_view(show: Any, stored: Workspace) -> None:
    page = show(stored.settings, view="Versions", version="1")
    history, figures, settings = (table.value for table in page.dataframe)
    assert history["Why"].tolist()[0] == "<b>worse</b>; by far"
    assert figures.columns.tolist()[2:] == ["Version 1", "Version 0"]
    assert "folds" in settings[settings.columns[0]].tolist()
    assert "Both were given the same" in said(page)


def test_a_card_is_shown_without_what_it_could_do(show: Any, stored: Workspace) -> None:
    assert "#### A bundle for tests" in said(show(stored.settings, view="Model card", version="1"))


def test_a_market_in_which_nothing_has_happened_says_what_comes(show: Any, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    assert "No model yet. The training pipeline brings one at" in said(show(settings, view="How good"))
    workspace = with_bars(settings, datetime.now(UTC) - timedelta(hours=3), hours=1)
    st.cache_data.clear()
    assert "No forecast yet. The inference pipeline makes the first at" in said(show(settings))
    workspace.storage.log.write_forecasts(some_forecasts(workspace, 1))
    st.cache_data.clear()
    assert "which is past. The inference pipeline runs again at" in said(show(settings))
