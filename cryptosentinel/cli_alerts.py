"""The command `cryptosentinel alerts`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
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


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    group = typer.Typer(help="Show alerts, open and past; try who is told of them.")
    group.callback(invoke_without_command=True)(alerts)
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
    from cryptosentinel.alerting import remedy_of
    from cryptosentinel.workspace import stored_workspace

    workspace = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source}))
    asset = workspace.settings.market.asset
    log, queued = workspace.storage.log.read_alerts(asset), workspace.storage.outbox.read(asset)
    is_open = log["resolved_at"].isna()
    current, past = log[is_open], log[~is_open].head(last)
    if as_json:
        shown = {"open": _records(current, queued), "past": _records(past, queued)}
        print_json({"market": workspace.market, "simulated": workspace.source.simulated, **shown})
        return
    say_if_simulated(workspace.source.simulated)
    for alert in current.itertuples():
        mark = "[bold red]CRITICAL[/]" if alert.severity == "critical" else "[yellow]WARNING[/]"
        out.print(f"{mark} since {alert.raised_at:%Y-%m-%d %H:%M} UTC", alert.kind, highlight=False)
        for words in (alert.message, remedy_of(alert.kind), _told(alert.alert_id, queued)):
            if words:
                out.print(Text(f"  {words}"), highlight=False, soft_wrap=True)
    if current.empty:
        out.print("No alert is open.")
    if len(past):
        table = Table(box=None, pad_edge=False)
        for name in ("raised (UTC)", "over", "severity", "what"):
            table.add_column(name, overflow="fold")
        for alert in past.itertuples():
            over = f"{alert.resolved_at:%m-%d %H:%M}"
            table.add_row(f"{alert.raised_at:%m-%d %H:%M}", over, alert.severity, Text(alert.message or alert.kind))
        out.print()
        out.print(table)


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
