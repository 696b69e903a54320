"""`cryptosentinel up` once everything is up: what dies is started again, and pipelines run, by schedule and when asked.

Of each pipeline one run at a time, whoever wants it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from cryptosentinel.config import Settings
from cryptosentinel.errors import CryptoSentinelError
from cryptosentinel.runs import KINDS, By, Kind, Request, dropped, listening, pending
from pipelines.local import end_runs, run_pipeline
from pipelines.retraining import train_when_asked
from pipelines.scheduler import Job, scheduled, start_schedules
from pipelines.up import SCHEDULED, Up, start_explainer_of, start_predictor_of

# How soon what is asked for begins.
POLL_S = 0.5
_log = logging.getLogger(__name__)


def keep_running(up: Up, console: Console, stop: threading.Event, check: Callable[[], None] = lambda: None) -> None:
    """Keeps predictor and explainer alive, and runs what is asked for and, of a market that goes on, the schedules.

    Until `stop` is set. A run that fails is reported, and the next one tried at its time. `check` is called every
    second; what it raises ends it too.

    Raises:
        ServingError: the predictor ended, and could not be started again.
    """
    settings, process, explainer = up.workspace.settings, up.process, up.explainer
    root = up.workspace.root
    turns = {kind: Turns(kind, root, console, stop) for kind in KINDS}
    with ExitStack() as stack:
        stack.enter_context(listening(root))
        threads = [threading.Thread(target=run_when_asked, args=(turns[kind], settings)) for kind in KINDS]
        if not up.recorded:
            of = {name: scheduled(settings, getattr(settings.schedules, name)) for name in SCHEDULED}
            jobs: dict[str, Job] = {name: partial(turns[name].skip_or_run, of[name], "schedule") for name in SCHEDULED}
            threads += start_schedules(settings.schedules, jobs, stop)
            train = partial(turns["training"].run, settings, "useless")
            threads.append(threading.Thread(target=train_when_asked, args=(up.workspace, train, stop)))
            threads[-1].start()
        for thread in threads[: len(KINDS)]:
            thread.start()
        try:
            while not stop.wait(1.0):
                check()
                if not process.running:
                    report(console, f"the predictor ended (exit code {process.process.returncode}): starting it again")
                    process = stack.enter_context(start_predictor_of(settings, up.workspace, lambda _: None))
                if explainer is not None and not explainer.running:
                    code = explainer.process.returncode
                    report(console, f"the explainer ended (exit code {code}): starting it again")
                    explainer = stack.enter_context(start_explainer_of(settings, up.workspace))
        finally:
            stop.set()
            while any(thread.is_alive() for thread in threads):
                end_runs()
                time.sleep(0.05)


class Turns:
    """The runs of one pipeline, one after another.

    Args:
        kind: which.
        root: the market's folder.
        console: where what came of a run is reported.
        stop: once it is set, nothing begins any more.
    """

    def __init__(self, kind: Kind, root: Path, console: Console, stop: threading.Event) -> None:
        self.kind, self.root, self.stop = kind, root, stop
        self._console = console
        self._turn = threading.Lock()

    def skip_or_run(self, settings: Settings, by: By) -> None:
        """Runs it, unless it runs: a tick that passes is not caught up with."""
        if self._turn.acquire(blocking=False):
            try:
                self._run(settings, by, ())
            finally:
                self._turn.release()

    def run(self, settings: Settings, by: By, requests: tuple[Request, ...] = ()) -> None:
        """Runs it once it does not run."""
        with self._turn:
            if not self.stop.is_set():
                self._run(settings, by, requests)

    def _run(self, settings: Settings, by: By, requests: tuple[Request, ...]) -> None:
        user, ids = requests[0].user if requests else "", [request.id for request in requests]
        try:
            run = run_pipeline(self.kind, settings, self.root, by=by, user=user, requests=ids)
        except CryptoSentinelError as error:
            if not self.stop.is_set():
                report(self._console, f"{self.kind} failed: {error}", style="red")
        else:
            report(self._console, f"{self.kind} ({run.seconds:.1f} s): {'; '.join(run.told.values())}")


def run_when_asked(turns: Turns, settings: Settings) -> None:
    """Answers the requests for runs of one kind, those that wait at once by one run, until no more are wanted."""
    while not turns.stop.wait(POLL_S):
        try:
            if requests := pending(turns.root, turns.kind):
                try:
                    turns.run(settings, "user", tuple(requests))
                finally:
                    dropped(turns.root, requests)
        except Exception:  # noqa: BLE001 (what one run does must not end the answering of requests)
            _log.exception("A request for a run of %s failed; the next one is tried.", turns.kind)


def report(console: Console, text: str, style: str | None = None) -> None:
    """A line with the time."""
    console.print(f"{datetime.now(UTC):%H:%M:%S} {text}", style=style, highlight=False, markup=False, soft_wrap=True)
