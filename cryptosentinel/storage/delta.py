"""Delta Lake with this project's rules: compare-and-swap commits, errors a person can act on, maintenance.

Every write names the version it has read, and commits as the next one or not at all (delta-rs with no commit
retries). That refuses what Delta's own conflict detection lets through, two appends of the same new keys, and needs
nothing but the atomic put of the log, which folders and object stores both have.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import pyarrow as pa
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Schema, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cryptosentinel.errors import StorageError, StoreConflictError, StoreUnavailableError

P = ParamSpec("P")
T = TypeVar("T")

MONTH = "month"  # the partition column that readers never see
COMPARE_AND_SWAP = CommitProperties(max_commit_retries=0)
# Figures hardly repeat, so dictionaries cost memory and buy nothing; small row groups let a tail be read alone.
WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=1,
    max_row_group_size=16_384,
    default_column_properties=ColumnProperties(dictionary_enabled=False),
)
# A month that is still written to is compacted at this many files: rewriting it for fewer costs more disk (the old
# files stay for time travel) than reading them does. A month that is past is compacted to one.
MAX_FILES_LIVE = 32
_LOG_RETENTION_DAYS = 30
# Checkpoints carry what was removed so long, and a table that is overwritten all the time would be read the slower.
_FORGETTING = {
    "delta.logRetentionDuration": "interval 1 days",
    "delta.deletedFileRetentionDuration": "interval 1 hours",
}
_FULL = ("No space left", "File too large", "Disk quota", "StorageFull", "QuotaExceeded")
_DENIED = ("PermissionDenied", "Permission denied", "Operation not permitted", "Read-only file system", "ReadOnly")
_MISPLACED = ("NotADirectory", "Not a directory", "Path does not exist", "AlreadyExists", "File exists")
_AWAY = ("Generic S3", "Generic GCS", "Generic MicrosoftAzure", "error sending request", "Could not create local")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turns what Delta Lake, Arrow and the operating system raise about `uri` into this project's errors."""
    try:
        yield
    except CommitFailedError as error:
        raise StoreConflictError(
            f"Other writers kept changing {uri}: {_first_line(error)}.", remedy="Nothing was written; run again."
        ) from error
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise _explanation(uri, error) from error


def _explanation(uri: str, error: Exception) -> StorageError:
    text, cause = str(error), _first_line(error)
    if any(word in text for word in _FULL):
        remedy = "Free some space there and run again; what was stored before is intact."
        return StoreUnavailableError(f"There is no space left for {uri}: {cause}.", remedy=remedy)
    if any(word in text for word in _DENIED):
        remedy = "Give this user write access to it, or point `home` or `storage.uri` elsewhere."
        return StoreUnavailableError(f"{uri} may not be written to: {cause}.", remedy=remedy)
    if any(word in text for word in _MISPLACED):
        remedy = "A file is where a folder should be; move it away, or point `home` or `storage.uri` elsewhere."
        return StoreUnavailableError(f"{uri} is not a folder: {cause}.", remedy=remedy)
    if isinstance(error, OSError) or any(word in text for word in _AWAY):
        remedy = "Check that the folder or bucket exists, its address, and `storage.options` (credentials, endpoint)."
        return StoreUnavailableError(f"{uri} cannot be reached: {cause}.", remedy=remedy)
    return StorageError(f"{uri} cannot be read or written: {cause}.")


def _first_line(error: Exception) -> str:
    """The cause in one line: delta-rs draws trees and prints Rust backtraces."""
    lines = (line.strip(" ↳\t") for line in _ANSI.sub("", str(error)).splitlines())
    return "; ".join(line for line in lines if line and not re.match(r"(\d+: |at )", line))[:400].rstrip(".")


def retried(write: Callable[P, T]) -> Callable[P, T]:
    """Runs a write again from its beginning when somebody else committed first; bounded, with jitter."""
    repeat = retry(
        retry=retry_if_exception_type(CommitFailedError),
        wait=wait_random_exponential(multiplier=0.02, max=2),
        stop=stop_after_attempt(40),
        reraise=True,
    )
    return wraps(write)(repeat(write))


def open_table(uri: str, options: Mapping[str, str]) -> DeltaTable | None:
    """The table at its newest version, or None where there is none yet.

    Raises:
        StoreUnavailableError: the place cannot be reached, or holds something that is not a table.
    """
    with explained(uri):
        try:
            return DeltaTable(uri, storage_options=dict(options))
        except TableNotFoundError as error:
            if any(word in str(error) for word in ("code: 2,", "No files in log segment")):
                _refuse_other_content(uri)
                return None
            raise


def _refuse_other_content(uri: str) -> None:
    folder = Path(uri)
    if "://" in uri or not folder.is_dir():
        return
    content = sorted(path.name for path in folder.iterdir())
    if content and "_delta_log" not in content:  # one look: somebody may be creating the table right now
        raise StoreUnavailableError(
            f"{uri} is not a Delta Lake table: it holds {', '.join(content[:3])}.",
            remedy="Move that away, or point `home` or `storage.uri` at another folder.",
        )


def create_table(
    uri: str,
    schema: pa.Schema,
    options: Mapping[str, str],
    *,
    statistics: Sequence[str],
    by_month: bool = False,
    description: str | None = None,
    short_lived: bool = False,
) -> DeltaTable:
    """Creates an empty table, or opens the one that somebody else created first.

    Args:
        uri: where.
        schema: its columns; with `by_month` one more, `MONTH`, partitions it.
        options: of the object store.
        statistics: columns whose extremes the log keeps for each file, so that readers can skip files.
        by_month: whether it is partitioned by `MONTH`.
        description: kept with the table; the first creator's stays.
        short_lived: nobody reads an old version of it: the log keeps little of what was.
    """
    # `open_table` also refuses a folder with other content, which `create` would build upon.
    if table := open_table(uri, options):
        return table
    with explained(uri):
        try:
            return DeltaTable.create(
                uri,
                schema=schema.append(pa.field(MONTH, pa.string(), nullable=False)) if by_month else schema,
                partition_by=[MONTH] if by_month else None,
                description=description,
                configuration={
                    "delta.dataSkippingStatsColumns": ",".join(statistics),
                    "delta.checkpointInterval": "20",
                    "delta.logRetentionDuration": f"interval {_LOG_RETENTION_DAYS} days",
                    **(_FORGETTING if short_lived else {}),
                },
                storage_options=dict(options),
                commit_properties=COMPARE_AND_SWAP,
            )
        except DeltaError as error:
            if table := open_table(uri, options):  # somebody else was faster
                return table
            raise error from None


def scan(
    table: DeltaTable,
    columns: Sequence[str] | None = None,
    where: Sequence[str] = (),
    grown: pa.Schema | None = None,
) -> pa.Table:
    """The rows that fulfil all SQL conditions, in no order, without `MONTH`; timestamps in milliseconds.

    Args:
        table: at the version to read.
        columns: those to read; None: all.
        where: the conditions.
        grown: what all columns are by now; those that the table lacks are null.
    """
    # Not `to_pyarrow_table`: its reading threads now and then abort the interpreter when it exits.
    stored = [name for name in pa.schema(table.schema().to_arrow()).names if name != MONTH]
    names = list(columns) if columns is not None else stored if grown is None else grown.names
    added = {field.name: _plain(field.type) for field in grown or () if field.name not in stored}
    reader = table.scan(columns=[n for n in names if n not in added], predicate=" AND ".join(where) or None)
    rows = pa.RecordBatchReader.from_stream(reader).read_all()
    rows = rows.cast(pa.schema([pa.field(field.name, _plain(field.type)) for field in rows.schema]))
    for name in names:
        if name in added:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, added[name]))
    return rows.select(names) if added else rows


def add_columns(table: DeltaTable, grown: pa.Schema) -> None:
    """Adds the columns of `grown` that the table lacks, in one commit; they are null in the rows that are there."""
    stored = pa.schema(table.schema().to_arrow()).names
    if new := [field for field in grown if field.name not in stored]:
        table.alter.add_columns(Schema.from_arrow(pa.schema(new)).fields, commit_properties=COMPARE_AND_SWAP)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("ms", tz="UTC")
    return pa.string() if pa.types.is_string_view(kind) or pa.types.is_large_string(kind) else kind


def literal(text: str) -> str:
    """Text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def maintain(uri: str, options: Mapping[str, str], retention: timedelta) -> None:
    """Compacts each month's small files, then deletes what no version within `retention` needs.

    A table with nothing to compact or delete gets no commit.
    """
    table = open_table(uri, options)
    if table is None:
        return
    with explained(uri):
        for month in _crowded(table):
            _compact(table, month)
        # Full: also files of writers that were killed before they could commit.
        hours = math.ceil(retention / timedelta(hours=1))
        table.vacuum(retention_hours=hours, dry_run=False, enforce_retention_duration=False, full=True)


def _crowded(table: DeltaTable) -> list[str | None]:
    files = pa.table(table.get_add_actions(flatten=True))
    by_month = f"partition.{MONTH}" in files.column_names
    counts = Counter(files[f"partition.{MONTH}"].to_pylist() if by_month else [None] * files.num_rows)
    live = max(counts, default=None, key=str)
    return sorted((month for month, n in counts.items() if n > (MAX_FILES_LIVE if month == live else 1)), key=str)


@retried
def _compact(table: DeltaTable, month: str | None) -> None:
    table.update_incremental()
    table.optimize.compact(partition_filters=[(MONTH, "=", month)] if month else None, writer_properties=WRITER)
