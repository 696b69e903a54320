"""The three pipelines with each step in the image, beside a predictor in its own, and no way to the internet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cryptosentinel.config import Settings, load_settings
from cryptosentinel.forecasting import part_names
from cryptosentinel.workspace import open_workspace
from tests.images.conftest import ROOT
from tests.images.containers import docker, running
from tests.pipelines.builders import END, SMALL, write_market

AS_OF = END.isoformat()


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    """One that leads nowhere but to those in it."""
    name = f"cryptosentinel-test-{os.getpid()}"
    docker("network", "create", "--internal", name)
    yield name
    docker("network", "rm", name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the steps, which are another user, to write to."""
    folder = tmp_path_factory.mktemp("pipelines")
    for name in ("runs", "workspace"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    write_market(folder / "runs" / "market.parquet", 1_200)
    return folder


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    # What a step sees of this machine is that folder.
    given = {"home": str(folder / "runs" / "home"), "market.source": f"file:{folder / 'runs' / 'market.parquet'}"}
    return load_settings(environ={}, overrides=SMALL | given)


@pytest.fixture(scope="module")
def run(image, network: str, folder: Path) -> Callable[..., str]:
    """Runs a pipeline, and gives what its steps printed."""
    image("pipeline")
    image("drift")

    def run(name: str, settings: Settings, **more: object) -> str:
        parameters = json.dumps({"settings": settings.public_json(), "as_of": AS_OF} | more)
        command = [sys.executable, "-m", "tests.images.run_in_docker", name, str(folder), network, parameters]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    return run


@contextmanager
def predictor_for(image: Callable[[str], str], network: str, settings: Settings) -> Iterator[int]:
    """The predictor of the registry's champion, whose version it gives; its name in the network is `predictor`."""
    workspace = open_workspace(settings)
    version = workspace.champion().version
    bundle = workspace.champion_bundle()
    for path in (bundle, *bundle.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    options = ("--network", network, "--network-alias", "predictor", "--volume", f"{bundle}:/mnt/models:ro")
    command = ("python", "-m", "serving.server", "--bundle", "/mnt/models", "--bundle-version", str(version))
    with running(image("serving"), *command, options=options) as predictor:
        predictor.line("ready")
        yield version


def test_bars_become_a_champion_and_a_forecast(run, image, network, settings):
    run("feature", settings)
    run("training", settings, parts=part_names(settings.training))
    with predictor_for(image, network, settings) as version:
        asked = settings.model_copy(
            update={"serving": settings.serving.model_copy(update={"url": "http://predictor:8080"})}
        )
        said = run("inference", asked)
    assert "served and logged" in said
    (forecast,) = open_workspace(settings).storage.log.read_forecasts(settings.market.asset).to_dict("records")
    assert (forecast["made_at"].to_pydatetime(), forecast["bundle_version"]) == (END, version)


def test_nothing_is_installed_when_a_step_starts(run, settings):
    assert "pip install" not in run("feature", settings)


def test_the_command_line_answers(image):
    said = docker(
        "run",
        "--rm",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--network",
        "none",
        image("pipeline"),
        "cryptosentinel",
        "--help",
    )
    assert "pipelines" in said
