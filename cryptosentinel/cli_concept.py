"""The command `cryptosentinel concept`."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.table import Table

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
    sentence,
)


def add_commands(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(concept)


def concept(
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show whether the champion's forecasts still do what they say, and what speaks against them."""
    from cryptosentinel.drift import CHALLENGERS, champion_concept
    from cryptosentinel.predicting import record
    from cryptosentinel.workspace import stored_workspace

    workspace = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source}))
    champion = workspace.champion()
    log = workspace.storage.log.read_forecasts(workspace.settings.market.asset)
    # As of the newest forecast: a recording, or what stands still, is shown as it was.
    now = log["made_at"].max() if len(log) else workspace.source.now()
    found = champion_concept(workspace.storage, workspace.spec.interval.delta, workspace.settings, now=now)
    figures = record(log[log["bundle_version"] == champion.version])
    if as_json:
        test = None if found is None else asdict(found) | {"level": found.level, "drifted": found.drifted}
        print_json({"market": workspace.market, "champion": champion.version, "test": test, "record": figures})
        return
    say_if_simulated(workspace.source.simulated)
    if found is None:
        out.print(f"Nothing to say yet: no forecast that version {champion.version} has learnt to make is settled.")
        return
    out.print(f"{found.sentence()}.".capitalize(), style="red" if found.drifted else None, highlight=False)
    out.print(sentence(figures), highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("share of\nevidence", justify="right")
    table.add_column("what would speak against them")
    for name in sorted(CHALLENGERS, key=lambda name: -found.by[name]):
        table.add_row(f"{found.by[name]:.0%}", CHALLENGERS[name])
    out.print(table)
