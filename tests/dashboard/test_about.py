"""The last page: the state of each part, figures with their source, versions and licences."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from cryptosentinel import __version__
from cryptosentinel.bundle import Manifest
from cryptosentinel.monitoring.status import PipelineRun, Problem
from cryptosentinel.workspace import Workspace
from dashboard.charts.about import diagram
from dashboard.data.about import STATES, Now, Part, figures, licence_of, licences, parts, read_now, versions
from dashboard.zone import UTC_ZONE
from tests.dashboard.builders import settings_for, with_bars, with_forecasts


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A market with forecasts, only read."""
    return with_forecasts(settings_for(tmp_path_factory.mktemp("about")), datetime.now(UTC))


@pytest.fixture(scope="module")
def now(workspace: Workspace) -> Now:
    return read_now(workspace)


def states(now: Now) -> dict[str, str]:
    return {part.name: part.state for part in parts(now.status, UTC_ZONE)}


def test_each_part_is_as_the_status_says(now: Now) -> None:
    calm = replace(now.status, problems=())
    seen = states(Now(calm, None))
    assert seen["Market"] == seen["Feature store"] == seen["Forecast log"] == seen["Alerts"] == "ok"
    assert seen["Drift check"] == "nothing"
    assert {name: seen[f"{name} pipeline"] for name in ("Feature", "Training", "Inference")} == {
        "Feature": "nothing",
        "Training": "nothing",
        "Inference": "nothing",
    }
    wrong = replace(calm, problems=(Problem("market", "no bars", "wait"),))
    assert states(Now(wrong, None))["Market"] == "problem"
    assert states(Now(wrong, None))["Feature store"] == "ok"


@pytest.mark.parametrize(
    ("outcome", "state", "says"),
    [("ok", "ok", "ended at"), ("failed", "problem", "step x"), ("running", "running", "x")],
)
def test_a_pipeline_is_as_its_newest_run(now: Now, outcome: str, state: str, says: str) -> None:
    at = now.status.as_of
    runs = tuple(PipelineRun(run.pipeline, outcome, "x", "", at, at, at) for run in now.status.pipelines)
    part = next(
        part for part in parts(replace(now.status, pipelines=runs), UTC_ZONE) if part.name == "Training pipeline"
    )
    assert part.state == state
    assert says in part.says


def test_figures_say_what_they_were_measured_on(now: Now) -> None:
    ((on, rows),) = figures(now, UTC_ZONE).items()
    accuracy = now.status.accuracy
    assert on.startswith(f"{accuracy.settled:,} settled forecasts")
    assert rows["Prices within the 80% range"].startswith(f"{accuracy.covered[80].value:.1%}")


def test_a_champion_that_has_learnt_shows_its_last_block(now: Now) -> None:
    assert now.manifest is not None
    data = {
        **dict.fromkeys(["start", "training_end", "holdout_start", "end"], datetime(2025, 1, 6, tzinfo=UTC)),
        **dict.fromkeys(["training_rows", "oof_rows", "holdout_rows"], 1234),
        **dict.fromkeys(["bars_version", "features_version"], 1),
    }
    metrics = {"spread": {"coverage_80": 0.79}, "random_walk": {"skill": 0.0}, "shrunk": {"skill": 0.5}}
    learnt = Manifest.model_validate(now.manifest.model_dump() | {"data": data, "metrics": metrics})
    block = [rows for on, rows in figures(Now(now.status, learnt), UTC_ZONE).items() if "1,234 rows" in on]
    assert block == [{"Squared error below the random walk's": "+0.00%", "Prices within the 80% range": "79.0%"}]


def test_the_diagram_is_a_snake_whose_arrows_lead_from_each_box_to_the_next() -> None:
    boxes = [Part(f"part {number}", "", "ok", "", f"page{number}") for number in range(6)]
    drawn = diagram(boxes, columns=3)
    places = re.findall(r'<li class="(\w*)" style="grid-row: (\d); grid-column: (\d)"', drawn)
    assert places == [
        *(("right", "1", "1"), ("right", "1", "2"), ("down", "1", "3")),
        *(("left", "2", "3"), ("left", "2", "2"), ("", "2", "1")),
    ]


def test_the_diagram_keeps_the_zone_in_its_links_and_escapes_what_it_is_given() -> None:
    drawn = diagram([Part("<b>", "&", "problem", '"x"', "drift")], {"zone": "GMT+5"})
    assert 'href="drift?zone=GMT%2B5"' in drawn
    assert "&lt;b&gt;" in drawn
    assert "<b>" not in drawn
    sign, word = STATES["problem"]
    assert f"{sign} {word}: &quot;x&quot;" in drawn


def test_versions_are_of_what_runs_and_of_the_champion(now: Now) -> None:
    found = versions(now).set_index("what")
    assert found.loc["cryptosentinel", "this dashboard"] == __version__
    assert found.loc["streamlit", "this dashboard"] == st.__version__
    assert now.manifest is not None
    assert found.loc["numpy", "the champion"] == now.manifest.libraries["numpy"]


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ({"License-Expression": "MIT", "License": "other"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, "BSD License"),
        ({"License": "Apache 2.0\nand its text"}, "Apache 2.0"),
        ({}, "not said"),
    ],
)
def test_a_licence_is_what_the_package_says(said: dict[str, str], licence: str) -> None:
    metadata = Message()
    for name, value in said.items():
        metadata[name] = value
    assert licence_of(SimpleNamespace(metadata=metadata)) == licence


def test_licences_are_of_all_that_is_installed() -> None:
    found = licences().set_index("package")["licence"]
    assert found["streamlit"] == "Apache-2.0"
    assert len(found) > 50


@pytest.mark.parametrize("state", ["full", "young"])
def test_the_page_in_each_of_its_states(
    state: str, workspace: Workspace, tmp_path: Path, look: Callable[..., AppTest]
) -> None:
    settings = workspace.settings if state == "full" else settings_for(tmp_path)
    if state == "young":
        with_bars(settings, datetime.now(UTC))
    page = look(settings, "about", framed=True)
    assert not page.error
    headers = [header.value for header in page.header]
    assert headers[:2] == ["What this is", "Each part, as it is now"]
    told = " ".join(each.value for each in page.markdown)
    assert ("settled forecasts" in told) == (state == "full")
    assert ("Nothing has been measured yet" in told) == (state != "full")
