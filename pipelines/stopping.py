"""SIGTERM, which must not get lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from pipelines.console import Say, Stages


class Stopping:
    """A signal handler that ends the process by `SystemExit`, so that children are stopped on the way out.

    The exception appears wherever the main thread happens to be, and code in C that clears errors can swallow it there.
    So the signal is remembered, and `check`, called wherever that does no harm, ends the process then.
    """

    def __init__(self) -> None:
        self._code: int | None = None

    def __call__(self, number: int, _frame: object) -> None:
        """What `signal.signal` calls."""
        self._code = 128 + number
        self.check()

    def check(self) -> None:
        """Ends the process if the signal came.

        Raises:
            SystemExit: it did.
        """
        if self._code is not None:
            raise SystemExit(self._code)


class CheckedStages(Stages):
    """Stages after each of which, and after each step of which, it is checked whether to go on."""

    def __init__(self, total: int, console: Console, check: Callable[[], None]) -> None:
        super().__init__(total, console)
        self._check = check

    @contextmanager
    def stage(self, title: str) -> Iterator[Say]:
        """See `Stages.stage`."""
        with super().stage(title) as say:
            yield say
            self._check()

    def step(self, say: Say, text: str) -> None:
        """Says what was done within a stage."""
        say(text)
        self._check()
