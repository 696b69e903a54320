"""The command `cryptosentinel concept`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from cryptosentinel.cli import (
    ConfigOption,
    HomeOption,
    JsonOption,
    SetOption,
    SourceOption,
    capital,
    out,
    print_json,
    read_settings,
    say_if_simulated,
    sentence,
)

if TYPE_CHECKING:
    import pandas as pd


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
    detections = workspace.storage.log.read_detections(workspace.settings.market.asset)
    figures = record(log[log["bundle_version"] == champion.version])
    if as_json:
        test = None if found is None else asdict(found) | {"level": found.level, "drifted": found.drifted}
        called = json.loads(detections.to_json(orient="records", date_format="iso"))
        answer = {"market": workspace.market, "champion": champion.version, "test": test, "record": figures}
        print_json(answer | {"called_useless": called})
        return
    say_if_simulated(workspace.source.simulated)
    _show_detections(detections)
    if found is None:
        out.print(f"Nothing to say yet: no forecast that version {champion.version} has learnt to make is settled.")
        return
    out.print(f"{capital(found.sentence())}.", style="red" if found.drifted else None, highlight=False)
    out.print(sentence(figures), highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("share of\nevidence", justify="right")
    table.add_column("what would speak against them")
    for name in sorted(CHALLENGERS, key=lambda name: -found.by[name]):
        table.add_row(f"{found.by[name]:.0%}", CHALLENGERS[name])
    out.print(table)


def _show_detections(detections: pd.DataFrame) -> None:
    """Versions that were called useless, the newest last, and what was done about it."""
    import pandas as pd

    for each in detections.tail(5).itertuples():
        acts = (("a training was started", each.retrained_at), ("the random walk took its place", each.fell_back_at))
        done = [f"{what} at {when:%m-%d %H:%M}" for what, when in acts if pd.notna(when)]
        since = f"Version {each.bundle_version} was called useless on {each.detected_at:%Y-%m-%d %H:%M} UTC"
        out.print("; ".join([since, *done]) + ".", highlight=False)
