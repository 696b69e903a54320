"""Ports and servers on this machine."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import httpx

from cryptosentinel.errors import ServingError


def free_port(host: str, port: int, setting: str) -> int:
    """The port if it is free; any free one for 0.

    Raises:
        ServingError: something else listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServingError(
                f"Port {port} on {host} is in use ({error.strerror}).",
                remedy=f"Stop what listens there, or set {setting} to another one (0: any free port).",
            ) from error
        return int(probe.getsockname()[1])


def wait_for_http(url: str, process: subprocess.Popen[bytes], log: Path, *, timeout_s: float) -> None:
    """Waits until a child process answers a GET with success.

    Raises:
        ServingError: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServingError(
                f"It ended with exit code {process.returncode} before it answered.", remedy=f"See {log}."
            )
        try:
            if httpx.get(url, timeout=1.0).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise ServingError(f"{url} did not answer within {timeout_s:.0f} s.", remedy=f"See {log}.")
