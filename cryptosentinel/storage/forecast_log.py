"""The forecast log in Delta tables: `forecasts`, `drift_reports` (by month), `alerts`, `alert_mutes`, `detections`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cryptosentinel.errors import StorageError
from cryptosentinel.storage import delta, schemas
from cryptosentinel.storage.files import join
from cryptosentinel.storage.frames import empty, to_frame
from cryptosentinel.storage.keyed import KeyedTable, keep_stored
from cryptosentinel.storage.protocols import Written

REVISED = ("outcome", "actual_price", "error")
OUTCOME = (*REVISED, "settled_at")
ACKNOWLEDGED = ("acknowledged_by", "acknowledged_at")


class DeltaForecastLog:
    """The forecast log (`protocols.ForecastLog`) on Delta Lake.

    A step that is run again may make the same forecast (`forecast_id`) at another moment: it is recognised up to a
    day apart.

    Args:
        root_uri: a folder, or an address in an object store (s3://, gs://, az://).
        storage_options: of the object store, by Delta Lake's names, e.g. AWS_ENDPOINT_URL.
        retention_days: how long `maintain` keeps old versions of the tables.
    """

    def __init__(
        self, root_uri: str, storage_options: Mapping[str, str] | None = None, *, retention_days: float = 7.0
    ) -> None:
        options = dict(storage_options or {})
        self._retention = timedelta(days=retention_days)
        self._forecasts = KeyedTable(
            join(root_uri, "forecasts"),
            options,
            ("forecast_id",),
            "made_at",
            statistics=("outcome",),
            slack=timedelta(days=1),
            grows_to=schemas.FORECASTS,
        )
        self._alerts = KeyedTable(join(root_uri, "alerts"), options, ("alert_id",), None, grows_to=schemas.ALERTS)
        self._mutes = KeyedTable(join(root_uri, "alert_mutes"), options, ("asset", "kind"), None)
        self._drift = KeyedTable(join(root_uri, "drift_reports"), options, ("report_id",), "data_end")
        self._detections = KeyedTable(join(root_uri, "detections"), options, ("asset", "bundle_version"), None)

    def write_forecasts(self, forecasts: pd.DataFrame) -> Written:
        """Adds forecasts; one that is there already stays as it is."""
        return self._forecasts.upsert(forecasts, schemas.FORECASTS, resolve=keep_stored)

    def settle(self, forecasts: pd.DataFrame) -> Written:
        """Writes the outcome columns of forecasts that have no outcome yet; their other columns stay as they are.

        Raises:
            StorageError: a forecast is not in the log.
        """
        return self._forecasts.upsert(forecasts, schemas.FORECASTS, resolve=_with_outcome, insert=False)

    def revise(self, forecasts: pd.DataFrame) -> Written:
        """Corrects outcomes at a price that the source has revised since; their other columns stay as they are.

        Raises:
            StorageError: a forecast is not in the log.
        """
        return self._forecasts.upsert(forecasts, schemas.FORECASTS, resolve=_with_revision, insert=False)

    def read_forecasts(
        self,
        asset: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        unsettled: bool = False,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Forecasts with ``start <= made_at < end``, by `made_at`.

        Args:
            asset: whose.
            start: see above, as for `end`.
            end: None: up to the newest.
            unsettled: only those without outcome.
            columns: those to read, in this order; None: all.

        Raises:
            StorageError: there is no such column.
        """
        names = schemas.FORECASTS.names if columns is None else list(columns)
        if unknown := [name for name in names if name not in schemas.FORECASTS.names]:
            raise StorageError(f"A forecast has no column {', '.join(unknown)}.")
        where = [f"asset = {delta.literal(asset)}", *self._forecasts.between(start, end)]
        # By `made_at`, whether it is asked for or not.
        rows = self._forecasts.read(
            [*where, "outcome IS NULL"] if unsettled else where, columns=list(dict.fromkeys([*names, "made_at"]))
        )
        if rows is None or rows.num_rows == 0:
            return empty(pa.schema([schemas.FORECASTS.field(name) for name in names]))
        return to_frame(rows.select(names))

    def version(self) -> int:
        """The version of the forecasts table; -1 where there is none."""
        return self._forecasts.version()

    def write_alerts(self, alerts: pd.DataFrame) -> Written:
        """Upserts alerts; see `protocols.ForecastLog`."""
        return self._alerts.upsert(alerts, schemas.ALERTS, resolve=_gone_on)

    def acknowledge(self, alerts: pd.DataFrame) -> Written:
        """Writes who acknowledged alerts, and when; see `protocols.ForecastLog`."""
        return self._alerts.upsert(alerts, schemas.ALERTS, resolve=_acknowledged, insert=False)

    def read_alerts(self, asset: str, *, open_only: bool = False) -> pd.DataFrame:
        """Alerts, newest first; with `open_only`, those not resolved."""
        where = [f"asset = {delta.literal(asset)}", *(["resolved_at IS NULL"] if open_only else [])]
        rows = self._alerts.read(where)
        if rows is None or rows.num_rows == 0:
            return empty(schemas.ALERTS)
        return to_frame(rows.sort_by([("raised_at", "descending"), ("alert_id", "ascending")]))

    def write_mutes(self, mutes: pd.DataFrame) -> Written:
        """Upserts mutes; of a kind, what was said last counts."""
        return self._mutes.upsert(mutes, schemas.MUTES, resolve=_said_last)

    def read_mutes(self, asset: str) -> pd.DataFrame:
        """What was said last of each kind that ever was muted, by kind."""
        rows = self._mutes.read([f"asset = {delta.literal(asset)}"])
        if rows is None or rows.num_rows == 0:
            return empty(schemas.MUTES)
        return to_frame(rows.sort_by("kind"))

    def write_drift(self, reports: pd.DataFrame) -> Written:
        """Upserts reports of drift; the newest counts."""
        return self._drift.upsert(reports, schemas.DRIFT_REPORTS)

    def read_drift(
        self,
        asset: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Reports with ``start <= data_end < end``, by `data_end`."""
        names = schemas.DRIFT_REPORTS.names if columns is None else list(columns)
        where = [f"asset = {delta.literal(asset)}", *self._drift.between(start, end)]
        rows = self._drift.read(where, columns=list(dict.fromkeys([*names, "data_end"])))
        if rows is None or rows.num_rows == 0:
            return empty(pa.schema([schemas.DRIFT_REPORTS.field(name) for name in names]))
        return to_frame(rows.select(names))

    def write_detections(self, detections: pd.DataFrame) -> Written:
        """Adds versions that were called useless; of one that is there already, what is not null stays as it is."""
        return self._detections.upsert(detections, schemas.DETECTIONS, resolve=_filled)

    def read_detections(self, asset: str) -> pd.DataFrame:
        """Versions that were called useless, oldest first."""
        rows = self._detections.read([f"asset = {delta.literal(asset)}"])
        if rows is None or rows.num_rows == 0:
            return empty(schemas.DETECTIONS)
        return to_frame(rows.sort_by([("detected_at", "ascending"), ("bundle_version", "ascending")]))

    def maintain(self) -> None:
        """Compacts small files and removes those that no version within the retention period needs."""
        self._forecasts.maintain(self._retention)
        self._drift.maintain(self._retention)
        self._alerts.maintain(self._retention)
        self._mutes.maintain(self._retention)
        self._detections.maintain(self._retention)


def _with_outcome(stored: pa.Table, offered: pa.Table) -> pa.Table:
    return _replaced(stored, offered, pc.is_null(stored["outcome"]), OUTCOME)


def _with_revision(stored: pa.Table, offered: pa.Table) -> pa.Table:
    priced = pc.and_(pc.is_valid(stored["actual_price"]), pc.is_valid(offered["actual_price"]))
    return _replaced(stored, offered, priced, REVISED)


def _filled(stored: pa.Table, offered: pa.Table) -> pa.Table:
    columns = [pc.coalesce(stored[name], offered[name]) for name in stored.column_names]
    return pa.Table.from_arrays(columns, schema=stored.schema)


def _gone_on(stored: pa.Table, offered: pa.Table) -> pa.Table:
    """Two processes may write one alert, and one of them be late: it is not opened again, and gets no milder.

    Who writes it has read it before, and does not know who has acknowledged it since; what gets worse is news to them.
    """
    is_open = pc.is_null(stored["resolved_at"])
    was, becomes = (pc.equal(rows["severity"], schemas.CRITICAL) for rows in (stored, offered))
    kept = {"raised_at", "resolved_at", *ACKNOWLEDGED}
    counts = pc.and_(is_open, pc.or_(becomes, pc.invert(was)))
    rows = _replaced(stored, offered, counts, [name for name in stored.column_names if name not in kept])
    rows = _replaced(rows, offered, is_open, ["resolved_at"])
    worse = pc.and_(is_open, pc.and_(becomes, pc.invert(was)))
    nothing = pa.table({name: pa.nulls(rows.num_rows, rows.schema.field(name).type) for name in ACKNOWLEDGED})
    return _replaced(rows, nothing, worse, ACKNOWLEDGED)


def _acknowledged(stored: pa.Table, offered: pa.Table) -> pa.Table:
    """The first to acknowledge it counts, and only as long as it is what they have seen."""
    free = pc.and_(pc.is_null(stored["resolved_at"]), pc.is_null(stored["acknowledged_at"]))
    return _replaced(stored, offered, pc.and_(free, pc.equal(stored["severity"], offered["severity"])), ACKNOWLEDGED)


def _said_last(stored: pa.Table, offered: pa.Table) -> pa.Table:
    newer = pc.greater_equal(offered["muted_at"], stored["muted_at"])
    return _replaced(stored, offered, newer, stored.column_names)


def _replaced(stored: pa.Table, offered: pa.Table, where: pa.ChunkedArray, names: Sequence[str]) -> pa.Table:
    """The stored rows, with these columns of the offered ones where `where` is true."""
    for name in names:
        values = pc.if_else(where, offered[name], stored[name])
        stored = stored.set_column(stored.column_names.index(name), stored.schema.field(name), values)
    return stored
