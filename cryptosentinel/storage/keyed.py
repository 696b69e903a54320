"""Delta tables with a key: idempotent upserts that touch only what changed, and pruned reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from cryptosentinel.errors import StorageError
from cryptosentinel.storage import delta
from cryptosentinel.storage.frames import differs, month_of, positions, to_arrow
from cryptosentinel.storage.protocols import Written

# Rows compared with what is stored at a time: bounds the memory of a first load or a full rewrite.
_CHUNK_ROWS = 65_536

# Given the stored and the offered rows of the same keys, in the same order: what is to be stored.
Resolve = Callable[[pa.Table, pa.Table], pa.Table]


def take_offered(stored: pa.Table, offered: pa.Table) -> pa.Table:
    """The newest values count."""
    del stored
    return offered


def keep_stored(stored: pa.Table, offered: pa.Table) -> pa.Table:
    """The first values count."""
    del offered
    return stored


@dataclass
class _Plan:
    """What an upsert has to write, found by comparing it with one version of the table.

    Attributes:
        inserts: for each chunk, where it lies in the frame, and which of its rows are new.
        updates: rows whose values differ from those stored.
        unchanged: how many rows are stored as they are.
    """

    inserts: list[tuple[slice, np.ndarray]] = field(default_factory=list)
    updates: list[pa.Table] = field(default_factory=list)
    unchanged: int = 0


@dataclass(frozen=True)
class KeyedTable:
    """A Delta table whose rows have a unique key.

    Attributes:
        uri: a folder or an address in an object store.
        options: of the object store.
        key: the columns that identify a row.
        time: the column whose month partitions the table; None: not partitioned.
        statistics: further columns by which readers skip files.
        slack: how far apart in time the same key may be offered again.
        grows_to: the columns it has by now, where releases add some: those that an earlier release's table lacks are
            read as nulls, and added by the first write. None: the first write decides on all columns.
    """

    uri: str
    options: Mapping[str, str]
    key: tuple[str, ...]
    time: str | None
    statistics: tuple[str, ...] = ()
    slack: timedelta = timedelta(0)
    grows_to: pa.Schema | None = None

    def version(self) -> int:
        """The newest version; -1 where there is no table."""
        table = delta.open_table(self.uri, self.options)
        return -1 if table is None else int(table.version())

    def schema(self) -> pa.Schema | None:
        """The columns that readers see; None where there is no table."""
        table = delta.open_table(self.uri, self.options)
        return None if table is None else _schema(table)

    def read(
        self, where: Sequence[str] = (), *, columns: Sequence[str] | None = None, version: int | None = None
    ) -> pa.Table | None:
        """The rows that fulfil all SQL conditions, by time; None where there is no table.

        Raises:
            StorageError: `version` never was, or is older than the retention period.
        """
        table = delta.open_table(self.uri, self.options)
        if version == -1 or (table is None and version is None):
            return None
        if version is not None:
            return self._sorted(self._read_version(table, version, where, columns))
        assert table is not None
        with delta.explained(self.uri):
            return self._sorted(delta.scan(table, columns, where, self.grows_to))

    def between(self, start: datetime | None, end: datetime | None) -> list[str]:
        """Conditions for ``start <= time < end`` that skip months and files outside of it."""
        conditions = []
        for time, operator in ((start, ">="), (end, "<")):
            if time is not None:
                stamp = _utc(time)
                month = ">=" if operator == ">=" else "<="
                conditions += [
                    f"{delta.MONTH} {month} '{stamp:%Y-%m}'",
                    f"{self.time} {operator} '{stamp.isoformat()}'",
                ]
        return conditions

    def last(self, column: str, where: Sequence[str]) -> datetime | None:
        """The newest `column` among the rows that fulfil all conditions, looked for from the newest month backwards."""
        table = delta.open_table(self.uri, self.options)
        if table is None:
            return None
        with delta.explained(self.uri):
            for month in sorted({partition[delta.MONTH] for partition in table.partitions()}, reverse=True):
                rows = delta.scan(table, [column], [*where, f"{delta.MONTH} = {delta.literal(month)}"])
                newest = pc.max(rows[column]).as_py()
                if newest is not None:
                    return _utc(newest)
        return None

    def upsert(
        self, rows: pd.DataFrame, schema: pa.Schema, *, resolve: Resolve = take_offered, insert: bool = True
    ) -> Written:
        """Inserts rows with new keys and updates those whose values differ; what is equal is not written.

        Safe against any number of other writers: when one commits first, the comparison is made again.

        Args:
            rows: with the columns of `schema`, in any order. Times are kept in milliseconds.
            schema: of the table, and of `rows`.
            resolve: what is stored where a key is there already.
            insert: False: a new key is an error.

        Raises:
            StorageError: columns or keys are not as they should be.
            StoreConflictError: other writers kept committing first.
            StoreUnavailableError: the table cannot be reached, read or written.
        """
        frame = self._checked(rows, schema)
        if frame.empty:
            return Written(0, 0, 0, self.version())
        with delta.explained(self.uri):
            return self._upsert(frame, schema, resolve, insert)

    def maintain(self, retention: timedelta) -> None:
        """Compacts the table and deletes what no version within `retention` needs."""
        delta.maintain(self.uri, self.options, retention)

    @delta.retried
    def _upsert(self, frame: pd.DataFrame, schema: pa.Schema, resolve: Resolve, insert: bool) -> Written:
        table = delta.open_table(self.uri, self.options)
        if table is None:
            statistics = list(dict.fromkeys([*self.key, *([self.time] if self.time else []), *self.statistics]))
            by_month = self.time is not None
            table = delta.create_table(self.uri, schema, self.options, statistics=statistics, by_month=by_month)
        elif self.grows_to is not None:
            delta.add_columns(table, self.grows_to)
        schema = _matching(schema, _schema(table), self.uri)
        plan = _Plan()
        for chunk in self._chunks(frame):
            self._compare(table, frame, chunk, schema, resolve, plan)
        inserted = sum(int(new.sum()) for _, new in plan.inserts)
        updated = sum(part.num_rows for part in plan.updates)
        if inserted and not insert:
            raise StorageError(f"{inserted} of {len(frame)} rows are not in {self.uri}.", remedy="Write them first.")
        self._commit(table, frame, schema, plan, inserted)
        return Written(inserted, updated, plan.unchanged, int(table.version()))

    def _compare(
        self, table: DeltaTable, frame: pd.DataFrame, chunk: slice, schema: pa.Schema, resolve: Resolve, plan: _Plan
    ) -> None:
        offer = to_arrow(frame.iloc[chunk], schema)
        existing = delta.scan(table, schema.names, self._around(offer, self.slack)).cast(schema)
        where = positions(offer, existing, self.key)
        new = where < 0
        if new.any():
            plan.inserts.append((chunk, new))
        if not new.all():
            old = existing.take(where[~new])
            result = resolve(old, offer.filter(pa.array(~new)))
            changed = differs(old, result)
            plan.unchanged += int((~changed).sum())
            if changed.any():
                plan.updates.append(result.filter(pa.array(changed)))

    def _commit(self, table: DeltaTable, frame: pd.DataFrame, schema: pa.Schema, plan: _Plan, inserted: int) -> None:
        new = (to_arrow(frame.iloc[chunk][rows], schema) for chunk, rows in plan.inserts)
        if plan.updates:
            parts = [*plan.updates, *new]
            touched = [condition for part in [pa.concat_tables(parts)] for condition in self._around(part, alias="t.")]
            match = [f"t.{name} = s.{name}" for name in self.key]
            table.merge(
                self._stream(parts, schema),
                predicate=" AND ".join([*match, *touched]),
                source_alias="s",
                target_alias="t",
                writer_properties=delta.WRITER,
                commit_properties=delta.COMPARE_AND_SWAP,
            ).when_matched_update_all().when_not_matched_insert_all().execute()
        elif inserted:
            write_deltalake(
                table,
                self._stream(new, schema),
                mode="append",
                writer_properties=delta.WRITER,
                commit_properties=delta.COMPARE_AND_SWAP,
            )

    def _stream(self, parts: Iterable[pa.Table], schema: pa.Schema) -> pa.RecordBatchReader:
        # One part at a time: a first load never exists as a whole in Arrow.
        if self.time is None:
            return pa.RecordBatchReader.from_batches(schema, (batch for part in parts for batch in part.to_batches()))
        full = schema.append(pa.field(delta.MONTH, pa.string(), nullable=False))
        return pa.RecordBatchReader.from_batches(
            full,
            (
                batch
                for part in parts
                for batch in part.append_column(full.field(delta.MONTH), month_of(part[self.time])).to_batches()
            ),
        )

    def _around(self, rows: pa.Table, slack: timedelta = timedelta(0), alias: str = "") -> list[str]:
        """Conditions that every stored row with the key of one of `rows` fulfils, and few others."""
        if self.time is None:
            return [f"{alias}{self.key[0]} IN ({', '.join(map(delta.literal, rows[self.key[0]].to_pylist()))})"]
        times = rows[self.time]
        extremes = pc.min_max(times).as_py()
        shifted = [times] if not slack else [pc.add(times, pa.scalar(by)) for by in (-slack, slack)]
        months = sorted({month for moved in shifted for month in month_of(moved).unique().to_pylist()})
        return [
            f"{alias}{delta.MONTH} IN ({', '.join(map(delta.literal, months))})",
            f"{alias}{self.time} >= '{(extremes['min'] - slack).isoformat()}'",
            f"{alias}{self.time} <= '{(extremes['max'] + slack).isoformat()}'",
        ]

    def _chunks(self, frame: pd.DataFrame) -> Iterator[slice]:
        for start in range(0, len(frame), _CHUNK_ROWS):
            yield slice(start, start + _CHUNK_ROWS)

    def _checked(self, rows: pd.DataFrame, schema: pa.Schema) -> pd.DataFrame:
        """The rows with the columns of `schema`, by time, once they are known to be fit to be stored."""
        if missing := [name for name in schema.names if name not in rows.columns]:
            raise StorageError(f"Rows for {self.uri} lack the column {', '.join(missing)}.")
        if unknown := [str(name) for name in rows.columns if name not in schema.names]:
            raise StorageError(f"Rows for {self.uri} have a column that it does not know: {', '.join(unknown)}.")
        required = [name for name in schema.names if not schema.field(name).nullable]
        if empty := [name for name in required if rows[name].isna().any()]:
            raise StorageError(f"Rows for {self.uri} have no value in {', '.join(empty)}.")
        keys = to_arrow(rows, pa.schema([schema.field(name) for name in self.key])).to_pandas()  # as they are kept
        if len(twice := keys[keys.duplicated()]):
            example = ", ".join(map(str, twice.iloc[0]))
            raise StorageError(
                f"{len(twice)} of {len(rows)} rows for {self.uri} repeat the key of another, e.g. {example}.",
                remedy="Keep one row a key.",
            )
        if self.time and not rows[self.time].is_monotonic_increasing:
            return rows.sort_values(self.time, kind="stable")
        return rows

    def _read_version(
        self, table: DeltaTable | None, version: int, where: Sequence[str], columns: Sequence[str] | None
    ) -> pa.Table:
        newest = -1 if table is None else int(table.version())
        if table is None or not 0 <= version <= newest:
            raise StorageError(f"{self.uri} has no version {version}; its newest is {newest}.")
        with delta.explained(self.uri):
            try:
                table.load_as_version(version)
                return delta.scan(table, columns, where, self.grows_to)
            except (DeltaError, pa.ArrowInvalid) as error:
                if not any(word in str(error) for word in ("not found", "LogSegment", "No files in log segment")):
                    raise
                raise StorageError(
                    f"{self.uri} cannot be read at version {version} any more.",
                    remedy="That version is older than `storage.retention_days`, and its files were removed.",
                ) from error

    def _sorted(self, rows: pa.Table) -> pa.Table:
        if self.time is None or self.time not in rows.column_names or rows.num_rows < 2:
            return rows
        times = rows[self.time].cast(pa.int64()).to_numpy()
        return rows if bool((times[1:] >= times[:-1]).all()) else rows.take(np.argsort(times, kind="stable"))


def _schema(table: DeltaTable) -> pa.Schema:
    return pa.schema([column for column in pa.schema(table.schema().to_arrow()) if column.name != delta.MONTH])


def _matching(schema: pa.Schema, existing: pa.Schema, uri: str) -> pa.Schema:
    """`schema` in the table's order of columns."""
    if wrong := set(schema.names) ^ set(existing.names):
        raise StorageError(
            f"The columns of {uri} are others than those offered; they differ in {', '.join(sorted(wrong))}.",
            remedy="A changed set of columns needs a table of its own: for features, a new spec.",
        )
    return pa.schema([schema.field(name) for name in existing.names])


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
