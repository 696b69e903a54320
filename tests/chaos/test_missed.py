"""Nothing ran for a day."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest

from tests.chaos.world import BAR, INFERENCE, World, feature, inference

pytestmark = pytest.mark.chaos


def versions(world: World) -> int:
    return world.workspace.storage.features.version()


def missed(world: World) -> list[str]:
    log = world.workspace.storage.log.read_forecasts("bitcoin")
    return log.loc[log["outcome"] == "missed", "forecast_id"].tolist()


def test_day_missed_is_backfilled_once(world: World) -> None:
    """Nothing runs for 23 hours; then features come first: all bars are filled in by one write, forecasts settled."""
    (waiting,) = world.workspace.storage.log.read_forecasts("bitcoin", unsettled=True)["forecast_id"].tail(1)
    before, bars = versions(world), len(world.workspace.storage.features.read_bars("bitcoin"))
    world.now += timedelta(hours=23)
    world.run(feature)
    assert versions(world) == before + 1
    assert len(world.workspace.storage.features.read_bars("bitcoin")) == bars + 23 * 12
    world.now += INFERENCE
    world.run(inference)
    world.now += BAR - INFERENCE
    world.run(feature)
    assert len(world.workspace.storage.features.read_bars("bitcoin")) == bars + 23 * 12 + 1
    log = world.workspace.storage.log.read_forecasts("bitcoin").set_index("forecast_id")
    assert log.loc[waiting, "outcome"] in {"correct", "incorrect", "flat"}
    world.well()
    assert world.violations() == []
    assert missed(world) == []


def test_day_missed_and_forecasts_looked_at_first(world: World) -> None:
    """Nothing runs for 23 hours; then the inference pipeline comes first: what was due meanwhile is marked missed."""
    waiting = world.workspace.storage.log.read_forecasts("bitcoin", unsettled=True)["forecast_id"].tolist()
    assert waiting
    world.now += timedelta(hours=23)
    (result,) = world.run(inference)
    assert "the newest features are 23" in result.returned[1], "it abstains"
    assert {"stale_bars", "forecast_late"} <= world.open_alerts()
    assert missed(world) == waiting
    world.well()
    assert world.violations() == []
    assert missed(world) == waiting, "what was given up stays so, though the bars came"
    assert not {"stale_bars", "forecast_late"} & world.open_alerts()


def test_more_missed_than_the_source_remembers(world: World) -> None:
    """Nothing runs for 30 hours, of which the source remembers 24: forecasts for the other six are marked missed."""
    waiting = world.workspace.storage.log.read_forecasts("bitcoin", unsettled=True)["forecast_id"].tolist()
    newest = pd.Timestamp(world.workspace.storage.features.last_timestamp("bitcoin"))
    world.now += timedelta(hours=30)
    world.go_on(1)
    times = world.workspace.storage.features.read_bars("bitcoin")["timestamp"]
    hole = times[times > newest].min() - newest
    assert timedelta(hours=6) <= hole < timedelta(hours=6, minutes=30)
    assert missed(world) == waiting
    world.well()
    assert world.violations() == []
