"""What holds for the house as a whole."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = sorted(
    path.parent.name
    for path in (ROOT / "cryptosentinel").glob("*/__init__.py")
    if any(module.name != "__init__.py" for module in path.parent.glob("*.py"))
)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_lists_what_it_offers(room: str) -> None:
    face = importlib.import_module(f"cryptosentinel.{room}")
    assert [name for name in face.__all__ if not hasattr(face, name)] == []


def test_help_lists_every_target() -> None:
    if not shutil.which("make"):
        pytest.skip("there is no make")
    makefile = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY:((?:.*\\\n)*.*)", makefile, re.MULTILINE)[0].replace("\\\n", " ").split()
    help_ = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^  ([a-z0-9-]+) ", help_, re.MULTILINE))
    assert set(phony) - listed == {"environment", "drift-environment"}


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.in")), ids=lambda path: path.stem)
def test_every_requirement_is_locked_with_its_hashes(path: Path) -> None:
    lock = path.with_suffix(".txt").read_text()
    asked_for = set(re.findall(r"^([A-Za-z][\w.-]*)", path.read_text().lower(), re.MULTILINE))
    locked = re.findall(r"^([\w.-]+)==[^\n]*\\\n    --hash=sha256:", lock, re.MULTILINE)
    assert asked_for <= set(locked)
    assert len(locked) == len(re.findall(r"^\S+==", lock, re.MULTILINE))


def test_what_the_code_imports_is_named_in_the_requirements() -> None:
    code = ("cryptosentinel", "components", "pipelines", "serving", "dashboard")
    imported: set[str] = set()
    for path in (path for room in code for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(str(node.module).split(".")[0])
    named = set(re.findall(r"^([a-z][\w.-]*)", (ROOT / "requirements" / "main.in").read_text(), re.MULTILINE))
    brought_by = packages_distributions()
    others = imported - set(sys.stdlib_module_names) - set(code)
    assert {
        name for name in others if not named & {dist.lower().replace("_", "-") for dist in brought_by[name]}
    } == set()


@pytest.mark.parametrize("name", ["core", "serving", "pipeline", "dashboard"])
def test_an_image_has_the_versions_that_are_tested(name: str) -> None:
    def locked(lock: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==\S+)", (ROOT / "requirements" / f"{lock}.txt").read_text(), re.MULTILINE))

    assert locked(name) <= locked("main")
