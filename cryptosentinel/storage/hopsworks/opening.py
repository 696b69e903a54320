"""A store with Hopsworks behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from cryptosentinel.config import Settings
from cryptosentinel.storage.files import Files
from cryptosentinel.storage.hopsworks.connection import Connection
from cryptosentinel.storage.hopsworks.feature_group import FeatureGroup
from cryptosentinel.storage.hopsworks.features import Delivery, HopsworksFeatureStore
from cryptosentinel.storage.hopsworks.outbox import FOLDER, RowOutbox
from cryptosentinel.storage.hopsworks.registry import HopsworksModelRegistry
from cryptosentinel.storage.hopsworks.turns import Renew, turn
from cryptosentinel.storage.opening import storage_options
from cryptosentinel.storage.protocols import Backlog, Storage


@dataclass(frozen=True)
class HopsworksStorage(Storage):
    """An open store whose feature rows and bundles go on to Hopsworks."""

    features: HopsworksFeatureStore
    registry: HopsworksModelRegistry
    earlier: tuple[HopsworksFeatureStore, ...] = ()

    def deliver(self) -> dict[str, Delivery]:
        """Gives Hopsworks what waits: rows, also of earlier versions of the feature group, and bundles."""
        rows = [store.deliver() for store in (*self.earlier, self.features)]
        return {
            "rows": Delivery(
                sum(each.delivered for each in rows),
                sum(each.waiting for each in rows),
                next((each.problem for each in rows if each.problem), ""),
            ),
            "bundles": self.registry.deliver(),
        }

    def backlog(self) -> Backlog:
        """What rows wait, of all versions of the feature group."""
        every = [store.backlog() for store in (*self.earlier, self.features)]
        since = [each.since for each in every if each.since is not None]
        return Backlog(sum(each.entries for each in every), min(since, default=None))


def with_hopsworks(
    storage: Storage,
    settings: Settings,
    *,
    descriptions: Mapping[str, str] | None = None,
    login: Callable[..., Any] | None = None,
) -> HopsworksStorage:
    """The same store, of which feature rows and bundles go on to Hopsworks; Hopsworks is not asked yet.

    Args:
        storage: the embedded store; it stays the one that is read.
        settings: `storage` and `hopsworks` say where.
        descriptions: of the features, by name.
        login: in the place of `hopsworks.login`.
    """
    options = storage_options(settings.storage)
    given = settings.hopsworks
    files = Files(storage.uri, options)
    connection = Connection(given, login)
    # Between two renewals: a login, two looks at what is there and an insert; or an upload.
    lease_s = 5 * given.timeout_s + given.upload_timeout_s

    def turns(name: str) -> Callable[[], AbstractContextManager[Renew | None]]:
        return lambda: turn(storage.uri, options, name, lease_s)

    def store(destination: str) -> HopsworksFeatureStore:
        name, _, version = destination.rpartition("-")
        group = FeatureGroup(connection, name, int(version), descriptions or {}, about)
        return HopsworksFeatureStore(storage.features, RowOutbox(files, destination), group, turns(destination))

    about = f"Features of {settings.market.asset} on {settings.market.interval} bars, made by cryptosentinel"
    present = f"{given.feature_group}-{given.feature_group_version}"
    group = FeatureGroup(connection, given.feature_group, given.feature_group_version, descriptions or {}, about)
    return HopsworksStorage(
        features=store(present),
        registry=HopsworksModelRegistry(storage.registry, connection, group, turns("registry")),
        log=storage.log,
        outbox=storage.outbox,
        uri=storage.uri,
        leases=storage.leases,
        earlier=tuple(store(name) for name in files.folders(FOLDER) if name != present),
    )
