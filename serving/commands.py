"""The command that needs KServe: `serve`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cryptosentinel.cli import ConfigOption, HomeOption, SetOption, SourceOption, read_settings
from cryptosentinel.config import Settings


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
    explainer: Annotated[
        bool, typer.Option(help="Start an explainer beside it, unless serving.explainer_url names one.")
    ] = True,
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
        with _beside(settings, explainer, bundle=bundle, bundle_version=bundle_version) as settings:
            run_predictor(settings, bundle=bundle, bundle_version=bundle_version)
        return
    from cryptosentinel.workspace import stored_workspace
    from serving.state import state_path

    workspace = stored_workspace(settings, begin=True)
    workspace.champion()
    with _beside(settings, explainer, store_root=workspace.root) as settings:
        run_predictor(settings, store_root=workspace.root, market=workspace.market, state=state_path(workspace.root))


@contextmanager
def _beside(settings: Settings, wanted: bool, **bundles: Any) -> Iterator[Settings]:
    """Runs an explainer while the block runs, where one is wanted; gives the settings that name it."""
    if not wanted or settings.serving.explainer_url is not None:
        yield settings
        return
    from serving.explainer.process import start_explainer, with_explainer

    settings = with_explainer(settings)
    with start_explainer(settings, **bundles):
        yield settings
