"""`cryptosentinel rollout`, and the registration step, against the API."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner, Result

from cryptosentinel.bundle import BLEND, MANIFEST, Bundle, DataWindow, Gate
from cryptosentinel.cli import app
from cryptosentinel.errors import RolledBackError
from cryptosentinel.forecasting import register_bundle
from cryptosentinel.forecasting.evaluation import SHRUNK
from cryptosentinel.workspace import open_workspace
from serving.commands import add_commands
from serving.rollout import in_use, promoter
from tests.builders import T0, make_tiny_bundle, settings_of
from tests.rollout.conftest import STORE, World
from tests.rollout.objects import NAME, NAMESPACE
from tests.serving.builders import SPEC

if "rollout" not in {command.name or command.callback.__name__ for command in app.registered_commands}:
    add_commands(app)
NAMES = {
    "market.source": "simulated:3",
    "rollout.inference_service": NAME,
    "rollout.store_uri": STORE,
    "rollout.timeout_s": "3",
}

DATA = DataWindow(
    **dict.fromkeys(("start", "training_end", "holdout_start", "end"), T0),
    **dict.fromkeys(("training_rows", "oof_rows", "holdout_rows", "bars_version", "features_version"), 1),
)


@pytest.fixture
def home(world: World) -> str:
    """A market's home with a random walk, which is champion, and a version 1; the service serves neither."""
    home = world.workspace.settings.home / "home"
    workspace = open_workspace(settings_of(home=str(home), market__source="simulated:3"))
    champion = workspace.champion()
    made = make_tiny_bundle(home / "made", workspace.spec).path
    workspace.storage.registry.register(made, metrics={}, verdict="passed: not champion yet; good")
    assert champion.version == 0
    world.api.point_at(None)
    return str(home)


def rollout(home: str, *arguments: str) -> Result:
    given = [part for name, value in NAMES.items() for part in ("--set", f"{name}={value}")]
    return CliRunner().invoke(app, ["rollout", "--home", home, *given, *arguments])


def test_the_service_is_led_to_the_champion_once(world: World, home: str) -> None:
    assert "would serve version 0, in the place of another bundle." in rollout(home, "--dry-run").output
    assert world.api.writes() == []
    assert (
        rollout(home).output.strip().endswith(f"{NAMESPACE}/{NAME} serves version 0, in the place of another bundle.")
    )
    assert world.api.storage_uri == f"{STORE}/bundles/{(world.api.storage_uri or '').rpartition('/')[2]}"
    writes = len(world.api.writes())
    assert rollout(home).output == f"{NAMESPACE}/{NAME} serves version 0 already.\n"
    assert len(world.api.writes()) == writes


def test_a_version_is_made_champion_and_json_tells(world: World, home: str) -> None:
    rollout(home)
    ran = rollout(home, "--version", "1", "--json")
    assert json.loads(ran.stdout) == {
        "inference_service": f"{NAMESPACE}/{NAME}",
        "outcome": "rolled out",
        "version": 1,
        "before": 0,
        "storage_uri": world.api.storage_uri,
    }
    assert json.loads(rollout(home, "--json").stdout)["outcome"] == "unchanged"


def test_a_failure_is_an_error_that_says_why(world: World, home: str) -> None:
    rollout(home)
    world.api.asleep = True
    ran = rollout(home, "--version", "1", "--set", "rollout.timeout_s=0.2")
    assert isinstance(ran.exception, RolledBackError)
    assert "is its controller running" in ran.exception.message


def test_a_bundle_that_passes_the_gate_serves_before_it_is_champion(world: World) -> None:
    """What the step `register` does; at first no pod answers as the bundle does."""
    gate = Gate(promote=True, champion=BLEND, reasons=["good"], figures={"blend_may_speak": 1, "look_tested": 1})
    made = make_tiny_bundle(world.workspace.settings.home / "third", SPEC)
    changed = {"gate": gate, "metrics": {SHRUNK: {}}, "data": DATA}
    (made.path / MANIFEST).write_text(made.manifest.model_copy(update=changed).model_dump_json())
    bundle = Bundle.load(made.path)
    world.wrong.add("all")
    registered, promoted = register_bundle(world.registry, bundle, promoter(world.workspace))
    assert (registered.version, promoted, world.champion) == (3, False, 1)
    assert registered.verdict.startswith("rolled back: Version 3 did not come to serve in release/cs: The trial of")
    assert registered.verdict.endswith("It serves version 1 again; good")
    world.wrong.clear()
    registered, promoted = register_bundle(world.registry, bundle, promoter(world.workspace))
    assert (registered.version, promoted, world.champion) == (3, True, 3)
    assert registered.verdict == "promoted: good"
    assert world.api.storage_uri == world.uri(3)


def test_what_serves_and_what_is_tried_is_in_use(world: World) -> None:
    assert in_use(world.workspace) == {1: f"serves in {NAMESPACE}/{NAME}"}
    world.api.point_at(None)
    assert in_use(world.workspace) == {}
    world.api.rules = []
    assert "it is not known what serves" in in_use(world.workspace)
    alone = world.workspace.settings.rollout.model_copy(update={"inference_service": None})
    assert (
        in_use(replace(world.workspace, settings=world.workspace.settings.model_copy(update={"rollout": alone}))) == {}
    )
