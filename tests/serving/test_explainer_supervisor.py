"""The supervisor as a process of its own, with workers of a line or two."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]
STAYS = "import time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
SCRIPT = """
import os, sys
from serving import logs
from serving.explainer.supervisor import supervise
{before}
logs.configure("info", "text")
sys.exit(supervise([sys.executable, "-c", {worker!r}], {options}))
"""
# As the first process of a container is: what its children leave behind becomes its own.
ADOPTING = "import ctypes; ctypes.CDLL(None).prctl(36, 1)"


class Supervised:
    """A supervisor, and what it and its workers have said."""

    def __init__(self, worker: str, options: str = "", before: str = "", **environment: str) -> None:
        script = SCRIPT.format(worker=worker, options=options, before=before)
        self.process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | environment,
        )

    def wait_for(self, word: str) -> str:
        for line in self.process.stdout:
            if word in line:
                return line
        raise AssertionError(f"it ended without saying {word}")

    def worker(self) -> psutil.Process:
        """Once it is up."""
        self.wait_for("up")
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def supervised(worker: str, options: str = "", before: str = "", **environment: str) -> Iterator[Supervised]:
    running = Supervised(worker, options, before, **environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            for process in (*psutil.Process(running.process.pid).children(), running.process):
                process.kill()
            running.process.wait()
        running.process.stdout.close()


def test_a_killed_worker_is_started_again_and_the_log_says_what_ended_it():
    with supervised(STAYS) as running:
        first = running.worker()
        first.kill()
        said = running.wait_for("worker_ended")
        assert f"worker={first.pid} signal=SIGKILL" in said
        assert running.worker().pid != first.pid
        assert running.end() == 0


def test_one_that_keeps_ending_is_given_longer_and_longer_pauses():
    with supervised("raise SystemExit(3)") as running:
        lines = [running.wait_for("worker_ended") for _ in range(4)]
        assert all("exit_code=3" in line for line in lines)
        assert [re.search(r"again_in_s=(\S+)", line)[1] for line in lines] == ["0.2", "0.4", "0.8", "1.6"]
        assert running.end() == 0  # in the midst of a pause


def test_after_a_steady_life_pauses_begin_anew():
    with supervised("import time; time.sleep(0.3)", "steady_s=0.1") as running:
        lines = [running.wait_for("worker_ended") for _ in range(3)]
        assert [re.search(r"again_in_s=(\S+)", line)[1] for line in lines] == ["0.2"] * 3


def test_a_worker_that_cannot_be_started_is_tried_again():
    with supervised(STAYS, before="sys.executable = '/nowhere'") as running:
        for _ in range(3):
            assert "No such file" in running.wait_for("worker_not_started")
        assert running.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_lets_the_worker_end_in_order(number):
    orderly = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(print('in order'))); " + STAYS
    with supervised(orderly) as running:
        running.worker()
        running.process.send_signal(number)
        running.wait_for("in order")
        assert running.process.wait(20) == 0


def test_a_worker_that_does_not_end_is_killed():
    with supervised(DEAF, "grace_s=0.3") as running:
        worker = running.worker()
        assert running.end() == 0
        assert not worker.is_running()


def test_it_ends_with_the_process_that_wanted_it():
    # Our own parent is not the one that started it: as if that had gone.
    with supervised(STAYS, f"parent_pid={os.getppid()}") as running:
        assert running.process.wait(20) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets another process than the first adopt orphans")
def test_orphans_are_reaped():
    orphan = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', '']); "
    with supervised(orphan + "raise SystemExit(1)", before=ADOPTING) as running:
        for _ in range(4):
            running.wait_for("worker_ended")
        children = psutil.Process(running.process.pid).children()
        orphaned = [child for child in children if child.status() == psutil.STATUS_ZOMBIE]
        # The last worker's may have ended this very moment; each of the others left one as well.
        assert len(orphaned) <= 1
        assert running.end() == 0


def test_a_worker_computes_in_one_thread_and_counts_for_itself(tmp_path):
    shows = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ.get('PROMETHEUS_MULTIPROC_DIR'), 'shown')"
    with supervised(shows, OMP_NUM_THREADS="4", PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) as running:
        assert running.wait_for("shown").split() == ["1", "None", "shown"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--bundle", "x", "--store-root", "y"], ["--bundle", "x", "--port", "0"], ["--bundle", "x", "--max", "-1"]],
    ids=["nothing to explain", "two things", "no port", "a number that is none"],
)
def test_a_wrong_start_is_explained_and_not_tried_again(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "serving.explainer", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "error: " in done.stderr


def test_the_supervisor_needs_nothing_but_the_standard_library():
    script = (
        "import serving.explainer.__main__, sys; others = ('numpy', 'pydantic', 'fastapi', 'httpx', 'cryptosentinel');"
        "print([name for name in others if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == "[]"
