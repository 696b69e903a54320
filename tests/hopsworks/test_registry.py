"""Bundles on their way to Hopsworks' registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cryptosentinel.errors import StorageError
from tests.hopsworks.builders import open_store
from tests.hopsworks.double import AWAY, Cluster, Killed
from tests.storage.builders import SPEC, bundle, contents, features

WINDOW = {"start": "2025-01-31T22:00:00Z", "end": "2025-02-01T00:00:00Z"}


def trained(folder: Path, *, promote: bool = True) -> Path:
    """A bundle whose manifest says what it was trained on."""
    bundle(folder)
    pd.DataFrame({"rsi_14": [40.0, 50.0], "macd": [0.1, 0.2]}).to_parquet(folder / "background.parquet")
    manifest = {"features": ["rsi_14", "macd"], "data": WINDOW, "gate": {"promote": promote}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def tags(cluster: Cluster) -> dict[int, Any]:
    return {version: model["tags"].get("champion") for version, model in cluster.models.items() if model["tags"]}


def test_a_bundle_arrives_whole_with_its_figures(double, cluster, tmp_path):
    registry = open_store(tmp_path, double).registry
    made = bundle(tmp_path / "made")
    model = registry.register(made, metrics={"rmse": 0.5, "skill": float("nan")}, verdict="better")
    there = cluster.models[1]
    assert there["metrics"] == {"rmse": 0.5}
    assert there["description"] == f"better (version 0, sha256 {model.digest})"
    assert there["files"].keys() == {Path(name).name for name in contents(made)} | {"registered.json"}
    assert there["files"]["inference.onnx"] == (made / "inference.onnx").read_bytes()


def test_a_bundle_that_may_serve_comes_with_example_schema_and_training_dataset(double, cluster, tmp_path):
    store = open_store(tmp_path, double)
    store.features.write_features(features(range(24)), SPEC)
    store.registry.register(trained(tmp_path / "made"), metrics={}, verdict="passed")
    there = cluster.models[1]
    assert there["input_example"].to_dict("records") == [{"rsi_14": 40.0, "macd": 0.1}]
    schema = there["model_schema"].to_dict()
    assert [column["name"] for column in schema["input_schema"]["columnar_schema"]] == ["rsi_14", "macd"]
    assert schema["output_schema"]["columnar_schema"][0]["name"] == "predicted_price"
    assert there["training_dataset_version"] == 1
    view = cluster.views["crypto_features-1"]
    assert view["columns"] == ["asset", "timestamp", "rsi_14", "macd"]
    assert view["sets"] == {1: "2025-01-31T22:00:00+00:00 to 2025-02-01T00:00:00+00:00"}


def test_a_training_dataset_is_made_once_a_window_and_for_none_that_was_refused(double, cluster, tmp_path):
    store = open_store(tmp_path, double)
    store.features.write_features(features(range(24)), SPEC)
    cluster.faults = iter(["", "down"])  # the list of models, then the upload
    store.registry.register(trained(tmp_path / "made"), metrics={}, verdict="passed")
    store.registry.register(trained(tmp_path / "other", promote=False), metrics={}, verdict="refused")
    assert [cluster.models[version]["training_dataset_version"] for version in (1, 2)] == [1, None]
    assert len(cluster.views["crypto_features-1"]["sets"]) == 1


def test_the_tag_follows_the_champion(double, cluster, tmp_path):
    registry = open_store(tmp_path, double).registry
    for content in "abc":
        registry.register(bundle(tmp_path / content, content), metrics={}, verdict="")
    assert tags(cluster) == {1: 1}
    registry.promote(2, expected=0)
    assert tags(cluster) == {3: 3}
    registry.promote(1, expected=2)
    assert tags(cluster) == {2: 2}


def test_without_the_tags_schema_bundles_arrive_and_it_is_said_what_to_do(double, cluster, tmp_path):
    registry = open_store(tmp_path, double).registry
    cluster.schema = False
    registry.register(bundle(tmp_path / "a"), metrics={}, verdict="")
    problem = registry.deliver().problem
    assert list(cluster.models) == [1]
    assert "administrator" in problem
    assert "champion" in problem


def test_whatever_fails_every_version_arrives_once_and_in_order(double, cluster, tmp_path):
    store = open_store(tmp_path, double)
    for number, fault in enumerate(AWAY):
        # Each call of a delivery in its turn: login, list, upload.
        cluster.faults = iter([*[""] * (number % 3), fault])
        try:
            store.registry.register(bundle(tmp_path / f"{number}", f"{number}"), metrics={}, verdict="")
        except Killed:
            store = open_store(tmp_path, double)
    cluster.faults = iter(())
    delivery = store.registry.deliver()
    assert (delivery.waiting, delivery.problem) == (0, "")
    assert list(cluster.models) == [number + 1 for number in range(len(AWAY))]
    assert tags(cluster) == {1: 1}


def test_what_a_killed_upload_left_is_cleared_away(double, cluster, tmp_path):
    store = open_store(tmp_path, double)
    cluster.folders.add("Models/cryptosentinel/1")
    store.registry.register(bundle(tmp_path / "a"), metrics={}, verdict="")
    assert list(cluster.models) == [1]


def test_another_markets_models_are_not_taken_for_ours(double, cluster, tmp_path):
    open_store(tmp_path / "one", double).registry.register(bundle(tmp_path / "a", "a"), metrics={}, verdict="")
    other = open_store(tmp_path / "two", double).registry
    other.register(bundle(tmp_path / "b", "b"), metrics={}, verdict="")
    assert "another bundle" in other.deliver().problem
    assert len(cluster.models) == 1


def test_what_hopsworks_lacks_is_known_and_a_pruned_bundle_is_not_given_to_it(double, cluster, tmp_path):
    registry = open_store(tmp_path, double).registry
    registry.register(bundle(tmp_path / "a", "a"), metrics={}, verdict="")
    cluster.faults = iter(["down"] * 50)
    for name in "bc":
        registry.register(bundle(tmp_path / name, name), metrics={}, verdict="")
    with pytest.raises(StorageError):
        registry.awaited()
    cluster.faults = iter([])
    assert registry.awaited() == {1, 2}
    registry.prune([1])
    assert (registry.awaited(), set(registry.sizes())) == ({2}, {0, 2})
    assert registry.deliver().delivered == 1
    assert sorted(cluster.models) == [1, 3]
