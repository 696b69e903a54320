"""Runs and logs of this machine, and the command that shows and deletes what is not kept."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cryptosentinel.config import RetentionSettings
from cryptosentinel.workspace import Workspace, open_workspace, remember
from pipelines.keeping import Gone, prune_machine
from pipelines.prune_command import prune_all
from tests.builders import settings_of
from tests.storage.builders import bundle


def make_runs(root: Path, pipeline: str, count: int) -> None:
    for number in range(count):
        folder = root / "runs" / f"{pipeline}-20250101T0000{number:02d}"
        folder.mkdir(parents=True)
        (folder / "log.txt").write_text("x" * 100)


def names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "runs").iterdir())


def test_of_each_pipeline_the_newest_runs_stay_and_those_under_way(tmp_path: Path) -> None:
    make_runs(tmp_path, "feature", 5)
    make_runs(tmp_path, "training", 2)
    (tmp_path / "runs" / "feature-20250101T000001" / "tmp").mkdir()
    killed = tmp_path / "runs" / "feature-20250101T000002" / "tmp"
    killed.mkdir()
    os.utime(killed, (time.time() - 90_000,) * 2)
    rules = RetentionSettings(runs=2)
    would = prune_machine(tmp_path, rules, dry_run=True)
    assert would == [Gone("run", f"feature-20250101T00000{n}", 100) for n in (0, 2)]
    assert len(names(tmp_path)) == 7
    assert prune_machine(tmp_path, rules) == would
    assert names(tmp_path) == [
        *(f"feature-20250101T00000{n}" for n in (1, 3, 4)),
        *(f"training-20250101T00000{n}" for n in (0, 1)),
    ]


def test_a_log_that_grew_too_large_begins_anew_under_whoever_writes_it(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "explainer.log").write_text("small\n")
    with (tmp_path / "logs" / "predictor.log").open("ab", buffering=0) as log:
        log.write(b"x" * 1_100_000 + b"\n")
        gone = prune_machine(tmp_path, RetentionSettings(log_mb=1))
        log.write(b"goes on\n")
    assert gone == [Gone("log", "predictor.log", 1_100_001)]
    assert (tmp_path / "logs" / "predictor.log").read_text() == "goes on\n"
    assert (tmp_path / "logs" / "predictor.log.1").stat().st_size == 1_100_001
    assert (tmp_path / "logs" / "explainer.log").read_text() == "small\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A market with the random walk and three versions of long ago."""
    workspace = open_workspace(settings_of(home=str(tmp_path), market__source="simulated"))
    workspace.champion()
    long_ago = workspace.storage.registry.at(datetime(2020, 1, 1, tzinfo=UTC))
    for content in "abc":
        long_ago.register(bundle(tmp_path / "made" / content, content), metrics={}, verdict="refused: x")
    remember(workspace)
    make_runs(workspace.root, "inference", 4)
    return workspace


def call(workspace: Workspace, *arguments: str) -> str:
    import typer

    app = typer.Typer()
    app.command()(prune_all)
    rules = ["--set", "retention.bundles=1", "--set", "retention.runs=2"]
    done = CliRunner().invoke(
        app,
        ["--home", str(workspace.settings.home), *rules, *arguments],
        catch_exceptions=False,
        env={"COLUMNS": "120"},
    )
    assert done.exit_code == 0
    return done.stdout


def test_the_command_says_what_would_go_and_why_the_rest_stays_and_then_does_it(workspace: Workspace) -> None:
    shown = call(workspace, "--dry-run")
    assert shown.count("would go") == 4
    assert "the random walk, which everything falls back to" in " ".join(shown.split()) or "the champion" in shown
    before: dict[str, Any] = json.loads(call(workspace, "--dry-run", "--json"))
    done = json.loads(call(workspace, "--json"))
    assert before | {"dry_run": False} == done
    assert [(thing["kind"], thing["name"]) for thing in done["deleted"]] == [
        ("bundle", "version 1"),
        ("bundle", "version 2"),
        ("run", "inference-20250101T000000"),
        ("run", "inference-20250101T000001"),
    ]
    assert {thing["name"]: thing["stays"] for thing in done["kept"]} == {
        "version 0": "the champion",
        "version 3": "one of the 1 newest",
    }
    assert done["bytes"] == sum(thing["bytes"] for thing in done["deleted"]) > 0
    assert set(workspace.storage.registry.sizes()) == {0, 3}
    assert json.loads(call(workspace, "--json"))["deleted"] == []
