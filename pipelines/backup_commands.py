"""The commands `cryptosentinel backup` and `cryptosentinel restore`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from cryptosentinel.cli import (
    ConfigOption,
    HomeOption,
    JsonOption,
    SetOption,
    SourceOption,
    err,
    out,
    print_json,
    read_settings,
)
from cryptosentinel.errors import StorageError
from pipelines.home import locked_home

if TYPE_CHECKING:
    from cryptosentinel.storage.backup import Backup

_EVERY = 200  # files, between two lines on how far it is


def backup(
    to: Annotated[
        str, typer.Argument(help="A folder, or s3://, gs://, az:// (as storage.options say).", show_default=False)
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a backup that is there.")] = False,
    config: ConfigOption = None,
    home: HomeOption = None,
    source: SourceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy all that is known, verified, while everything runs; interrupted, the same command goes on."""
    from cryptosentinel.storage.backup import back_up
    from cryptosentinel.storage.opening import place, storage_options
    from cryptosentinel.workspace import market_note, stored_workspace

    workspace = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source}))
    settings = workspace.settings
    made = back_up(
        workspace.storage.uri,
        place(to),
        storage_options(settings.storage),
        market=workspace.market,
        settings=market_note(settings.market),
        replace=replace,
        say=_say,
    )
    _tell(made, f"Backed up to {to}", as_json)


def restore(
    uri: Annotated[str, typer.Argument(metavar="FROM", help="Of the backup.", show_default=False)],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; read the backup, and say whether it is whole.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a store that is there.")] = False,
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a store of a backup, in this home or where storage.uri says; interrupted, the same command goes on."""
    from cryptosentinel.storage.backup import check_backup, read_backup
    from cryptosentinel.storage.opening import place, storage_options
    from cryptosentinel.storage.restoring import restore as put_back
    from cryptosentinel.workspace import remember_market

    settings = read_settings(config, assignments, {"home": home})
    options = storage_options(settings.storage)
    made = read_backup(place(uri), options)
    if check:
        if wrong := check_backup(place(uri), options, _say):
            shown = ", ".join(wrong[:5]) + (", ..." if len(wrong) > 5 else "")
            raise StorageError(f"{len(wrong)} of {len(made.files)} files of {uri} are damaged: {shown}.")
        _tell(made, f"{uri} is whole", as_json)
        return
    to = place(settings.storage.uri or str(settings.home / made.market / "store"))
    with nullcontext() if "://" in to else locked_home(settings.home):
        put_back(place(uri), to, options, replace=replace, say=_say)
        remember_market(settings.home, made.settings)
    _tell(made, f"Restored to {to}", as_json)


def _say(done: int, of: int) -> None:
    if done % _EVERY == 0:
        err.print(f"{done:,} of {of:,} files", highlight=False)


def _tell(made: Backup, what: str, as_json: bool) -> None:
    if as_json:
        print_json({**made.model_dump(mode="json", exclude={"files"}), "files": len(made.files), "bytes": made.bytes})
        return
    out.print(
        f"{what}: {made.market} as of {made.begun_at:%Y-%m-%d %H:%M} UTC, {len(made.files):,} files,"
        f" {made.bytes / 1e6:,.1f} MB, {made.bundles} bundles of {made.versions} versions.",
        highlight=False,
        soft_wrap=True,
    )
