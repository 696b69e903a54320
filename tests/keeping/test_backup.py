"""A store is backed up while everybody works on it, destroyed, made again elsewhere, and worked on."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from cryptosentinel.bundle import Bundle
from cryptosentinel.errors import StorageError, StoreFormatError
from cryptosentinel.predicting import BundlePredictor, predict
from cryptosentinel.storage import DeltaFeatureStore, DeltaModelRegistry, Storage, delta, files
from cryptosentinel.storage.backup import BACKUP, Backup, back_up, check_backup, read_backup
from cryptosentinel.storage.files import Files
from cryptosentinel.storage.restoring import restore
from cryptosentinel.workspace import Workspace, open_workspace
from tests.builders import T0, add_bars, at, make_tiny_bundle, settings_of
from tests.storage.builders import SPEC, alert, bars, bundle, contents, features, forecasts, muted, open_delta, settled


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kinds of tables, one with a checkpoint, and three versions, the second of which is champion."""
    folder = tmp_path_factory.mktemp("made")
    store = open_delta(folder)
    for number in range(22):  # a checkpoint is made at every 20th
        store.features.write_bars(bars([number]))
    store.features.write_features(features(range(22)), SPEC)
    store.log.write_forecasts(forecasts(range(22)))
    store.log.settle(settled(forecasts(range(15))))
    store.log.write_alerts(alert("a"))
    store.log.write_mutes(muted("drawdown", 1, 9))
    for content in "abc":
        store.registry.register(bundle(folder / "made" / content, content), metrics={"rmse": 0.5}, verdict=content)
    store.registry.promote(1, expected=0)
    Files(store.uri, {}).write("hopsworks/crypto_features-1/begun.json", b"{}")
    return folder / "store"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Storage:
    """A copy of it, in `home`."""
    shutil.copytree(made, tmp_path / "home" / "store")
    return open_delta(tmp_path / "home")


def backed_up(store: Storage, to: Path, **others: Any) -> Backup:
    return back_up(store.uri, str(to), {}, market="bitcoin-usd-5m", settings={"source": "simulated"}, **others)


def restored(backup: Path, folder: Path, **others: Any) -> Storage:
    restore(str(backup), str(folder / "store"), {}, **others)
    return open_delta(folder)


def assert_same(one: Storage, other: Storage, tmp_path: Path) -> None:
    assert_frame_equal(one.features.read_bars("bitcoin"), other.features.read_bars("bitcoin"))
    assert_frame_equal(one.features.read_features("bitcoin", SPEC), other.features.read_features("bitcoin", SPEC))
    assert_frame_equal(one.log.read_forecasts("bitcoin"), other.log.read_forecasts("bitcoin"))
    assert_frame_equal(one.log.read_alerts("bitcoin"), other.log.read_alerts("bitcoin"))
    assert_frame_equal(one.log.read_mutes("bitcoin"), other.log.read_mutes("bitcoin"))
    assert one.features.version() == other.features.version(), "bundles name it"
    assert one.features.version(SPEC) == other.features.version(SPEC)
    told = [[(m.version, m.digest, m.metrics, m.verdict) for m in s.registry.versions()] for s in (one, other)]
    assert told[0] == told[1]
    assert one.registry.champion().digest == other.registry.champion().digest
    for model in other.registry.versions():
        found = contents(other.registry.fetch(model.version, tmp_path / "copies"))
        assert found == contents(one.registry.fetch(model.version, tmp_path / "those"))


def test_what_is_restored_is_what_was_there_and_goes_on(store: Storage, tmp_path: Path) -> None:
    made = backed_up(store, tmp_path / "backup")
    assert (made.market, made.versions, made.bundles) == ("bitcoin-usd-5m", 3, 3)
    assert made.tables["bars"] == store.features.version()
    again = restored(tmp_path / "backup", tmp_path / "elsewhere")
    assert_same(store, again, tmp_path)
    assert Files(again.uri, {}).read("hopsworks/crypto_features-1/begun.json") == b"{}"
    assert again.features.write_bars(bars(range(20, 30))).inserted == 8
    assert again.log.settle(settled(forecasts(range(10, 22)))).updated == 7
    again.registry.register(bundle(tmp_path / "d", "d"), metrics={}, verdict="d")
    again.registry.promote(3, expected=1)
    again.maintain()
    assert (len(again.features.read_bars("bitcoin")), again.registry.champion().version) == (30, 3)


def test_only_what_the_newest_version_of_a_table_needs_is_copied(store: Storage, tmp_path: Path) -> None:
    store.features.write_bars(bars([1], close=99.0))  # rewrites a file
    backed_up(store, tmp_path / "backup")
    log = sorted(path.name for path in (tmp_path / "backup" / "bars" / "_delta_log").iterdir())
    assert [name for name in log if name.endswith(".checkpoint.parquet")] == log[:1], (
        "the newest, and nothing before it"
    )
    assert len(log) <= 6
    parts = [len(list((tmp_path / place / "bars").rglob("part-*.parquet"))) for place in ("backup", "home/store")]
    assert parts[0] < parts[1]


def test_a_backup_goes_to_an_object_store_and_comes_back(
    store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = files.DeltaFileSystemHandler
    bucket = handler("memory:///backups", {})
    monkeypatch.setattr(
        files, "DeltaFileSystemHandler", lambda uri, options: bucket if "://" in uri else handler(uri, options)
    )
    to = "memory:///backups"
    made = back_up(store.uri, to, {}, market="bitcoin-usd-5m", settings={})
    with pytest.raises(StorageError, match="holds a backup"):
        back_up(store.uri, to, {}, market="bitcoin-usd-5m", settings={})
    store.registry.promote(2, expected=1)
    renewed = back_up(store.uri, to, {}, market="bitcoin-usd-5m", settings={}, replace=True)
    assert renewed.tables["registry/aliases"] == made.tables["registry/aliases"] + 1
    assert check_backup(to, {}) == []
    restore(to, str(tmp_path / "elsewhere" / "store"), {})
    assert_same(store, open_delta(tmp_path / "elsewhere"), tmp_path)


def work_on(workspace: Workspace, stop: threading.Event, begun: threading.Event, number: int = 40) -> None:
    """Bars, features, forecasts, settlements, versions, champions and upkeep, until it is told to stop."""
    while not stop.is_set():
        now = at(number)
        add_bars(workspace.storage, workspace.source.bars(T0, now), workspace.spec)
        champion = workspace.champion()
        predictor = BundlePredictor(Bundle.load(workspace.champion_bundle()), champion.version)
        predict(workspace.storage, predictor, workspace.spec, workspace.settings, now=now)
        if number % 3 == 0:
            made = make_tiny_bundle(workspace.root / "made" / str(number), workspace.spec, log_return=number / 1e6)
            version = workspace.storage.registry.register(made.path, metrics={}, verdict="promoted: x").version
            workspace.storage.registry.promote(version, expected=champion.version)
        if number % 5 == 0:
            workspace.storage.maintain()
        if number == 42:
            begun.set()
        number += 1


def assert_sound(workspace: Workspace, closes: pd.Series) -> None:
    """What holds at every moment of a store that `work_on` works on."""
    storage, spec = workspace.storage, workspace.spec
    stored = storage.features.read_bars("bitcoin")
    times = stored["timestamp"]
    assert times.is_unique
    assert list(times) == list(pd.date_range(T0, periods=len(times), freq=spec.interval.delta)), "no gap"
    rows = storage.features.read_features("bitcoin", spec.hash)["timestamp"]
    assert rows.is_unique
    assert set(rows) <= set(times), "features only of bars that are there"
    log = storage.log.read_forecasts("bitcoin")
    assert log["forecast_id"].is_unique
    assert set(log["made_at"]) <= set(times + spec.interval.delta), "forecasts only of bars that are there"
    known = {model.version for model in storage.registry.versions()}
    assert set(log["bundle_version"]) <= known, "forecasts only by versions that are there"
    for forecast in log.dropna(subset=["outcome"]).itertuples():
        assert forecast.actual_price == closes[forecast.target_at - spec.interval.delta]
    champion = storage.registry.champion()
    assert champion.version in known
    assert len(Bundle.load(workspace.champion_bundle()).manifest.models) > 0


def test_backed_up_under_concurrent_writes_destroyed_and_restored_elsewhere_it_goes_on(tmp_path: Path) -> None:
    def opened(home: Path, number: int = 400) -> Workspace:
        return open_workspace(settings_of(home=str(home), market__source="simulated:3"), now=at(number))

    workspace = opened(tmp_path / "home")
    stop, begun, failed = threading.Event(), threading.Event(), []

    def work() -> None:
        try:
            work_on(workspace, stop, begun)
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            begun.set()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        begun.wait(60)
        before = len(workspace.storage.log.read_forecasts("bitcoin"))
        made: list[Backup] = []
        while len(made) < 2 or made[-1].tables["forecasts"] < made[0].tables["forecasts"] + 2:
            to = str(tmp_path / f"backup {len(made)}")
            note = {"source": "simulated:3"}
            slowly = lambda *_: time.sleep(0.003)  # noqa: E731 (others work meanwhile)
            made.append(back_up(workspace.storage.uri, to, {}, market=workspace.market, settings=note, say=slowly))
    finally:
        stop.set()
        worker.join()
    assert failed == []
    closes = workspace.source.bars(T0, at(400)).set_index("timestamp")["close"]
    shutil.rmtree(tmp_path / "home")
    for number in {0, len(made) - 1}:
        home = tmp_path / f"home {number}"
        restore(str(tmp_path / f"backup {number}"), str(home / made[0].market / "store"), {})
        again = opened(home)
        assert_sound(again, closes)
        log = again.storage.log.read_forecasts("bitcoin")
        assert len(log) >= before
        stop.clear()
        threading.Timer(0.5, stop.set).start()
        work_on(again, stop, begun, 40 + len(log))
        assert_sound(again, closes)
        assert len(again.storage.log.read_forecasts("bitcoin")) > len(log)


class Killed(BaseException):
    pass


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, method: str, at_call: int) -> Iterator[None]:
    """The process ends at some call of a method of `Files`."""
    real: Callable[..., Any] = getattr(Files, method)
    calls = 0

    def maybe(self: Files, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at_call:
            raise Killed
        return real(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Files, method, maybe)
        yield


@pytest.mark.parametrize(("method", "number"), [("copy", 1), ("copy", 30), ("digest", 7), ("write", 2)])
def test_a_backup_that_is_killed_is_none_and_is_gone_on_with(
    store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, number: int
) -> None:
    to = tmp_path / "backup"
    with dying(monkeypatch, method, number), pytest.raises(Killed):
        backed_up(store, to)
    with pytest.raises(StorageError, match="never finished"):
        restore(str(to), str(tmp_path / "elsewhere" / "store"), {})
    store.features.write_bars(bars([22]))
    copied: list[str] = []
    copy = Files.copy
    monkeypatch.setattr(Files, "copy", lambda self, path, target: copied.append(path) or copy(self, path, target))
    made = backed_up(store, to)
    assert len(copied) <= len(made.files) - (number - 2 if method == "copy" else 0), "what is there is not copied again"
    assert set(contents(to)) == {*made.files, BACKUP}
    assert_same(store, restored(to, tmp_path / "elsewhere"), tmp_path)


@pytest.mark.parametrize("number", [1, 55])
def test_a_restore_that_is_killed_opens_for_nobody_and_is_gone_on_with(
    store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    backup = tmp_path / "backup"
    assert len(backed_up(store, backup).files) > 55
    with dying(monkeypatch, "copy", number), pytest.raises(Killed):
        restored(backup, tmp_path / "elsewhere")
    with pytest.raises(StoreFormatError, match="is being restored") as caught:
        open_delta(tmp_path / "elsewhere")
    assert "run it again" in caught.value.remedy
    assert_same(store, restored(backup, tmp_path / "elsewhere"), tmp_path)


def test_the_alias_comes_last_so_that_no_champion_is_named_before_it_is_there(
    store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed_up(store, tmp_path / "backup")
    order: list[str] = []
    copy = Files.copy
    monkeypatch.setattr(Files, "copy", lambda self, path, target: order.append(path) or copy(self, path, target))
    restored(tmp_path / "backup", tmp_path / "elsewhere")
    assert order[-1] == "store.json"
    aliases = [number for number, path in enumerate(order) if path.startswith("registry/aliases/")]
    assert aliases == list(range(len(order) - 1 - len(aliases), len(order) - 1))


def test_nothing_is_overwritten_without_saying_so(store: Storage, tmp_path: Path) -> None:
    other = open_delta(tmp_path / "other")
    other.features.write_bars(bars(range(900, 950)))
    backed_up(store, tmp_path / "backup")
    before = contents(tmp_path / "backup"), contents(tmp_path / "other")
    with pytest.raises(StorageError, match=r"holds a backup of 20\d\d-.* UTC") as caught:
        backed_up(other, tmp_path / "backup")
    assert "--replace" in caught.value.remedy
    with pytest.raises(StorageError, match="would overwrite a store") as caught:
        restored(tmp_path / "backup", tmp_path / "other")
    assert "--replace" in caught.value.remedy
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    for replace in (False, True):
        with pytest.raises(StorageError, match="something that is no backup of ours"):
            backed_up(store, tmp_path / "mine", replace=replace)
    assert (contents(tmp_path / "backup"), contents(tmp_path / "other")) == before
    with pytest.raises(StorageError, match="inside the store itself"):
        backed_up(store, Path(store.uri) / "backup")


def test_told_to_replace_nothing_of_what_was_there_is_left(store: Storage, tmp_path: Path) -> None:
    other = open_delta(tmp_path / "other")
    for number in range(30):
        other.features.write_bars(bars([900 + number]))
    backed_up(other, tmp_path / "backup")
    made = backed_up(store, tmp_path / "backup", replace=True)
    assert set(contents(tmp_path / "backup")) == {*made.files, BACKUP}
    again = restored(tmp_path / "backup", tmp_path / "other", replace=True)
    assert set(contents(tmp_path / "other" / "store")) == set(made.files)
    assert_same(store, again, tmp_path)


def test_a_damaged_backup_is_noticed_and_nobody_can_open_what_came_of_it(store: Storage, tmp_path: Path) -> None:
    made = backed_up(store, tmp_path / "backup")
    assert check_backup(str(tmp_path / "backup"), {}) == []
    victim = next(path for path in made.files if path.endswith("inference.onnx"))
    (tmp_path / "backup" / victim).write_bytes(b"damaged")
    missing = next(path for path in made.files if path.startswith("alerts/"))
    (tmp_path / "backup" / missing).unlink()
    assert check_backup(str(tmp_path / "backup"), {}) == sorted([victim, missing], key=list(made.files).index)
    with pytest.raises(StorageError):
        restored(tmp_path / "backup", tmp_path / "elsewhere")
    with pytest.raises(StoreFormatError, match="is being restored"):
        open_delta(tmp_path / "elsewhere")


def test_a_backup_of_another_release_is_told_from_a_damaged_one(store: Storage, tmp_path: Path) -> None:
    backed_up(store, tmp_path / "backup")
    note = tmp_path / "backup" / BACKUP
    note.write_text(note.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(StoreFormatError, match="format_version"):
        read_backup(str(tmp_path / "backup"), {})


@pytest.mark.parametrize("at_file", ["bundles/v2-", "store.json"], ids=["before it is copied", "half way or later"])
def test_a_bundle_that_is_pruned_meanwhile_is_one_that_was(
    store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_file: str
) -> None:
    copy = Files.copy

    def prune_first(self: Files, path: str, target: Files) -> str | None:
        if path.startswith(at_file):
            monkeypatch.setattr(Files, "copy", copy)
            store.registry.prune([2])
        return copy(self, path, target)

    monkeypatch.setattr(Files, "copy", prune_first)
    made = backed_up(store, tmp_path / "backup")
    assert (made.versions, made.bundles) == (3, 2)
    again = restored(tmp_path / "backup", tmp_path / "elsewhere").registry
    assert again.get(2).pruned_at is not None
    assert set(again.sizes()) == {0, 1}


def test_what_refers_is_pinned_before_what_it_refers_to(
    store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two tables somebody writes: a bar, its features, a version, its alias, a forecast by it."""
    real, number = delta.open_table, [0]

    def opened(uri: str, options: Any) -> Any:
        table = real(uri, options)
        monkeypatch.setattr(delta, "open_table", real)
        try:
            number[0] += 1
            bar = 50 + number[0]
            DeltaFeatureStore(store.uri).write_bars(bars([bar]))
            DeltaFeatureStore(store.uri).write_features(features([bar]), SPEC)
            registry = DeltaModelRegistry(store.uri)
            made = bundle(tmp_path / "more" / str(bar), f"{bar}")
            version = registry.register(made, metrics={}, verdict="").version
            registry.promote(version, expected=registry.champion().version)
            store.log.write_forecasts(forecasts([bar]).assign(bundle_version=version))
        finally:
            monkeypatch.setattr(delta, "open_table", opened)
        return table

    monkeypatch.setattr(delta, "open_table", opened)
    backed_up(store, tmp_path / "backup")
    monkeypatch.setattr(delta, "open_table", real)
    assert number[0] >= 6
    again = restored(tmp_path / "backup", tmp_path / "elsewhere")
    versions = {model.version for model in again.registry.versions() if model.pruned_at is None}
    assert set(again.log.read_forecasts("bitcoin")["bundle_version"]) <= versions
    assert again.registry.champion().version in versions
    rows = again.features.read_features("bitcoin", SPEC)["timestamp"]
    assert set(rows) <= set(again.features.read_bars("bitcoin")["timestamp"])
