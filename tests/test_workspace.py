"""A market's workspace: one folder a market, one version 0 however many begin, and a note of what was used last."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from cryptosentinel.bundle import RANDOM_WALK, Bundle
from cryptosentinel.config import Settings
from cryptosentinel.errors import (
    BundleFormatError,
    MarketDataError,
    SettingsError,
    StorageError,
    StoreUnavailableError,
    UserInputError,
)
from cryptosentinel.workspace import CURRENT, Workspace, open_workspace, remember, stored_workspace
from tests.builders import make_closing_bars, make_tiny_bundle, settings_of

NOWHERE = "http://127.0.0.1:9"  # nothing listens on the discard port


def settings(home: Path, source: str = "simulated", **others: object) -> Settings:
    return settings_of(home=str(home), market__source=source, **others)


def opened(home: Path, source: str = "simulated", **others: object) -> Workspace:
    return open_workspace(settings(home, source, **others))


def older(bundle: Path, version: int) -> Path:
    """The bundle as a release with another format would have written it."""
    manifest = bundle / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": version}))
    return bundle


def with_champion_of_format(home: Path, version: int) -> Workspace:
    workspace = opened(home)
    workspace.champion()
    bundle = older(make_tiny_bundle(home / "made", workspace.spec).path, version)
    registered = workspace.storage.registry.register(bundle, metrics={}, verdict="promoted")
    workspace.storage.registry.promote(registered.version, expected=0)
    return workspace


class TestChampion:
    def test_a_new_market_is_served_by_the_random_walk(self, tmp_path: Path) -> None:
        workspace = opened(tmp_path, forecast__horizon_bars=3)
        champion = workspace.champion()
        assert (champion.version, champion.verdict[:10]) == (0, "Version 0:")
        manifest = Bundle.load(workspace.champion_bundle()).manifest
        assert (manifest.champion, manifest.horizon_bars, manifest.simulated) == (RANDOM_WALK, 3, True)
        assert (manifest.market, manifest.spec_hash) == (workspace.market, workspace.spec.hash)

    def test_asking_again_registers_nothing(self, tmp_path: Path) -> None:
        first = opened(tmp_path).champion()
        assert opened(tmp_path).champion() == first
        assert opened(tmp_path).storage.registry.versions() == [first]

    def test_a_promoted_version_is_the_champion(self, tmp_path: Path) -> None:
        workspace = opened(tmp_path)
        workspace.champion()
        bundle = make_tiny_bundle(tmp_path / "made", workspace.spec).path
        trained = workspace.storage.registry.register(bundle, metrics={}, verdict="")
        workspace.storage.registry.promote(trained.version, expected=0)
        assert opened(tmp_path).champion() == trained
        assert Bundle.load(opened(tmp_path).champion_bundle()).manifest.champion == "blend"

    def test_one_of_an_earlier_release_gives_way_to_the_random_walk_until_another_is_trained(
        self, tmp_path: Path
    ) -> None:
        workspace = with_champion_of_format(tmp_path, 1)
        with ThreadPoolExecutor(4) as pool:
            champions = list(pool.map(lambda _: opened(tmp_path).champion(), range(4)))
        assert [model.version for model in champions] == [0] * 4, "it is there already"
        assert Bundle.load(workspace.champion_bundle()).manifest.champion == RANDOM_WALK
        assert [model.version for model in workspace.storage.registry.versions()] == [0, 1]

    def test_where_the_random_walk_is_of_an_earlier_release_too_another_is_registered(self, tmp_path: Path) -> None:
        workspace = opened(tmp_path)
        older(make_tiny_bundle(tmp_path / "zero", workspace.spec).path, 1)
        workspace.storage.registry.register(tmp_path / "zero", metrics={}, verdict="Version 0")
        with ThreadPoolExecutor(4) as pool:
            champions = list(pool.map(lambda _: opened(tmp_path).champion(), range(4)))
        assert [model.version for model in champions] == [1] * 4
        assert len(workspace.storage.registry.versions()) == 2

    def test_one_of_a_later_release_stays_and_what_loads_it_says_so(self, tmp_path: Path) -> None:
        workspace = with_champion_of_format(tmp_path, 99)
        assert workspace.champion().version == 1
        with pytest.raises(BundleFormatError, match="format version 99; this release reads 2"):
            Bundle.load(workspace.champion_bundle())


class TestMarketsApart:
    def test_a_file_that_cannot_be_read_leaves_no_store_behind(self, tmp_path: Path) -> None:
        with pytest.raises(MarketDataError, match=r"There is no file .*typo\.csv"):
            opened(tmp_path / "home", f"file:{tmp_path}/typo.csv")
        assert not (tmp_path / "home").exists()

    def test_every_market_has_a_store_of_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        csv, namesake = tmp_path / "bars.csv", tmp_path / "other" / "bars.csv"
        for path in (csv, namesake):
            make_closing_bars({0: 100.0}).drop(columns=["asset", "source"]).to_csv(path, index=False)
        spaces = [
            opened(tmp_path),
            opened(tmp_path, "simulated:1"),
            opened(tmp_path, "coingecko"),
            opened(tmp_path, f"file:{csv}"),
            opened(tmp_path, f"file:{namesake}"),
            opened(tmp_path, market__asset="ethereum"),
            opened(tmp_path, market__currency="eur"),
            opened(tmp_path, market__interval="15m"),
        ]
        assert len({space.storage.uri for space in spaces}) == len({space.market for space in spaces}) == len(spaces)
        for number, space in enumerate(spaces):
            asset = space.settings.market.asset
            space.storage.features.write_bars(make_closing_bars({number: 1.0}).assign(asset=asset))
        assert [len(space.storage.features.read_bars(space.settings.market.asset)) for space in spaces] == [1] * 8

    def test_two_markets_may_not_share_a_store(self, tmp_path: Path) -> None:
        uri = str(tmp_path / "shared")
        opened(tmp_path, storage__uri=uri)
        with pytest.raises(SettingsError, match="holds the market simulated-0-bitcoin-usd-5m"):
            opened(tmp_path, "simulated:1", storage__uri=uri)

    def test_a_market_lies_in_its_folder_inside_home(self, tmp_path: Path) -> None:
        workspace = opened(tmp_path, "simulated:7")
        assert workspace.market == "simulated-7-bitcoin-usd-5m"
        assert workspace.root == tmp_path / workspace.market
        assert workspace.storage.uri == str(workspace.root / "store")

    def test_a_recorded_or_simulated_market_has_the_clock_it_is_given(self, tmp_path: Path) -> None:
        now = datetime(2025, 1, 6, 12, tzinfo=UTC)
        assert open_workspace(settings(tmp_path), now=now).source.now() == now


class TestAuto:
    def test_auto_becomes_the_market_that_answers(self, tmp_path: Path) -> None:
        workspace = opened(tmp_path, "auto", market__coingecko__base_url=NOWHERE)
        assert workspace.settings.market.source == "simulated:0"
        assert workspace.source.simulated
        assert "SIMULATED" in workspace.notice
        assert opened(tmp_path, workspace.settings.market.source).storage.uri == workspace.storage.uri


class TestTheMarketUsedLast:
    def test_it_is_opened_where_none_is_named(self, tmp_path: Path) -> None:
        for source in ("simulated:4", "simulated:5"):
            remember(opened(tmp_path, source))
        assert stored_workspace(settings(tmp_path, "auto")).market == "simulated-5-bitcoin-usd-5m"

    def test_it_is_the_whole_market_that_is_remembered(self, tmp_path: Path) -> None:
        used = opened(tmp_path, market__asset="ethereum", market__currency="eur", market__interval="15m")
        remember(used)
        assert stored_workspace(settings(tmp_path, "auto")).storage.uri == used.storage.uri

    def test_what_is_named_counts_before_what_is_remembered(self, tmp_path: Path) -> None:
        remember(opened(tmp_path, "simulated:4", market__interval="15m"))
        opened(tmp_path, "simulated:9")
        opened(tmp_path, "simulated:4", market__asset="ethereum", market__interval="5m")
        assert stored_workspace(settings(tmp_path, "simulated:9")).market == "simulated-9-bitcoin-usd-5m"
        named = settings(tmp_path, "auto", market__asset="ethereum", market__interval="5m")
        assert stored_workspace(named).market == "simulated-4-ethereum-usd-5m"

    def test_a_recording_is_found_again_from_another_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bars = make_closing_bars({0: 100.0, 1: 101.0})
        bars.drop(columns=["asset", "source"]).to_csv(tmp_path / "bars.csv", index=False)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)
        used = opened(tmp_path, "file:bars.csv")
        remember(used)
        monkeypatch.chdir(tmp_path / "elsewhere")
        again = stored_workspace(settings(tmp_path, "auto"))
        assert again.storage.uri == used.storage.uri
        assert again.source.quote().price == 101.0

    def test_the_network_is_not_asked(self, tmp_path: Path) -> None:
        remember(opened(tmp_path, "coingecko", market__coingecko__base_url=NOWHERE))
        assert stored_workspace(settings(tmp_path, "auto")).market == "coingecko-bitcoin-usd-5m"

    def test_where_nothing_has_run_it_is_said_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(UserInputError, match="Nothing has run in") as raised:
            stored_workspace(settings(tmp_path / "new", "auto"))
        assert "cryptosentinel up" in raised.value.remedy
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"source": "simulated"}', "7"])
    def test_a_damaged_note_is_named(self, tmp_path: Path, content: str) -> None:
        (tmp_path / CURRENT).write_text(content)
        with pytest.raises(UserInputError, match=CURRENT) as raised:
            stored_workspace(settings(tmp_path, "auto"))
        assert "--source" in raised.value.remedy

    def test_a_note_is_replaced_as_a_whole_or_not_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        remember(opened(tmp_path, "simulated:4"))

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(StoreUnavailableError, match="No space left on device"):
            remember(opened(tmp_path, "simulated:5"))
        monkeypatch.undo()
        assert stored_workspace(settings(tmp_path, "auto")).market == "simulated-4-bitcoin-usd-5m"

    def test_a_home_that_is_a_file_is_an_error_of_ours(self, tmp_path: Path) -> None:
        workspace = opened(tmp_path, storage__uri=str(tmp_path / "store"))
        (tmp_path / "home").write_text("not a folder")
        with pytest.raises(StoreUnavailableError, match="home"):
            remember(Workspace(**{**vars(workspace), "settings": settings(tmp_path / "home")}))


def test_a_damaged_registry_has_no_champion_but_a_sentence(tmp_path: Path) -> None:
    workspace = opened(tmp_path)
    workspace.champion()
    for file in Path(workspace.storage.uri, "registry", "versions").rglob("*.parquet"):
        file.write_bytes(b"not parquet")
    with pytest.raises(StorageError, match="versions"):
        opened(tmp_path).champion()


_barrier: Barrier


def _share(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603 - how a pool's processes get at it
    _barrier = barrier


def _begin(home: Path, source: str) -> tuple[int, str]:
    """What a process does that begins on a home folder."""
    workspace = opened(home, source)
    _barrier.wait(timeout=60)
    champion = workspace.champion()
    for _ in range(100):
        remember(workspace)
        json.loads((home / CURRENT).read_text())
    return champion.version, champion.digest


def test_processes_that_begin_at_once_agree_on_version_zero(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn, initializer=_share, initargs=(spawn.Barrier(2),)) as pool:
        answers = set(pool.map(_begin, [tmp_path] * 2, ["simulated"] * 2))
    (answer,) = answers
    assert [model.version for model in opened(tmp_path).storage.registry.versions()] == [0] == [answer[0]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [CURRENT, "simulated-0-bitcoin-usd-5m"]
