"""A store that release 0.1 began is opened, read, worked on, pruned and backed up by this one.

What that release wrote is in `RELEASE_0_1`: the columns of each table. Add to it, never change it.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from cryptosentinel.bundle import Bundle, read_manifest
from cryptosentinel.errors import BundleFormatError, StoreFormatError
from cryptosentinel.predicting import BundlePredictor, predict
from cryptosentinel.retention import prune
from cryptosentinel.storage import ALERTS, BARS, FORECASTS, DeltaModelRegistry
from cryptosentinel.storage.backup import back_up
from cryptosentinel.storage.keyed import KeyedTable
from cryptosentinel.storage.restoring import restore
from cryptosentinel.storage.schemas import ALIASES, VERSIONS
from cryptosentinel.workspace import Workspace, open_workspace
from tests.builders import T0, add_bars, at, make_tiny_bundle, settings_of
from tests.storage.builders import acknowledged, alert, bundle, contents, forecasts

RELEASE_0_1 = {
    "bars": ["asset", "timestamp", "open", "high", "low", "close", "volume", "source"],
    "forecasts": [
        *("forecast_id", "asset", "made_at", "target_at", "price", "predicted_price"),
        *("lower_80", "upper_80", "lower_95", "upper_95"),
        *("direction", "p_up", "confidence", "regime", "champion", "by_model", "bundle_version"),
        *("outcome", "actual_price", "error", "settled_at"),
    ],
    "alerts": ["alert_id", "kind", "severity", "asset", "raised_at", "value", "threshold", "message", "resolved_at"],
    "registry/versions": ["version", "folder", "digest", "registered_at", "metrics", "verdict"],
    "registry/aliases": ["alias", "version", "moved_at"],
}
TODAY = {
    "bars": BARS,
    "forecasts": FORECASTS,
    "alerts": ALERTS,
    "registry/versions": VERSIONS,
    "registry/aliases": ALIASES,
}
MARKET, LONG_AGO = "simulated-3-bitcoin-usd-5m", datetime(2025, 1, 6, tzinfo=UTC)


def older(name: str) -> pa.Schema:
    return pa.schema([TODAY[name].field(column) for column in RELEASE_0_1[name]])


def registry_of_before(root: Path, made: list[Path], champion: int) -> None:
    """A registry as release 0.1 left it: these bundles, one of them champion."""
    rows = []
    for number, path in enumerate(made):
        folder = f"v{number}-{number:08d}"
        shutil.copytree(path, root / "bundles" / folder)
        digest = DeltaModelRegistry(str(root / "scratch")).register(path, metrics={}, verdict="").digest
        when = LONG_AGO + number * timedelta(minutes=30)
        rows.append(
            dict(zip(RELEASE_0_1["registry/versions"], (number, folder, digest, when, "{}", "of before"), strict=True))
        )
    shutil.rmtree(root / "scratch")
    write_deltalake(str(root / "registry/versions"), pa.Table.from_pylist(rows, schema=older("registry/versions")))
    alias = [{"alias": "champion", "version": champion, "moved_at": LONG_AGO}]
    write_deltalake(str(root / "registry/aliases"), pa.Table.from_pylist(alias, schema=older("registry/aliases")))


@pytest.mark.parametrize("table", sorted(RELEASE_0_1))
def test_upgrade_columns_are_only_added_and_what_is_added_may_be_null(table: str) -> None:
    names = TODAY[table].names
    assert [name for name in RELEASE_0_1[table] if name not in names] == [], "a table of before has them"
    added = [TODAY[table].field(name) for name in names if name not in RELEASE_0_1[table]]
    assert [field.name for field in added if not field.nullable] == [], "rows of before have none"


def test_upgrade_a_registry_is_read_as_it_is_and_grows_by_the_first_write(tmp_path: Path) -> None:
    made = [bundle(tmp_path / "made" / content, content) for content in "abc"]
    registry_of_before(tmp_path / "store", made, champion=1)
    registry = DeltaModelRegistry(str(tmp_path / "store"))
    assert [(m.version, m.verdict, m.pruned_at) for m in registry.versions()] == [
        (n, "of before", None) for n in range(3)
    ]
    assert registry.champion().version == 1
    assert contents(registry.fetch(1, tmp_path / "into")) == contents(made[1])
    table = tmp_path / "store" / "registry" / "versions"
    assert DeltaTable(table).version() == 0, "reading changes nothing"
    assert registry.amend(2, verdict="better").verdict == "better"
    assert registry.register(bundle(tmp_path / "d", "d"), metrics={"rmse": 0.5}, verdict="new").version == 3
    registry.promote(3, expected=1)
    registry.prune([0])
    registry.maintain()
    assert [(m.version, m.pruned_at is None) for m in registry.versions()] == [
        (0, False),
        (1, True),
        (2, True),
        (3, True),
    ]
    assert registry.register(made[1], metrics={}, verdict="").version == 1, "the same bundle is the same version"


def test_upgrade_a_version_of_before_can_be_pruned_first_of_all(tmp_path: Path) -> None:
    registry_of_before(tmp_path, [bundle(tmp_path / "made" / content, content) for content in "ab"], champion=0)
    registry = DeltaModelRegistry(str(tmp_path))
    registry.prune([1])
    assert set(registry.sizes()) == {0}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A market of release 0.1: forty bars, two forecasts, an open alert, a champion; no outbox, no leases."""
    store = tmp_path / MARKET / "store"
    made = open_workspace(settings_of(home=str(tmp_path / "scratch"), market__source="simulated:3"), now=at(40))
    add_bars(made.storage, made.source.bars(T0, at(40)), made.spec)
    for name in ("bars", "features", "marker"):
        shutil.copytree(Path(made.storage.uri) / name, store / name)
    shutil.copy(Path(made.storage.uri) / "store.json", store)
    log = KeyedTable(str(store / "forecasts"), {}, ("forecast_id",), "made_at", statistics=("outcome",))
    times = {"made_at": pd.Timestamp(at(30)), "target_at": pd.Timestamp(at(36)), "price": 600.0}
    log.upsert(forecasts([1]).assign(**times)[RELEASE_0_1["forecasts"]], older("forecasts"))
    alerts = KeyedTable(str(store / "alerts"), {}, ("alert_id",), None)
    alerts.upsert(alert("before")[RELEASE_0_1["alerts"]], older("alerts"))
    bundles = [made.champion_bundle(), make_tiny_bundle(tmp_path / "tiny", made.spec).path]
    registry_of_before(store, bundles, champion=1)
    shutil.rmtree(tmp_path / "scratch")
    return open_workspace(settings_of(home=str(tmp_path), market__source="simulated:3"), now=at(41))


def test_upgrade_a_store_of_before_is_worked_on(workspace: Workspace, tmp_path: Path) -> None:
    storage = workspace.storage
    assert workspace.champion().version == 1
    add_bars(storage, workspace.source.bars(T0, at(41)), workspace.spec)
    storage.log.acknowledge(acknowledged(alert("before"), "ann"))
    predictor = BundlePredictor(Bundle.load(workspace.champion_bundle()), 1)
    done = predict(storage, predictor, workspace.spec, workspace.settings, now=at(41))
    assert done.settled["forecast_id"].tolist() == ["bitcoin-1"]
    assert done.forecast is not None
    log = storage.log.read_forecasts("bitcoin")
    assert log["outcome"].notna().tolist() == [True, False]
    assert log["sigma"].notna().tolist() == [False, True]
    alerts = storage.log.read_alerts("bitcoin").set_index("alert_id")
    assert alerts["acknowledged_by"]["before"] == "ann"
    assert alerts["resolved_at"].notna()["before"]
    storage.maintain()
    things = prune(storage, workspace.settings, now=datetime.now(UTC), in_use={})
    assert {thing.kind for thing in things if not thing.stays} == {"alerts"}, "it ended a year ago"


def test_upgrade_a_store_of_before_is_backed_up_and_restored(workspace: Workspace, tmp_path: Path) -> None:
    back_up(workspace.storage.uri, str(tmp_path / "backup"), {}, market=MARKET, settings={})
    restore(str(tmp_path / "backup"), str(tmp_path / "new" / MARKET / "store"), {})
    again = open_workspace(settings_of(home=str(tmp_path / "new"), market__source="simulated:3"), now=at(41))
    assert again.champion().version == 1
    assert again.storage.log.read_forecasts("bitcoin")["forecast_id"].tolist() == ["bitcoin-1"]


def test_upgrade_a_champion_of_an_older_format_gives_way_and_is_told_apart_from_a_damaged_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Format 1 had other files; today's release reads its manifest's number and nothing else of it."""
    made = tmp_path / "format 1"
    made.mkdir()
    (made / "manifest.json").write_text(json.dumps({"format_version": 1, "spec_hash": "of another time"}))
    (made / "model.json").write_text("{}")
    registry = workspace.storage.registry
    registry.promote(registry.register(made, metrics={}, verdict="promoted: of before").version, expected=1)
    champion = workspace.champion()
    assert read_manifest(workspace.champion_bundle()).data is None, "the random walk, until one is trained"
    assert (champion.version, registry.get(2).verdict) == (0, "promoted: of before")
    with pytest.raises(BundleFormatError, match="format version 1; this release reads 2") as caught:
        Bundle.load(registry.fetch(2, tmp_path / "copies"))
    assert "train a new bundle" in caught.value.remedy


def test_upgrade_a_store_of_a_later_release_is_refused_before_anything_is_touched(workspace: Workspace) -> None:
    marker = Path(workspace.storage.uri) / "store.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"format_version": 2, "written_by": "release 9"}))
    before = contents(Path(workspace.storage.uri))
    with pytest.raises(StoreFormatError, match="format version 2, written by release 9"):
        open_workspace(workspace.settings, now=at(41))
    assert contents(Path(workspace.storage.uri)) == before
