"""Several processes on one store: no row twice, none lost, one winner."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cryptosentinel.errors import SettingsError, StoreConflictError
from cryptosentinel.storage import DeltaForecastLog
from tests.storage import test_upgrade_forecasts
from tests.storage.builders import SPEC, bars, bundle, contents, contents_as, features, forecasts, open_delta, settled

PROCESSES = 4


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_come_up, range(PROCESSES)))
        yield pool


def _come_up(process: int) -> None:
    time.sleep(0.5)  # so that each process gets one, and has its imports made


def all_at_once(pool: ProcessPoolExecutor, work: Callable[..., Any], folder: Path) -> list[Any]:
    """What `work(folder, process)` answers in each process, all begun at the same moment."""
    begin = time.time() + 0.2
    futures = [pool.submit(_at, begin, work, folder, process) for process in range(PROCESSES)]
    return [future.result() for future in futures]


def _at(begin: float, work: Callable[..., Any], folder: Path, process: int) -> Any:
    time.sleep(max(0.0, begin - time.time()))
    return work(folder, process)


def upsert_the_same_keys(folder: Path, process: int) -> list[int]:
    store = open_delta(folder).features
    return [store.write_features(features(range(n, n + 20), process), SPEC).inserted for n in range(0, 80, 10)]


def test_the_same_keys_upserted_at_once_are_there_once(processes, tmp_path):
    inserted = all_at_once(processes, upsert_the_same_keys, tmp_path)
    assert sum(map(sum, inserted)) == 90
    read = open_delta(tmp_path).features.read_features("bitcoin", SPEC)
    assert read["timestamp"].is_unique
    assert len(read) == 90
    assert set(read["rsi_14"]) <= set(range(PROCESSES))


def first_load(folder: Path, process: int) -> tuple[int, int, int]:
    written = open_delta(folder).features.write_bars(bars(range(5000), close=1.0))
    return written.inserted, written.updated, written.unchanged


def test_first_loads_at_once_store_every_row_once(processes, tmp_path):
    answers = all_at_once(processes, first_load, tmp_path)
    assert sorted(answers) == [(0, 0, 5000)] * (PROCESSES - 1) + [(5000, 0, 0)]
    read = open_delta(tmp_path).features.read_bars("bitcoin")
    assert len(read) == 5000
    assert read["timestamp"].is_unique


def write_own_keys_and_maintain(folder: Path, process: int) -> None:
    store = open_delta(folder)
    for number in range(10):
        store.features.write_bars(bars([process * 10 + number], close=number))
        if process == 0:
            store.maintain()


def test_nothing_is_lost_while_others_write_and_maintain(processes, tmp_path):
    all_at_once(processes, write_own_keys_and_maintain, tmp_path)
    read = open_delta(tmp_path).features.read_bars("bitcoin")
    assert read["close"].tolist() == list(range(10)) * PROCESSES


def register_two(folder: Path, process: int) -> list[int]:
    registry = open_delta(folder).registry
    own = bundle(folder / f"made-{process}", f"own {process}")
    shared = bundle(folder / f"shared-{process}", "shared")
    return [registry.register(made, metrics={}, verdict="").version for made in (own, shared)]


def test_registrations_at_once_get_different_versions_and_equal_bundles_the_same(processes, tmp_path):
    answers = all_at_once(processes, register_two, tmp_path)
    own, shared = zip(*answers, strict=True)
    assert len(set(own)) == PROCESSES
    assert len(set(shared)) == 1
    registry = open_delta(tmp_path).registry
    assert [model.version for model in registry.versions()] == list(range(PROCESSES + 1))
    for process, version in enumerate(own):
        assert contents(registry.fetch(version, tmp_path / "into")) == contents_as(
            version, tmp_path / f"made-{process}"
        )


def begin_registry(folder: Path, process: int) -> str:
    registry = open_delta(folder).registry
    model = registry.register(bundle(folder / f"zero-{process}", "random walk"), metrics={}, verdict="")
    try:
        registry.promote(model.version, expected=None)
    except StoreConflictError:
        return "second"
    return "first"


def test_a_registry_begun_by_several_at_once_has_one_version_zero_as_champion(processes, tmp_path):
    answers = all_at_once(processes, begin_registry, tmp_path)
    registry = open_delta(tmp_path).registry
    assert "first" in answers
    assert [model.version for model in registry.versions()] == [0]
    assert registry.champion() == registry.get(0)


def promote_own(folder: Path, process: int) -> int | None:
    try:
        open_delta(folder).registry.promote(process + 1, expected=0)
    except StoreConflictError:
        return None
    return process + 1


def test_exactly_one_of_several_promoters_wins(processes, tmp_path):
    registry = open_delta(tmp_path).registry
    for number in range(PROCESSES + 1):
        registry.register(bundle(tmp_path / f"made-{number}", str(number)), metrics={}, verdict="")
    registry.promote(0, expected=None)
    winners = [answer for answer in all_at_once(processes, promote_own, tmp_path) if answer is not None]
    assert winners == [registry.champion().version]


def forecast_and_settle(folder: Path, process: int) -> tuple[int, int]:
    log = open_delta(folder).log
    inserted = log.write_forecasts(forecasts(range(20), predicted=process)).inserted
    return inserted, log.settle(settled(forecasts(range(20)), actual=process)).updated


def test_a_forecast_is_logged_once_and_settled_once(processes, tmp_path):
    answers = all_at_once(processes, forecast_and_settle, tmp_path)
    assert [sum(column) for column in zip(*answers, strict=True)] == [20, 20]
    read = open_delta(tmp_path).log.read_forecasts("bitcoin")
    assert read["forecast_id"].is_unique
    assert read["predicted_price"].nunique() == read["actual_price"].nunique() == 1


def write_on(folder: Path, process: int) -> int:
    return DeltaForecastLog(str(folder)).write_forecasts(forecasts([process + 10])).inserted


def test_several_may_be_the_first_to_write_to_an_earlier_release_s_log(processes, tmp_path):
    test_upgrade_forecasts.begin(tmp_path)
    assert all_at_once(processes, write_on, tmp_path) == [1] * PROCESSES
    assert len(DeltaForecastLog(str(tmp_path)).read_forecasts("bitcoin")) == 2 + PROCESSES
    assert test_upgrade_forecasts.commits(tmp_path).count("ADD COLUMN") == 1


def open_for_own_market(folder: Path, process: int) -> bool:
    try:
        open_delta(folder, market=f"market-{process}")
    except SettingsError:
        return False
    return True


def test_a_store_opened_for_several_markets_at_once_becomes_one_of_them(processes, tmp_path):
    assert sum(all_at_once(processes, open_for_own_market, tmp_path)) == 1


def fetch_it(folder: Path, process: int) -> str:
    return str(open_delta(folder).registry.fetch(0, folder / "into"))


def test_a_bundle_fetched_by_several_at_once_is_whole_for_each(processes, tmp_path):
    made = bundle(tmp_path / "made", "content" * 10_000)
    open_delta(tmp_path).registry.register(made, metrics={}, verdict="")
    (folder,) = set(all_at_once(processes, fetch_it, tmp_path))
    assert contents(Path(folder)) == contents_as(0, made)
    assert len(list((tmp_path / "into").iterdir())) == 1
