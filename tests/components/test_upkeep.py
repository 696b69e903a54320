"""What a training clears up once it has registered, and that it has done its work where that fails."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deltalake import DeltaTable

from components import upkeep
from components.upkeep import clear_up
from cryptosentinel.errors import StoreUnavailableError
from cryptosentinel.workspace import Workspace, open_workspace
from tests.builders import settings_of
from tests.storage.builders import bundle


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The random walk, and two versions of long ago, of which one is to be kept."""
    monkeypatch.setattr(upkeep, "BATCH", 1)
    settings = settings_of(home=str(tmp_path), market__source="simulated", retention__bundles=1)
    workspace = open_workspace(settings)
    workspace.champion()
    long_ago = workspace.storage.registry.at(datetime(2020, 1, 1, tzinfo=UTC))
    for content in "ab":
        long_ago.register(bundle(tmp_path / content, content), metrics={}, verdict="refused: x")
    return workspace


def test_what_is_not_kept_goes(workspace: Workspace) -> None:
    size = workspace.storage.registry.sizes()[1]
    assert clear_up(workspace, {}) == {"pruned": 1, "pruned_bytes": size}
    assert clear_up(workspace, {}) == {"pruned": 0, "pruned_bytes": 0}


def test_bundles_go_some_at_a_time(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 2)
    assert clear_up(workspace, {})["pruned"] == 0
    workspace.storage.registry.register(bundle(workspace.root / "c", "c"), metrics={}, verdict="refused: x")
    before = DeltaTable(f"{workspace.storage.uri}/registry/versions").version()
    assert clear_up(workspace, {})["pruned"] == 2
    commits = DeltaTable(f"{workspace.storage.uri}/registry/versions").version() - before
    assert commits == 1


def test_what_serves_stays(workspace: Workspace) -> None:
    assert clear_up(workspace, {1: "serves in a/b"}) == {"pruned": 0, "pruned_bytes": 0}


def test_where_it_fails_that_is_logged_and_no_more(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(versions: list[int]) -> None:
        raise StoreUnavailableError("It is away.")

    monkeypatch.setattr(workspace.storage.registry, "prune", away)
    with caplog.at_level(logging.WARNING):
        assert clear_up(workspace, {}) == {}
    assert "It is away." in caplog.text
