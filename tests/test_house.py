"""What holds for the house as a whole."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
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
    assert set(phony) - set(re.findall(r"^  ([a-z-]+) ", help_, re.MULTILINE)) == {"environment", "drift-environment"}


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.in")), ids=lambda path: path.stem)
def test_every_requirement_is_locked_with_its_hashes(path: Path) -> None:
    lock = path.with_suffix(".txt").read_text()
    asked_for = set(re.findall(r"^([A-Za-z][\w.-]*)", path.read_text().lower(), re.MULTILINE))
    locked = re.findall(r"^([\w.-]+)==[^\n]*\\\n    --hash=sha256:", lock, re.MULTILINE)
    assert asked_for <= set(locked)
    assert len(locked) == len(re.findall(r"^\S+==", lock, re.MULTILINE))
