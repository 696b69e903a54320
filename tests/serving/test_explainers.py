"""Which bundles the explainer finds, loads and keeps."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from cryptosentinel.bundle import MANIFEST, file_digest
from serving.explainer import explainers
from serving.explainer.explainers import Explainers, fetched_copies, one_folder
from tests.serving.builders import make_random_walk
from tests.serving.explaining import FakeExplainer, use_stand_ins


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch):
    use_stand_ins(monkeypatch)


class Copies:
    """A folder as a predictor fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, version: int) -> str:
        """A new copy of a new bundle; returns its digest."""
        made = self.folder / "made"
        make_random_walk(made, horizon_bars=version + 1)
        digest = file_digest(made / MANIFEST)
        target = made.rename(self.folder / f"v{version}-{digest[:8]}")
        os.utime(target / MANIFEST, ns=(0, version * 10**9))
        return digest

    def path(self, digest: str) -> Path:
        (path,) = self.folder.glob(f"v*-{digest[:8]}")
        return path

    def explainers(self) -> Explainers:
        return Explainers(fetched_copies(self.folder))


@pytest.fixture
def copies(tmp_path):
    return Copies(tmp_path)


def test_nothing_is_found_before_the_predictor_has_fetched(tmp_path):
    for find in (fetched_copies(tmp_path / "nowhere"), one_folder([tmp_path / "nowhere"], None)):
        explainers = Explainers(find)
        explainers.refresh()
        explainers.seek("x")
        assert explainers.newest is None


def test_what_came_last_is_loaded_before_anybody_asks(copies):
    first, last = copies.fetch(4), copies.fetch(5)
    loader = copies.explainers()
    loader.refresh()
    assert (loader.newest.served.version, loader.newest.served.digest) == (5, last)
    assert loader.get(first) is None


def test_the_bundle_that_is_asked_for_is_sought(copies):
    digests = [copies.fetch(number) for number in range(3)]
    loader = copies.explainers()
    loader.refresh()
    loader.seek(digests[0])
    assert loader.get(digests[0]).served.version == 0
    loader.seek("f" * 64)
    assert loader.get("f" * 64) is None


def test_of_several_bundles_the_one_in_use_and_the_one_that_came_last_stay(copies):
    loader = copies.explainers()
    digests = []
    for number in range(4):
        digests.append(copies.fetch(number))
        loader.refresh()
        assert loader.get(digests[0]) is not None
        assert loader.newest.served.digest == digests[-1]
    assert [loader.get(digest) is not None for digest in digests] == [True, False, False, True]
    loader.get(digests[3])
    digests.append(copies.fetch(4))
    loader.refresh()
    assert [loader.get(digest) is not None for digest in digests] == [False, False, False, True, True]


def test_a_bundle_is_loaded_once(copies, monkeypatch):
    made = []

    class Counted(FakeExplainer):
        def __init__(self, bundle) -> None:
            super().__init__(bundle)
            made.append(bundle)

    use_stand_ins(monkeypatch, Counted)
    digest = copies.fetch(1)
    loader = copies.explainers()
    for _ in range(3):
        loader.refresh()
        loader.seek(digest)
    assert len(made) == 1


def test_a_damaged_bundle_is_reported_once_and_tried_again_later(copies, monkeypatch, caplog):
    good = copies.fetch(1)
    loader = copies.explainers()
    loader.refresh()
    bad = copies.fetch(2)
    content = (copies.path(bad) / "quantiles.json").read_bytes()
    (copies.path(bad) / "quantiles.json").write_text("{}")
    for _ in range(3):
        loader.refresh()
        loader.seek(bad)
    (said,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "quantiles.json differs" in said.fields["error"]
    assert loader.get(good) is not None
    (copies.path(bad) / "quantiles.json").write_bytes(content)
    loader.refresh()
    assert loader.get(bad) is None
    monkeypatch.setattr(explainers, "RETRY_AFTER_S", 0.0)
    loader.refresh()
    assert loader.get(bad) is not None


def test_one_that_cannot_be_explained_leaves_the_others(copies, monkeypatch):
    good = copies.fetch(1)
    loader = copies.explainers()
    loader.refresh()

    def fails(_):
        raise IndexError("no such model")

    use_stand_ins(monkeypatch, fails)
    bad = copies.fetch(2)
    loader.refresh()
    assert loader.get(bad) is None
    assert loader.get(good) is not None


def test_a_folder_whose_bundle_was_replaced_gives_the_new_one(tmp_path):
    folder = tmp_path / "bundle"
    make_random_walk(folder)
    (folder / "registered.json").write_text(json.dumps({"version": 6}))
    loader = Explainers(one_folder([folder], None))
    loader.refresh()
    before = loader.newest.served
    assert before.version == 6
    shutil.rmtree(folder)
    loader.refresh()
    assert loader.get(before.digest) is not None
    make_random_walk(folder, horizon_bars=7)
    digest = file_digest(folder / MANIFEST)
    assert digest != before.digest
    loader.seek(digest)
    assert loader.get(digest) is not None


def test_a_folders_version_may_be_given(tmp_path):
    make_random_walk(tmp_path / "bundle")
    loader = Explainers(one_folder([tmp_path / "bundle"], 9))
    loader.refresh()
    assert loader.newest.served.version == 9


def test_of_several_folders_the_first_that_holds_a_bundle_is_explained(tmp_path):
    loader = Explainers(one_folder([tmp_path / "models", tmp_path / "instead"], None))
    make_random_walk(tmp_path / "instead")
    loader.refresh()
    instead = loader.newest.served.digest
    make_random_walk(tmp_path / "models", horizon_bars=7)
    loader.refresh()
    assert loader.newest.served.bundle.manifest.horizon_bars == 7
    assert loader.newest.served.digest != instead
