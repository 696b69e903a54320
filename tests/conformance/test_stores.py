"""What every feature store and model registry promises, whatever it is built on.

An implementation is held to it by being listed in `IMPLEMENTATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from cryptosentinel.errors import StorageError, StoreConflictError
from cryptosentinel.storage import (
    BARS,
    FeatureStore,
    ModelRegistry,
    Storage,
)
from tests.hopsworks.builders import open_hopsworks, open_hopsworks_away
from tests.storage.builders import (
    BAR,
    MILLISECONDS,
    SPEC,
    START,
    bars,
    bundle,
    contents,
    contents_as,
    features,
    open_delta,
)

IMPLEMENTATIONS: dict[str, Callable[[Path], Storage]] = {
    "delta": open_delta,
    "hopsworks": open_hopsworks,
    "hopsworks that is away": open_hopsworks_away,
}


@pytest.fixture(params=IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS.keys())
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return request.param(tmp_path / "home")


@pytest.fixture
def store(storage: Storage) -> FeatureStore:
    return storage.features


@pytest.fixture
def registry(storage: Storage) -> ModelRegistry:
    return storage.registry


class TestFeatureStore:
    def test_bars_come_back_as_they_were_written(self, store):
        written = bars(range(48))
        store.write_bars(written)
        assert_frame_equal(store.read_bars("bitcoin"), written)

    def test_features_come_back_to_the_last_bit(self, store):
        values = [0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, np.inf, -np.inf, np.nan]
        written = features(range(8), values)
        store.write_features(written, SPEC)
        read = store.read_features("bitcoin", SPEC)
        assert_frame_equal(read, written, check_exact=True)
        assert np.signbit(read["rsi_14"][2])

    def test_rows_are_ordered_by_time_whatever_order_they_came_in(self, store):
        store.write_bars(bars([30, 2, 17]))
        store.write_bars(bars([5, 1]))
        assert store.read_bars("bitcoin")["timestamp"].tolist() == [START + n * BAR for n in (1, 2, 5, 17, 30)]

    def test_of_bars_only_the_columns_asked_for_are_read_in_their_order_by_time(self, store):
        store.write_bars(bars([30, 2]))
        store.write_bars(bars([5]))
        asked = ["close", "open"]
        assert_frame_equal(store.read_bars("bitcoin", columns=asked), store.read_bars("bitcoin")[asked])
        assert_frame_equal(store.read_bars("ethereum", columns=asked), store.read_bars("bitcoin")[asked].iloc[:0])
        with pytest.raises(StorageError, match="no column mood"):
            store.read_bars("bitcoin", columns=["close", "mood"])

    def test_a_window_includes_its_start_and_not_its_end(self, store):
        store.write_bars(bars(range(48)))
        read = store.read_bars("bitcoin", START + 20 * BAR, START + 30 * BAR)
        assert read["timestamp"].tolist() == [START + n * BAR for n in range(20, 30)]

    def test_a_naive_time_is_utc(self, store):
        store.write_bars(bars(range(48)))
        assert len(store.read_bars("bitcoin", datetime(2025, 2, 1))) == 24  # noqa: DTZ001

    def test_writing_again_changes_nothing(self, store):
        store.write_features(features(range(4), [1.0, np.nan, 3.0, 4.0]), SPEC)
        version = store.version(SPEC)
        assert astuple(store.write_features(features(range(4), [1.0, np.nan, 3.0, 4.0]), SPEC)) == (0, 0, 4, version)

    def test_written_counts_what_was_new_changed_and_the_same(self, store):
        store.write_features(features(range(10), 1.0), SPEC)
        written = store.write_features(features(range(6, 14), [1.0, 2.0, 1.0, 2.0, 5.0, 5.0, 5.0, 5.0]), SPEC)
        assert astuple(written) == (4, 2, 2, store.version(SPEC))
        read = store.read_features("bitcoin", SPEC)
        assert read["rsi_14"].tolist() == [1.0] * 7 + [2.0, 1.0, 2.0] + [5.0] * 4

    def test_a_value_becomes_missing_and_comes_back(self, store):
        for value in (1.0, np.nan, 1.0):
            assert store.write_features(features([0], value), SPEC).unchanged == 0
            assert store.read_features("bitcoin", SPEC)["rsi_14"].equals(pd.Series([value]))

    def test_assets_do_not_touch_each_other(self, store):
        store.write_bars(bars(range(3), close=1.0))
        store.write_bars(pd.concat([bars(range(2), close=2.0, asset="it's"), bars([3], close=1.0)], ignore_index=True))
        assert store.read_bars("bitcoin")["close"].tolist() == [1.0] * 4
        assert store.read_bars("it's")["close"].tolist() == [2.0] * 2

    def test_specs_do_not_touch_each_other(self, store):
        store.write_features(features([0], 1.0), SPEC)
        store.write_features(features([0], 2.0), SPEC[::-1])
        assert store.read_features("bitcoin", SPEC)["rsi_14"].tolist() == [1.0]

    def test_only_the_features_asked_for_are_read(self, store):
        store.write_features(features(range(3)), SPEC)
        assert list(store.read_features("bitcoin", SPEC, columns=["macd"])) == ["asset", "timestamp", "macd"]
        with pytest.raises(StorageError, match="sma_20"):
            store.read_features("bitcoin", SPEC, columns=["sma_20"])

    def test_an_empty_store_answers_frames_of_no_rows(self, store):
        read = store.read_bars("bitcoin")
        assert_frame_equal(read, bars(range(1)).iloc[:0])
        assert list(read) == BARS.names
        assert store.read_features("bitcoin", SPEC, columns=["macd"]).dtypes.tolist() == [object, MILLISECONDS, "f8"]
        assert (store.version(), store.version(SPEC)) == (-1, -1)

    def test_a_window_without_rows_is_a_frame_of_no_rows(self, store):
        store.write_bars(bars(range(3)))
        store.write_features(features(range(3)), SPEC)
        assert_frame_equal(store.read_bars("ethereum"), bars(range(1)).iloc[:0])
        assert_frame_equal(store.read_features("bitcoin", SPEC, START + 9 * BAR), features(range(1)).iloc[:0])

    def test_writing_no_rows_writes_nothing(self, store):
        assert astuple(store.write_bars(bars([]))) == (0, 0, 0, -1)

    def test_the_last_timestamp_is_the_newest_of_that_asset(self, store):
        assert store.last_timestamp("bitcoin") is None
        store.write_bars(bars([3, 1]))
        store.write_bars(bars(range(40), asset="ethereum"))
        store.write_features(features([2]), SPEC)
        assert store.last_timestamp("bitcoin") == datetime(2025, 1, 31, 22, 15, tzinfo=UTC)
        assert store.last_timestamp("bitcoin", SPEC) == datetime(2025, 1, 31, 22, 10, tzinfo=UTC)
        assert store.last_timestamp("dogecoin") is None

    def test_a_version_gives_back_exactly_what_was_there_then(self, store):
        then = {}
        for close in (1.0, 2.0, 3.0):
            version = store.write_bars(bars(range(int(close), 30), close=close)).version
            then[version] = store.read_bars("bitcoin")
        store.maintain()
        for version, expected in then.items():
            assert_frame_equal(store.read_bars("bitcoin", version=version), expected, check_exact=True)
        assert store.read_bars("bitcoin", version=-1).empty

    def test_a_version_that_never_was_is_an_error(self, store):
        with pytest.raises(StorageError, match="version 7"):
            store.read_bars("bitcoin", version=7)
        store.write_bars(bars([0]))
        with pytest.raises(StorageError, match="version 7"):
            store.read_bars("bitcoin", version=7)

    def test_maintenance_changes_no_row(self, store):
        for number in range(40):
            store.write_features(features([number], number), SPEC)
        before = store.read_features("bitcoin", SPEC)
        store.maintain()
        assert_frame_equal(store.read_features("bitcoin", SPEC), before)

    def test_two_rows_with_one_key_are_refused(self, store):
        with pytest.raises(StorageError, match="repeat the key"):
            store.write_bars(bars([1, 2, 1]))
        assert store.version() == -1

    def test_a_missing_or_unknown_column_is_refused(self, store):
        with pytest.raises(StorageError, match="lack the column volume"):
            store.write_bars(bars([1]).drop(columns="volume"))
        with pytest.raises(StorageError, match="does not know: trades"):
            store.write_bars(bars([1]).assign(trades=1))
        store.write_features(features([1]), SPEC)
        with pytest.raises(StorageError, match="sma_20"):
            store.write_features(features([2]).assign(sma_20=1.0), SPEC)

    def test_a_row_without_time_is_refused(self, store):
        rows = bars([1, 2])
        rows.loc[1, "timestamp"] = pd.NaT
        with pytest.raises(StorageError, match="no value in timestamp"):
            store.write_bars(rows)


class TestModelRegistry:
    def test_versions_count_from_zero(self, registry, tmp_path):
        for number, content in enumerate(["a", "b", "c"]):
            model = registry.register(bundle(tmp_path / content, content), metrics={"rmse": 0.5}, verdict="better")
            assert model.version == number
        assert [model.version for model in registry.versions()] == [0, 1, 2]
        assert registry.get(2) == registry.versions()[2] == registry.newest() == model
        assert (model.metrics, model.verdict) == ({"rmse": 0.5}, "better")

    def test_the_same_bundle_keeps_its_version(self, registry, tmp_path):
        first = registry.register(bundle(tmp_path / "a"), metrics={"rmse": 0.5}, verdict="better")
        registry.register(bundle(tmp_path / "b", "other"), metrics={}, verdict="")
        assert registry.register(bundle(tmp_path / "c"), metrics={}, verdict="again") == first
        assert len(registry.versions()) == 2

    def test_a_bundle_comes_back_as_it_was_registered(self, registry, tmp_path):
        made = bundle(tmp_path / "made")
        registry.register(made, metrics={}, verdict="")
        assert contents(registry.fetch(0, tmp_path / "into")) == contents_as(0, made)

    def test_a_fetched_copy_is_reused_and_a_damaged_one_replaced(self, registry, tmp_path):
        registry.register(bundle(tmp_path / "made"), metrics={}, verdict="")
        copy = registry.fetch(0, tmp_path / "into")
        before = (copy / "inference.onnx").stat().st_mtime_ns
        assert registry.fetch(0, tmp_path / "into") == copy
        assert (copy / "inference.onnx").stat().st_mtime_ns == before
        (copy / "manifest.json").write_text("{}")
        assert contents(registry.fetch(0, tmp_path / "into")) == contents_as(0, tmp_path / "made")
        assert [path.name for path in (tmp_path / "into").iterdir()] == [copy.name]

    def test_of_many_fetched_copies_the_newest_few_stay_and_what_was_just_fetched(self, registry, tmp_path):
        for version in range(12):
            registry.register(bundle(tmp_path / f"made{version}", f"content {version}"), metrics={}, verdict="")
            registry.fetch(version, tmp_path / "into")
        again = registry.fetch(2, tmp_path / "into")
        assert contents(again) == contents_as(2, tmp_path / "made2")
        kept = {path.name.partition("-")[0] for path in (tmp_path / "into").iterdir()}
        assert {"v2", "v10", "v11"} <= kept
        assert len(kept) <= 4

    def test_a_folder_without_manifest_is_no_bundle(self, registry, tmp_path):
        with pytest.raises(StorageError, match=r"manifest\.json"):
            registry.register(tmp_path, metrics={}, verdict="")
        assert registry.versions() == []

    def test_an_unknown_version_is_an_error(self, registry, tmp_path):
        for ask in (
            registry.get,
            lambda n: registry.amend(n, verdict=""),
            lambda n: registry.fetch(n, tmp_path),
            lambda n: registry.promote(n, expected=None),
        ):
            with pytest.raises(StorageError, match="no version 3"):
                ask(3)

    def test_an_amended_verdict_is_the_only_thing_that_changes(self, registry, tmp_path):
        before = [registry.register(bundle(tmp_path / c, c), metrics={"rmse": 0.5}, verdict=c) for c in "abc"]
        amended = registry.amend(1, verdict="it's overtaken")
        assert amended == replace(before[1], verdict="it's overtaken")
        assert registry.versions() == [before[0], amended, before[2]]
        assert contents(registry.fetch(1, tmp_path / "into")) == contents_as(1, tmp_path / "b")

    def test_its_revision_is_another_after_every_change_and_only_then(self, registry, tmp_path):
        seen = [registry.revision()]
        for change in (
            lambda: registry.register(bundle(tmp_path / "a"), metrics={}, verdict=""),
            lambda: registry.register(bundle(tmp_path / "b", "other"), metrics={}, verdict=""),
            lambda: registry.amend(0, verdict="overtaken"),
            lambda: registry.promote(1, expected=0),
            lambda: registry.prune([0]),
        ):
            change()
            seen.append(registry.revision())
            assert registry.revision() == seen[-1]
        assert len(set(seen)) == len(seen)

    def test_version_zero_is_champion_until_another_is_promoted(self, registry, tmp_path):
        assert registry.newest() is None
        assert registry.champion() is None
        zero = registry.register(bundle(tmp_path / "a"), metrics={}, verdict="")
        registry.register(bundle(tmp_path / "b", "other"), metrics={}, verdict="")
        assert registry.champion() == zero
        registry.promote(1, expected=0)
        assert registry.champion().version == 1

    def test_promoting_over_somebody_elses_champion_is_a_conflict(self, registry, tmp_path):
        for content in "abc":
            registry.register(bundle(tmp_path / content, content), metrics={}, verdict="")
        registry.promote(0, expected=None)
        registry.promote(1, expected=0)
        for stale in (0, None, 2):
            with pytest.raises(StoreConflictError, match="version 1 by now"):
                registry.promote(2, expected=stale)
        assert registry.champion().version == 1
