"""The images as the chart runs them: its commands, its settings, its probes, its test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cryptosentinel.bundle.manifest import file_digest
from tests.chart.rendered import CHART, FULLNAME, predictor_spec, scenario, settings_file
from tests.images.conftest import ROOT
from tests.images.containers import RESTRICTED, Container, docker, running

VALUES = scenario("kind")
CONFIG = ("--env", "CRYPTOSENTINEL_CONFIG=/etc/cryptosentinel/settings.yaml")


@pytest.fixture(scope="module")
def mounted(tmp_path_factory) -> tuple[str, ...]:
    """The release's settings where its ConfigMap puts them."""
    folder = tmp_path_factory.mktemp("settings")
    folder.chmod(0o755)
    (folder / "settings.yaml").write_text(settings_file(VALUES))
    return ("--volume", f"{folder}:/etc/cryptosentinel:ro", *CONFIG)


def command(container: dict[str, Any]) -> list[str]:
    return [*container.get("command", ()), *container.get("args", ())]


@pytest.fixture(scope="module")
def predictor(image, mounted) -> Iterator[Container]:
    """Both containers of a pod that no model was promoted to yet."""
    by_name = {container["name"]: container for container in predictor_spec(VALUES)["containers"]}
    serving = image("serving")
    with running(serving, *command(by_name["kserve-container"]), options=("--network", "none", *mounted)) as predictor:
        beside = ("--network", f"container:{predictor.id}")
        with running(serving, *command(by_name["explainer"]), options=beside):
            predictor.line("ready")
            yield predictor


def test_probes_are_answered(predictor):
    (container,) = (each for each in predictor_spec(VALUES)["containers"] if each["name"] == "kserve-container")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        url = f"http://127.0.0.1:{asked['port']}{asked['path']}"
        assert predictor.python(f"from urllib.request import urlopen; print(urlopen({url!r}).status)") == "200"


def test_helm_test_passes(image, predictor):
    script = CHART / "files" / "smoke.py"
    said = docker(
        "run", "--rm", *RESTRICTED, "--network", f"container:{predictor.id}", "--volume", f"{script}:/smoke.py:ro",
        image("serving"), "python", "/smoke.py", "http://127.0.0.1:8080", FULLNAME, "90",
    )  # fmt: skip
    assert said.count("ok: ") == 2


def in_pipeline(image, *arguments: str, options: tuple[str, ...] = ()) -> str:
    return docker("run", "--rm", *RESTRICTED, "--network", "none", *options, image("pipeline"), *arguments)


def test_pipelines_are_compiled_in_the_image_as_they_are_committed(image):
    said = in_pipeline(
        image, "sh", "-c", "cryptosentinel pipelines compile --output /tmp/to >&2 && cd /tmp/to && sha256sum *"
    )
    committed = sorted((ROOT / "manifests" / "pipelines").glob("*.yaml"))
    assert [line.split() for line in said.splitlines()] == [[file_digest(path), path.name] for path in committed]


def test_the_setup_job_s_commands_read_the_release_s_settings(image, mounted):
    said = in_pipeline(image, "cryptosentinel", "settings", "--json", options=mounted)
    assert json.loads(said)["rollout"]["inference_service"] == FULLNAME
    for arguments in (["pipelines", "schedule"], ["rollout"]):
        assert "--dry-run" in in_pipeline(image, "cryptosentinel", *arguments, "--help", options=mounted)
