"""Old rows go where the settings say so; what is open, or somebody has to be told yet, never does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from cryptosentinel.retention import Thing, prune
from cryptosentinel.storage import DELIVERIES, Storage
from cryptosentinel.storage.keyed import KeyedTable
from cryptosentinel.storage.schemas import TIMESTAMP
from tests.builders import settings_of
from tests.storage.builders import SPEC, START, alert, bars, features, forecasts, open_delta, settled

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD = range(24)  # of January 2025; `NEW` is 120 days before NOW
NEW = range(105_120, 105_144)


def deliveries(alerts: list[str], *, delivered: bool) -> pd.DataFrame:
    rows = [
        dict.fromkeys(DELIVERIES.names)
        | {"delivery_id": f"{name}-raised-webhook", "event_id": f"{name}-raised", "alert_id": name, "asset": "bitcoin"}
        | {"event": "raised", "sink": "webhook", "body": "{}", "created_at": START, "attempts": 1, "due_at": START}
        | {"delivered_at": START if delivered else None}
        for name in alerts
    ]
    return pd.DataFrame(rows, columns=DELIVERIES.names)


def pruned(storage: Storage, dry_run: bool = False, window_days: int = 30, **rules: float) -> dict[str, str]:
    settings = settings_of(
        training__window_days=window_days, **{f"retention__{name}": value for name, value in rules.items()}
    )
    things: list[Thing] = prune(storage, settings, now=NOW, in_use={}, dry_run=dry_run)
    return {thing.kind: thing.name for thing in things}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    store = open_delta(tmp_path)
    for numbers in (OLD, NEW):
        store.features.write_bars(bars(numbers))
        store.features.write_features(features(numbers), SPEC)
        store.log.write_forecasts(forecasts(numbers))
    store.log.settle(settled(forecasts([*OLD[2:], *NEW])))
    return store


def test_bars_features_and_forecasts_are_kept_for_ever_unless_somebody_says_otherwise(storage: Storage) -> None:
    assert pruned(storage) == {}
    assert len(storage.features.read_bars("bitcoin")) == 48


def test_whole_months_of_them_go_where_the_settings_say_so(storage: Storage) -> None:
    would = pruned(storage, dry_run=True, bars_days=60, forecasts_days=200)
    assert len(storage.features.read_bars("bitcoin")) == 48
    assert pruned(storage, bars_days=60, forecasts_days=200) == would
    assert would == {"bars": "48 rows", "features": "48 rows", "forecasts": "22 rows"}
    assert pruned(storage, bars_days=60, forecasts_days=200) == {}
    left = storage.log.read_forecasts("bitcoin")
    assert left["forecast_id"].tolist() == ["bitcoin-0", "bitcoin-1", *(f"bitcoin-{n}" for n in NEW)], "two not settled"


def test_bars_that_a_training_reads_stay_whatever_the_settings_say(storage: Storage) -> None:
    pruned(storage, bars_days=60, window_days=100)
    assert storage.features.read_bars("bitcoin")["timestamp"].min() == START + NEW[0] * pd.Timedelta("5min")


def test_reports_of_drift_go_by_whole_months(tmp_path: Path) -> None:
    store = open_delta(tmp_path)
    schema = pa.schema([pa.field("report_id", pa.string()), pa.field("data_end", TIMESTAMP)])
    reports = pd.DataFrame({"report_id": ["old", "young"], "data_end": [START, START + NEW[0] * pd.Timedelta("5min")]})
    table = KeyedTable(f"{store.uri}/drift_reports", {}, ("report_id",), "data_end")
    table.upsert(reports, schema)
    assert pruned(store) == {"drift_reports": "1 rows"}
    assert table.read()["report_id"].to_pylist() == ["young"]


def test_an_alert_that_is_over_and_told_goes_with_what_was_told_of_it(tmp_path: Path) -> None:
    store = open_delta(tmp_path)
    for name, resolved in {"told": 5, "not told": 5, "open": None, "nobody": 5}.items():
        store.log.write_alerts(alert(name, resolved=resolved))
    store.outbox.add(deliveries(["told", "open"], delivered=True))
    store.outbox.add(deliveries(["not told"], delivered=False))
    would = pruned(store, dry_run=True)
    assert would == pruned(store) == {"alerts": "2 rows", "alert_deliveries": "1 rows"}
    assert set(store.log.read_alerts("bitcoin")["alert_id"]) == {"not told", "open"}
    assert set(store.outbox.read("bitcoin")["alert_id"]) == {"not told", "open"}
    assert pruned(store) == {}


def test_young_alerts_stay(tmp_path: Path) -> None:
    store = open_delta(tmp_path)
    store.log.write_alerts(alert("young", raised=105_120, resolved=105_121))
    assert pruned(store) == {}


def test_a_pruning_killed_between_alerts_and_deliveries_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_delta(tmp_path)
    store.log.write_alerts(alert("told", resolved=5))
    store.outbox.add(deliveries(["told"], delivered=True))
    deleted: list[str] = []

    def die_at_the_second(uri: str, options: object, condition: str) -> None:
        if deleted:
            raise KeyboardInterrupt
        deleted.append(uri)
        DeltaTable(uri).delete(condition)

    with monkeypatch.context() as patched:
        patched.setattr("cryptosentinel.retention.delete_rows", die_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            pruned(store)
    assert store.log.read_alerts("bitcoin").empty
    assert pruned(store) == {"alert_deliveries": "1 rows"}


def test_a_year_passes_before_an_alert_is_forgotten(tmp_path: Path) -> None:
    store = open_delta(tmp_path)
    ended = NOW - timedelta(days=364)
    store.log.write_alerts(alert("a", resolved=1).assign(resolved_at=pd.Timestamp(ended)))
    assert pruned(store) == {}
    assert pruned(store, alerts_days=300) == {"alerts": "1 rows"}
