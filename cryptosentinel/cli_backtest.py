"""The command `cryptosentinel backtest`."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cryptosentinel.cli import (
    ConfigOption,
    HomeOption,
    JsonOption,
    SetOption,
    SourceOption,
    err,
    out,
    print_json,
    read_settings,
    say_if_simulated,
)
from cryptosentinel.config import Settings
from cryptosentinel.errors import UserInputError

if TYPE_CHECKING:
    from cryptosentinel.backtest import Outline, Plan, Progress
    from cryptosentinel.market import Source

# What is replayed where --start is left out.
DEFAULT_DAYS = 28
_MOST_DAYS = 36_525
# The settings that shape a result; the others are about where it is kept and shown.
_GROUPS = ("market", "forecast", "training", "gate")


def add_commands(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(backtest)


def backtest(
    source: SourceOption = None,
    start: Annotated[
        str,
        typer.Option(
            help="When the first forecast is made (ISO, UTC).", show_default=f"{DEFAULT_DAYS} days before --end"
        ),
    ] = "",
    end: Annotated[
        str,
        typer.Option(help="When forecasts end: the last is made before (ISO, UTC).", show_default="when the bars end"),
    ] = "",
    every_days: Annotated[float, typer.Option(help="Days from one training to the next.")] = 7.0,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for everything.", show_default="one in the home folder")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Trainings at the same time.", show_default="2, or 1 on one core")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay a market through training, gate and forecasts, and report how good they were; goes on where it stopped."""
    from cryptosentinel.backtest import outline, publish, run_backtest, summary_text

    market = _open(read_settings(config, assignments, {"home": home, "market.source": source}))
    plan = _plan(market, start, end, every_days)
    folder = folder or market.root / "backtests" / f"{_day(plan.start)}_{_day(plan.end)}"
    if dry_run:
        _show(outline(market.source, plan, folder, fresh=fresh), plan, folder, as_json=as_json)
        return
    err.print(f"{_sentence(plan)}, into {folder}", highlight=False, markup=False, soft_wrap=True)
    try:
        with _progress(err) as progress:
            at_once = jobs or min(2, os.cpu_count() or 1)
            done = run_backtest(market.source, plan, folder, jobs=at_once, progress=progress, fresh=fresh)
            progress("writing the report", 0, 1)
            figures = publish(done, folder)
    except KeyboardInterrupt:
        err.print("Stopped. Finished trainings are kept; the same command goes on after them.")
        raise typer.Exit(130) from None
    if untrained := sum(training.training_rows == 0 for training in done.trainings):
        err.print(f"{untrained} of {len(done.trainings)} trainings had too few rows: the champion so far went on.")
    if as_json:
        print_json(json.loads(figures.model_dump_json()))
        return
    say_if_simulated(plan.simulated)
    out.print(summary_text(figures))
    out.print()
    for name in ("report.html", "forecasts.parquet", "figures.json"):
        out.print(str(folder / name), highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class _Market:
    """What is replayed.

    Attributes:
        source: who has the bars.
        settings: those of the command, for this market.
        named: what to name as --source to get it again.
        root: its folder inside `home`.
    """

    source: Source
    settings: Settings
    named: str
    root: Path


def _open(settings: Settings) -> _Market:
    from cryptosentinel.market import open_source
    from cryptosentinel.workspace import market_name, stored_workspace, used_before

    named = settings.market.source
    if named == "auto":
        if not used_before(settings):
            raise UserInputError(
                "There is no market to replay: none was named, and nothing has run here yet.",
                remedy="Name one: --source file:<path>, --source exchange:<id> or --source simulated.",
            )
        settings = stored_workspace(settings).settings
        kind, _, place = settings.market.source.partition(":")
        # The path was noted by another command, and may mean nothing elsewhere.
        named = f"{kind}:{Path(place).name}" if kind == "file" else settings.market.source
    opened = open_source(settings.market)
    # Several runs are trained at once: each of them has a thread.
    training = settings.training.model_copy(update={"threads": 1})
    settings = settings.model_copy(update={"training": training})
    return _Market(opened.source, settings, named, settings.home / market_name(opened.slug, settings.market))


def _plan(market: _Market, start: str, end: str, every_days: float) -> Plan:
    from cryptosentinel.backtest import Plan

    source = market.source
    newest = source.interval.floor(source.now())
    last = _last_end(market, newest)
    bars_end = f"The bars end at {newest:%Y-%m-%d %H:%M} UTC"
    until = _time(end, "--end") if end else last
    if until > newest:
        until = last
        ends = "and so does the backtest" if last == newest else f"the backtest already at {last:%Y-%m-%d %H:%M}"
        err.print(f"{bars_end}, {ends}.", highlight=False)
    begin = _time(start, "--start") if start else until - timedelta(days=DEFAULT_DAYS)
    if begin >= last:
        raise UserInputError(f"{bars_end}: too early for --start {start}.", remedy="Choose an earlier --start.")
    if begin >= until:
        raise UserInputError(
            f"There is nothing between {begin:%Y-%m-%d %H:%M} and {until:%Y-%m-%d %H:%M}.",
            remedy="Choose a --start before --end.",
        )
    if not source.interval.delta / timedelta(days=1) <= every_days <= _MOST_DAYS:
        raise UserInputError(
            f"Trainings cannot be {every_days:g} days apart.",
            remedy="Write --every-days 7, or at least a bar's length.",
        )
    return Plan(
        start=begin,
        end=until,
        every=timedelta(days=every_days),
        market=source.name,
        simulated=source.simulated,
        settings=market.settings,
        command=_command(market, begin, until, every_days),
    )


def _last_end(market: _Market, newest: datetime) -> datetime:
    """Where a recording ends. Of a market that goes on, the last midnight whose forecasts can all be settled.

    So the same command means the same all day long, and can go on where it stopped.
    """
    from cryptosentinel.market import FileSource

    if isinstance(market.source, FileSource):
        return newest
    settling = (market.settings.forecast.horizon_bars + 1) * market.source.interval.delta
    return (newest - settling).replace(hour=0, minute=0)


def _time(text: str, option: str) -> datetime:
    from cryptosentinel.market.bars import utc

    try:
        return utc(text)
    except ValueError as error:
        raise UserInputError(
            f"There is no such time as '{text}'.",
            remedy=f"Write {option} as YYYY-MM-DD or YYYY-MM-DDTHH:MM (UTC), e.g. 2024-07-01.",
        ) from error


def _command(market: _Market, start: datetime, end: datetime, every_days: float) -> str:
    """What to type to get the same figures anywhere: every setting that shapes them, wherever it came from."""
    words = ["cryptosentinel", "backtest", "--source", market.named, "--start", _day(start), "--end", _day(end)]
    words += ["--every-days", f"{every_days:g}"]
    given, usual = (json.loads(settings.public_json()) for settings in (market.settings, Settings()))
    for name, value in _leaves({group: given[group] for group in _GROUPS}):
        if name != "market.source" and value != dict(_leaves(usual))[name]:
            text = ",".join(value) if isinstance(value, list) else "" if value is None else str(value)
            words += ["--set", f"{name}={text}"]
    return shlex.join(words)


def _leaves(values: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _day(time: datetime) -> str:
    time = time.astimezone(UTC)
    return f"{time:%Y-%m-%d}" if time == time.replace(hour=0, minute=0, second=0) else f"{time:%Y-%m-%dT%H:%M}"


def _sentence(plan: Plan) -> str:
    from cryptosentinel.backtest.words import schedule

    return (
        f"{plan.market} from {plan.start:%Y-%m-%d %H:%M} to {plan.end:%Y-%m-%d %H:%M} UTC, "
        f"{schedule(plan.every / timedelta(days=1), plan.settings.training.window_days)}"
    )


def _show(planned: Outline, plan: Plan, folder: Path, *, as_json: bool) -> None:
    """What would be done."""
    there = planned.kept.done
    if as_json:
        trainings = [{"made_at": run.now.isoformat(), "rows": run.rows, "problem": run.problem} for run in planned.due]
        answer = {"start": plan.start.isoformat(), "end": plan.end.isoformat(), "folder": str(folder)}
        answer |= {"command": plan.command}
        print_json(answer | {"trainings": trainings, "done": there, "forecasts": planned.forecasts})
        return
    from cryptosentinel.backtest.words import count

    known = [run.rows for run in planned.due]
    rows = " to ".join(f"{bound:,}" for bound in sorted({min(known), max(known)}))
    short = [run for run in planned.due if run.problem]
    lines = [
        f"{_sentence(plan)}.",
        f"{count(len(planned.due), 'training')} on {rows} rows, and {planned.forecasts:,} forecasts.",
        *(
            [f"{len(short)} of the trainings would have too few rows, the first on {short[0].now:%Y-%m-%d %H:%M}."]
            if short
            else []
        ),
        f"Folder: {folder}, where {there:,} of the trainings and their forecasts are done."
        if there
        else f"Folder: {folder}, where no training is finished yet.",
    ]
    out.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    """Shows what is being done: a bar on a terminal, else a line each time."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # A training takes long: the pace is that of all of them.
    with Bars(*columns, console=console, transient=True, speed_estimate_period=1e6) as bars:
        task = bars.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            if bars.tasks[task].description == what:
                bars.update(task, completed=done)
            else:
                bars.reset(task, description=what, completed=done, total=total if total > 1 else None)

        yield show


def _lines(console: Console) -> Progress:
    """Progress for a log."""
    stage, before, since = "", 0, 0.0

    def show(what: str, done: int, total: int) -> None:
        nonlocal stage, before, since
        text = f"{what}: {done} of {total}" if total > 1 else what
        if what != stage:
            stage, before, since = what, done, time.monotonic()
        elif total > done > before:
            left = (time.monotonic() - since) / (done - before) * (total - done)
            text += f", about {timedelta(seconds=round(left))} left"
        console.print(text, highlight=False, markup=False)

    return show
