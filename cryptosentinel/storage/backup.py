"""A store copied while the platform works on it.

What is copied is one moment of each table: a version is pinned, and then its data files are copied, which nobody
changes, and the part of the log that leads to that version, so that it keeps its number, which bundles name. Tables are
pinned in such an order that what refers to something is older than that: the champion's version, the forecasts' too,
are among the versions. `backup.json` is written last, with the digest of every file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa
from deltalake import DeltaTable
from pydantic import BaseModel, ConfigDict, ValidationError

from cryptosentinel import __version__
from cryptosentinel.errors import StorageError, StoreFormatError
from cryptosentinel.storage import delta
from cryptosentinel.storage.files import Files, join
from cryptosentinel.storage.opening import MARKER, RESTORING
from cryptosentinel.storage.schemas import VERSIONS

BACKUP = "backup.json"
_UNFINISHED = "unfinished.json"
ALIASES_TABLE, _VERSIONS = "registry/aliases", "registry/versions"
# What refers to other tables comes before them, and versions, which everything refers to, last.
_PINNED_FIRST, _PINNED_LAST = (ALIASES_TABLE, "alert_deliveries", "forecasts", "features"), (_VERSIONS,)
# What processes that work now say to each other, and the marker, which has its own place in the order of things.
_LEFT_OUT = ("leases/", "hopsworks-turns/", f"{MARKER}/", f"{RESTORING}/")
_LOGGED = re.compile(r"(.*)/_delta_log/[^/]+")
_COMMIT = re.compile(r"(\d{20})(\.json|\.checkpoint(?:\.\d+\.\d+)?\.parquet)")
_ATTEMPTS = 5

Say = Callable[[int, int], None]


class Copied(BaseModel):
    """A file of a backup."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Backup(BaseModel):
    """`backup.json`.

    Attributes:
        market: the store's, e.g. `coingecko-bitcoin-usd-5m`.
        settings: what opened that market: `market.source` and so on, by the last part of their names.
        tables: the version of each, by its folder.
        versions: the registry's; of which `bundles` have theirs.
        files: by path in the store, and in the backup.
    """

    model_config = ConfigDict(frozen=True)

    format_version: Literal[1] = 1
    made_by: str
    begun_at: datetime
    market: str
    settings: dict[str, str]
    tables: dict[str, int]
    versions: int
    bundles: int
    files: dict[str, Copied]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files.values())


class _GoneError(StorageError):
    """What was pinned is not there any more: it was pruned, or compacted and vacuumed."""


def back_up(
    uri: str,
    to: str,
    options: Mapping[str, str],
    *,
    market: str,
    settings: Mapping[str, str],
    replace: bool = False,
    say: Say = lambda _done, _of: None,
) -> Backup:
    """Copies a store, whoever works on it meanwhile; one that was interrupted is gone on with.

    Args:
        uri: of the store.
        to: a folder, or an address in an object store.
        options: of the object store, or of both.
        market: the store's.
        settings: what opens it again.
        replace: take the place of a backup that is there; files that it shares are not copied again.
        say: is told how many files are done, of how many.

    Raises:
        StorageError: there is a backup or something else already, or a file cannot be copied as it is.
        StoreUnavailableError: the store or `to` cannot be reached, read or written.
    """
    if f"{to.rstrip('/')}/".startswith(f"{uri.rstrip('/')}/"):
        raise StorageError(f"{to} lies inside the store itself.", remedy="Name a folder or bucket elsewhere.")
    store, target = Files(uri, options), Files(to, options)
    there = {file.path for file in target.walk("")}
    if there and _UNFINISHED not in there and not (replace and BACKUP in there):
        is_backup = f" a backup of {read_from(target, to).begun_at:%Y-%m-%d %H:%M} UTC" if BACKUP in there else ""
        raise StorageError(
            f"{to} holds{is_backup or ' something that is no backup of ours'}.",
            remedy="Name an empty place" + (", or say --replace." if is_backup else "."),
        )
    target.write(_UNFINISHED, market.encode())
    target.remove_file(BACKUP)
    for attempt in range(_ATTEMPTS):
        begun = datetime.now(UTC)
        try:
            tables, paths, versions = _pinned(store, uri, options)
            digests = dict(copy_all(store, target, paths, say))
            _refuse_pruned(versions, _registered(uri, options))
        except _GoneError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            break
    sizes = {file.path: file.size for file in target.walk("")}
    made = Backup(
        made_by=f"cryptosentinel {__version__}",
        begun_at=begun,
        market=market,
        settings=dict(settings),
        tables=tables,
        versions=len(versions),
        bundles=sum(row["pruned_at"] is None for row in versions),
        files={path: Copied(bytes=sizes[path], sha256=digest) for path, digest in digests.items()},
    )
    for path in sizes.keys() - digests.keys() - {_UNFINISHED}:
        target.remove_file(path)
    target.write(BACKUP, made.model_dump_json(indent=1).encode())
    target.remove_file(_UNFINISHED)
    return made


def read_backup(uri: str, options: Mapping[str, str]) -> Backup:
    """What a backup says of itself.

    Raises:
        StorageError: there is none, or it was never finished.
        StoreFormatError: another release wrote it.
    """
    return read_from(Files(uri, options), uri)


def check_backup(uri: str, options: Mapping[str, str], say: Say = lambda _done, _of: None) -> list[str]:
    """Reads every file of a backup; returns those that are missing or differ from when they were copied.

    Raises:
        StorageError: as `read_backup`.
    """
    files = Files(uri, options)
    made, wrong = read_from(files, uri), []
    for number, (path, copied) in enumerate(made.files.items()):
        if files.digest(path) != copied.sha256:
            wrong.append(path)
        say(number + 1, len(made.files))
    return wrong


def read_from(files: Files, uri: str) -> Backup:
    """`read_backup`, of files at `uri`."""
    content = files.read(BACKUP)
    if content is None:
        begun = files.read(_UNFINISHED) is not None
        raise StorageError(
            f"{uri} holds {'a backup that was never finished' if begun else 'no backup'}.",
            remedy="`cryptosentinel backup` to the same place goes on with it." if begun else "",
        )
    try:
        return Backup.model_validate_json(content)
    except ValidationError as error:
        raise StoreFormatError(
            f"{join(uri, BACKUP)} cannot be read ({error.error_count()} faults, first of {error.errors()[0]['loc']}).",
            remedy="Restore it with the release that made it, or restore another backup.",
        ) from error


def _pinned(
    store: Files, uri: str, options: Mapping[str, str]
) -> tuple[dict[str, int], list[str], list[dict[str, object]]]:
    """The version of each table, all files to copy, and the registry's rows."""
    listed = store.walk("")
    names = {found[1] for file in listed if (found := _LOGGED.fullmatch(file.path))}
    opened = {name: _open(uri, name, options) for name in sorted(names, key=_in_order) if not _is_left_out(name)}
    rows = _rows(opened[_VERSIONS], uri) if _VERSIONS in opened else []
    inside = (*(f"{name}/" for name in names), "bundles/")
    # First what is replaced or removed at any time.
    paths = [file.path for file in listed if not file.path.startswith(inside) and not _is_left_out(file.path)]
    paths += [path for name, table in opened.items() for path in _table_files(store, name, table)]
    paths += [path for row in rows if row["pruned_at"] is None for path in _bundle_files(store, str(row["folder"]))]
    return {name: int(table.version()) for name, table in opened.items()}, [*paths, MARKER], rows


def _registered(uri: str, options: Mapping[str, str]) -> list[dict[str, object]]:
    table = delta.open_table(join(uri, _VERSIONS), options)
    return [] if table is None else _rows(table, uri)


def _rows(table: DeltaTable, uri: str) -> list[dict[str, object]]:
    with delta.explained(join(uri, _VERSIONS)):
        rows: list[dict[str, object]] = delta.scan(table, grown=VERSIONS).to_pylist()
    return rows


def _refuse_pruned(pinned: list[dict[str, object]], now: list[dict[str, object]]) -> None:
    """A bundle that was pruned while it was listed and copied may have been copied in part."""
    there = {row["version"] for row in now if row["pruned_at"] is None}
    if gone := [row["version"] for row in pinned if row["pruned_at"] is None and row["version"] not in there]:
        raise _GoneError(f"The bundles of the versions {gone} are not there any more.")


def _is_left_out(path: str) -> bool:
    return f"{path}/".startswith(_LEFT_OUT)


def _in_order(name: str) -> tuple[int, str]:
    first = next((n for n, begin in enumerate(_PINNED_FIRST) if name.startswith(begin)), len(_PINNED_FIRST))
    return (first + 1 if name in _PINNED_LAST else first, name)


def _open(uri: str, name: str, options: Mapping[str, str]) -> DeltaTable:
    table = delta.open_table(join(uri, name), options)
    if table is None:
        raise _GoneError(f"{join(uri, name)} is not there any more.")
    return table


def _table_files(store: Files, name: str, table: DeltaTable) -> list[str]:
    version = int(table.version())
    with delta.explained(name):
        data = pa.table(table.get_add_actions())["path"].to_pylist()
    log = [found for file in store.walk(f"{name}/_delta_log") if (found := _COMMIT.fullmatch(file.path))]
    checkpoint = max((int(entry[1]) for entry in log if entry[2] != ".json" and int(entry[1]) <= version), default=0)
    needed = [entry[0] for entry in log if checkpoint <= int(entry[1]) <= version]
    return [*(f"{name}/{path}" for path in data), *(f"{name}/_delta_log/{path}" for path in needed)]


def _bundle_files(store: Files, folder: str) -> list[str]:
    files = [f"bundles/{folder}/{file.path}" for file in store.walk(f"bundles/{folder}")]
    if not files:
        raise _GoneError(f"The bundle {folder} is not there any more.")
    return files


def copy_all(source: Files, target: Files, paths: list[str], say: Say) -> Iterator[tuple[str, str]]:
    """Copies files, but those that are there as they are; each is read again where it went. Gives their sha256."""
    there = {file.path for file in target.walk("")}
    for number, path in enumerate(paths):
        found = source.digest(path) if path in there else None
        if found is None or target.digest(path) != found:
            found = source.copy(path, target)
            if found is None:
                raise _GoneError(f"{path} is not there any more.")
            if target.digest(path) != found:
                raise StorageError(f"{path} was not copied as it is.", remedy="Look at the disk, and run it again.")
        yield path, found
        say(number + 1, len(paths))
