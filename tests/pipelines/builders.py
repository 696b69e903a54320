"""A small market in a file, and the real command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import psutil

from cryptosentinel.market import SimulatedSource
from cryptosentinel.market.bars import Interval

FIVE = Interval("5m")
END = datetime(2025, 1, 6, tzinfo=UTC)  # the close of the last bar of `write_market`
PATIENCE_S = 200.0  # a busy machine is no reason to fail

# Free ports, a day of training data, two candidates, and a gate that lets a handful of outcomes pass: a whole cycle in
# half a minute of processor time.
SMALL = {
    "serving.http_port": 0,
    "serving.grpc_port": 0,
    "serving.explainer_port": 0,
    "dashboard.port": 0,
    "training.window_days": 1,
    "training.min_rows": 50,
    "training.candidates": "random_walk,ridge",
    "gate.min_independent_labels": 5,
}


def make_market(bars: int, *, end: datetime = END) -> pd.DataFrame:
    """The last bars up to `end`, as a file holds them."""
    frame = SimulatedSource("bitcoin", FIVE, now=end).bars(end - bars * FIVE.delta, end)
    return frame.drop(columns=["asset", "source"])


def write_market(path: Path, bars: int) -> Path:
    make_market(bars).to_parquet(path)
    return path


def assignments(settings: dict[str, object]) -> list[str]:
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


def command(*arguments: str | Path, home: Path, settings: dict[str, object] | None = None) -> list[str]:
    program = [sys.executable, "-m", "cryptosentinel.cli", *map(str, arguments), "--home", str(home)]
    return program + assignments(SMALL | (settings or {}))


def environment(scratch: Path, **variables: str) -> dict[str, str]:
    """This process's, without settings; what is left behind for want of tidiness lands in `scratch`."""
    scratch.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRYPTOSENTINEL_")}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return kept | threads | {"TMPDIR": str(scratch), "COLUMNS": "80"} | variables


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str


def run_command(
    arguments: list[str], env: dict[str, str], *, folder: Path | None = None, before: Callable[[], None] | None = None
) -> Finished:
    done = subprocess.run(
        arguments,
        env=env,
        cwd=folder,
        preexec_fn=before,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


class Started:
    """A command under way, as a person sees it in a terminal that shows both of its outputs."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line

    def wait_for(self, text: str, after: int = 0) -> int:
        """Waits until it printed `text`, from the position `after` on; returns the position behind it."""
        wait_until(lambda: text in self.text[after:] or self.process.poll() is not None)
        assert text in self.text[after:], f"never printed {text!r}:\n{self.text}"
        return self.text.index(text, after) + len(text)

    def end(self, signal_number: int) -> int:
        """Sends a signal, waits for the end; returns the exit code."""
        self.process.send_signal(signal_number)
        code = self.process.wait(timeout=PATIENCE_S)
        self._reader.join(timeout=PATIENCE_S)
        return code


@contextmanager
def started(arguments: list[str], env: dict[str, str]) -> Iterator[Started]:
    running = Started(arguments, env)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def processes_of(home: Path, *, of: str = "") -> list[psutil.Process]:
    """The processes that work in a home folder, which all of ours name in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(home) in line and of in line and process.pid != os.getpid():
            found.append(process)
    return found


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
