"""What the Delta tables of bars and features do beyond what every store promises."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from cryptosentinel.errors import StorageError
from cryptosentinel.storage import DeltaFeatureStore
from cryptosentinel.storage.delta import MAX_FILES_LIVE
from tests.storage.builders import BAR, SPEC, START, bars, features


@pytest.fixture
def store(tmp_path: Path) -> DeltaFeatureStore:
    return DeltaFeatureStore(str(tmp_path))


def table(folder: Path, name: str = "bars") -> DeltaTable:
    return DeltaTable(str(folder / name))


def files(folder: Path, name: str = "bars") -> set[str]:
    return {uri.rsplit("/", 1)[1] for uri in table(folder, name).file_uris()}


keys = st.tuples(st.sampled_from(["bitcoin", "ethereum"]), st.integers(0, 40))
values = st.floats(allow_nan=True, allow_infinity=True, width=64)
upserts = st.lists(st.dictionaries(keys, values, min_size=1, max_size=8), min_size=1, max_size=6)


@given(upserts)
@settings(max_examples=15, deadline=None)
def test_any_sequence_of_upserts_equals_a_dict(tmp_path_factory, sequence):
    folder = tmp_path_factory.mktemp("store")
    store, model = DeltaFeatureStore(str(folder)), {}
    for upsert in sequence:
        rows = pd.concat([features([number], value, asset=asset) for (asset, number), value in upsert.items()])
        written = store.write_features(rows, SPEC)
        same = [key for key in upsert.keys() & model.keys() if np.array_equal(model[key], upsert[key], equal_nan=True)]
        assert written.inserted == len(upsert.keys() - model.keys())
        assert written.unchanged == len(same)
        assert written.updated == len(upsert) - written.inserted - written.unchanged
        model |= {key: value for key, value in upsert.items() if key not in same}
        for asset in ("bitcoin", "ethereum"):
            expected = sorted((number, value) for (name, number), value in model.items() if name == asset)
            read = store.read_features(asset, SPEC)
            assert read["timestamp"].tolist() == [START + number * BAR for number, _ in expected]
            np.testing.assert_array_equal(read["rsi_14"], [value for _, value in expected])


def test_a_write_that_changes_nothing_makes_no_commit(store, tmp_path):
    store.write_bars(bars(range(40)))
    before = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    store.write_bars(bars(range(10, 30)))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == before


def test_rows_are_kept_by_month_and_readers_do_not_see_it(store, tmp_path):
    store.write_bars(bars(range(48)))
    assert table(tmp_path).metadata().partition_columns == ["month"]
    assert {path.name for path in (tmp_path / "bars").glob("month=*")} == {"month=2025-01", "month=2025-02"}
    assert "month" not in store.read_bars("bitcoin")


def test_an_update_rewrites_only_the_files_that_hold_the_rows(store, tmp_path):
    for numbers in (range(10), range(10, 20), range(24, 30)):
        store.write_bars(bars(numbers))
    before = files(tmp_path)
    store.write_bars(bars([12], close=5.0))
    assert len(before - files(tmp_path)) == 1


def test_new_rows_are_appended_without_rewriting(store, tmp_path):
    store.write_bars(bars(range(24)))
    before = files(tmp_path)
    store.write_bars(bars(range(12, 30)))
    assert before < files(tmp_path)
    # What was there already is in no second file.
    assert sum(pq.read_metadata(path).num_rows for path in (tmp_path / "bars").rglob("part-*.parquet")) == 30


def test_a_window_reads_only_the_files_it_needs(store, tmp_path):
    store.write_bars(bars(range(24)))
    store.write_bars(bars(range(24, 30)))
    for path in (tmp_path / "bars" / "month=2025-01").iterdir():
        path.unlink()
    assert len(store.read_bars("bitcoin", datetime(2025, 2, 1, tzinfo=UTC))) == 6
    assert store.last_timestamp("bitcoin") == datetime(2025, 2, 1, 0, 25, tzinfo=UTC)


def test_an_update_reads_only_the_files_it_needs(store, tmp_path):
    store.write_bars(bars(range(24)))
    store.write_bars(bars(range(24, 30)))
    for path in (tmp_path / "bars" / "month=2025-01").iterdir():
        path.unlink()
    assert store.write_bars(bars([26], close=5.0)).updated == 1


def test_columns_may_come_in_another_order(store):
    store.write_features(features(range(3), [1.0, 2.0, 3.0]), SPEC)
    reordered = features(range(4), [1.0, 2.0, 3.0, 4.0])[["macd", "timestamp", "rsi_14", "asset"]]
    assert store.write_features(reordered, SPEC).inserted == 1
    assert store.read_features("bitcoin", SPEC)["rsi_14"].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_times_are_kept_in_milliseconds(store):
    rows = bars([0]).assign(timestamp=pd.to_datetime(["2025-01-31T22:00:00.123456789Z"]))
    with pytest.raises(StorageError, match="repeat the key"):
        store.write_bars(pd.concat([rows, rows.assign(timestamp=pd.to_datetime(["2025-01-31T22:00:00.1239Z"]))]))
    store.write_bars(rows)
    assert store.write_bars(rows).unchanged == 1
    assert store.read_bars("bitcoin")["timestamp"][0] == pd.Timestamp("2025-01-31T22:00:00.123Z")


def test_a_feature_name_that_would_break_an_update_is_refused(store):
    with pytest.raises(StorageError, match="cannot be named"):
        store.write_features(features([0]).assign(**{"rsi`14": 1.0}), SPEC)


def test_a_spec_hash_cannot_lead_out_of_the_store(store):
    with pytest.raises(StorageError, match="not the hash"):
        store.write_features(features([0]), "../../etc")


def test_text_where_a_figure_belongs_is_refused_and_nothing_is_written(store):
    store.write_bars(bars([0]))
    with pytest.raises(StorageError, match="many"):
        store.write_bars(bars([1]).assign(volume="many"))
    assert len(store.read_bars("bitcoin")) == 1


def test_a_frame_that_was_read_can_be_changed_in_place(store):
    store.write_features(features(range(3)), SPEC)
    read = store.read_features("bitcoin", SPEC)
    read["rsi_14"].to_numpy()[:] = 7.0
    assert read["rsi_14"].tolist() == [7.0] * 3


class TestMaintenance:
    def test_past_months_become_one_file_and_the_live_month_few(self, store, tmp_path):
        for number in range(20, 30):
            store.write_bars(bars([number]))
        store.maintain()
        assert len(list(files(tmp_path))) == 1 + 6  # 20..23 are January's, 24..29 still too few to be worth rewriting
        for number in range(30, 25 + MAX_FILES_LIVE):
            store.write_bars(bars([number]))
        store.maintain()
        assert len(files(tmp_path)) == 2

    def test_with_nothing_to_do_it_makes_no_commit(self, store):
        store.write_bars(bars(range(30)))
        version = store.version()
        store.maintain()
        assert store.version() == version

    def test_on_an_empty_store_it_does_nothing(self, store):
        store.maintain()
        assert store.version() == -1

    def test_every_version_within_the_retention_period_stays_readable(self, store):
        then = {}
        for number in range(MAX_FILES_LIVE + 8):
            then[store.write_features(features(sorted({0, number}), number), SPEC).version] = number
        store.maintain()
        for version, number in then.items():
            read = store.read_features("bitcoin", SPEC, version=version)
            assert read["rsi_14"].tolist() == [number, *range(1, number + 1)]

    def test_a_version_whose_files_were_removed_is_a_clear_error(self, tmp_path):
        store = DeltaFeatureStore(str(tmp_path), retention_days=0)
        first = store.write_bars(bars(range(3))).version
        store.write_bars(bars(range(3), close=5.0))
        time.sleep(0.01)  # retention is counted in milliseconds
        store.maintain()
        with pytest.raises(StorageError, match=f"at version {first} any more.*retention_days"):
            store.read_bars("bitcoin", version=first)
        assert store.read_bars("bitcoin")["close"].tolist() == [5.0] * 3

    def test_files_of_a_writer_killed_before_its_commit_are_removed_after_the_retention_period(self, store, tmp_path):
        store.write_bars(bars(range(3)))
        orphan = tmp_path / "bars" / "month=2025-01" / "part-00000-orphan-c000.zstd.parquet"
        orphan.write_bytes(b"half a file")
        store.maintain()
        assert orphan.exists()
        age = (datetime.now(UTC) - timedelta(days=8)).timestamp()
        os.utime(orphan, (age, age))
        store.maintain()
        assert not orphan.exists()
        assert_frame_equal(store.read_bars("bitcoin"), bars(range(3)))
