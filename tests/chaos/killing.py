"""Steps in processes of their own, which can be killed.

Imports take seconds: one process (`python -m tests.chaos.killing`) has made them, and has a copy of itself run each
step. The copy stops before it begins, so that whoever is to kill it can be told its number first.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.chaos.world import Place, Result, feature, inference, register, tick

PIPELINES = {"feature": feature, "inference": inference, "tick": tick, "register": register}


class Runner:
    """A process that runs pipelines in copies of itself, one at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = 0

    def prepare(self, pipeline: str, place: Place, now: datetime, *, largest_file: int = 0) -> int:
        """A copy that is about to run a pipeline; its number.

        Args:
            pipeline: of `PIPELINES`.
            place: where.
            now: when.
            largest_file: the copy is killed in the middle of writing one with more bytes; 0: none is too large.
        """
        job = {"pipeline": pipeline, "place": asdict(place), "now": now.isoformat(), "largest_file": largest_file}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        self.pid = int(self._line())
        return self.pid

    def go(self) -> None:
        """Lets the copy run."""
        os.kill(self.pid, signal.SIGCONT)

    def ended(self) -> list[Result] | None:
        """What came of it; None where it was killed."""
        answer = json.loads(self._line())
        return None if answer is None else [Result(**result) for result in answer]

    def run(self, pipeline: str, place: Place, now: datetime, **more: Any) -> list[Result] | None:
        """All of that."""
        self.prepare(pipeline, place, now, **more)
        self.go()
        return self.ended()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that runs steps has ended"
        return line


@contextmanager
def running() -> Iterator[Runner]:
    """A runner as long as the block runs."""
    command = [sys.executable, "-m", "tests.chaos.killing"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    repository = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=repository, text=True, **pipes) as process:
        try:
            yield Runner(process)
        finally:
            process.kill()


# What steps import where they use it: KServe's client alone takes a second.
_USED = ("httpx", "onnx", "onnxruntime", "rich", "serving.client", "cryptosentinel.drift", "components.lease")


def main() -> None:
    for name in _USED:
        import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what steps print
    for line in sys.stdin:
        job = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            os.kill(os.getpid(), signal.SIGSTOP)
            if job["largest_file"]:
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], job["largest_file"]))
            results = PIPELINES[job["pipeline"]](Place(**job["place"]), datetime.fromisoformat(job["now"]))
            with os.fdopen(writer, "w") as told:
                told.write(json.dumps([asdict(result) for result in results]))
            os._exit(0)
        os.close(writer)
        os.waitpid(child, os.WUNTRACED)
        print(child, file=answers, flush=True)
        with os.fdopen(reader) as told:
            said = told.read()
        _, status = os.waitpid(child, 0)
        print(said if status == 0 else "null", file=answers, flush=True)


if __name__ == "__main__":
    main()
