"""Several processes that answer REST on one port, and their parent.

Each worker listens for itself once it has its bundle, and the kernel shares connections out among them. (Of one socket
that all inherit, whichever is awake takes every connection that waits.)

The parent answers nothing and imports no KServe. It starts the workers, starts one again that died, and ends all of
them when it is told to. Only the first answers gRPC.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from serving.logs import fields
from serving.state import PredictorState, remove_state, write_state

log = logging.getLogger("serving")

MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported
POLL_S = 0.1
BACK_OFF_S = (0.5, 30.0)  # before a worker that died is started again: the first time, and at most
SETTLED_S = 60.0  # a worker that lived so long is started again without delay


@dataclass
class _Worker:
    number: int
    state: Path
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    delay_s: float = BACK_OFF_S[0]

    @property
    def answers(self) -> bool:
        return self.process is not None and _pid_in(self.state) == self.process.pid


@dataclass
class Workers:
    """The workers of one predictor.

    Attributes:
        arguments: of `python -m serving.server`, for each worker.
        count: how many.
        address: the host and port that they share.
        grace_s: how long they may take to end.
        state: a file to write once all of them answer, and to remove at the end.
        parent_pid: end when this process, which started us, is gone.
    """

    arguments: list[str]
    count: int
    address: tuple[str, int]
    grace_s: float
    state: Path | None = None
    parent_pid: int | None = None
    _workers: list[_Worker] = field(default_factory=list)
    _counts: Path = Path()
    _stopping: bool = False

    def run(self) -> int:
        """Returns the exit code once all have ended: that of one that cannot start, 1 where one did not end in time."""
        with (
            tempfile.TemporaryDirectory(prefix="cryptosentinel-workers-") as folder,
            _reserved(self.address),
            _on_signals(self._stop),
        ):
            self._counts = Path(folder) / "metrics"
            self._counts.mkdir()
            self._workers = [_Worker(n, Path(folder) / f"worker-{n}.json") for n in range(self.count)]
            try:
                exit_code = self._watch()
            finally:
                all_ended = self._end()
                if self.state is not None:
                    remove_state(self.state)
        return exit_code or int(not all_ended)

    def _watch(self) -> int:
        announced = False
        while not self._stopping:
            for worker in self._workers:
                if worker.process is None and time.monotonic() >= worker.due_at:
                    self._start(worker)
                elif worker.process is not None and worker.process.poll() is not None:
                    if not announced:  # it explained itself in the log
                        return worker.process.returncode or 1
                    self._bury(worker)
            if not announced and all(worker.answers for worker in self._workers):
                self._announce()
                announced = True
            if self.parent_pid is not None and os.getppid() != self.parent_pid:
                log.warning("stopping", extra=fields(reason="the process that started the predictor is gone"))
                return 0
            time.sleep(POLL_S)
        return 0

    def _start(self, worker: _Worker) -> None:
        own = ["--worker", str(worker.number), "--state", str(worker.state)]
        worker.process = subprocess.Popen(
            [sys.executable, "-m", "serving.server", *self.arguments, *own, "--parent-pid", str(os.getpid())],
            env=os.environ | {MULTIPROCESS_FOLDER: str(self._counts)},
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C reaches us alone
        )
        worker.started_at = time.monotonic()

    def _bury(self, worker: _Worker) -> None:
        """Of a worker that died the counts stay, and what it had in flight goes."""
        from prometheus_client.multiprocess import mark_process_dead

        assert worker.process is not None
        mark_process_dead(worker.process.pid, str(self._counts))
        if time.monotonic() - worker.started_at > SETTLED_S:
            worker.delay_s = BACK_OFF_S[0]
        log.error(
            "worker_died",
            extra=fields(worker=worker.number, exit_code=worker.process.returncode, restart_in_s=worker.delay_s),
        )
        worker.due_at = time.monotonic() + worker.delay_s
        worker.delay_s = min(2 * worker.delay_s, BACK_OFF_S[1])
        worker.process = None

    def _announce(self) -> None:
        first = PredictorState.model_validate_json(self._workers[0].state.read_text(encoding="utf-8"))
        if self.state is not None:
            write_state(self.state, url=first.url, grpc=first.grpc, model_name=first.model_name)
        log.info("ready", extra=fields(url=first.url, grpc=first.grpc, workers=self.count))

    def _stop(self, number: int, _: FrameType | None) -> None:
        log.info("stopping", extra=fields(signal=number))
        self._stopping = True

    def _end(self) -> bool:
        ended = True
        processes = [worker.process for worker in self._workers if worker.process is not None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + self.grace_s
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("worker_killed", extra=fields(reason="it did not end in time", pid=process.pid))  # noqa: TRY400
                process.kill()
                process.wait()
                ended = False
        return ended


def _pid_in(state: Path) -> int | None:
    try:
        return PredictorState.model_validate_json(state.read_text(encoding="utf-8")).pid
    except FileNotFoundError:
        return None


@contextmanager
def _reserved(address: tuple[str, int]) -> Iterator[None]:
    """Keeps the port from others while no worker listens; a socket that only has the address gets no connections."""
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
        yield


@contextmanager
def _on_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
