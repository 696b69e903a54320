"""The command line: ``cryptosentinel ...``.

The library's own commands are here; packages that need Kubeflow Pipelines or KServe add theirs through the entry-point
group `cryptosentinel.commands`. Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import json
import sys
from copy import copy
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cryptosentinel import __version__
from cryptosentinel.config import Settings, load_settings, parse_assignment
from cryptosentinel.errors import CryptoSentinelError

app = typer.Typer(
    help="Forecasts for crypto markets, on Kubeflow Pipelines and KServe. Begin with `cryptosentinel up`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out, err = Console(), Console(stderr=True)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="A YAML file of settings.", show_default=False)]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any setting, e.g. training.window_days=30.")
]
HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of everything that is kept.", show_default=False)
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        help="auto, coingecko, exchange:<id>, file:<path> or simulated[:<seed>].",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", metavar="", help="Machine-readable answer.")]


def read_settings(
    config: Path | None = None,
    assignments: list[str] | None = None,
    flags: dict[str, Any] | None = None,
) -> Settings:
    """Settings from file, environment, ``--set`` and flags; `flags` maps settings to what was given, or to None."""
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    assigned = dict(parse_assignment(text) for text in assignments or [])
    written = {name: f"--{name.rpartition('.')[2].replace('_', '-')}" for name in given}
    return load_settings(config=config, overrides=assigned | given, flags=written)


def print_json(value: object) -> None:
    """Prints an answer for machines."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


@app.command()
def forecasts(
    last: Annotated[int, typer.Option("--last", min=1, help="How many of the newest.")] = 20,
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the forecasts made, and what became of them."""
    from cryptosentinel.predicting import forecast_records, forecast_table, record
    from cryptosentinel.workspace import stored_workspace

    workspace = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source}))
    log = workspace.storage.log.read_forecasts(workspace.settings.market.asset)
    if as_json:
        print_json(
            {
                "market": workspace.market,
                "simulated": workspace.source.simulated,
                "record": record(log),
                "forecasts": forecast_records(log.tail(last)),
            }
        )
        return
    say_if_simulated(workspace.source.simulated)
    if log.empty:
        out.print("No forecast has been made yet. `cryptosentinel up` makes one.")
        return
    out.print(forecast_table(log.tail(last)))
    out.print(sentence(record(log)), highlight=False)


@app.command()
def model(
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the champion, its figures, and the versions before it."""
    from rich.markdown import Markdown

    from cryptosentinel.bundle import Bundle
    from cryptosentinel.workspace import stored_workspace

    workspace = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source}))
    champion, bundle = workspace.champion(), Bundle.load(workspace.champion_bundle())
    versions = workspace.storage.registry.versions()
    if as_json:
        manifest = json.loads(bundle.manifest.model_dump_json())
        history = [
            {
                "version": v.version,
                "registered_at": v.registered_at.isoformat(),
                "verdict": v.verdict,
                "pruned_at": v.pruned_at.isoformat() if v.pruned_at else None,
            }
            for v in versions
        ]
        print_json({"champion": champion.version, "uri": champion.uri, "manifest": manifest, "versions": history})
        return
    say_if_simulated(workspace.source.simulated)
    out.print(Markdown(bundle.file("MODEL_CARD.md").read_text(encoding="utf-8")))
    out.print()
    table = Table(title="Versions", title_justify="left")
    for column in ("version", "registered (UTC)", "verdict"):
        table.add_column(column, overflow="fold")
    for version in versions[-10:]:
        mark = " (champion)" if version.version == champion.version else " (pruned)" if version.pruned_at else ""
        table.add_row(f"{version.version}{mark}", f"{version.registered_at:%Y-%m-%d %H:%M}", escape(version.verdict))
    out.print(table)


@app.command()
def doctor(
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is missing on this machine, and how to mend it."""
    from cryptosentinel.doctor import checks

    found = checks(read_settings(config, assignments, {"home": home, "market.source": source}))
    if as_json:
        print_json([vars(check) for check in found])
    else:
        table = Table.grid(padding=(0, 1))
        for check in found:
            mark = "[green]ok" if check.ok else "[red]FAIL" if check.required else "[yellow]note"
            table.add_row(mark, Text(f"{check.name}: {check.detail}", overflow="fold"))
            if check.remedy:
                table.add_row("", Text(check.remedy, style="dim", overflow="fold"))
        out.print(table)
    if any(check.required and not check.ok for check in found):
        raise typer.Exit(1)


@app.command()
def settings(
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every setting as it is in force; secrets are masked."""
    import yaml

    values = read_settings(config, assignments, {"home": home, "market.source": source}).masked()
    if as_json:
        print_json(values)
    else:
        sys.stdout.write(yaml.safe_dump(values, sort_keys=False))


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", metavar="", help="Show the version and exit.")] = False,
) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit


def say_if_simulated(simulated: bool) -> None:
    """Tells a person that the prices are invented, where they are."""
    if simulated:
        out.print("[bold yellow]SIMULATED market: these prices are invented.[/]")


def capital(text: str) -> str:
    """With a capital at its beginning, and all else as it is."""
    return text[:1].upper() + text[1:]


def sentence(figures: dict[str, Any]) -> str:
    """`predicting.record` in words."""
    from cryptosentinel.predicting import evidence

    made = f"{figures['made']} forecast{'' if figures['made'] == 1 else 's'}"
    if not figures["settled"]:
        return f"{made}, none settled yet."
    counts = ", ".join(f"{figures[name]} {name}" for name in ("correct", "incorrect", "flat", "missed"))
    covered = ""
    if figures["covered_80"] is not None:
        covered = (
            f"; {figures['covered_80']:.0%} of the prices within the 80% interval, "
            f"{figures['covered_95']:.0%} within the 95% interval ({evidence(figures['independent'])})"
        )
    return f"{made}, {figures['settled']} settled: {counts}{covered}."


def main() -> None:
    """Runs the command line; an error of ours becomes a sentence and its exit code."""
    from cryptosentinel import (
        cli_alerts,
        cli_backtest,
        cli_concept,
        cli_drift,
        cli_hopsworks,
    )  # which import this module in turn

    # A copy: in a process that comes here again and again, one app would gather the commands of every time.
    commands = copy(app)
    commands.registered_commands, commands.registered_groups = app.registered_commands[:], app.registered_groups[:]
    for module in (cli_alerts, cli_backtest, cli_concept, cli_drift, cli_hopsworks):
        module.add_commands(commands)
    for entry_point in entry_points(group="cryptosentinel.commands"):
        try:
            add_commands = entry_point.load()
        except ModuleNotFoundError as error:
            # An image holds only the packages it needs: the commands of the others are not there.
            if not (error.name or "").startswith(entry_point.module.partition(".")[0]):
                raise
        else:
            add_commands(commands)
    try:
        commands(standalone_mode=True)
    except CryptoSentinelError as error:
        err.print(f"[bold red]Error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
        if error.remedy:
            err.print(error.remedy, highlight=False, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
