"""What a feature store, a model registry, a forecast log and an outbox are, and leases.

Everything a step reads or writes goes through these. Frames are pandas; times are UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pandas as pd


@dataclass(frozen=True)
class Written:
    """What an upsert did.

    Attributes:
        inserted: rows with a new key.
        updated: rows whose key was there with other values.
        unchanged: rows that were there already as they are; nothing was written for them.
        version: the table's version after it.
    """

    inserted: int
    updated: int
    unchanged: int
    version: int


class FeatureStore(Protocol):
    """Bars and features of every asset. Keys are ``(asset, timestamp)``; writes are idempotent upserts."""

    def write_bars(self, bars: pd.DataFrame) -> Written:
        """Upserts bars (`market.bars.COLUMNS`)."""

    def read_bars(
        self,
        asset: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pd.DataFrame:
        """Bars with ``start <= timestamp < end``, ordered by time; a frame of no rows where there are none.

        Args:
            asset: whose.
            start: see above, as for `end`.
            end: None: up to the newest.
            columns: those to read, in this order; None: all.
            version: reads the table as it was (time travel).

        Raises:
            StorageError: there is no such column.
        """

    def write_features(self, rows: pd.DataFrame, spec_hash: str) -> Written:
        """Upserts feature rows: `asset`, `timestamp` and one float column a feature of the spec (null: not warm)."""

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
        """Feature rows of one spec, as `read_bars`; `columns` limits which features are read."""

    def last_timestamp(self, asset: str, spec_hash: str | None = None) -> datetime | None:
        """The newest bar's timestamp, or, with `spec_hash`, the newest feature row's; None where there is none."""

    def version(self, spec_hash: str | None = None) -> int:
        """The version of the bars table, or, with `spec_hash`, of that spec's feature table; -1 while it has none."""

    def maintain(self) -> None:
        """Compacts small files and removes those that no version within the retention period needs."""


@dataclass(frozen=True)
class RegisteredModel:
    """A version in the registry.

    Attributes:
        version: 0 is the random walk that every registry begins with.
        uri: where the bundle lies.
        digest: sha256 of its manifest.
        registered_at: when.
        metrics: the figures it was registered with.
        verdict: the gate's answer, and what came of it, in a sentence.
        pruned_at: when its bundle was deleted; what is known of it stays. None: the bundle is there.
    """

    version: int
    uri: str
    digest: str
    registered_at: datetime
    metrics: dict[str, float]
    verdict: str
    pruned_at: datetime | None = None


class ModelRegistry(Protocol):
    """Bundles by version, and one alias, `champion`. A bundle never changes once registered."""

    def register(self, bundle: Path, *, metrics: Mapping[str, float], verdict: str) -> RegisteredModel:
        """Copies a bundle folder in under a new version; the same bundle again keeps the version it has.

        Killed half way, it leaves no version. One that was pruned is there again.
        """

    def amend(self, version: int, *, verdict: str) -> RegisteredModel:
        """Records another verdict than the version was registered with, where something else came of it.

        Raises:
            StorageError: there is no such version.
        """

    def versions(self) -> list[RegisteredModel]:
        """All versions, oldest first."""

    def get(self, version: int) -> RegisteredModel:
        """One version.

        Raises:
            StorageError: there is no such version.
        """

    def newest(self) -> RegisteredModel | None:
        """The version that was registered last; None while there is none."""

    def champion(self) -> RegisteredModel | None:
        """The version the alias points at, at first version 0; None only before that is registered."""

    def revision(self) -> str:
        """Another text after every change: whoever keeps what was read keeps it as long as this stays the same."""

    def promote(self, version: int, *, expected: int | None) -> None:
        """Moves the alias to `version` if it still points at `expected` (None, or 0: it was never moved).

        Raises:
            StorageError: there is no such version, or its bundle was pruned.
            StoreConflictError: it points elsewhere by now.
        """

    def fetch(self, version: int, into: Path) -> Path:
        """Copies a version's bundle into the folder `into` and returns where; a copy that is there is reused.

        Raises:
            StorageError: there is no such version, its bundle was pruned, or its manifest is not the one that was
                registered.
        """

    def sizes(self) -> dict[int, int]:
        """The bytes of each bundle that is there, by version."""

    def awaited(self) -> set[int]:
        """Versions whose bundles still have to go elsewhere.

        Raises:
            StorageError: who has to get them cannot be asked.
        """

    def prune(self, versions: Collection[int]) -> None:
        """Deletes the bundles of versions, and keeps all that is known of them; killed half way, the next one finishes.

        Raises:
            StorageError: there is no such version, or one is the champion: that one stays, and the others are pruned.
        """

    def maintain(self) -> None:
        """Removes what killed registrations and prunings left behind."""


class ForecastLog(Protocol):
    """Forecasts, alerts, mutes, drift reports and detections, each by its key; frames have the columns of `schemas`."""

    def write_forecasts(self, forecasts: pd.DataFrame) -> Written:
        """Adds forecasts; one that is there already stays as it is (the first answer counts)."""

    def settle(self, forecasts: pd.DataFrame) -> Written:
        """Writes the outcome of forecasts that have none yet; a settled one stays as it is."""

    def revise(self, forecasts: pd.DataFrame) -> Written:
        """Corrects outcomes at a price that the source has revised since; what is missed or not settled stays."""

    def read_forecasts(
        self,
        asset: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        unsettled: bool = False,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Forecasts with ``start <= made_at < end``, by `made_at`; `unsettled`: those without outcome.

        `columns` limits which are read; what an earlier release did not write is null.
        """

    def version(self) -> int:
        """Changes with every change of the forecasts; -1 while there are none."""

    def write_alerts(self, alerts: pd.DataFrame) -> Written:
        """Upserts alerts.

        One keeps when it was raised and who acknowledged it, but one that gets worse is not acknowledged any more. It
        gets no milder, and one that is resolved stays as it is.
        """

    def acknowledge(self, alerts: pd.DataFrame) -> Written:
        """Writes `acknowledged_by` and `acknowledged_at`, and nothing else.

        An alert that is acknowledged already, has ended, or is worse by now than it is in `alerts` stays as it is.

        Raises:
            StorageError: an alert is not in the log.
        """

    def read_alerts(self, asset: str, *, open_only: bool = False) -> pd.DataFrame:
        """Alerts, newest first; with `open_only`, those not resolved."""

    def write_mutes(self, mutes: pd.DataFrame) -> Written:
        """Upserts mutes (`schemas.MUTES`), one a kind; what was said last (`muted_at`) counts."""

    def read_mutes(self, asset: str) -> pd.DataFrame:
        """What was said last of each kind that ever was muted, by kind; it may have ended."""

    def write_drift(self, reports: pd.DataFrame) -> Written:
        """Upserts reports of drift; the newest counts."""

    def read_drift(
        self,
        asset: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Reports with ``start <= data_end < end``, by `data_end`; `columns` limits what is read (`body` is long)."""

    def write_detections(self, detections: pd.DataFrame) -> Written:
        """Adds versions that were called useless; of one that is there already, what is not null stays as it is."""

    def read_detections(self, asset: str) -> pd.DataFrame:
        """Versions that were called useless (`schemas.DETECTIONS`), oldest first."""

    def maintain(self) -> None:
        """Compacts small files and removes those that are not needed any more."""


class Outbox(Protocol):
    """What has to be told of alerts (`schemas.DELIVERIES`), by `delivery_id`, until it was told."""

    def add(self, deliveries: pd.DataFrame) -> Written:
        """Adds deliveries; one that is there already stays as it is."""

    def read(self, asset: str) -> pd.DataFrame:
        """All deliveries, oldest first."""

    def claim(self, deliveries: pd.DataFrame, by: str, until: datetime, *, now: datetime) -> pd.DataFrame:
        """Takes undelivered ones for this process, until a time; returns those that are its own now.

        A sink is claimed as a whole, so that one process at a time tells it anything: where another one's claim on any
        of its deliveries is alive, none of them is taken.
        """

    def record(self, deliveries: pd.DataFrame, by: str) -> Written:
        """Writes what came of claimed deliveries.

        What was delivered counts, whoever's the claim is by now; else one that is not this process's stays as it is.
        """

    def maintain(self) -> None:
        """Compacts small files and removes those that are not needed any more."""


@dataclass
class Lease:
    """What came of taking a lease.

    Attributes:
        elsewhere: whose the work is, in words; empty where it is ours.
        done: whether nobody is to do the work again, once the block has ended without an error.
    """

    elsewhere: str
    done: bool = True


class Leases(Protocol):
    """Of several processes that start the same work, one does it. Work is named by its kind and a key."""

    def take(self, work: str, key: str, *, lost_after_s: float) -> AbstractContextManager[Lease]:
        """Takes the key of a kind of work while the block runs, and keeps it as done afterwards.

        Where another process has it, that one is watched: until it is done, or shows that it lives; where it does
        neither for `lost_after_s`, the key is taken from it. A block that fails gives the key back.

        Args:
            work: its kind.
            key: which of that kind; the last few are remembered.
            lost_after_s: a holder that shows no sign of life for so long has ended. The same for all.
        """

    def maintain(self) -> None:
        """Removes what is not needed any more."""


@dataclass(frozen=True)
class Backlog:
    """What a feature store behind this one has yet to be given.

    Attributes:
        entries: how many writes wait.
        since: when the oldest of them was made; None where none waits.
    """

    entries: int
    since: datetime | None


@dataclass(frozen=True)
class Storage:
    """An open store.

    Attributes:
        uri: an absolute folder, or an address in an object store.
    """

    features: FeatureStore
    registry: ModelRegistry
    log: ForecastLog
    outbox: Outbox
    uri: str
    leases: Leases

    def maintain(self) -> None:
        """Compacts small files and removes what no version within the retention period needs."""
        self.features.maintain()
        self.registry.maintain()
        self.log.maintain()
        self.outbox.maintain()
        self.leases.maintain()

    def backlog(self) -> Backlog | None:
        """How far a feature store behind this one lags; None where there is none. It is not asked for that."""
        return None
