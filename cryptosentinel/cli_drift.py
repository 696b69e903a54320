"""The command `cryptosentinel drift`."""

from __future__ import annotations

from typing import Annotated

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
)

SHOWN = 8


def add_commands(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(drift)


def drift(
    detector: Annotated[str | None, typer.Option(help="auto, scipy or tabular (alibi-detect).")] = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check now whether the market still looks as in the champion's training. Nothing is written or moved."""
    from cryptosentinel.drift import NotChecked, check_drift, in_words
    from cryptosentinel.workspace import stored_workspace

    given = {"home": home, "market.source": source, "drift.detector": detector}
    workspace = stored_workspace(read_settings(config, assignments, given))
    settings, version = workspace.settings, workspace.champion().version
    found = check_drift(
        workspace.storage.features,
        workspace.spec,
        settings.market.asset,
        workspace.champion_bundle(),
        settings.drift,
        version=version,
    )
    if as_json:
        checked = {} if isinstance(found, NotChecked) else found.model_dump(mode="json") | found.figures()
        shown = {"sentence": found.sentence(), "checked": not isinstance(found, NotChecked), **checked}
        print_json({"market": workspace.market, "simulated": workspace.source.simulated, **shown})
        return
    say_if_simulated(workspace.source.simulated)
    if isinstance(found, NotChecked):
        out.print(f"{capital(found.sentence())}.", highlight=False)
        return
    out.print(f"{capital(found.sentence())}.", style="yellow" if found.drifted else None, highlight=False)
    out.print(found.advice(), highlight=False)
    for window in found.windows:
        table = Table(box=None, pad_edge=False, title=f"The last {in_words(window.hours)}: {window.score:.0%}")
        table.title_justify = "left"
        table.add_column("feature")
        for name in ("drifted", "distance", "p", "shift", "weight"):
            table.add_column(name, justify="right")
        for feature in window.features[:SHOWN]:
            table.add_row(
                feature.feature,
                "yes" if feature.drifted else "no",
                f"{feature.statistic:.3f}",
                f"{feature.corrected:.4f}",
                f"{feature.effect:+.2f}",
                f"{feature.weight:.1%}",
            )
        out.print()
        out.print(table)
    hidden = max(len(window.features) for window in found.windows) - SHOWN
    if hidden > 0:
        out.print(f"[dim]The {SHOWN} most unlike the baseline a window, p corrected for many; --json shows all.[/]")
