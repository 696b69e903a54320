"""Training ahead: several runs at once, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import datetime
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from types import TracebackType

from threadpoolctl import threadpool_limits

from cryptosentinel.backtest import tape as tapes
from cryptosentinel.backtest.folder import PARTS, TAPE, Trained, place_of, read_trained, write_trained
from cryptosentinel.config import TrainingSettings
from cryptosentinel.errors import NotEnoughDataError, PipelineError
from cryptosentinel.forecasting import Snapshot, part_names, train_part


class Trainers:
    """Processes that train runs in the order in which they are asked to. They end with this one, however it ends.

    Args:
        folder: of the backtest.
        settings: of the training.
        jobs: how many train at the same time.
    """

    def __init__(self, folder: Path, settings: TrainingSettings, jobs: int) -> None:
        self._folder, self._settings = folder, settings
        self._others = set(active_children())
        # A fresh interpreter each: a forked one would inherit locks of libraries that have threads.
        self._pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_with_parent)
        self._asked: dict[int, Future[Trained]] = {}

    def __enter__(self) -> Trainers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # nobody waits for what they are at
            for process in set(active_children()) - self._others:
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def ask(self, number: int, now: datetime) -> None:
        """Has a run trained, sooner or later, unless it is."""
        with _undisturbed():
            self._asked[number] = self._pool.submit(
                train, self._folder / TAPE, place_of(self._folder, number), now, self._settings
            )

    def wait(self, number: int) -> Trained:
        """What came of a run that was asked for.

        Raises:
            PipelineError: a process was ended from outside.
        """
        try:
            return self._asked.pop(number).result()
        except BrokenProcessPool:
            raise PipelineError(
                "train",
                "a process that trained was ended from outside, as happens when memory runs out.",
                remedy="Try --jobs 1, or a shorter training.window_days; what is done stays.",
            ) from None


def train(tape: Path, place: Path, now: datetime, settings: TrainingSettings) -> Trained:
    """Trains every part of one run, unless they are there.

    Args:
        tape: folder of the tape.
        place: the training run's folder.
        now: when it is due.
        settings: of the training.
    """
    if (trained := read_trained(place)) is not None:
        return trained
    place.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{PARTS}-", dir=place))
    rows = tapes.load(tape).known_at(now, settings.window_days)
    snapshot = Snapshot(end=now, window_days=settings.window_days, bars_version=-1, features_version=-1)
    seconds = 0.0
    try:
        with threadpool_limits(limits=1):
            for name in part_names(settings):
                seconds += train_part(name, rows, snapshot, settings, scratch / name).fit_seconds
    except NotEnoughDataError as error:
        shutil.rmtree(scratch)
        scratch.mkdir()
        return write_trained(place, scratch, seconds, problem=error.message)
    return write_trained(place, scratch, seconds)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Lets processes that are started in the block ignore Ctrl-C: the terminal sends it to all, but it is ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for ever, or write into a folder that another start works in."""
    parent = parent_process()
    assert parent is not None  # this is a child

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
