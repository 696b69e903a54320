"""What is checked before anything starts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest

from manifests.kind import machine
from manifests.kind.pins import ROOT, TOOLS
from tests.kind.conftest import PROGRAMS, World


def refused(world: World, *arguments: str) -> str:
    code, said = world.run("up", *arguments)
    assert code == 1
    assert world.asked("kind create") == []
    return said


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_missing_program_is_named_with_the_way_to_get_it(world: World, program: str) -> None:
    (world.folder / "bin" / program).unlink()
    said = refused(world)
    tool = next(tool for tool in TOOLS if tool.name == program)
    assert f"{program} is not installed, {tool.lowest} or newer is needed: {tool.get}" in said


def test_all_that_is_missing_is_said_at_once(world: World) -> None:
    for program in ("kind", "helm"):
        (world.folder / "bin" / program).unlink()
    said = refused(world)
    assert "kind is not installed" in said
    assert "helm is not installed" in said


@pytest.mark.parametrize(
    ("program", "version"), [("docker", "19.03.5"), ("kind", "0.9.0"), ("kubectl", "1.32.4"), ("helm", "3.17.9")]
)
def test_a_version_that_is_too_old_is_named(world: World, program: str, version: str) -> None:
    world.set(versions=world.get("versions") | {program: version})
    assert f"{program} is {version}, " in refused(world)


def test_an_engine_that_does_not_run_is_told_from_one_that_is_missing(world: World) -> None:
    world.set(docker=None)
    said = refused(world)
    assert "Docker's engine does not answer: Cannot connect to the Docker daemon" in said
    assert "Start it" in said


@pytest.mark.parametrize(
    ("too_small", "said"),
    [
        ({"NCPU": 2}, "Docker has 2 CPUs, 4 are needed"),
        ({"MemTotal": 4 * 2**30}, "Docker has 4.0 GiB of memory, 8 are needed"),
    ],
)
def test_too_small_a_machine_is_refused_unless_told_otherwise(world: World, too_small: dict, said: str) -> None:
    world.set(docker=world.get("docker") | too_small)
    assert said in refused(world)
    code, told = world.run("up", "--unchecked")
    assert code == 0
    assert said in told


def test_what_docker_desktop_calls_8_gib_is_enough(world: World) -> None:
    world.set(docker=world.get("docker") | {"MemTotal": int(7.66 * 2**30), "OperatingSystem": "Docker Desktop"})
    assert world.run("up")[0] == 0


def test_much_disk_is_needed_at_first_and_little_later(world: World) -> None:
    world.set(disk_kb=20_000_000)
    assert "Docker has 20 GB of disk free, 30 are needed" in refused(world)
    world.set(disk_kb=40_000_000)
    assert world.run("up")[0] == 0
    world.set(disk_kb=20_000_000)
    assert world.run("up")[0] == 0
    world.set(disk_kb=3_000_000)
    assert "5 are needed" in refused(world)


def test_old_control_groups_are_refused_for_a_kubernetes_that_refuses_them(world: World) -> None:
    world.set(docker=world.get("docker") | {"CgroupVersion": "1"})
    assert "make kind-up KUBERNETES=1.34" in refused(world)
    assert world.run("up", "--kubernetes", "1.34")[0] == 0


def test_a_port_that_others_listen_on_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        machine_ports = machine.ports
        try:
            machine.ports = lambda: {30501: port}
            assert f"Port {port} cannot be had" in machine.port_faults()[0]
        finally:
            machine.ports = machine_ports


def test_the_tool_needs_nothing_but_python() -> None:
    code = "import sys; sys.path.insert(0, '.'); import manifests.kind.__main__; print('ok')"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code], cwd=ROOT, capture_output=True, text=True, env={}, check=True
    )
    assert done.stdout == "ok\n"


def test_make_runs_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    make = shutil.which("make", path=os.defpath)
    if not make:
        pytest.skip("there is no make")
    monkeypatch.setenv("PATH", f"{world.folder / 'bin'}{os.pathsep}{os.defpath}")
    world.set(docker=None)
    done = subprocess.run([make, "kind-up"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "Docker's engine does not answer" in done.stderr
