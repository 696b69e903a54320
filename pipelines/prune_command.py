"""The command `cryptosentinel prune`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

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
)
from pipelines.keeping import prune_machine


def prune_all(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; say what would go.")] = False,
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete bundles, rows, runs and logs that the settings retention do not keep; every training does so too."""
    from cryptosentinel.retention import Thing, prune
    from cryptosentinel.workspace import stored_workspace
    from serving.rollout import in_use

    workspace = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source}))
    now, settings = datetime.now(UTC), workspace.settings
    things = prune(workspace.storage, settings, now=now, in_use=in_use(workspace), dry_run=dry_run)
    things += [Thing(*gone) for gone in prune_machine(workspace.root, settings.retention, dry_run=dry_run)]
    gone, kept = [t for t in things if not t.stays], [t for t in things if t.stays]
    if as_json:
        answer = {"market": workspace.market, "dry_run": dry_run, "bytes": sum(thing.bytes for thing in gone)}
        print_json(answer | {"deleted": [asdict(thing) for thing in gone], "kept": [asdict(thing) for thing in kept]})
        return
    table = Table("", "what", "MB", "why it stays", box=None, pad_edge=False)
    for thing in things:
        goes = "stays" if thing.stays else "would go" if dry_run else "gone"
        table.add_row(goes, f"{thing.kind} {thing.name}", f"{thing.bytes / 1e6:.1f}", thing.stays)
    if things:
        out.print(table)
    freed, left = (sum(thing.bytes for thing in some) / 1e6 for some in (gone, kept))
    said = "would be" if dry_run else "are"
    out.print(f"{freed:.1f} MB {said} freed; bundles of {left:.1f} MB stay.", highlight=False)
