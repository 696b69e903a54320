"""Alerts: raised at their thresholds, one open a kind, resolved when calm, and silent about what is not known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from cryptosentinel.config import AlertSettings
from cryptosentinel.predicting.alerts import Reading, check_alerts, read_market, update_alerts
from cryptosentinel.storage import ALERTS, Storage
from tests.builders import FIVE, add_bars, at, make_closing_bars, make_random_bars, open_delta
from tests.predicting.builders import SPEC, forecast

# Powers of two, so that a price can lie exactly on a threshold.
EXACT = AlertSettings(price_move_24h=0.25, volatility=0.5, forecast_deviation=0.125, drawdown=0.25)
DAY = FIVE.bars_per_day
UNKNOWN = float("nan")


def readings(
    closes: Mapping[int, float], *, volatility: float = UNKNOWN, row: pd.Series | None = None
) -> dict[str, Reading]:
    found = read_market(make_closing_bars(closes), volatility, row, FIVE, EXACT)
    return {reading.kind: reading for reading in found}


def alarming(kind: str, **market: object) -> bool:
    return readings(**market)[kind].alarming


def reading(kind: str, value: float, threshold: float = 0.5) -> Reading:
    return Reading(kind, value, threshold, f"{kind} is {value}.")


class TestReadings:
    @pytest.mark.parametrize(("price", "raised"), [(125.0, False), (125.01, True), (75.0, False), (74.99, True)])
    def test_a_move_over_24_hours_alarms_beyond_its_threshold_either_way(self, price: float, raised: bool) -> None:
        assert alarming("price_move_24h", closes={0: 100.0, DAY: price}) is raised

    @pytest.mark.parametrize(("volatility", "raised"), [(0.5, False), (0.501, True), (0.0, False)])
    def test_volatility_alarms_beyond_its_threshold(self, volatility: float, raised: bool) -> None:
        assert alarming("volatility", closes={0: 100.0}, volatility=volatility) is raised

    @pytest.mark.parametrize(("price", "raised"), [(75.0, False), (74.99, True), (100.0, False), (130.0, False)])
    def test_a_fall_from_the_highest_close_of_the_day_alarms_beyond_its_threshold(
        self, price: float, raised: bool
    ) -> None:
        assert alarming("drawdown", closes={0: 90.0, 1: 100.0, 2: price}) is raised

    def test_the_highest_close_of_more_than_a_day_ago_is_forgotten(self) -> None:
        assert alarming("drawdown", closes={0: 100.0, DAY - 1: 60.0, DAY: 60.0}) is False
        assert alarming("drawdown", closes={1: 100.0, DAY - 1: 60.0, DAY: 60.0}) is True

    @pytest.mark.parametrize(("predicted", "raised"), [(112.5, False), (112.6, True), (87.5, False), (87.4, True)])
    def test_a_forecast_far_off_the_price_alarms_beyond_its_threshold(self, predicted: float, raised: bool) -> None:
        row = forecast(0, price=100.0, predicted=predicted).iloc[0]
        assert alarming("forecast_deviation", closes={0: 100.0}, row=row) is raised

    def test_the_default_thresholds_are_those_people_are_told(self) -> None:
        told = {"price_move_24h": 0.05, "volatility": 0.5, "forecast_deviation": 0.03, "drawdown": 0.10}
        assert AlertSettings().model_dump() == told

    def test_without_a_bar_from_a_day_ago_there_is_no_change_over_24_hours(self) -> None:
        assert "price_move_24h" not in readings({1: 100.0, DAY: 200.0})
        assert readings({0: 100.0, 1: 150.0, DAY: 200.0})["price_move_24h"].value == 1.0

    def test_the_bar_before_stands_in_for_a_missing_one_from_a_day_ago(self) -> None:
        assert readings({0: 100.0, 2: 150.0, DAY + 1: 200.0})["price_move_24h"].value == 1.0

    def test_what_is_not_known_is_no_reading(self) -> None:
        assert set(readings({0: 100.0})) == {"drawdown"}
        row = forecast(0).iloc[0]
        assert set(readings({0: 100.0}, volatility=0.1, row=row)) == {"drawdown", "volatility", "forecast_deviation"}

    def test_a_message_says_how_much(self) -> None:
        row = forecast(DAY, price=70.0, predicted=60.0).iloc[0]
        said = {kind: r.message for kind, r in readings({0: 100.0, DAY: 70.0}, volatility=0.8, row=row).items()}
        assert said["price_move_24h"] == "The price moved -30.0% in 24 hours, to 70.00."
        assert said["volatility"] == "Annualised volatility over 20 bars of 5m is 80%."
        assert said["drawdown"] == "The price is 0.0% below its highest close of the last 24 hours."
        assert said["forecast_deviation"] == "The forecast for 00:30 UTC is -14.3% off the price."


class TestOpenAlerts:
    def update(self, storage: Storage, *found: Reading, now: int = 0) -> pd.DataFrame:
        return update_alerts(storage.log, "bitcoin", list(found), now=at(now))

    def test_one_alert_is_open_a_kind_however_often_it_alarms(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        raised = self.update(storage, reading("drawdown", 0.6), reading("volatility", 0.9), now=1)
        assert raised["kind"].tolist() == ["drawdown", "volatility"]
        assert self.update(storage, reading("drawdown", 0.7), now=2).empty
        (alert,) = storage.log.read_alerts("bitcoin").query("kind == 'drawdown'").itertuples()
        assert (alert.value, alert.threshold, alert.message) == (0.6, 0.5, "drawdown is 0.6.")
        assert (alert.asset, alert.raised_at) == ("bitcoin", at(1))
        assert pd.isna(alert.resolved_at)

    def test_an_alert_is_resolved_when_its_figure_is_calm_and_may_be_raised_again(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        self.update(storage, reading("drawdown", 0.6), reading("volatility", 0.9), now=1)
        changed = self.update(storage, reading("drawdown", 0.5), reading("volatility", 0.8), now=2)
        assert changed["kind"].tolist() == ["drawdown"]
        assert changed["resolved_at"].tolist() == [at(2)]
        assert storage.log.read_alerts("bitcoin", open_only=True)["kind"].tolist() == ["volatility"]
        self.update(storage, reading("drawdown", 0.6), now=3)
        alerts = storage.log.read_alerts("bitcoin").query("kind == 'drawdown'")
        assert alerts["raised_at"].tolist() == [at(3), at(1)]
        assert alerts["resolved_at"].isna().tolist() == [True, False]

    def test_one_may_be_raised_while_another_is_resolved(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        self.update(storage, reading("drawdown", 0.6), now=1)
        changed = self.update(storage, reading("drawdown", 0.1), reading("volatility", 0.6), now=2)
        assert list(changed) == ALERTS.names
        assert changed.set_index("kind")["resolved_at"].isna().to_dict() == {"volatility": True, "drawdown": False}
        assert storage.log.read_alerts("bitcoin", open_only=True)["kind"].tolist() == ["volatility"]

    def test_what_is_not_known_neither_raises_nor_resolves(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        self.update(storage, reading("volatility", 0.9), now=1)
        assert self.update(storage, now=2).empty
        assert storage.log.read_alerts("bitcoin", open_only=True)["kind"].tolist() == ["volatility"]

    @pytest.mark.parametrize(("value", "severity"), [(0.51, "warning"), (1.0, "warning"), (1.01, "critical")])
    def test_more_than_twice_the_threshold_is_critical(self, tmp_path: Path, value: float, severity: str) -> None:
        assert self.update(open_delta(tmp_path), reading("volatility", value))["severity"].tolist() == [severity]


class TestFromTheStore:
    def check(self, storage: Storage, now: int, row: pd.Series | None = None) -> list[str]:
        changed = check_alerts(
            storage.log, storage.features, "bitcoin", SPEC.hash, FIVE, AlertSettings(), row, now=at(now)
        )
        return changed["kind"].tolist()

    def test_an_empty_store_raises_nothing(self, tmp_path: Path) -> None:
        assert self.check(open_delta(tmp_path), 0) == []

    def test_a_calm_market_raises_nothing_and_a_wild_one_does(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        calm = make_random_bars(DAY + 1)
        prices = ["open", "high", "low", "close"]
        calm[prices] = 600.0 + 0.001 * (calm[prices] - 600.0)
        add_bars(storage, calm, SPEC)
        assert self.check(storage, DAY + 1, forecast(DAY + 1).iloc[0]) == []
        add_bars(storage, make_closing_bars({DAY + 1: 500.0}), SPEC)
        assert self.check(storage, DAY + 2, forecast(DAY + 2, predicted=104.0).iloc[0]) == [
            "price_move_24h",
            "volatility",
            "drawdown",
            "forecast_deviation",
        ]
        values = storage.log.read_alerts("bitcoin").set_index("kind")["value"]
        volatility = storage.features.read_features("bitcoin", SPEC.hash)["volatility_20"].iloc[-1]
        assert values["volatility"] == volatility
        assert values["price_move_24h"] == pytest.approx(1 - 500.0 / calm["close"].iloc[1])
        assert values["drawdown"] == pytest.approx(1 - 500.0 / calm["close"].iloc[2:].max())
        assert values["forecast_deviation"] == pytest.approx(0.04)

    def test_bars_without_features_have_no_volatility(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        wild = make_closing_bars(dict(enumerate([570.0, 600.0] * 25)))
        storage.features.write_bars(wild)
        assert self.check(storage, 50) == []
        add_bars(storage, wild, SPEC)
        assert self.check(storage, 50) == ["volatility"]
