"""The command that needs KServe: `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryptosentinel.cli import ConfigOption, HomeOption, SetOption, SourceOption, read_settings


def add_commands(app: typer.Typer) -> None:
    """Adds this package's command to the command line."""
    app.command()(serve)


def serve(
    bundle: Annotated[
        Path | None, typer.Option(help="Serve this bundle folder, in place of the market's champion.", file_okay=False)
    ] = None,
    bundle_version: Annotated[int | None, typer.Option(help="The folder's version, where it does not say.")] = None,
    http_port: Annotated[int | None, typer.Option(help="0: any free port.", show_default="8085")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="0: any free port.", show_default="8086")] = None,
    source: SourceOption = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
) -> None:
    """Serve forecasts with KServe until Ctrl-C; a new champion is served as soon as there is one."""
    from serving.server import run_predictor

    settings = read_settings(
        config,
        assignments,
        {
            "home": home,
            "market.source": source,
            "serving.http_port": http_port,
            "serving.grpc_port": grpc_port,
        },
    )
    if bundle is not None:
        run_predictor(settings, bundle=bundle, bundle_version=bundle_version)
        return
    from cryptosentinel.workspace import stored_workspace
    from serving.state import state_path

    workspace = stored_workspace(settings, begin=True)
    workspace.champion()
    run_predictor(settings, store_root=workspace.root, market=workspace.market, state=state_path(workspace.root))
