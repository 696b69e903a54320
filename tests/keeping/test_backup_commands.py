"""`cryptosentinel backup` and `restore`, as people call them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from filelock import FileLock
from typer.testing import CliRunner

from cryptosentinel.errors import HomeInUseError, StorageError
from cryptosentinel.workspace import Workspace, open_workspace, remember, stored_workspace
from pipelines.backup_commands import backup, restore
from tests.builders import settings_of
from tests.storage.builders import bars

app = typer.Typer()
app.command()(backup)
app.command()(restore)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = open_workspace(settings_of(home=str(tmp_path / "home"), market__source="simulated:4"))
    workspace.champion()
    workspace.storage.features.write_bars(bars([1, 2, 3]))
    remember(workspace)
    return workspace


def call(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return " ".join(done.stdout.split())


def test_a_home_moves_to_another_machine(workspace: Workspace, tmp_path: Path) -> None:
    said = call("backup", tmp_path / "backup", "--home", tmp_path / "home")
    assert said.startswith(f"Backed up to {tmp_path / 'backup'}: simulated-4-bitcoin-usd-5m as of 20")
    assert said.endswith("1 bundles of 1 versions.")
    shutil.rmtree(tmp_path / "home")
    assert "is whole: simulated-4-bitcoin-usd-5m" in call("restore", tmp_path / "backup", "--check")
    call("restore", tmp_path / "backup", "--home", tmp_path / "other")
    again = stored_workspace(settings_of(home=str(tmp_path / "other")))
    assert (again.market, again.champion().version) == (workspace.market, 0)
    assert len(again.storage.features.read_bars("bitcoin")) == 3


def test_a_machine_is_told_in_json(workspace: Workspace, tmp_path: Path) -> None:
    told: dict[str, Any] = json.loads(call("backup", tmp_path / "backup", "--home", tmp_path / "home", "--json"))
    assert (told["market"], told["versions"], told["tables"]["bars"]) == ("simulated-4-bitcoin-usd-5m", 1, 1)
    assert told["bytes"] > 0
    restored = json.loads(call("restore", tmp_path / "backup", "--home", tmp_path / "other", "--json"))
    assert restored == told


def test_a_home_that_is_in_use_is_not_restored_into(workspace: Workspace, tmp_path: Path) -> None:
    call("backup", tmp_path / "backup", "--home", tmp_path / "home")
    with FileLock(tmp_path / "home" / "lock"), pytest.raises(HomeInUseError):
        call("restore", tmp_path / "backup", "--home", tmp_path / "home", "--replace")
    with pytest.raises(StorageError, match="would overwrite a store"):
        call("restore", tmp_path / "backup", "--home", tmp_path / "home")
    call("restore", tmp_path / "backup", "--home", tmp_path / "home", "--replace")


def test_what_is_damaged_is_named(workspace: Workspace, tmp_path: Path) -> None:
    call("backup", tmp_path / "backup", "--home", tmp_path / "home")
    victim = next((tmp_path / "backup" / "bundles").rglob("quantiles.json"))
    victim.write_text("{}")
    with pytest.raises(StorageError, match=r"1 of \d+ files of .* are damaged: bundles/v0-.*/quantiles.json"):
        call("restore", tmp_path / "backup", "--check")
