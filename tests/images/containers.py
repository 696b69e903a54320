"""Containers, restricted as the pods of a cluster are."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

PATIENCE_S = 90.0
ASKER = Path(__file__).with_name("asker.py")
# What a pod's security context says: a read-only root, no capability, no way to more rights.
RESTRICTED = ("--read-only", "--tmpfs", "/tmp:rw,noexec,size=256m", "--cap-drop", "ALL")
RESTRICTED += ("--security-opt", "no-new-privileges")


def docker(*arguments: str, check: bool = True) -> str:
    """What it printed; the error of a command that failed says why."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def wait_for(what: str, found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.1)
    raise AssertionError(f"never {what}")


@dataclass(frozen=True)
class Container:
    """One that runs, or has ended."""

    id: str

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(docker("inspect", "--format", "{{json .State}}", self.id))

    @property
    def began(self) -> datetime:
        return datetime.fromisoformat(self.state["StartedAt"])

    def said(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        done = subprocess.run(["docker", "logs", self.id], capture_output=True, text=True, check=True)
        return [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]

    def line(self, message: str) -> dict[str, Any]:
        """The last log line with that message, once there is one."""
        return wait_for(
            f"said {message!r}", lambda: next((s for s in reversed(self.said()) if s["message"] == message), None)
        )

    def python(self, code: str) -> str:
        """Runs it beside what runs there."""
        return docker("exec", self.id, "python", "-c", code)

    def end(self) -> tuple[int, float]:
        """Tells it to end as a kubelet does: its exit code and the seconds; beyond 20 it is killed (137)."""
        began = time.monotonic()
        docker("stop", "--time", "20", self.id)
        return self.state["ExitCode"], time.monotonic() - began


@contextmanager
def running(image: str, *command: str, options: tuple[str, ...] = ("--network", "none")) -> Iterator[Container]:
    """A container, which is taken away at the end; what it said is shown where a test failed."""
    container = Container(docker("run", "--detach", *RESTRICTED, *options, image, *command))
    try:
        yield container
    finally:
        print(f"--- {image} {' '.join(command)}\n{docker('logs', container.id, check=False)}")
        docker("rm", "--force", "--volumes", container.id, check=False)


@contextmanager
def asking(image: str, beside: Container, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that asks the predictor of a pod from inside its network."""
    command = ["docker", "run", "--rm", "--interactive", *RESTRICTED, "--network", f"container:{beside.id}"]
    command += ["--volume", f"{ASKER}:/asker.py:ro", image, "python", "/asker.py", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.communicate(timeout=60)  # and reads on: it must not wait for room to say the rest


def send(process: subprocess.Popen[str], path: str, body: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"path": path, "body": body}) + "\n")
    process.stdin.flush()


def receive(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the asker ended"
    return json.loads(line)
