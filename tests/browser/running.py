"""The real app over a demo's store, its pages, and the machine's browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dashboard.page_list import PAGES

ROOT = Path(__file__).resolve().parents[2]
PYTHON = str(ROOT / ".venv" / "bin" / "python")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ANY_PORT = ("serving.http_port", "serving.grpc_port", "serving.explainer_port", "dashboard.port")


def browser_path() -> str | None:
    """The machine's Chromium, or what CHROMIUM names; None where there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in BROWSERS if (found := shutil.which(name))), None)


def pages() -> dict[str, str]:
    """The title of each page, by its address."""
    return {each.address: each.title for listed in PAGES.values() for each in listed}


def printed(module: str) -> str:
    """What a module prints, run in the environment that the project runs in."""
    ran = subprocess.run([PYTHON, "-m", module], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout.strip()


@contextmanager
def running_demo(home: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    """`cryptosentinel demo` while the block runs; gives its JSON, which names the URLs.

    Args:
        home: its folder.
        arguments: of the command.
    """
    free = [part for name in _ANY_PORT for part in ("--set", f"{name}=0")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRYPTOSENTINEL_")}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [PYTHON, "-m", "cryptosentinel.cli", "demo", "--json", "--home", str(home), *free, *arguments],
            cwd=ROOT,
            env=kept | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        try:
            summary = _first_json(process)
            if summary is None:
                said.seek(0)
                raise RuntimeError(f"The demo ended with exit code {process.wait()}:\n{said.read()}")
            yield summary
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
            process.kill()


def _first_json(process: subprocess.Popen[str]) -> dict[str, Any] | None:
    """What it prints once everything runs: an object whose last line is a brace; None where it ended before."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.rstrip() == "}":
            found: dict[str, Any] = json.loads("".join(lines))
            return found
    return None
