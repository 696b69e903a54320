"""The outbox in the Delta table `alert_deliveries`: what has to be told of alerts, until it was told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cryptosentinel.storage import delta, schemas
from cryptosentinel.storage.files import join
from cryptosentinel.storage.frames import empty, to_frame
from cryptosentinel.storage.keyed import KeyedTable, keep_stored
from cryptosentinel.storage.protocols import Written


class DeltaOutbox:
    """The outbox (`protocols.Outbox`) on Delta Lake.

    A claim is one conditional commit: of two processes that claim at once, the second compares again with what the
    first has written, and finds it taken.

    Args:
        root_uri: a folder, or an address in an object store (s3://, gs://, az://).
        storage_options: of the object store, by Delta Lake's names, e.g. AWS_ENDPOINT_URL.
        retention_days: how long `maintain` keeps old versions of the table.
    """

    def __init__(
        self, root_uri: str, storage_options: Mapping[str, str] | None = None, *, retention_days: float = 7.0
    ) -> None:
        self._retention = timedelta(days=retention_days)
        uri = join(root_uri, "alert_deliveries")
        self._table = KeyedTable(uri, dict(storage_options or {}), ("delivery_id",), None)

    def add(self, deliveries: pd.DataFrame) -> Written:
        """Adds deliveries; see `protocols.Outbox`, as for all methods here."""
        return self._table.upsert(deliveries, schemas.DELIVERIES, resolve=keep_stored)

    def read(self, asset: str) -> pd.DataFrame:
        """All deliveries, oldest first."""
        rows = self._table.read([f"asset = {delta.literal(asset)}"])
        if rows is None or rows.num_rows == 0:
            return empty(schemas.DELIVERIES)
        return to_frame(rows.sort_by([("created_at", "ascending"), ("delivery_id", "ascending")]))

    def claim(self, deliveries: pd.DataFrame, by: str, until: datetime, *, now: datetime) -> pd.DataFrame:
        """Takes undelivered ones for this process; returns those that are its own now."""
        if deliveries.empty:
            return deliveries
        asked = deliveries.assign(claimed_by=by, claimed_until=pd.Timestamp(until))

        def take(stored: pa.Table, offered: pa.Table) -> pa.Table:
            rows = stored.to_pylist()
            alive = {
                row["sink"]
                for row in rows
                if row["delivered_at"] is None and row["claimed_by"] not in (None, by) and row["claimed_until"] > now
            }
            free = [row["delivered_at"] is None and row["sink"] not in alive for row in rows]
            return _chosen(stored, offered, free, ("claimed_by", "claimed_until"))

        self._table.upsert(asked, schemas.DELIVERIES, resolve=take, insert=False)
        ours = self.read(str(deliveries["asset"].iloc[0]))
        ours = ours[(ours["claimed_by"] == by) & ours["delivered_at"].isna()]
        return ours[ours["delivery_id"].isin(deliveries["delivery_id"])]

    def record(self, deliveries: pd.DataFrame, by: str) -> Written:
        """Writes what came of claimed deliveries."""

        def take(stored: pa.Table, offered: pa.Table) -> pa.Table:
            pairs = zip(stored.to_pylist(), offered["delivered_at"].to_pylist(), strict=True)
            ours = [
                old["delivered_at"] is None and (old["claimed_by"] == by or delivered is not None)
                for old, delivered in pairs
            ]
            return _chosen(stored, offered, ours, tuple(stored.column_names))

        return self._table.upsert(deliveries, schemas.DELIVERIES, resolve=take, insert=False)

    def maintain(self) -> None:
        """Compacts small files and removes those that no version within the retention period needs."""
        self._table.maintain(self._retention)


def _chosen(stored: pa.Table, offered: pa.Table, offered_counts: list[bool], columns: tuple[str, ...]) -> pa.Table:
    """The stored rows, with these columns of the offered ones where those count."""
    mask = pa.array(offered_counts, pa.bool_())
    for name in columns:
        values = pc.if_else(mask, offered[name], stored[name])
        stored = stored.set_column(stored.column_names.index(name), stored.schema.field(name), values)
    return stored
