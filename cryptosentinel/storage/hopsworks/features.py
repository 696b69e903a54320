"""The feature store whose feature rows go on to Hopsworks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd

from cryptosentinel.errors import StorageError, StoreConflictError, StoreUnavailableError
from cryptosentinel.storage.hopsworks.feature_group import FeatureGroup
from cryptosentinel.storage.hopsworks.outbox import Begun, RowOutbox
from cryptosentinel.storage.hopsworks.turns import Renew
from cryptosentinel.storage.protocols import Backlog, FeatureStore, Written

logger = logging.getLogger(__name__)

# Given to Hopsworks at a time: what a failure repeats is no more than that.
BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Delivery:
    """What a delivery did.

    Attributes:
        delivered: how many rows or versions Hopsworks was given.
        waiting: how many it has yet to be given.
        problem: why; empty where none waits, or somebody else is delivering.
    """

    delivered: int
    waiting: int
    problem: str = ""


class HopsworksFeatureStore:
    """The feature store (`protocols.FeatureStore`) that also fills a feature group in Hopsworks.

    The embedded store is what everything reads: it answers when Hopsworks does not, and it knows versions. Feature
    rows are put into an outbox, written to the embedded store, and delivered from the outbox, first in first out; what
    cannot be delivered waits for the next write. Rows that were stored before Hopsworks was are delivered first.

    Args:
        embedded: the store of record.
        outbox: of the destination.
        group: the destination.
        turn: the right to deliver, as `turns.turn`.
    """

    def __init__(
        self,
        embedded: FeatureStore,
        outbox: RowOutbox,
        group: FeatureGroup,
        turn: Callable[[], AbstractContextManager[Renew | None]],
    ) -> None:
        self._embedded = embedded
        self._outbox = outbox
        self._group = group
        self._turn = turn

    def write_bars(self, bars: pd.DataFrame) -> Written:
        """Upserts bars; they stay in the embedded store."""
        return self._embedded.write_bars(bars)

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
        return self._embedded.read_bars(asset, start, end, columns=columns, version=version)

    def write_features(self, rows: pd.DataFrame, spec_hash: str) -> Written:
        """Upserts feature rows, and delivers what waits; that Hopsworks is away is no error.

        Raises:
            StorageError: as `protocols.FeatureStore`, of the embedded store.
        """
        if not {"asset", "timestamp"} <= set(rows.columns) or not self._takes(spec_hash):
            return self._embedded.write_features(rows, spec_hash)
        for asset in rows["asset"].dropna().unique():
            self._begin(str(asset), spec_hash)
        # First, so that a kill in between loses nothing: what is offered again is known by then.
        entry = self._outbox.put(rows) if len(rows) else None
        try:
            written = self._embedded.write_features(rows, spec_hash)
        except (StoreUnavailableError, StoreConflictError):
            raise  # it may have been written all the same, and then nobody would offer it again
        except StorageError:
            if entry is not None:
                self._outbox.remove(entry)
            raise
        if entry is not None and not written.inserted and not written.updated:
            self._outbox.remove(entry)
        self.deliver()
        return written

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
        """Feature rows, by time."""
        return self._embedded.read_features(asset, spec_hash, start, end, columns=columns, version=version)

    def last_timestamp(self, asset: str, spec_hash: str | None = None) -> datetime | None:
        """The newest bar's time, or feature row's; None where there is none."""
        return self._embedded.last_timestamp(asset, spec_hash)

    def version(self, spec_hash: str | None = None) -> int:
        """The version of the bars, or of a spec's features; -1 while there is no table."""
        return self._embedded.version(spec_hash)

    def maintain(self) -> None:
        """Compacts the embedded store, and removes what it does not need."""
        self._embedded.maintain()

    def backlog(self) -> Backlog:
        """How many writes Hopsworks has yet to be given, and since when."""
        return self._outbox.backlog()

    def waiting(self) -> int:
        """How many rows Hopsworks has yet to be given."""
        return self._outbox.waiting()

    def deliver(self) -> Delivery:
        """Gives Hopsworks what waits, oldest first, until it fails or nothing waits.

        An entry leaves the outbox once all of its rows were seen in Hopsworks.
        """
        delivered, problem = 0, ""
        try:
            with self._turn() as renew:
                if renew is not None:
                    for entry in self._outbox.entries():
                        delivered += self._bring(entry, renew)
        except StorageError as error:
            problem = str(error)
        waiting = self._outbox.waiting()
        if problem:
            logger.warning("hopsworks: rows wait rows=%d problem=%s", waiting, problem)
        return Delivery(delivered, waiting, problem)

    def _bring(self, entry: str, renew: Renew) -> int:
        rows = self._outbox.read(entry)
        if rows is None:
            return 0
        delivered = 0
        for start in range(0, len(rows), BATCH_ROWS):
            if not renew():
                raise StoreUnavailableError("Another process took over the delivery.")
            delivered += self._group.bring(rows.iloc[start : start + BATCH_ROWS])
        self._outbox.remove(entry)
        return delivered

    def _takes(self, spec_hash: str) -> bool:
        begun = self._outbox.begun()
        if begun is None or begun.spec_hash == spec_hash:
            return True
        logger.error(
            "hopsworks: the features changed, and rows stay in the embedded store alone; raise"
            " hopsworks.feature_group_version, and all of them follow"
        )
        return False

    def _begin(self, asset: str, spec_hash: str) -> None:
        """Puts what the embedded store holds of an asset into the outbox, once."""
        begun = self._outbox.begun() or Begun(spec_hash)
        if asset in begun.assets:
            return
        stored = self._embedded.read_features(asset, spec_hash)
        for start in range(0, len(stored), BATCH_ROWS):
            self._outbox.put(stored.iloc[start : start + BATCH_ROWS])
        self._outbox.begin(replace(begun, assets=(*begun.assets, asset)))
