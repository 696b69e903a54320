"""Rows on their way to Hopsworks, fault by fault."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from cryptosentinel.errors import StorageError, StoreUnavailableError
from cryptosentinel.storage.hopsworks import features as delivering
from cryptosentinel.storage.hopsworks import turns
from tests.hopsworks.builders import arrived, open_store
from tests.hopsworks.double import Killed
from tests.storage.builders import SPEC, bars, features, open_delta

GROUP = ("crypto_features", 1)


def test_the_feature_group_is_what_others_expect_of_it(double, cluster, tmp_path):
    open_store(tmp_path, double).features.write_features(features(range(3)), SPEC)
    made = cluster.groups[GROUP].options
    assert (made["primary_key"], made["event_time"]) == (["asset", "timestamp"], "timestamp")
    assert made["online_enabled"]
    assert {feature.name: (feature.type, feature.description) for feature in made["features"]} == {
        "asset": ("string", "Which asset"),
        "timestamp": ("timestamp", "When the bar opens, UTC"),
        "rsi_14": ("double", "Relative strength"),
        "macd": ("double", None),
    }


def test_only_what_is_new_is_inserted(double, cluster, tmp_path):
    store = open_store(tmp_path, double).features
    store.write_features(features(range(4), 1.0), SPEC)
    store.write_features(features(range(6), [1.0, 1.0, 1.0, 2.0, 1.0, 1.0]), SPEC)
    values = [value for _, value in arrived(cluster.groups[GROUP])]
    assert values == [1.0] * 4 + [2.0, 1.0, 1.0]
    inserts = cluster.calls.count("insert")
    store.write_features(features(range(6), [1.0, 1.0, 1.0, 2.0, 1.0, 1.0]), SPEC)
    assert cluster.calls.count("insert") == inserts


def test_what_was_stored_before_hopsworks_was_is_delivered_first(double, cluster, tmp_path):
    open_delta(tmp_path, market="test").features.write_features(features(range(5)), SPEC)
    open_store(tmp_path, double).features.write_features(features([7]), SPEC)
    assert [stamp for stamp, _ in arrived(cluster.groups[GROUP])] == list(features([*range(5), 7])["timestamp"])


def test_an_outage_is_no_error_and_its_rows_follow(double, cluster, tmp_path, caplog):
    store = open_store(tmp_path, double).features
    for number in range(3):
        cluster.faults = iter(["down"])
        store.write_features(features([number]), SPEC)
    assert store.waiting() == 3
    assert "connection refused" in caplog.text
    assert len(store.read_features("bitcoin", SPEC)) == 3
    store.write_features(features([3]), SPEC)
    assert [stamp for stamp, _ in arrived(cluster.groups[GROUP])] == list(features(range(4))["timestamp"])
    assert store.waiting() == 0


def test_a_call_that_hangs_is_left_behind_and_what_it_wrote_is_not_sent_again(double, cluster, tmp_path):
    store = open_store(tmp_path, double, **{"hopsworks.timeout_s": 0.2}).features
    store.write_features(features([0]), SPEC)
    cluster.hang = threading.Event()
    store.write_features(features([1]), SPEC)
    assert store.waiting() == 1
    cluster.hang.set()
    cluster.hang = None
    assert store.deliver().waiting == 0
    assert len(arrived(cluster.groups[GROUP])) == 2


def test_rows_that_hopsworks_shows_late_wait_until_it_does_and_are_held_once(double, cluster, tmp_path):
    store = open_store(tmp_path, double).features
    cluster.late_ingestion = True
    store.write_features(features(range(3)), SPEC)
    assert store.waiting() == 3
    for ingest in cluster.ingesting:
        ingest()
    assert store.deliver().waiting == 0
    assert len(arrived(cluster.groups[GROUP])) == 3


def test_missing_and_infinite_figures_arrive_as_missing_and_are_not_sent_for_ever(double, cluster, tmp_path):
    store = open_store(tmp_path, double).features
    store.write_features(features(range(3), [np.nan, np.inf, 1.0]), SPEC)
    assert store.waiting() == 0
    assert np.isnan([value for _, value in arrived(cluster.groups[GROUP])]).tolist() == [True, True, False]
    assert np.isinf(store.read_features("bitcoin", SPEC)["rsi_14"][1])


def test_assets_are_told_apart(double, cluster, tmp_path):
    store = open_store(tmp_path, double).features
    both = pd.concat([features(range(2), 1.0), features(range(2), 2.0, asset="ethereum")], ignore_index=True)
    store.write_features(both, SPEC)
    store.write_features(features([1], 3.0, asset="ethereum"), SPEC)
    assert [value for _, value in arrived(cluster.groups[GROUP])] == [1.0, 2.0, 1.0, 2.0, 3.0]


def test_rows_are_given_in_batches_and_a_failure_repeats_one(double, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(delivering, "BATCH_ROWS", 2)
    store = open_store(tmp_path, double).features
    cluster.faults = iter(["", "", "", "", "down"])  # login, insert, two looks; then the second batch
    store.write_features(features(range(5)), SPEC)
    assert len(arrived(cluster.groups[GROUP])) == 2
    store.deliver()
    assert [stamp for stamp, _ in arrived(cluster.groups[GROUP])] == list(features(range(5))["timestamp"])


def test_what_the_embedded_store_refuses_is_not_delivered(double, cluster, tmp_path):
    store = open_store(tmp_path, double).features
    with pytest.raises(StorageError, match="repeat the key"):
        store.write_features(features([1, 2, 1]), SPEC)
    assert store.waiting() == 0
    assert cluster.groups == {}


def test_what_the_embedded_store_may_have_written_is_delivered(double, cluster, tmp_path, monkeypatch):
    store = open_store(tmp_path, double).features
    write = store._embedded.write_features

    def written_and_lost(rows: pd.DataFrame, spec_hash: str) -> None:
        write(rows, spec_hash)
        raise StoreUnavailableError("The answer was lost.")

    monkeypatch.setattr(store._embedded, "write_features", written_and_lost)
    with pytest.raises(StoreUnavailableError):
        store.write_features(features([1]), SPEC)
    monkeypatch.undo()
    assert store.write_features(features([1]), SPEC).unchanged == 1
    assert len(arrived(cluster.groups[GROUP])) == 1


def test_another_spec_waits_for_another_version_and_then_all_of_its_rows_follow(double, cluster, tmp_path, caplog):
    store = open_store(tmp_path, double).features
    store.write_features(features([0]), SPEC)
    other = features(range(3)).rename(columns={"macd": "slope"})
    store.write_features(other, SPEC[::-1])
    assert "feature_group_version" in caplog.text
    assert len(store.read_features("bitcoin", SPEC[::-1])) == 3
    raised = open_store(tmp_path, double, **{"hopsworks.feature_group_version": 2})
    raised.features.write_features(other, SPEC[::-1])
    assert len(arrived(cluster.groups["crypto_features", 2])) == 3
    assert len(arrived(cluster.groups[GROUP])) == 1


def test_rows_of_an_earlier_version_are_delivered_to_it(double, cluster, tmp_path):
    cluster.faults = iter(["down"])
    open_store(tmp_path, double).features.write_features(features([0]), SPEC)
    deliveries = open_store(tmp_path, double, **{"hopsworks.feature_group_version": 2}).deliver()
    assert (deliveries["rows"].delivered, deliveries["rows"].waiting) == (1, 0)
    assert len(arrived(cluster.groups[GROUP])) == 1


def test_a_feature_group_with_other_features_is_refused_with_what_to_do(double, cluster, tmp_path):
    store = open_store(tmp_path / "one", double).features
    store.write_features(features([0]), SPEC)
    elsewhere = open_store(tmp_path / "two", double).features
    elsewhere.write_features(features([0]).rename(columns={"macd": "slope"}), SPEC)
    problem = elsewhere.deliver().problem
    assert "differs in macd, slope" in problem
    assert "feature_group_version" in problem
    assert elsewhere.waiting() == 1


def test_while_another_process_delivers_rows_wait_for_it(double, cluster, tmp_path):
    store = open_store(tmp_path, double).features
    with turns.turn(str(tmp_path / "store"), {}, "crypto_features-1", 60):
        store.write_features(features([0]), SPEC)
        assert cluster.calls == []
        assert store.waiting() == 1
    assert store.deliver().delivered == 1


def test_in_an_object_store_a_turn_is_one_processs_until_it_ends_or_runs_out(tmp_path):
    table = str(tmp_path / "turn")
    hour, nothing = pd.Timedelta("1h").to_pytimedelta(), pd.Timedelta(0).to_pytimedelta()
    assert turns._take(table, {}, "one", hour)
    assert not turns._take(table, {}, "other", hour)
    assert turns._take(table, {}, "one", nothing)
    assert turns._take(table, {}, "other", hour)


def test_a_kill_between_outbox_and_store_loses_nothing(double, cluster, tmp_path, monkeypatch):
    store = open_store(tmp_path, double).features

    def killed(rows: pd.DataFrame, spec_hash: str) -> None:
        raise Killed

    monkeypatch.setattr(store._embedded, "write_features", killed)
    with pytest.raises(Killed):
        store.write_features(features([0]), SPEC)
    monkeypatch.undo()
    store.write_features(features([0]), SPEC)
    assert len(arrived(cluster.groups[GROUP])) == 1
    assert store.waiting() == 0


def test_bars_stay_in_the_embedded_store(double, cluster, tmp_path):
    store = open_store(tmp_path, double).features
    store.write_bars(bars(range(3)))
    assert_frame_equal(store.read_bars("bitcoin"), bars(range(3)))
    assert cluster.calls == []


def test_every_insert_waits_for_the_online_store_and_starts_no_job(double, cluster, tmp_path: Path):
    open_store(tmp_path, double, **{"hopsworks.timeout_s": 40}).features.write_features(features([0]), SPEC)
    (options,) = cluster.groups[GROUP].writes
    assert options == {
        "wait_for_job": False,
        "wait_for_online_ingestion": True,
        "online_ingestion_options": {"timeout": 20},
        "start_offline_materialization": False,
    }
    assert cluster.groups[GROUP].options["offline_backfill_every_hr"] == 1
