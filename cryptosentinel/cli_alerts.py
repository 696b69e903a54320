"""The command `cryptosentinel alerts`."""

from __future__ import annotations

import getpass
import json
import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from cryptosentinel.cli import (
    ConfigOption,
    HomeOption,
    JsonOption,
    SetOption,
    SourceOption,
    out,
    print_json,
    read_settings,
    say_if_simulated,
)
from cryptosentinel.errors import UserInputError

if TYPE_CHECKING:
    import pandas as pd

    from cryptosentinel.alerting import Mute

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
KindArgument = Annotated[str, typer.Argument(metavar="KIND", help="Of alert, e.g. volatility.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who does it; else the user of this machine.")]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    group = typer.Typer(help="Show alerts, open and past; acknowledge and mute them; try who is told.")
    group.callback(invoke_without_command=True)(alerts)
    for command in (acknowledge, mute, unmute):
        group.command()(command)
    group.command("test")(try_everybody)
    app.add_typer(group, name="alerts")


def alerts(
    context: typer.Context,
    last: Annotated[int, typer.Option("--last", min=1, help="How many of the newest that are over.")] = 20,
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show alerts, open and past, and who was told of them."""
    if context.invoked_subcommand is not None:
        return
    from cryptosentinel.alerting import read_mutes, remedy_of
    from cryptosentinel.workspace import stored_workspace

    workspace = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source}))
    asset = workspace.settings.market.asset
    mutes = read_mutes(workspace.storage.log, asset, now=datetime.now(UTC))
    log, queued = workspace.storage.log.read_alerts(asset), workspace.storage.outbox.read(asset)
    is_open = log["resolved_at"].isna()
    current, past = log[is_open], log[~is_open].head(last)
    if as_json:
        shown = {"open": _records(current, queued), "past": _records(past, queued)}
        shown["muted"] = [_mute_record(each) for each in mutes.values()]
        print_json({"market": workspace.market, "simulated": workspace.source.simulated, **shown})
        return
    say_if_simulated(workspace.source.simulated)
    for alert in current.itertuples():
        mark = "[bold red]CRITICAL[/]" if alert.severity == "critical" else "[yellow]WARNING[/]"
        out.print(f"{mark} since {alert.raised_at:%Y-%m-%d %H:%M} UTC", alert.kind, highlight=False)
        by = alert.acknowledged_by
        seen = f"Acknowledged by {by}, {alert.acknowledged_at:%Y-%m-%d %H:%M} UTC." if by else ""
        for words in (alert.message, remedy_of(alert.kind), seen, _told(alert.alert_id, queued)):
            if words:
                out.print(Text(f"  {words}"), highlight=False, soft_wrap=True)
    if current.empty:
        out.print("No alert is open.")
    for each in mutes.values():
        out.print(Text(_muted(each), "dim"), highlight=False, soft_wrap=True)
    if len(past):
        table = Table(box=None, pad_edge=False)
        for name in ("raised (UTC)", "over", "severity", "what"):
            table.add_column(name, overflow="fold")
        for alert in past.itertuples():
            over = f"{alert.resolved_at:%m-%d %H:%M}"
            table.add_row(f"{alert.raised_at:%m-%d %H:%M}", over, alert.severity, Text(alert.message or alert.kind))
        out.print()
        out.print(table)


def acknowledge(
    alert: Annotated[str, typer.Argument(metavar="ALERT", help="The kind of an open alert, or its id.")],
    by: ByOption = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that you look after an alert. It stays open; one that gets worse has to be acknowledged again."""
    from cryptosentinel import alerting
    from cryptosentinel.workspace import stored_workspace

    workspace = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source}))
    asset, user = workspace.settings.market.asset, by or _user()
    rows = alerting.acknowledge(workspace.storage.log, asset, alert, user, now=datetime.now(UTC))
    if as_json:
        print_json(json.loads(rows.to_json(orient="records", date_format="iso")))
    for row in rows.itertuples():
        what = f"{row.severity.upper()} since {row.raised_at:%Y-%m-%d %H:%M} UTC {row.kind}"
        came = f"acknowledged by {row.acknowledged_by}" if row.acknowledged_by else "got worse or ended meanwhile"
        if not as_json:
            out.print(Text(f"{what}: {came}."), highlight=False, soft_wrap=True)
    if rows["acknowledged_by"].isna().any():
        raise typer.Exit(1)


def mute(
    kind: KindArgument,
    length: Annotated[str, typer.Option("--for", metavar="LENGTH", help="E.g. 30m, 2h, 1d; 31d at most.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the others.")] = "",
    by: ByOption = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have nobody told of a kind of alert for a while; what is open when it ends is told then."""
    from cryptosentinel import alerting
    from cryptosentinel.workspace import stored_workspace

    workspace = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source}))
    now, user = datetime.now(UTC), by or _user()
    log, asset = workspace.storage.log, workspace.settings.market.asset
    muted = alerting.mute(log, asset, kind, now + _length(length), user, reason=reason, now=now)
    if as_json:
        print_json(_mute_record(muted))
    else:
        out.print(Text(_muted(muted)), highlight=False, soft_wrap=True)


def unmute(
    kind: KindArgument,
    by: ByOption = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a mute before its time."""
    from cryptosentinel import alerting
    from cryptosentinel.workspace import stored_workspace

    workspace = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source}))
    log, asset = workspace.storage.log, workspace.settings.market.asset
    muted = alerting.unmute(log, asset, kind, by or _user(), now=datetime.now(UTC))
    if as_json:
        print_json({"kind": kind, "ended": muted is not None})
    else:
        out.print(f"{kind} {'is not muted any more' if muted else 'was not muted'}.", highlight=False)


def try_everybody(
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send one test alert to everybody who is told, and say what came back."""
    from cryptosentinel.alerting import market_in_words, open_sinks, trial_event, try_sinks

    settings = read_settings(config, assignments, {"home": home})
    sinks = open_sinks(settings.alerts)
    if not sinks:
        raise UserInputError(
            "Nobody is told of alerts.",
            remedy="Set alerts.webhook_url, slack_url, teams_url, alertmanager_url or email.to (docs/operations.md).",
        )
    event = trial_event(settings.market.asset, market_in_words(settings.market), now=datetime.now(UTC))
    trials = try_sinks(sinks, event)
    if as_json:
        print_json([vars(trial) for trial in trials])
    else:
        for trial in trials:
            mark = "[green]ok[/]" if trial.ok else "[red]FAIL[/]"
            out.print(mark, Text(f"{trial.sink}: {trial.answer}"), highlight=False, soft_wrap=True)
    if not all(trial.ok for trial in trials):
        raise typer.Exit(1)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"


def _length(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,5})([mhd])", text)
    if not found:
        raise UserInputError(f"'{text}' is no length of time.", remedy="Say how many of which, e.g. 30m, 2h or 1d.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _muted(muted: Mute) -> str:
    why = f": {muted.reason}" if muted.reason else ""
    return f"Muted until {muted.until:%Y-%m-%d %H:%M} UTC by {muted.by}: {muted.kind}{why}"


def _mute_record(muted: Mute) -> dict[str, Any]:
    moments = {name: value.isoformat() for name, value in vars(muted).items() if isinstance(value, datetime)}
    return vars(muted) | moments


def _records(rows: pd.DataFrame, queued: pd.DataFrame) -> list[dict[str, Any]]:
    from cryptosentinel.alerting import remedy_of

    records: list[dict[str, Any]] = json.loads(rows.to_json(orient="records", date_format="iso"))
    columns = ["sink", "event", "attempts", "due_at", "delivered_at", "answer"]
    for record in records:
        mine = queued.loc[queued["alert_id"] == record["alert_id"], columns]
        record["remedy"] = remedy_of(record["kind"])
        record["deliveries"] = json.loads(mine.to_json(orient="records", date_format="iso"))
    return records


def _told(alert_id: str, queued: pd.DataFrame) -> str:
    """Who knows, and who does not yet, and why."""
    mine = queued[queued["alert_id"] == alert_id]
    knows = sorted(set(mine.loc[mine["delivered_at"].notna(), "sink"]))
    waiting = mine[mine["delivered_at"].isna()].drop_duplicates("sink")
    words = [f"Told: {', '.join(knows)}."] if knows else []
    words += [f"Not told yet: {row.sink}, {row.attempts} attempts. {row.answer or ''}" for row in waiting.itertuples()]
    return " ".join(words).strip()
