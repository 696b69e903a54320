"""The status for a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cryptosentinel.monitoring.status import Part, PipelineRun, Status
from cryptosentinel.predicting import PENDING, Share, evidence

_MARKS = {"ok": "[green]ok[/]", "failed": "[red]FAILED[/]", "running": "[yellow]running[/]", "never": "[dim]never[/]"}


def show(status: Status) -> RenderableType:
    """The status, a line or two a part, then what is wrong, and what to do about it."""
    wrong = {problem.about for problem in status.problems}
    parts = Table.grid(padding=(0, 1))
    parts.add_column(no_wrap=True)
    parts.add_column(no_wrap=True)
    parts.add_column(overflow="fold")
    for part, lines in _parts(status):
        mark = "[red]FAIL[/]" if part in wrong else "[green]ok[/]"
        parts.add_row(mark, part.capitalize(), Text("\n".join(lines)))
    parts.add_row("[red]FAIL[/]" if "runs" in wrong else "[green]ok[/]", "Runs", _runs(status))
    head = Text.assemble((status.market, "bold"), f"  as of {status.as_of:%Y-%m-%d %H:%M:%S} UTC")
    if status.simulated:
        head.append("\nSIMULATED market: these prices are invented.", "bold yellow")
    if status.recorded:
        head.append("\nA recording: this is how it stood when it ended.", "yellow")
    return Group(head, Text(), parts, Text(), _problems(status))


def _parts(status: Status) -> Iterator[tuple[Part, list[str]]]:
    facts, now = status.facts, status.as_of
    if status.bar_closed_at is None:
        yield "market", ["no bars yet: `cryptosentinel run feature` fetches them"]
    else:
        change = f", {facts.change_24h:+.2%} in 24 hours" if math.isfinite(facts.change_24h) else ""
        newest = f"newest bar closed {_when(status.bar_closed_at, now)}, at {_price(facts.price)}"
        yield "market", [newest + change]
    if status.features_to is None or status.bar_closed_at is None:
        yield "features", ["none yet"]
    elif status.features_to >= status.bar_closed_at:
        yield "features", ["of all bars"]
    else:
        behind = _span(status.bar_closed_at, status.features_to)
        yield "features", [f"to {_when(status.features_to, now)}, {behind} behind the bars"]
    yield "champion", list(_champion(status))
    yield "forecasts", list(_forecasts(status))
    words = [_drift(status), *([facts.concept_in_words] if facts.concept_in_words else [])]
    yield "drift", words
    yield "alerts", list(_alerts(status))
    if (backlog := status.backlog) is not None:
        waits = f"{_wait(backlog.entries, 'write')} for it, since {_when(backlog.since, now)}" if backlog.since else ""
        yield "hopsworks", [waits or "has every row of features"]


def _champion(status: Status) -> Iterator[str]:
    champion = status.champion
    if champion is None:
        yield "none yet"
        return
    yield f"version {champion.version}: {champion.what}"
    age = f"data to {_when(champion.data_end, status.as_of)}; " if champion.data_end else ""
    yield f"{age}registered {_moment(champion.registered_at, status.as_of)}"


def _forecasts(status: Status) -> Iterator[str]:
    newest, accuracy = status.newest, status.accuracy
    if newest is None:
        why = "none yet" if status.bar_closed_at is None else f"none in the last {status.window_days:g} days"
        yield f"{why}: `cryptosentinel run inference` makes one"
        return
    yield (
        f"{_price(newest.predicted_price)} for {newest.target_at:%H:%M} (80%: {_price(newest.lower_80)} to "
        f"{_price(newest.upper_80)}), made {_when(newest.made_at, status.as_of)}"
    )
    counts = accuracy.counts
    pending = counts.get(PENDING, 0)
    settled = sum(counts.values()) - pending
    due = f", {status.due} of them due" if status.due else ""
    missed = f", {counts['missed']:,} of them missed" if "missed" in counts else ""
    yield f"in {status.window_days:g} days: {settled:,} settled{missed}; {pending:,} pending{due}"
    covered = accuracy.covered[80]
    if not covered.independent:
        return
    yield f"directions right: {_share(accuracy.hits)}; by a coin 50%"
    yield f"prices within the 80% interval: {_share(covered)}"
    yield f"prices within the 95% interval: {_share(accuracy.covered[95])}"
    yield f"({evidence(covered.independent)})"
    yield f"mean error {accuracy.error * 1e4:.1f} bp; of the random walk {accuracy.baseline_error * 1e4:.1f} bp"


def _share(share: Share) -> str:
    if not math.isfinite(share.value):
        return "none called"
    return f"{share.value:.1%} ({share.lower:.0%} to {share.upper:.0%})"


def _drift(status: Status) -> str:
    if status.drift_checked_at is None:
        return "not checked yet"
    checked = _moment(status.drift_checked_at, status.as_of)
    if status.drift_score is None:
        return f"no score yet, as the report of the drift step says (checked {checked})"
    score = f"{status.drift_score:.0%} of the features drifted (limit {status.drift_threshold:.0%})"
    return f"{score}, checked {checked}"


def _alerts(status: Status) -> Iterator[str]:
    for alert in status.alerts:
        seen = f", acknowledged by {alert.acknowledged_by}" if alert.acknowledged_by else ""
        yield f"{alert.severity} since {_moment(alert.raised_at, status.as_of)}{seen}: {alert.message or alert.kind}"
    if not status.alerts:
        yield "none open"
    for mute in status.mutes:
        yield f"{mute.kind} is muted until {mute.until:%Y-%m-%d %H:%M} UTC, by {mute.by}"
    told = f"told: {', '.join(status.told)}" if status.told else "nobody is told (docs/operations.md)"
    yield told + (f"; {_wait(status.deliveries_waiting, 'event')}" if status.deliveries_waiting else "")


def _runs(status: Status) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("pipeline", "began (UTC)", "came of it", "took", "due next"):
        table.add_column(name, no_wrap=True)
    table.add_column("")
    for run in status.pipelines:
        upcoming = f"{run.next_at:%H:%M:%S}" if run.next_at and not status.recorded else ""
        began = _moment(run.began_at, status.as_of) if run.began_at else ""
        table.add_row(run.pipeline, began, _MARKS[run.outcome], _took(run), upcoming, Text(_of_run(run)))
    return table


def _of_run(run: PipelineRun) -> str:
    if run.outcome == "failed":
        return f"{run.step}: {run.message}"
    return run.step if run.outcome == "running" else ""


def _took(run: PipelineRun) -> str:
    return f"{(run.ended_at - run.began_at).total_seconds():.0f} s" if run.began_at and run.ended_at else ""


def _problems(status: Status) -> RenderableType:
    if not status.problems:
        return Text("All is well.", "green")
    lines: list[Text] = []
    for problem in status.problems:
        lines += [Text(f"{problem.about.capitalize()}: {problem.what}", "red"), Text(f"  {problem.remedy}", "dim")]
    return Group(*lines)


def _moment(moment: datetime, now: datetime) -> str:
    """The day is said where it is another one than today."""
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"


def _when(moment: datetime, now: datetime) -> str:
    return f"{_moment(moment, now)} ({_span(now, moment)} ago)" if now > moment else _moment(moment, now)


def _span(late: datetime, early: datetime) -> str:
    seconds = (late - early).total_seconds()
    for unit, length, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def _wait(count: int, what: str) -> str:
    return f"{count} {what} waits" if count == 1 else f"{count:,} {what}s wait"


def _price(price: float) -> str:
    return f"{price:,.{2 if abs(price) >= 10 else 6}f}"
