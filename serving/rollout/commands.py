"""The command `rollout`."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Annotated

import typer

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


def rollout(
    version: Annotated[
        int | None, typer.Option(min=0, help="Make this version champion.", show_default="the champion")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Take storageUri from whoever else manages it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Say what would be done, and do not.")] = False,
    source: SourceOption = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lead the cluster's InferenceService to the champion, or to a version that becomes it once it serves."""
    from cryptosentinel.forecasting import settle_verdicts
    from cryptosentinel.workspace import stored_workspace
    from serving.rollout.promotion import roll_out

    settings = read_settings(config, assignments, {"home": home, "market.source": source})
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s %(message)s")
    workspace = stored_workspace(settings, begin=True)
    if not dry_run:
        settle_verdicts(workspace.storage.registry)
    done = roll_out(workspace, version, force=force, dry_run=dry_run)
    if as_json:
        print_json(asdict(done))
        return
    before = "another bundle" if done.before is None else f"version {done.before}"
    sentence = {
        "unchanged": f"serves version {done.version} already",
        "rolled out": f"serves version {done.version}, in the place of {before}",
        "would be rolled out": f"would serve version {done.version}, in the place of {before}",
    }[done.outcome]
    out.print(f"{done.inference_service} {sentence}.", highlight=False, markup=False, soft_wrap=True)
