"""What holds for every image."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.images.containers import RESTRICTED, docker

# `drift` is `pipeline` and the environment of alibi-detect: a node that has the one pulls 0.4 GB for the other.
MEGABYTES = {"serving": 900, "pipeline": 1300, "dashboard": 700, "drift": 1450, "space": 1900}


@pytest.fixture(params=MEGABYTES, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def tag(image, name) -> str:
    return image(name)


def inspected(tag: str, what: str) -> object:
    return json.loads(docker("image", "inspect", "--format", f"{{{{json .{what}}}}}", tag))


def shell(tag: str, script: str) -> str:
    return docker("run", "--rm", *RESTRICTED, "--network", "none", tag, "sh", "-c", script)


def test_it_is_no_larger_than_it_may_be(tag, name):
    assert inspected(tag, "Size") <= MEGABYTES[name] * 1e6


def test_it_says_what_it_is(tag, name):
    labels = inspected(tag, "Config.Labels")
    said = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert said["title"] == f"cryptosentinel/{name}"
    assert (said["licenses"], said["version"], said["revision"]) == (
        "Apache-2.0",
        tag.split(":")[1].split("-")[0],
        commit,
    )
    assert said["description"]
    assert said["base.name"]


def test_its_user_is_a_number_that_is_not_roots(tag, name):
    user = "1000" if name == "space" else "10001"  # a Space runs as that
    assert inspected(tag, "Config.User") == f"{user}:{user}"
    assert shell(tag, "id -u; id -g").split() == [user, user]


def test_it_holds_no_compiler_and_no_installer_of_ours(tag):
    tools = "gcc cc g++ ld as strip make uv /opt/venv/bin/pip"
    assert shell(tag, f"for tool in {tools}; do command -v $tool; done; true") == ""


def test_nothing_that_it_brings_can_be_changed_by_its_user(tag):
    found = docker("run", "--rm", tag, "sh", "-c", "find /opt /usr/local -not -type l -writable")
    assert found == ""


def test_everything_is_compiled_already(tag):
    code = (
        "import importlib.util, pathlib\n"
        "for folder in ('/opt/venv', '/opt/app'):\n"
        "    for path in pathlib.Path(folder).rglob('*.py'):\n"
        "        if not pathlib.Path(importlib.util.cache_from_source(path)).exists(): print(path)"
    )
    # What Python 3.11 cannot compile is there for other versions, and never imported.
    assert len(docker("run", "--rm", *RESTRICTED, tag, "python", "-c", code).splitlines()) < 10


def test_every_licence_is_still_there(tag):
    """A wheel says in its record which licences it brought."""
    code = (
        "from importlib.metadata import distributions\n"
        "for dist in distributions():\n"
        "    for file in dist.files or ():\n"
        "        if any(word in file.name.lower() for word in ('license', 'licence', 'copying', 'notice')):\n"
        "            if file.suffix != '.py' and 'tests' not in file.parts and not file.locate().exists(): print(file)"
    )
    assert docker("run", "--rm", *RESTRICTED, tag, "python", "-c", code) == ""
