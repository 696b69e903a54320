"""The commands `cryptosentinel hopsworks ...`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import asdict

import typer
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
)
from cryptosentinel.errors import SettingsError

commands = typer.Typer(help="Hopsworks behind the store: try a project, and deliver what waits.", no_args_is_help=True)


def add_commands(app: typer.Typer) -> None:
    """Adds `hopsworks` to the command line."""
    app.add_typer(commands, name="hopsworks")


@commands.command()
def check(config: ConfigOption = None, assignments: SetOption = None, as_json: JsonOption = False) -> None:
    """Try a project step by step: log in, a feature group of its own, a row in and out of it, the registry."""
    from cryptosentinel.storage.hopsworks import Step
    from cryptosentinel.storage.hopsworks import check as steps

    settings = read_settings(config, assignments).hopsworks
    found: list[Step] = []
    trial = steps(settings)
    while True:
        with redirect_stdout(sys.stderr):  # the client prints
            step = next(trial, None)
        if step is None:
            break
        found.append(step)
        if not as_json:
            out.print(Text.assemble(("ok  ", "green") if step.ok else ("FAIL", "red"), f" {step.name}: {step.detail}"))
            if step.remedy:
                out.print(Text(f"     {step.remedy}", style="dim"))
    if as_json:
        print_json([asdict(step) for step in found])
    if not all(step.ok for step in found):
        raise typer.Exit(1)


@commands.command()
def deliver(
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give Hopsworks the rows and bundles that wait; every feature and training run does so too."""
    from cryptosentinel.storage.hopsworks import HopsworksStorage
    from cryptosentinel.workspace import stored_workspace

    storage = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source})).storage
    if not isinstance(storage, HopsworksStorage):
        raise SettingsError("Nothing goes to Hopsworks: storage.backend is embedded.", remedy="Set it to hopsworks.")
    with redirect_stdout(sys.stderr):
        deliveries = storage.deliver()
    if as_json:
        print_json({what: asdict(delivery) for what, delivery in deliveries.items()})
    else:
        for what, delivery in deliveries.items():
            out.print(Text(f"{what}: {delivery.delivered} delivered, {delivery.waiting} waiting. {delivery.problem}"))
    if any(delivery.problem for delivery in deliveries.values()):
        raise typer.Exit(1)
