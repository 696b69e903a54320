"""Bars and features in Delta tables: `bars`, and `features/<spec_hash[:12]>` for each feature spec."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import pandas as pd
import pyarrow as pa

from cryptosentinel.errors import StorageError
from cryptosentinel.storage import delta, schemas
from cryptosentinel.storage.files import Files, join
from cryptosentinel.storage.frames import empty, to_frame
from cryptosentinel.storage.keyed import KeyedTable
from cryptosentinel.storage.protocols import Written

_KEY = ("asset", "timestamp")
_KEY_COLUMNS = [schemas.BARS.field(name) for name in _KEY]


class DeltaFeatureStore:
    """The feature store (`protocols.FeatureStore`) on Delta Lake.

    Tables are partitioned by month. Any number of processes may write at once: a write that loses a race compares
    again with what the winner stored.

    Args:
        root_uri: a folder, or an address in an object store (s3://, gs://, az://).
        storage_options: of the object store, by Delta Lake's names, e.g. AWS_ENDPOINT_URL.
        retention_days: how long `maintain` keeps old versions readable.
    """

    def __init__(
        self, root_uri: str, storage_options: Mapping[str, str] | None = None, *, retention_days: float = 7.0
    ) -> None:
        self._root = root_uri
        self._options = dict(storage_options or {})
        self._retention = timedelta(days=retention_days)

    def write_bars(self, bars: pd.DataFrame) -> Written:
        """Upserts bars; see `protocols.FeatureStore`, as for all methods here.

        Raises:
            StorageError: a column is missing or unknown, or two rows have one key.
            StoreConflictError: other writers kept committing first.
            StoreUnavailableError: the store cannot be reached, read or written.
        """
        return self._bars().upsert(bars, schemas.BARS)

    def read_bars(
        self,
        asset: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pd.DataFrame:
        """Bars with ``start <= timestamp < end``, by time."""
        names = schemas.BARS.names if columns is None else list(columns)
        if unknown := [name for name in names if name not in schemas.BARS.names]:
            raise StorageError(f"A bar has no column {', '.join(unknown)}.")
        asked = list(dict.fromkeys([*names, "timestamp"]))  # by which they are ordered
        schema = pa.schema([schemas.BARS.field(name) for name in asked])
        rows = self._read(self._bars(), asset, start, end, asked, version, schema)
        return rows if asked == names else rows[names]

    def write_features(self, rows: pd.DataFrame, spec_hash: str) -> Written:
        """Upserts feature rows; the first ones decide the table's columns."""
        names = [str(name) for name in rows.columns if name not in _KEY]
        # Backquotes and the like break the expressions that Delta's merge is given.
        if wrong := [
            name for name in names if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or name == delta.MONTH
        ]:
            raise StorageError(f"A feature cannot be named {', '.join(map(repr, wrong))}: letters, digits and _ only.")
        schema = pa.schema([*_KEY_COLUMNS, *(pa.field(name, pa.float64()) for name in names)])
        return self._features(spec_hash).upsert(rows, schema)

    def read_features(
        self,
        asset: str,
        spec_hash: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pd.DataFrame:
        """Feature rows, by time: `asset`, `timestamp`, then `columns` in that order, or all features."""
        table = self._features(spec_hash)
        stored = table.schema()
        asked = [*_KEY, *(name for name in columns if name not in _KEY)] if columns is not None else None
        if stored is not None and asked and (unknown := [name for name in asked if name not in stored.names]):
            raise StorageError(f"Features {', '.join(unknown)} are not among those of spec {spec_hash}.")
        names = asked or (stored.names if stored is not None else list(_KEY))
        none = pa.schema([*_KEY_COLUMNS, *(pa.field(name, pa.float64()) for name in names if name not in _KEY)])
        return self._read(table, asset, start, end, names, version, none)

    def last_timestamp(self, asset: str, spec_hash: str | None = None) -> datetime | None:
        """The newest bar's time, or feature row's; None where there is none."""
        return self._table(spec_hash).last("timestamp", [f"asset = {delta.literal(asset)}"])

    def version(self, spec_hash: str | None = None) -> int:
        """The version of the bars, or of a spec's features; -1 while there is no table."""
        return self._table(spec_hash).version()

    def maintain(self) -> None:
        """Compacts small files and removes those that no version within the retention period needs."""
        self._bars().maintain(self._retention)
        for name in Files(self._root, self._options).folders("features"):
            self._features(name).maintain(self._retention)

    def _table(self, spec_hash: str | None) -> KeyedTable:
        return self._bars() if spec_hash is None else self._features(spec_hash)

    def _bars(self) -> KeyedTable:
        return KeyedTable(join(self._root, "bars"), self._options, _KEY, "timestamp")

    def _features(self, spec_hash: str) -> KeyedTable:
        if not re.fullmatch(r"[\w-]+", spec_hash, re.ASCII):
            raise StorageError(f"{spec_hash!r} is not the hash of a feature spec.")
        return KeyedTable(join(self._root, "features", spec_hash[:12]), self._options, _KEY, "timestamp")

    @staticmethod
    def _read(
        table: KeyedTable,
        asset: str,
        start: datetime | None,
        end: datetime | None,
        names: Sequence[str],
        version: int | None,
        schema: pa.Schema,
    ) -> pd.DataFrame:
        where = [f"asset = {delta.literal(asset)}", *table.between(start, end)]
        rows = table.read(where, columns=names, version=version)
        return empty(schema) if rows is None or rows.num_rows == 0 else to_frame(rows)
