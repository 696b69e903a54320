"""How long work shows itself: stages on standard error, each with what it is doing and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.markup import escape

Say = Callable[[str], None]


class Stages:
    """Numbered stages. On a terminal the current one is alive; in a log each is a line when it ends."""

    def __init__(self, total: int, console: Console) -> None:
        self.total = total
        self.console = console
        self._number = 0

    @contextmanager
    def stage(self, title: str) -> Iterator[Say]:
        """Shows a stage while its block runs; what the block says last is its result."""
        self._number += 1
        label, last, begin = f"[{self._number}/{self.total}] {title}", "", time.perf_counter()
        live = self.console.status(escape(label)) if self.console.is_terminal else None

        def say(text: str) -> None:
            nonlocal last
            last = text
            if live is not None:
                live.update(f"{escape(label)}: {escape(text)}")

        with live or nullcontext():
            yield say
        seconds = time.perf_counter() - begin
        tail = f": {last}" if last else ""
        # A log keeps a line a stage; on a terminal words are not broken.
        wrap = not self.console.is_terminal
        self.console.print(f"{escape(label)}{escape(tail)} [dim]({seconds:.1f} s)[/]", highlight=False, soft_wrap=wrap)

    def notice(self, text: str) -> None:
        """Something that nobody should overlook."""
        self.console.print(f"[bold yellow]! {escape(text)}[/]", highlight=False, soft_wrap=True)
