"""Each invariant can be violated, and it is noticed; a platform to which nothing happened violates none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from cryptosentinel.storage.delta import scan
from tests.alerting.builders import Request
from tests.chaos import invariants
from tests.chaos.invariants import RULES, Evidence
from tests.chaos.world import World, at_another


def rewritten(evidence: Evidence, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Evidence:
    """With another content of a table than anything of ours would write."""
    table = DeltaTable(f"{evidence.workspace.storage.uri}/{name}")
    schema = pa.schema(table.schema().to_arrow())
    rows = change(scan(table, columns=schema.names).to_pandas())
    write_deltalake(table, pa.Table.from_pandas(rows, schema=schema, preserve_index=False), mode="overwrite")
    return evidence


def twice(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows, rows.tail(1)])


def renamed(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """One of them twice, under keys of their own."""
    return twice(rows).assign(**{key: [str(number) for number in range(len(rows) + 1)]})


def without_one(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values("timestamp").drop(rows.sort_values("timestamp").index[-3])


def changed(column: str, value: Callable[[pd.Series], object], where: str = "all") -> Callable[..., pd.DataFrame]:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        mask = pd.Series(True, rows.index) if where == "all" else rows[where].notna()
        return rows.assign(**{column: rows[column].mask(mask, value(rows[column]))})

    return change


def features(evidence: Evidence) -> str:
    return f"features/{evidence.workspace.spec.hash[:12]}"


def told(evidence: Evidence, **more: object) -> Evidence:
    """As though the first request had come again, in these words."""
    first = evidence.requests[0]
    again = replace(first, raw=json.dumps(first.json | more).encode() if more else first.raw)
    return replace(evidence, requests=[*evidence.requests, again])


def without_file(evidence: Evidence, name: str) -> Evidence:
    (file,) = Path(evidence.workspace.storage.uri, "bundles").glob(f"v0-*/{name}")
    file.unlink()
    return evidence


def damaged(evidence: Evidence) -> Evidence:
    (file,) = evidence.workspace.champion_bundle().glob("quantiles.json")
    file.write_text("{}")
    return evidence


def backwards(evidence: Evidence) -> Evidence:
    """The end of an alert, told before its beginning."""
    first = evidence.requests[0]
    over = json.dumps(first.json | {"event": "resolved"}).encode()
    end = Request(first.path, first.headers | {"idempotency-key": "over"}, over, 200)
    return replace(evidence, requests=[end, *evidence.requests])


PLANTED: list[tuple[str, Callable[[Evidence], Evidence]]] = [
    ("no_key_is_there_twice", lambda e: rewritten(e, "bars", twice)),
    ("no_key_is_there_twice", lambda e: rewritten(e, features(e), twice)),
    ("no_key_is_there_twice", lambda e: rewritten(e, "alerts", twice)),
    ("no_key_is_there_twice", lambda e: rewritten(e, "forecasts", lambda rows: renamed(rows, "forecast_id"))),
    ("no_gap_is_left_that_the_source_could_fill", lambda e: rewritten(e, "bars", without_one)),
    ("bars_are_what_the_source_says", lambda e: rewritten(e, "bars", changed("close", lambda c: c * 1.001))),
    ("every_bar_has_its_features", lambda e: rewritten(e, features(e), without_one)),
    ("every_bar_has_its_features", lambda e: rewritten(e, features(e), changed("volatility_20", lambda c: c * 1.01))),
    ("every_forecast_is_settled_or_marked", lambda e: rewritten(e, "forecasts", changed("outcome", lambda _: None))),
    (
        "every_forecast_is_settled_or_marked",
        lambda e: rewritten(e, "forecasts", changed("outcome", lambda _: "missed")),
    ),
    (
        "every_forecast_is_settled_or_marked",
        lambda e: rewritten(e, "forecasts", changed("settled_at", lambda c: c - pd.Timedelta("1h"), "settled_at")),
    ),
    (
        "forecasts_are_settled_at_the_price_that_was",
        lambda e: rewritten(e, "forecasts", changed("actual_price", lambda c: c + 1)),
    ),
    ("there_is_one_champion_and_it_loads", damaged),
    (
        "there_is_one_champion_and_it_loads",
        lambda e: rewritten(e, "registry/versions", changed("version", lambda c: c + 1)),
    ),
    (
        "there_is_one_champion_and_it_loads",
        lambda e: rewritten(e, "registry/versions", changed("verdict", lambda _: "passed: not champion yet; good")),
    ),
    ("alerts_are_delivered_once", told),
    ("alerts_are_delivered_once", lambda e: told(e, message="otherwise")),
    ("alerts_are_delivered_once", lambda e: replace(e, requests=[])),
    ("alerts_are_delivered_once", lambda e: rewritten(e, "alert_deliveries", lambda r: r.head(0))),
    (
        "alerts_are_delivered_once",
        lambda e: rewritten(e, "alert_deliveries", changed("delivered_at", lambda _: pd.NaT)),
    ),
    (
        "alerts_are_delivered_once",
        lambda e: rewritten(e, "alerts", lambda rows: renamed(rows, "alert_id").assign(resolved_at=pd.NaT)),
    ),
    ("alerts_are_delivered_once", backwards),
    ("nothing_unfinished_can_be_seen", lambda e: without_file(e, "registered.json")),
]


@pytest.fixture
def sound(world: World) -> World:
    world.go_on(1)
    return world


def test_a_platform_to_which_nothing_happened_violates_nothing(sound: World) -> None:
    assert sound.receiver.taken
    assert sound.violations() == []


def test_what_is_planted_is_noticed(sound: World, tmp_path: Path) -> None:
    """One at a time, each in a copy of the same store."""
    original, noticed = sound.place, set()
    for number, (rule, plant) in enumerate(PLANTED):
        sound.place = at_another(original, tmp_path / f"copy-{number}")
        evidence = plant(sound.evidence())
        assert list(getattr(invariants, rule)(evidence)), f"{number}: {rule} did not notice"
        noticed.add(rule)
    assert noticed == {rule.__name__ for rule in RULES}


def test_a_repeat_that_could_not_be_helped_is_none(sound: World) -> None:
    evidence = told(sound.evidence())
    unsure = replace(evidence, unsure={evidence.requests[0].json["id"]})
    assert list(invariants.alerts_are_delivered_once(unsure)) == []


def test_a_failure_that_nobody_foresaw_is_a_violation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    with monkeypatch.context() as patched:
        patched.setattr("cryptosentinel.market.ingest", fail)
        world.go_on(1)
    world.well()
    assert [str(found) for found in world.violations()] == ["failures_are_explained: ingest: division by zero"]
