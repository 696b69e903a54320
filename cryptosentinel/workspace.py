"""One market's workspace: its settings, source, feature spec and stores, opened together.

Every market has a folder of its own inside `home`, so that the bars of two never mix.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptosentinel.bundle import is_outdated, write_random_walk
from cryptosentinel.config import MarketSettings, Settings
from cryptosentinel.errors import StoreConflictError, StoreUnavailableError, UserInputError
from cryptosentinel.features import FeatureSpec
from cryptosentinel.market import Source, open_source
from cryptosentinel.market.bars import Interval
from cryptosentinel.storage import RegisteredModel, Storage, open_storage


@dataclass(frozen=True)
class Workspace:
    """See the module.

    Attributes:
        settings: with `market.source` naming a market, never `auto`.
        market: names the market and its folder, e.g. `coingecko-bitcoin-usd-5m`.
        notice: a sentence that people must see: the market is not the one they may expect.
    """

    settings: Settings
    source: Source
    spec: FeatureSpec
    storage: Storage
    market: str
    notice: str

    @property
    def root(self) -> Path:
        """The market's folder on this machine."""
        return self.settings.home.resolve() / self.market

    def champion(self) -> RegisteredModel:
        """The version that serves; version 0, the random walk, is registered first where there is none.

        A champion that an earlier release wrote in a format which this one cannot serve gives way to the random walk,
        until a new one is trained, and so does one that is pruned. Safe when several processes do it at once.
        """
        registry = self.storage.registry
        champion = registry.champion()
        is_there = champion is not None and champion.pruned_at is None
        if champion and is_there and not is_outdated(registry.fetch(champion.version, self._bundles)):
            return champion
        registered = self.random_walk()
        if champion is not None:
            with suppress(StoreConflictError):  # somebody else saw to it at the same time
                registry.promote(registered.version, expected=champion.version)
        return registry.champion() or registered

    def random_walk(self) -> RegisteredModel:
        """The random walk's version, version 0 but for stores of earlier releases; registered where it is not yet."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bundle"
            manifest = write_random_walk(
                path,
                self.spec,
                asset=self.settings.market.asset,
                currency=self.settings.market.currency,
                market=self.market,
                simulated=self.source.simulated,
                horizon_bars=self.settings.forecast.horizon_bars,
            )
            # The same bytes whoever writes them, so that several register one version; the first needs no promotion.
            return self.storage.registry.register(path, metrics={}, verdict=manifest.gate.reasons[0])

    def champion_bundle(self) -> Path:
        """The champion's bundle as a folder on this machine."""
        return self.bundle(self.champion().version)

    def bundle(self, version: int) -> Path:
        """A version's bundle as a folder on this machine; to be read at once, since of copies only a few are kept.

        Raises:
            StorageError: there is no such version, or its bundle was pruned or damaged.
        """
        return self.storage.registry.fetch(version, self._bundles)

    @property
    def _bundles(self) -> Path:
        return self.root / "bundles"


CURRENT = "current.json"
# What tells one market from another.
_MARKET = ("source", "asset", "currency", "interval")


def remember(workspace: Workspace) -> None:
    """Notes in the home folder which market was used last, for commands that are not told.

    Raises:
        StoreUnavailableError: the folder cannot be written.
    """
    remember_market(workspace.settings.home, market_note(workspace.settings.market))


def market_note(market: MarketSettings) -> dict[str, str]:
    """What opens a market again, by the names of its settings."""
    return {name: getattr(market, name) for name in _MARKET}


def remember_market(home: Path, note: Mapping[str, str]) -> None:
    """As `remember`, of what `market_note` said.

    Raises:
        StoreUnavailableError: the folder cannot be written.
    """
    path = home / CURRENT
    scratch = path.with_suffix(f".{os.getpid()}")  # several may do this at once
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(dict(note)))
        scratch.replace(path)
    except OSError as error:
        raise StoreUnavailableError(
            f"{path} cannot be written: {error.strerror or error}.",
            remedy="Choose another home folder with --home or CRYPTOSENTINEL_HOME.",
        ) from error


def used_before(settings: Settings) -> bool:
    """Whether the home folder knows which market was used last."""
    return (settings.home / CURRENT).exists()


def stored_workspace(settings: Settings, *, begin: bool = False) -> Workspace:
    """Opens the market that the settings name, or, where they say `auto`, the one used last; asks no network.

    What else the settings say of the market (asset, currency, interval) counts before what was used last.
    `begin` is as in `open_workspace`.

    Raises:
        UserInputError: nothing has run in this home folder yet, or not that market, or what it says of that cannot be
            read.
    """
    if settings.market.source != "auto":
        return open_workspace(settings, begin=begin)
    path = settings.home / CURRENT
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        last = {name: str(note[name]) for name in _MARKET}
    except FileNotFoundError:
        raise UserInputError(
            f"Nothing has run in {settings.home} yet.",
            remedy="Run `cryptosentinel up` first, or name another folder with --home.",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserInputError(
            f"{path}, which says what market was used last, cannot be read ({error}).",
            remedy="Name the market with --source, or run `cryptosentinel up`, which writes it anew.",
        ) from error
    given = settings.market.model_fields_set - {"source"}
    market = {name: last[name] for name in _MARKET if name not in given}
    return open_workspace(_for_market(settings, **market), begin=begin)


def _for_market(settings: Settings, **market: str) -> Settings:
    return settings.model_copy(update={"market": settings.market.model_copy(update=market)})


def market_name(slug: str, market: MarketSettings) -> str:
    """The name of a market's folder inside `home`; `slug` is its source's."""
    return "-".join([slug, market.asset, market.currency, market.interval])


def open_workspace(settings: Settings, *, now: datetime | None = None, begin: bool = True) -> Workspace:
    """Opens the market that the settings name, and its stores.

    Args:
        settings: where `market.source` is `auto`, the network is asked what can be had.
        now: the clock of a file or simulated market (a replay).
        begin: make the stores where there are none; else that is an error.

    Raises:
        UserInputError: the settings cannot be followed, or a file cannot be read as bars, or there are no stores.
        StorageError: a store cannot be opened.
    """
    opened = open_source(settings.market, now=now)
    if begin:
        opened.source.now()  # a file that cannot be read is said so before anything is made for it
    resolved = _for_market(settings, source=opened.setting)
    market = market_name(opened.slug, settings.market)
    root = settings.home.resolve() / market
    if not begin and settings.storage.uri is None and not root.is_dir():
        raise UserInputError(
            f"Nothing has run for the market {opened.setting} in {settings.home} yet.",
            remedy="Run `cryptosentinel up` for it first, or name another one with --source or --home.",
        )
    storage = open_storage(settings.storage, root=root, market=market)
    spec = FeatureSpec(Interval(settings.market.interval))
    if settings.storage.backend == "hopsworks":
        from cryptosentinel.storage.hopsworks import with_hopsworks

        descriptions = {feature.name: feature.description for feature in spec.features}
        storage = with_hopsworks(storage, settings, descriptions=descriptions)
    return Workspace(
        settings=resolved,
        source=opened.source,
        spec=spec,
        storage=storage,
        market=market,
        notice=opened.notice,
    )
