"""The Streamlit dashboard as a child process."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from cryptosentinel.config import DashboardSettings, Settings
from cryptosentinel.errors import ServingError
from pipelines.tied import tied_command

START_S = 60.0
# What years of a market took to be read goes back to the system, where the allocators would keep it: as in the image.
# Some of it stays for the next read: pages of memory that are new cost a third of its time.
_FRUGAL = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}


def free_port(settings: DashboardSettings) -> int:
    """The dashboard's port, if nothing else listens there.

    Raises:
        ServingError: something does.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.create_server((settings.host, settings.port), family=family) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        raise ServingError(
            f"The dashboard cannot listen on {settings.host}:{settings.port}: {error.strerror or error}.",
            remedy="Stop what uses that port, or set dashboard.port to another one (0: any that is free).",
        ) from error


@contextmanager
def running_dashboard(settings: Settings, port: int, log: Path) -> Iterator[str]:
    """Runs the dashboard while the block runs; gives its URL once it answers.

    Raises:
        ServingError: it ended, or did not answer in time.
    """
    import dashboard

    host = settings.dashboard.host
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(
            tied_command(
                "streamlit",
                *("run", str(Path(dashboard.__file__).parent / "served.py")),
                *("--server.headless=true", f"--server.address={host}", f"--server.port={port}"),
                *("--server.fileWatcherType=none", "--browser.gatherUsageStats=false"),
                *("--", "--settings", settings.public_json()),
            ),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_FRUGAL | os.environ,
        )
    try:
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
        _wait(f"{url}/_stcore/health", process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    with httpx.Client(trust_env=False, timeout=1.0) as client:  # a proxy would not find this machine
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServingError(f"The dashboard ended with exit code {process.returncode}.", remedy=f"See {log}.")
            try:
                if client.get(url).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise ServingError(f"The dashboard did not answer within {START_S:.0f} s.", remedy=f"See {log}.")
