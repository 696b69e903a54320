"""Running other programs: short questions, and long work that says how it goes."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence

from manifests.kind.pins import CONTEXT, WORK

HEARTBEAT_S = 15.0
TAIL_LINES = 15


class StoppedError(Exception):
    """It cannot go on: what happened, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


class RefusedError(StoppedError):
    """A program ended with an error; `said` is what it wrote about it."""

    def __init__(self, what: str, remedy: str, said: str) -> None:
        super().__init__(what, remedy)
        self.said = said


def say(text: str) -> None:
    """A line for who waits."""
    print(text, flush=True)


def kubectl(*arguments: str) -> list[str]:
    """The command for our cluster, whichever the current one is."""
    return ["kubectl", "--context", CONTEXT, *arguments]


def helm(*arguments: str) -> list[str]:
    """The command for our cluster."""
    return ["helm", "--kube-context", CONTEXT, *arguments]


def ask(command: Sequence[str], remedy: str = "", timeout_s: float = 60.0) -> str:
    """What a quick command says.

    Raises:
        RefusedError: it failed, or did not answer in time.
    """
    shown = shlex.join(command)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False
        )
    except FileNotFoundError as error:
        raise StoppedError(f"{command[0]} is not installed.", "make kind-up says how to get it.") from error
    except subprocess.TimeoutExpired as error:
        raise RefusedError(f"`{shown}` has not answered for {timeout_s:.0f} s.", remedy, "") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise RefusedError(f"`{shown}` failed:\n{_last_lines(said)}", remedy, said)
    return done.stdout


def work(
    name: str,
    command: Sequence[str],
    remedy: str,
    *,
    waits_for: Callable[[], str] | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    """Runs what takes a while. Says every 15 s that it goes on, and at what; what it wrote is kept in a file.

    Args:
        name: of the file.
        command: what to run.
        remedy: what to do where it fails.
        waits_for: says what it waits for; by default the last line it wrote.
        environment: variables beside ours.

    Returns:
        What it wrote.

    Raises:
        StoppedError: it failed; the message ends with its last lines.
    """
    log = WORK / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | (environment or {}),
        )
        try:
            while True:
                try:
                    code = process.wait(HEARTBEAT_S)
                    break
                except subprocess.TimeoutExpired:
                    doing = waits_for() if waits_for else _last_lines(log.read_text(errors="replace"), 1)
                    say(f"      {duration(time.monotonic() - began)}: {doing.strip()[:160] or 'at work'}")
        finally:
            if process.poll() is None:  # we were interrupted, and so was it
                process.terminate()
                process.wait()
    said = log.read_text(errors="replace")
    if code:
        raise StoppedError(f"`{shlex.join(command)}` ended with {code}. The end of {log}:\n{_last_lines(said)}", remedy)
    return said


def duration(seconds: float) -> str:
    """As people say it: 1 min 05 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _last_lines(text: str, count: int = TAIL_LINES) -> str:
    return "\n".join(text.strip().splitlines()[-count:])
