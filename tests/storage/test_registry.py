"""What the Delta registry does beyond what every registry promises."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cryptosentinel.errors import StorageError
from cryptosentinel.storage import DeltaModelRegistry
from cryptosentinel.storage.files import Files
from tests.storage.builders import bundle, contents, contents_as


@pytest.fixture
def registry(tmp_path: Path) -> DeltaModelRegistry:
    return DeltaModelRegistry(str(tmp_path / "store"))


def test_a_bundle_lies_in_a_folder_named_after_version_and_digest(registry, tmp_path):
    model = registry.register(bundle(tmp_path / "made"), metrics={}, verdict="")
    assert model.uri == str(tmp_path / "store" / "bundles" / f"v0-{model.digest[:8]}")
    assert contents(Path(model.uri)) == contents_as(0, tmp_path / "made")


def test_a_registration_that_dies_while_copying_leaves_no_version(registry, tmp_path, monkeypatch):
    upload, done = Files.upload, []

    def die_at_the_second(self, local, path):
        if done:
            raise KeyboardInterrupt
        done.append(path)
        upload(self, local, path)

    monkeypatch.setattr(Files, "upload", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        registry.register(bundle(tmp_path / "made"), metrics={}, verdict="")
    monkeypatch.undo()
    assert registry.versions() == []
    assert registry.champion() is None
    registry.register(bundle(tmp_path / "made"), metrics={}, verdict="")
    assert contents(registry.fetch(0, tmp_path / "into")) == contents_as(0, tmp_path / "made")


def test_only_old_folders_that_no_version_has_are_removed(registry, tmp_path):
    kept = Path(registry.register(bundle(tmp_path / "made"), metrics={}, verdict="").uri)
    old, young = bundle(kept.parent / "v1-aaaaaaaa"), bundle(kept.parent / "v1-bbbbbbbb")
    age = (datetime.now(UTC) - timedelta(hours=25)).timestamp()
    for folder in (kept, old):
        for path in folder.rglob("*"):
            os.utime(path, (age, age))
    registry.maintain()
    assert {path.name for path in kept.parent.iterdir()} == {kept.name, young.name}
    assert old.name not in contents(kept.parent)


def test_a_bundle_whose_manifest_was_changed_in_the_store_is_not_handed_out(registry, tmp_path):
    model = registry.register(bundle(tmp_path / "made"), metrics={}, verdict="")
    (Path(model.uri) / "manifest.json").write_text("{}")
    with pytest.raises(StorageError, match="not the one that was registered"):
        registry.fetch(0, tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


def test_a_bundle_that_is_gone_is_a_clear_error(registry, tmp_path):
    model = registry.register(bundle(tmp_path / "made"), metrics={}, verdict="")
    Files(str(tmp_path / "store"), {}).remove(f"bundles/{Path(model.uri).name}")
    with pytest.raises(StorageError, match="version 0"):
        registry.fetch(0, tmp_path / "into")


def test_a_store_that_was_moved_still_has_its_bundles(registry, tmp_path):
    registry.register(bundle(tmp_path / "made"), metrics={}, verdict="")
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    moved = DeltaModelRegistry(str(tmp_path / "elsewhere"))
    assert contents(moved.fetch(0, tmp_path / "into")) == contents_as(0, tmp_path / "made")


def test_promoting_the_champion_again_moves_nothing(registry, tmp_path):
    registry.register(bundle(tmp_path / "made"), metrics={}, verdict="")
    registry.promote(0, expected=None)
    commits = len(list((tmp_path / "store" / "registry" / "aliases" / "_delta_log").glob("*.json")))
    registry.promote(0, expected=0)
    assert len(list((tmp_path / "store" / "registry" / "aliases" / "_delta_log").glob("*.json"))) == commits
