"""`cryptosentinel pipelines ...` against the double."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cryptosentinel.errors import PipelineError, UserInputError
from pipelines.kubeflow import commands
from tests.kubeflow.builders import CLUSTER
from tests.kubeflow.double import Double

app = typer.Typer()
commands.add_commands(app)
NAMES = ["feature", "training", "inference", "upkeep"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, double: Double) -> None:
    double.now = datetime.now(UTC)  # the commands know no other clock
    for name, value in (CLUSTER | {"kubeflow.url": double.url}).items():
        monkeypatch.setenv(f"CRYPTOSENTINEL_{name.upper().replace('.', '__')}", value)


def call(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)  # nothing else is on standard output


def test_from_upload_to_removal(double: Double) -> None:
    assert [one["action"] for one in call("submit", "--dry-run")] == ["upload"] * 4
    assert double.writes == []
    assert [one["action"] for one in call("submit")] == ["upload"] * 4
    assert [one["state"] for one in call("status")] == ["off"] * 4

    made = sorted((one["kind"], one["action"]) for one in call("schedule"))
    assert made == [("schedule", "create")] * 4 + [("version", "keep")] * 4
    before = len(double.writes)
    assert {one["action"] for one in call("schedule")} == {"keep"}
    assert len(double.writes) == before  # unchanged: no write

    double.advance(900)
    found = call("status", "--last", "1")
    assert [(one["pipeline"], one["state"]) for one in found] == [(name, "scheduled") for name in NAMES]
    assert found[0]["runs"][0]["state"] in {"SUCCEEDED", "RUNNING"}
    shown = [run["id"] for one in call("status") for run in one["runs"]]
    assert len(shown) == len(set(shown)) == len(double.runs) >= 4  # each with its own pipeline
    assert found[0]["cron"] == "0 */5 * * * *"
    changed = call("status", "--set", "schedules.feature=0 */10 * * * *")
    # The inference step watches that pipelines run when they should, so it is told all schedules.
    assert [one["state"] for one in changed] == ["changed", "scheduled", "changed", "scheduled"]

    assert call("prune") == {"runs": [], "schedules": [], "versions": []}
    assert {one["action"] for one in call("schedule", "--remove", "--dry-run")} == {"disable", "delete"}
    assert len(double.recurring) == 4
    call("schedule", "--remove", "--wait", "0")
    assert double.recurring == {}


def test_a_run_by_hand(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.time, "sleep", lambda _: double.advance(60))
    started = call("run", "inference", "--wait")
    assert started["state"] == "SUCCEEDED"
    assert started["url"] == f"{double.url}/#/runs/details/{started['id']}"
    (run,) = double.runs.values()
    assert json.loads(run.parameters["settings"])["market"]["source"] == "simulated:7"
    assert len(double.pipelines) == 1  # the others are not uploaded for it


def test_a_run_that_fails_is_said(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: float) -> None:
        for run in double.runs.values():
            run.state = "FAILED"

    monkeypatch.setattr(commands.time, "sleep", fail)
    with pytest.raises(
        PipelineError, match=r"'feature' failed: its run ended as FAILED. See http://.*/#/runs/details/"
    ):
        call("run", "feature", "--wait")


def test_for_people_it_is_text() -> None:
    runner = CliRunner()
    text = runner.invoke(app, ["schedule", "--dry-run"], catch_exceptions=False)
    assert "feature    version   upload " in text.output
    assert "Nothing was written" in text.output
    runner.invoke(app, ["schedule"], catch_exceptions=False)
    status = runner.invoke(app, ["status"], catch_exceptions=False).output
    assert "scheduled" in status
    assert "none yet" in status
    assert "Would delete 0 runs" in runner.invoke(app, ["prune", "--dry-run"], catch_exceptions=False).output


def test_without_kubeflow_nothing_runs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRYPTOSENTINEL_KUBEFLOW__URL")
    for arguments in (["run", "feature"], ["schedule"], ["status"], ["prune"], ["submit"]):
        with pytest.raises(UserInputError, match="`cryptosentinel run NAME`"):
            CliRunner().invoke(app, arguments, catch_exceptions=False)
