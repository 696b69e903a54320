"""The explainer as a child process beside a local predictor: started, not waited for, stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptosentinel.config import Settings

HOST = "127.0.0.1"


@dataclass
class ExplainerProcess:
    """An explainer, which may still load. As a context manager it is stopped at the end."""

    process: subprocess.Popen[bytes]
    log_path: Path | None

    @property
    def running(self) -> bool:
        """Whether it has not ended; its worker may be away for a moment."""
        return self.process.poll() is None

    def stop(self, grace_s: float = 15.0) -> None:
        """Ends it."""
        self.process.terminate()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> ExplainerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def with_explainer(settings: Settings) -> Settings:
    """The settings with the address where `start_explainer` will put an explainer.

    That is `serving.explainer_port`, or, where it was not named and is taken, any free port: only the predictor asks
    there.
    """
    port = settings.serving.explainer_port
    if "explainer_port" not in settings.serving.model_fields_set and not _is_free(port):
        port = 0
    url = f"http://{HOST}:{port or _free_port()}"
    return settings.model_copy(update={"serving": settings.serving.model_copy(update={"explainer_url": url})})


def start_explainer(
    settings: Settings,
    *,
    bundle: Path | None = None,
    bundle_version: int | None = None,
    store_root: Path | None = None,
    log_path: Path | None = None,
) -> ExplainerProcess:
    """Starts an explainer, and does not wait for it: until it has loaded, the predictor says so to whoever asks.

    It ends by itself when this process is gone. It stays out of this process's group: Ctrl-C leaves its end to us.

    Args:
        settings: of `with_explainer`.
        bundle: explain this folder.
        bundle_version: its version, where it does not say.
        store_root: explain what the predictor of this market's folder has fetched.
        log_path: where what it prints is appended; else it prints where this process does.
    """
    serving = settings.serving
    what = ["--bundle", str(bundle.resolve())] if bundle else ["--store-root", str((store_root or Path()).resolve())]
    if bundle_version is not None:
        what += ["--bundle-version", str(bundle_version)]
    command = [
        *(sys.executable, "-m", "serving.explainer", *what),
        *("--host", HOST, "--port", str(urlsplit(serving.explainer_url or "").port)),
        *("--log-level", settings.log_level, "--log-format", serving.log_format),
        *("--parent-pid", str(os.getpid())),
    ]
    if log_path is None:
        return ExplainerProcess(_start(command, None), None)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        return ExplainerProcess(_start(command, log.fileno()), log_path)


def _start(command: list[str], output: int | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)


def _is_free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
