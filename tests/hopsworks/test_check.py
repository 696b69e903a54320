"""`cryptosentinel hopsworks check` and `deliver`."""

from __future__ import annotations

import json

import hopsworks
import pytest
from typer.testing import CliRunner

from cryptosentinel.cli import app
from cryptosentinel.cli_hopsworks import add_commands
from cryptosentinel.storage.hopsworks import check
from tests.hopsworks.builders import NEAR, SECRET, settings

STEPS = ["login", "feature store", "insert", "read", "removal", "registry"]


@pytest.fixture(scope="session", autouse=True)
def commands():
    add_commands(app)


def run(*arguments: str):
    sets = [part for name, value in NEAR.items() for part in ("--set", f"{name}={value}")]
    return CliRunner().invoke(app, ["hopsworks", *arguments, *sets])


def test_a_project_that_works_passes_every_step_and_is_left_as_it_was(double, cluster):
    steps = list(check(settings().hopsworks, double.login))
    assert [(step.name, step.ok, step.remedy) for step in steps] == [(name, True, "") for name in STEPS]
    assert cluster.groups == {}
    assert cluster.models == {}


@pytest.mark.parametrize(
    ("faults", "failed"),
    [
        (["expired"], "login"),
        # The trial's feature group is made by the insert, which looks at what came of it.
        (["", "down"], "insert"),
        (["", "partial"], "insert"),
        (["", "lost answer"], "insert"),
        (["", "", "", "busy"], "read"),
        (["", "", "", "", "", "down"], "registry"),
    ],
    ids=str,
)
def test_what_fails_ends_it_and_no_feature_group_is_left(faults, failed, double, cluster):
    cluster.faults = iter(faults)
    steps = list(check(settings().hopsworks, double.login))
    bad = [step for step in steps if not step.ok]
    assert [step.name for step in bad] == [failed]
    assert bad[0].remedy
    assert cluster.groups == {}


def test_a_feature_group_that_cannot_be_removed_is_named(double, cluster):
    cluster.faults = iter(["", "", "", "", "down"])
    (removal,) = (step for step in check(settings().hopsworks, double.login) if not step.ok)
    ((name, _),) = cluster.groups
    assert removal.name == "removal"
    assert name in removal.remedy


def test_the_command_says_it_for_people_and_for_machines(double, cluster, monkeypatch):
    monkeypatch.setattr(hopsworks, "login", double.login)
    told = run("check")
    assert told.exit_code == 0
    assert [
        line.split(":")[0].split(maxsplit=1)[1] for line in told.stdout.splitlines() if line.startswith("ok")
    ] == STEPS
    cluster.faults = iter(["expired"])
    answer = run("check", "--json")
    assert answer.exit_code == 1
    (step,) = json.loads(answer.stdout)
    assert (step["name"], step["ok"]) == ("login", False)
    assert SECRET not in answer.output


def test_delivering_needs_the_backend(tmp_path):
    answer = CliRunner().invoke(app, ["hopsworks", "deliver", "--home", str(tmp_path), "--source", "simulated:0"])
    assert answer.exit_code != 0
