"""Keeps one worker process alive, and is fit to be the first process of a container.

It reaps whatever is left to it, passes the order to end on to the worker, and never ends because the worker did. Only
the standard library: there is little in it that could fail.
"""

from __future__ import annotations

import logging
import math
import os
import select
import signal
import socket
import time
from collections.abc import Iterator

from serving.logs import fields

log = logging.getLogger("serving.explainer")

# A worker that ended is started again after a pause, which doubles each time until one has lived for a while.
FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S = 0.2, 30.0, 60.0
GRACE_S = 10.0
POLL_S = 0.5
ENDINGS = {signal.SIGTERM, signal.SIGINT}
# An explanation is one thread's work, and what computes must not take a processor from the forecasts each.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def supervise(
    command: list[str], *, parent_pid: int | None = None, grace_s: float = GRACE_S, steady_s: float = STEADY_S
) -> int:
    """Runs the command, again and again, until SIGTERM or SIGINT.

    Args:
        command: of the worker; the first is a program's full path.
        parent_pid: end as well when this process is gone.
        grace_s: how long the worker may take to end before it is killed.
        steady_s: how long it must live for the next pause to be the first again.

    Returns:
        The exit code, 0.
    """
    told = _signals()
    worker, began, start_at, kill_at, pause_s = 0, 0.0, 0.0, math.inf, FIRST_PAUSE_S
    while worker or kill_at == math.inf:
        if not worker and time.monotonic() >= start_at:
            began = time.monotonic()
            worker = _start(command)
            if not worker:
                start_at, pause_s = began + pause_s, min(2 * pause_s, LONGEST_PAUSE_S)
        wait_s = POLL_S if worker else start_at - time.monotonic()
        ordered = _next(told, min(max(wait_s, 0.0), POLL_S)) & ENDINGS
        if parent_pid not in {None, os.getppid()}:
            ordered.add(signal.SIGTERM)
        now = time.monotonic()
        if ordered and kill_at == math.inf:
            log.info("stopping", extra=fields(worker=worker))
            kill_at = now + grace_s
            if worker:
                os.kill(worker, signal.SIGTERM)
        elif worker and now > kill_at:
            log.warning("killed", extra=fields(worker=worker, grace_s=grace_s))
            kill_at = now + grace_s
            os.kill(worker, signal.SIGKILL)
        for pid, status in _ended():
            if pid != worker:
                continue
            worker = 0
            if kill_at < math.inf:
                break
            pause_s = FIRST_PAUSE_S if now - began >= steady_s else pause_s
            start_at = now + pause_s
            said = fields(worker=pid, **_how(status), lived_s=round(now - began, 1), again_in_s=pause_s)
            log.warning("worker_ended", extra=said)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    return 0


def _start(command: list[str]) -> int:
    """The process id of a new worker; 0 where there cannot be one now."""
    # Several processes of the predictor count together in that folder; this is none of them.
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    try:
        # A group of its own: Ctrl-C reaches the supervisor alone, which then ends the worker in order.
        return os.posix_spawn(command[0], command, environment | ONE_THREAD, setpgroup=0)
    except OSError as error:
        log.error("worker_not_started", extra=fields(error=str(error)))  # noqa: TRY400 (it says it all)
        return 0


def _signals() -> socket.socket:
    """Where the numbers of signals arrive, so that one can be waited for with a limit."""
    told, tell = socket.socketpair()
    told.setblocking(False)
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.detach(), warn_on_full_buffer=False)
    for number in (*ENDINGS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return told


def _next(told: socket.socket, wait_s: float) -> set[int]:
    ready, _, _ = select.select([told], [], [], wait_s)
    return set(told.recv(4096)) if ready else set()


def _ended() -> Iterator[tuple[int, int]]:
    """Children that have ended, whoever's they were."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, status


def _how(status: int) -> dict[str, object]:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return {"exit_code": code}
    return {"signal": next((known.name for known in signal.Signals if known == -code), -code)}
