"""The predictor as a child process: started, watched until it answers, stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptosentinel.config import Settings
from cryptosentinel.errors import ServingError
from serving.logs import failure_in
from serving.state import PredictorState, read_state, state_path

LOG_LINES = 12
ORPHAN_S = 5.0  # a predictor whose parent was killed notices it, and ends, within this time


@dataclass
class PredictorProcess:
    """A predictor that answers, as a child of this process. As a context manager it is stopped at the end."""

    process: subprocess.Popen[bytes]
    state: PredictorState
    log_path: Path

    @property
    def url(self) -> str:
        """Its REST address."""
        return self.state.url

    @property
    def grpc(self) -> str:
        """Its gRPC address."""
        return self.state.grpc

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def last_log_lines(self) -> str:
        """The end of its log, for an error message."""
        return _last_lines(self.log_path)

    def stop(self, grace_s: float = 15.0) -> None:
        """Ends it: accepted requests are answered first, for at most `grace_s` seconds."""
        _end(self.process, grace_s)

    def __enter__(self) -> PredictorProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def running_predictor(root: Path) -> str | None:
    """The REST address of the predictor that answers for a market's folder, or None."""
    state = read_state(root)
    return None if state is None else state.url


def start_predictor(
    settings: Settings,
    *,
    store_root: Path,
    market: str,
    log_path: Path,
    timeout_s: float = 60.0,
    progress: Callable[[float], None] | None = None,
) -> PredictorProcess:
    """Starts a predictor that follows the champion of a market's registry, and waits until it answers.

    It ends by itself when this process is gone. It stays out of this process's group: Ctrl-C leaves its end to us.

    Args:
        settings: `serving` says where it listens.
        store_root: the market's folder, as for `storage.open_storage`; it leaves its state file there.
        market: as for `storage.open_storage`.
        log_path: where what it prints is appended.
        timeout_s: how long it may take.
        progress: called a few times a second with the seconds passed.

    Raises:
        ServingError: it ended, it did not answer in time, or this market has one already.
    """
    root = store_root.resolve()
    _refuse_second(root)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "serving.server", "--settings", settings.public_json()),
                *("--store-root", str(root), "--market", market),
                *("--state", str(state_path(root)), "--parent-pid", str(os.getpid())),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return PredictorProcess(process, _wait(process, root, log_path, begin, timeout_s, progress), log_path)
    except BaseException:
        _end(process, grace_s=2.0)
        raise


def _wait(
    process: subprocess.Popen[bytes],
    root: Path,
    log_path: Path,
    begin: int,
    timeout_s: float,
    progress: Callable[[float], None] | None,
) -> PredictorState:
    started = time.monotonic()
    while (passed_s := time.monotonic() - started) < timeout_s:
        state = read_state(root)
        if state is not None and state.pid == process.pid:
            return state
        if process.poll() is not None:
            said = _last_lines(log_path, begin) or "it said nothing"
            raise ServingError(f"The predictor ended with exit code {process.returncode}: {said}")
        if progress is not None:
            progress(passed_s)
        time.sleep(0.05)
    raise ServingError(
        f"The predictor did not answer within {timeout_s:g} s. It said: {_last_lines(log_path, begin) or 'nothing'}",
        remedy=f"Its log is {log_path}.",
    )


def _refuse_second(root: Path) -> None:
    deadline = time.monotonic() + ORPHAN_S
    while (other := read_state(root)) is not None:
        if time.monotonic() > deadline:
            raise ServingError(
                f"A predictor of {root} answers already at {other.url} (process {other.pid}).",
                remedy="Stop it first, or use another `home`.",
            )
        time.sleep(0.1)


def _last_lines(path: Path, begin: int = 0) -> str:
    """The end of a log: what an error line explains, else its last lines."""
    with path.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        if (error := failure_in(line)) is not None:
            return error
    return "\n".join(lines[-LOG_LINES:])


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
