"""Builds the images once for all tests of this room."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptosentinel import __version__
from tests.images.containers import docker

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def image() -> Callable[[str], str]:
    """Gives an image's tag by its name; it is built when it is first asked for."""
    if not shutil.which("docker") or not docker("info", "--format", "{{.ServerVersion}}", check=False):
        pytest.skip("no Docker engine answers")
    built: dict[str, str] = {}

    def build(name: str) -> str:
        if name not in built:
            done = subprocess.run(
                ["make", "images", f"IMAGES={name}"], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            print(done.stdout)
            built[name] = f"cryptosentinel/{name}:{__version__}-python3.11"
        return built[name]

    return build
