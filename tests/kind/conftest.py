"""A machine whose docker, kind, kubectl, helm, git and make are stand-ins."""

from __future__ import annotations

import marshal
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from manifests.kind import __main__ as tool
from manifests.kind import cluster, commands, installing, machine, reporting, watching

PROGRAMS = ("docker", "kind", "kubectl", "helm", "git", "make")
READY = {
    "metadata": {"name": "ml-pipeline", "namespace": "kubeflow", "generation": 1},
    "spec": {"replicas": 1},
    "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
}


class World:
    """What the stand-ins share, and the tool that is run in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys, self._file = folder, capsys, folder / "world"
        self.set(
            asked=[],
            fails=[],
            dies=[],
            versions={"docker": "28.0.1", "kind": "0.33.0", "kubectl": "1.35.2", "helm": "4.1.0", "git": "2.43.0"},
            docker={
                "NCPU": 4,
                "MemTotal": 8 * 2**30,
                "CgroupVersion": "2",
                "DockerRootDir": str(folder / "elsewhere"),
                "OperatingSystem": "Debian",
                "Architecture": "x86_64",
            },
            disk_kb=40_000_000,
            cluster=None,
            releases={},
            images={},
            content="one",
            applied=[],
            loaded=[],
            objects={"deployments": [READY]},
        )

    def keep(self, folder: Path) -> None:
        """Copies all there is of it, for others to begin with."""
        shutil.copytree(self.folder / "work", folder / "work")
        shutil.copy(self._file, folder)

    def begin_with(self, folder: Path) -> None:
        """Takes what another one kept."""
        shutil.copytree(folder / "work", self.folder / "work")
        shutil.copy(folder / self._file.name, self._file)

    def get(self, name: str) -> Any:
        """A part of the world."""
        return marshal.loads(self._file.read_bytes())[name]

    def set(self, **parts: Any) -> None:
        """Changes parts of it."""
        there = marshal.loads(self._file.read_bytes()) if self._file.exists() else {}
        self._file.write_bytes(marshal.dumps(there | parts))

    def run(self, *arguments: str) -> tuple[int, str]:
        """The tool's exit status, and what it said. What was asked is counted from here."""
        self.set(asked=[])
        code = tool.main(arguments)
        said = self.capsys.readouterr()
        return code, said.out + said.err

    def asked(self, beginning: str = "") -> list[str]:
        """Commands of the last run."""
        return [line for line in self.get("asked") if line.startswith(beginning)]

    def state(self) -> dict[str, Any]:
        """What is left when all is done."""
        return {name: self.get(name) for name in ("cluster", "releases", "applied", "loaded")}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> World:
    programs = tmp_path / "bin"
    programs.mkdir()
    load = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import standin"
    for name in PROGRAMS:
        script = f'#!/bin/sh\nexec {sys.executable} -IS -c "{load}" {tmp_path / "world"} {name} "$@"\n'
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    (programs / "sh").symlink_to(shutil.which("sh"))
    monkeypatch.setenv("PATH", str(programs))
    for module in (tool, cluster, commands, installing, machine, reporting, watching):
        if hasattr(module, "WORK"):
            monkeypatch.setattr(module, "WORK", tmp_path / "work")
    monkeypatch.setattr(cluster, "POLL_S", 0.01)
    monkeypatch.setattr(watching, "POLL_S", 0.01)
    monkeypatch.setattr(machine, "port_faults", list)
    return World(tmp_path, capsys)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished")


@pytest.fixture
def finished(world: World, kept: Path) -> World:
    """Where everything has been installed; done once for all."""
    if (kept / "work").exists():
        world.begin_with(kept)
    else:
        assert world.run("up")[0] == 0
        world.keep(kept)
    return world
