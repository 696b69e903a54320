from __future__ import annotations

import asyncio
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cryptosentinel.bundle import Bundle
from cryptosentinel.errors import BundleDamagedError, BundleError, ServingError, StoreUnavailableError
from cryptosentinel.storage import RegisteredModel
from serving import bundles
from serving.bundles import ChampionFollower, load_served
from serving.predictor import ForecastModel, NotServingYet
from tests.serving.builders import make_random_walk


class FolderRegistry:
    """The part of a registry that is followed: folders by version, and a champion."""

    def __init__(self) -> None:
        self.folders: dict[int, Path] = {}
        self.number: int | None = None
        self.down = False
        self.fetched: list[int] = []

    def champion(self) -> RegisteredModel | None:
        if self.down:
            raise StoreUnavailableError("The store is away.")
        if self.number is None:
            return None
        return RegisteredModel(self.number, "", "", datetime.now(UTC), {}, "")

    def fetch(self, version: int, into: Path) -> Path:
        self.fetched.append(version)
        target = into / str(version)
        if not target.exists():
            shutil.copytree(self.folders[version], target)
        return target


@pytest.fixture
def registry(tmp_path):
    registry = FolderRegistry()
    for version in range(3):
        folder = tmp_path / f"registered-{version}"
        make_random_walk(folder)
        registry.folders[version] = folder
    return registry


@pytest.fixture
def model():
    return ForecastModel("m")


def damage(folder: Path) -> None:
    (folder / "quantiles.json").write_text("{}", encoding="utf-8")


def follow_until(follower: ChampionFollower, done) -> None:
    async def run() -> None:
        task = asyncio.create_task(follower.follow(0.001))
        async with asyncio.timeout(20):
            while not done():
                await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(run())


def errors(caplog) -> list[str]:
    """What each error's line says besides its event."""
    return [
        " ".join(f"{name}={value}" for name, value in record.fields.items())
        for record in caplog.records
        if record.levelname == "ERROR"
    ]


def test_nothing_is_ready_before_there_is_a_champion(registry, model, tmp_path):
    follower = ChampionFollower(model, registry, tmp_path / "copies")
    follower.first()
    assert not model.ready
    assert not model.load()  # what KServe calls for a model that is not ready
    model.start()  # and before it serves
    assert not model.ready
    with pytest.raises(NotServingYet):
        model.get_input_types()
    registry.number = 0
    follow_until(follower, lambda: model.ready)
    assert model.served.version == 0


def test_a_new_champion_is_served(registry, model, tmp_path):
    registry.number = 0
    follower = ChampionFollower(model, registry, tmp_path / "copies")
    follower.first()
    registry.number = 2
    follow_until(follower, lambda: model.served.version == 2)
    registry.number = 1  # rolled back
    follow_until(follower, lambda: model.served.version == 1)
    assert registry.fetched == [0, 2, 1]


def test_a_damaged_champion_is_reported_once_and_the_one_before_stays(registry, model, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(bundles, "RETRY_AFTER_S", 0.02)
    registry.number = 0
    follower = ChampionFollower(model, registry, tmp_path / "copies")
    follower.first()
    damage(registry.folders[1])
    registry.number = 1
    follow_until(follower, lambda: registry.fetched.count(1) >= 6)
    assert model.served.version == 0
    assert len(errors(caplog)) == 1
    assert "still_serving=0" in errors(caplog)[0]
    assert "quantiles.json differs" in errors(caplog)[0]
    registry.number = 2
    follow_until(follower, lambda: model.served.version == 2)


def test_a_damaged_champion_is_not_tried_at_every_look(registry, model, tmp_path):
    registry.number = 0
    follower = ChampionFollower(model, registry, tmp_path / "copies")
    follower.first()
    damage(registry.folders[1])
    registry.number = 1
    looks = 0
    champion = registry.champion

    def counted() -> RegisteredModel | None:
        nonlocal looks
        looks += 1
        return champion()

    registry.champion = counted
    follow_until(follower, lambda: looks > 20)
    assert registry.fetched == [0, 1, 1]


def test_an_unreachable_registry_is_reported_once_each_time(registry, model, tmp_path, caplog):
    registry.number = 0
    follower = ChampionFollower(model, registry, tmp_path / "copies")
    follower.first()
    looks = 0
    champion = registry.champion

    def counted() -> RegisteredModel | None:
        nonlocal looks
        looks += 1
        registry.down = looks % 20 < 10
        return champion()

    registry.champion = counted
    follow_until(follower, lambda: looks == 50)
    assert len(errors(caplog)) == 3
    assert model.served.version == 0


def test_a_registry_that_hangs_does_not_keep_the_process_from_ending(registry, model, tmp_path):
    registry.number = 0
    follower = ChampionFollower(model, registry, tmp_path / "copies")
    follower.first()
    asked, ended = threading.Event(), threading.Event()

    def hangs() -> None:
        asked.set()
        ended.wait(20)
        ended.set()

    registry.champion = hangs
    follow_until(follower, asked.is_set)
    assert not ended.is_set()  # `asyncio.run` has returned
    hanging = [thread for thread in threading.enumerate() if thread.name == "registry"]
    assert all(thread.daemon for thread in hanging)
    ended.set()


def test_an_unloaded_model_is_served_again_only_when_it_is_loaded(registry, model, tmp_path):
    registry.number = 0
    follower = ChampionFollower(model, registry, tmp_path / "copies")
    follower.first()
    looks = 0
    champion = registry.champion

    def counted() -> RegisteredModel | None:
        nonlocal looks
        looks += 1
        return champion()

    registry.champion = counted

    async def run() -> None:
        follower.unload()
        registry.number = 1
        following = asyncio.create_task(follower.follow(0.001))
        await asyncio.sleep(0.05)
        assert (model.ready, looks) == (False, 0)
        with pytest.raises(NotServingYet):
            model.info()
        registry.number = None
        with pytest.raises(ServingError, match="no champion"):
            await follower.load()
        await asyncio.sleep(0.05)
        assert (model.ready, looks) == (False, 1)
        registry.number = 2
        await follower.load()
        assert (model.ready, model.served.version) == (True, 2)
        registry.number = 1
        async with asyncio.timeout(20):
            while model.served.version != 1:
                await asyncio.sleep(0.001)
        following.cancel()

    asyncio.run(run())


def test_a_champion_that_cannot_be_loaded_leaves_the_one_before(registry, model, tmp_path):
    registry.number = 0
    follower = ChampionFollower(model, registry, tmp_path / "copies")
    follower.first()
    damage(registry.folders[1])
    registry.number = 1
    with pytest.raises(BundleDamagedError):
        asyncio.run(follower.load())
    assert (model.ready, model.served.version) == (True, 0)


def test_a_damaged_copy_is_fetched_again(registry, model, tmp_path):
    registry.number = 0
    registry.fetch(0, tmp_path / "copies")
    damage(tmp_path / "copies" / "0")
    ChampionFollower(model, registry, tmp_path / "copies").first()
    assert model.served.version == 0


def test_a_first_champion_that_cannot_be_loaded_is_an_error(registry, model, tmp_path):
    registry.number = 0
    damage(registry.folders[0])
    with pytest.raises(BundleDamagedError, match=r"quantiles\.json"):
        ChampionFollower(model, registry, tmp_path / "copies").first()


def test_a_bundle_that_cannot_answer_is_not_served(tmp_path, monkeypatch):
    make_random_walk(tmp_path / "bundle")

    def fails(self, features, close):
        raise IndexError("a regime without a name")

    monkeypatch.setattr(Bundle, "infer", fails)
    with pytest.raises(BundleDamagedError, match=r"cannot answer.*a regime without a name"):
        load_served(tmp_path / "bundle")


def test_a_folder_says_which_version_it_is(tmp_path):
    folder = tmp_path / "bundle"
    make_random_walk(folder)
    assert load_served(folder).version == 0
    (folder / "registered.json").write_text('{"version": 12}')
    assert load_served(folder).version == 12
    assert load_served(folder, 13).version == 13
    (folder / "registered.json").write_text('{"number": 12}')
    with pytest.raises(BundleError, match=r"registered\.json"):
        load_served(folder)
