"""Predictors as processes, started as people and containers start them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cryptosentinel.config import Settings, load_settings

REPOSITORY = Path(__file__).parents[2]


def settings_for(home: Path, **serving: object) -> Settings:
    """Settings of a predictor on free ports."""
    group = {"http_port": 0, "grpc_port": 0, "reload_s": 0.2} | serving
    return load_settings(environ={}, overrides={"home": str(home), "serving": group})


def serve_folder(
    bundle: Path, state: Path, *more: str, log_level: str = "info", **serving: object
) -> subprocess.Popen[str]:
    settings = settings_for(bundle.parent, **serving).model_copy(update={"log_level": log_level}).public_json()
    command = [sys.executable, "-m", "serving.server", "--settings", settings, "--bundle", str(bundle)]
    return subprocess.Popen([*command, "--state", str(state), *more], stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=REPOSITORY, check=False)


def wait_for_line(child: subprocess.Popen[str], word: str) -> str:
    for line in child.stderr:
        if word in line:
            return line
    raise AssertionError(f"it ended without saying {word}")
