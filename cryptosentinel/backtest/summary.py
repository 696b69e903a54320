"""A backtest in a terminal: the verdict, and every figure with the limit it is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptosentinel.backtest import words
from cryptosentinel.backtest.models import BacktestFigures

if TYPE_CHECKING:
    from rich.console import Group

_STYLES = {True: "green", False: "bold yellow", None: "dim"}


def summary_text(figures: BacktestFigures) -> Group:
    """What a terminal of 80 columns shows of a backtest, for rich to print."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    checks = Table(box=None, pad_edge=False)
    checks.add_column("figure")
    for column in ("is", "must be"):
        checks.add_column(column, justify="right", no_wrap=True)
    checks.add_column("", no_wrap=True)
    for check in figures.checks:
        mark = Text(words.mark(check.passed), style=_STYLES[check.passed])
        checks.add_row(Text(check.title), words.checked(check), words.short_limit(check), mark)
    facts = (
        f"{words.moment(figures.start)} to {words.moment(figures.end)} UTC: {figures.rows:,} forecasts with an outcome "
        f"({figures.rows // figures.overlap:,} that do not overlap), "
        f"{words.count(figures.gate.trainings, 'training')}, {figures.gate.promoted} promoted."
    )
    sentences = [*figures.verdict, *([luck] if (luck := words.luck(figures.days)) else [])]
    return Group(Text(facts, style="dim"), Text(), *(Padding(Text(one), (0, 0, 1, 0)) for one in sentences), checks)
