"""Opening a store: its parts, and the marker that says whose it is."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from cryptosentinel import __version__
from cryptosentinel.config import StorageSettings
from cryptosentinel.errors import SettingsError, StoreFormatError
from cryptosentinel.storage import delta
from cryptosentinel.storage.features import DeltaFeatureStore
from cryptosentinel.storage.files import Files, join
from cryptosentinel.storage.forecast_log import DeltaForecastLog
from cryptosentinel.storage.leases import DeltaLeases
from cryptosentinel.storage.outbox import DeltaOutbox
from cryptosentinel.storage.protocols import Storage
from cryptosentinel.storage.registry import DeltaModelRegistry

FORMAT_VERSION = 1
MARKER = "store.json"
# While it is there without a marker, a backup is being put back.
RESTORING = "restoring.txt"


def open_storage(storage: StorageSettings, *, root: Path, market: str) -> Storage:
    """Opens the store, making it first where there is none.

    Args:
        storage: where it is; without a `uri`, in the folder `store` inside `root`.
        root: the home folder.
        market: names the market, e.g. `bitcoin-usd-5m-binance`; a store holds one market, since bars of two must
            not mix.

    Raises:
        SettingsError: the store is another market's, or an option would make it unsafe.
        StoreFormatError: it was written by an unknown version, or its marker is damaged.
        StoreUnavailableError: it cannot be reached, read or written.
    """
    options = storage_options(storage)
    if unsafe := [name for name in options if name.lower().endswith("s3_allow_unsafe_rename")]:
        raise SettingsError(
            f"storage.options.{unsafe[0]}: without atomic puts two writers lose each other's rows.",
            remedy="Remove it, and use an object store that honours conditional puts.",
        )
    uri = place(storage.uri if storage.uri is not None else str(root / "store"))
    _check_marker(uri, options, market)
    days = storage.retention_days
    return Storage(
        DeltaFeatureStore(uri, options, retention_days=days),
        DeltaModelRegistry(uri, options, retention_days=days),
        DeltaForecastLog(uri, options, retention_days=days),
        DeltaOutbox(uri, options, retention_days=days),
        uri,
        DeltaLeases(uri, options),
    )


def storage_options(storage: StorageSettings) -> dict[str, str]:
    """`storage.options` as the client of the object store takes them."""
    return {name: value.get_secret_value() for name, value in storage.options.items()}


def place(uri: str) -> str:
    """An address in an object store as it is, and a folder as an absolute path.

    Raises:
        SettingsError: Delta Lake cannot open a folder of this name.
    """
    uri = uri.removeprefix("file://")
    if "://" in uri:
        return uri
    folder = str(Path(uri).expanduser().resolve())
    if escape := re.search(r"%[0-9A-Fa-f]{2}", folder):  # delta-rs decodes it, and looks elsewhere
        raise SettingsError(f"The folder {folder} has '{escape[0]}' in its name, which Delta Lake cannot open.")
    return folder


def _check_marker(uri: str, options: dict[str, str], market: str) -> None:
    files = Files(uri, options)
    content = files.read(MARKER)
    if content is None:
        if files.read(RESTORING) is not None:
            raise StoreFormatError(
                f"The store at {uri} is being restored from a backup, or that was interrupted.",
                remedy="Wait for `cryptosentinel restore` to end, or run it again: it goes on where it stopped.",
            )
        content = _first_marker(uri, options, market)
        files.write(MARKER, content)
    where = join(uri, MARKER)
    try:
        marker = json.loads(content)
        version, owner = int(marker["format_version"]), str(marker["market"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreFormatError(
            f"{where}, which says what this store is, is damaged ({error}).",
            remedy="Restore that file, or point `home` or `storage.uri` at another folder.",
        ) from error
    if version != FORMAT_VERSION:
        writer = marker.get("written_by", "an unknown release")
        raise StoreFormatError(
            f"The store at {uri} has format version {version}, written by {writer};"
            f" this is cryptosentinel {__version__}, which reads version {FORMAT_VERSION}.",
            remedy="Use the release that wrote it, or point `home` or `storage.uri` at another folder.",
        )
    if owner != market:
        raise SettingsError(
            f"The store at {uri} holds the market {owner}, but the settings ask for {market}.",
            remedy="Give each market a `home` or `storage.uri` of its own.",
        )


def _first_marker(uri: str, options: dict[str, str], market: str) -> bytes:
    """The marker of whoever opens the store first, were there several at once.

    Object stores put a file conditionally each in its own way; the log of a Delta table is what all of them do. So
    the marker is decided by who creates the table `marker`, and everybody writes the same `store.json`.
    """
    proposal: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "market": market,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "written_by": f"cryptosentinel {__version__}",
    }
    schema = pa.schema([pa.field("nothing", pa.string())])
    table = delta.create_table(
        join(uri, "marker"), schema, options, statistics=["nothing"], description=json.dumps(proposal)
    )
    return str(table.metadata().description).encode()
