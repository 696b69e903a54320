"""Alerts: raised above their limits, one open a kind, ended when calm, and silent about what is not known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path

import pandas as pd
import pytest

from cryptosentinel.alerting import RULES, Facts, Reading, gather_facts, read_rules, remedy_of
from cryptosentinel.alerting.engine import next_alerts
from cryptosentinel.alerting.facts import coverage_since
from cryptosentinel.config import AlertSettings, Settings
from cryptosentinel.storage import ALERTS, StepRun, Storage
from tests.builders import FIVE, T0, add_bars, at, make_closing_bars, make_random_bars, open_delta, settings_of
from tests.hopsworks.builders import open_hopsworks, open_hopsworks_away
from tests.predicting.builders import SPEC, forecast

# Powers of two, so that a figure can lie exactly on a limit.
EXACT = settings_of(
    **{f"alerts__{name}": 0.25 for name in ("price_move_24h", "drawdown", "forecast_deviation", "coverage_loss")},
    alerts__volatility=0.5,
    alerts__clears_at=0.5,
    alerts__cool_down_s=1200,
    drift__threshold=0.25,
    forecast__max_model_age_days=32,
)
DAY = FIVE.bars_per_day
UNKNOWN = float("nan")


def readings(facts: Facts, settings: Settings = EXACT) -> dict[str, Reading]:
    return {reading.kind: reading for reading in read_rules(facts, settings)}


def look(
    folder: Path, closes: Mapping[int, float], row: pd.Series | None = None, *, now: int | None = None
) -> dict[str, Reading]:
    """What is read of a store with bars alone, at the close of the newest."""
    storage = open_delta(folder)
    storage.features.write_bars(make_closing_bars(closes))
    facts = gather_facts(storage, SPEC, EXACT, row, now=at(now if now is not None else max(closes) + 1))
    return readings(facts)


def reading(kind: str, value: float, threshold: float = 0.5, **more: float) -> Reading:
    return Reading(kind, value, threshold, f"{kind} is {value}.", **more)


class TestTheTable:
    def test_every_kind_is_there_once_and_says_what_to_do(self) -> None:
        kinds = [rule.kind for rule in RULES]
        assert len(set(kinds)) == len(kinds)
        assert all(rule.remedy.endswith(".") for rule in RULES)
        assert remedy_of("of another release") == ""

    def test_every_kind_has_its_entry_and_its_heading_in_the_manual(self) -> None:
        manual = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", manual, re.MULTILINE)
        assert [rule.kind for rule in RULES if f"[`{rule.kind}`](#{rule.kind})" not in manual] == []
        assert [rule.kind for rule in RULES if rule.kind not in headings] == []
        # As GitHub names them.
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert set(re.findall(r"\]\(#([^)]+)\)", manual)) - anchors == set()

    def test_the_default_limits_are_those_people_are_told(self) -> None:
        told = {"price_move_24h": 0.05, "volatility": 0.5, "forecast_deviation": 0.03, "drawdown": 0.10}
        limits = {rule.kind: rule.limit(settings_of()) for rule in RULES}
        assert limits | told == limits

    @pytest.mark.parametrize(
        ("fact", "kind", "limit"),
        [
            ("change_24h", "price_move_24h", 0.25),
            ("volatility", "volatility", 0.5),
            ("drawdown", "drawdown", 0.25),
            ("deviation", "forecast_deviation", 0.25),
            ("drift", "drift", 0.25),
            ("concept", "concept_drift", 1.0),
            ("bars_age_s", "stale_bars", 900),
            ("feature_lag_s", "feature_lag", 900),
            ("forecast_age_s", "forecast_late", 1800),
            ("training_age_s", "training_late", 7200),
            ("failures", "run_failed", 2),
            ("missed_runs", "run_late", 3),
            ("store_lag_s", "feature_store_lag", 3600),
            ("model_age_days", "model_expired", 32),
        ],
    )
    def test_a_figure_alarms_above_its_limit_and_is_calm_well_within_it(
        self, fact: str, kind: str, limit: float
    ) -> None:
        for value, alarming, calm in [(limit, False, False), (limit * 1.01, True, False), (limit * 0.5, False, True)]:
            found = readings(Facts(**{fact: value}))
            assert list(found) == [kind]
            assert (found[kind].alarming, found[kind].calm) == (alarming, calm)

    @pytest.mark.parametrize(("fact", "kind"), [("change_24h", "price_move_24h"), ("deviation", "forecast_deviation")])
    def test_a_move_alarms_either_way(self, fact: str, kind: str) -> None:
        assert readings(Facts(**{fact: -0.26}))[kind].alarming

    def test_coverage_alarms_when_it_falls_short(self) -> None:
        assert readings(Facts(coverage=0.5))["coverage_loss"].alarming
        assert not readings(Facts(coverage=0.9))["coverage_loss"].alarming

    @pytest.mark.parametrize(("value", "severity"), [(0.51, "warning"), (1.0, "warning"), (1.01, "critical")])
    def test_more_than_twice_the_limit_is_critical(self, value: float, severity: str) -> None:
        assert readings(Facts(volatility=value))["volatility"].severity == severity

    def test_a_model_that_does_not_forecast_any_more_is_critical_at_once(self) -> None:
        assert readings(Facts(model_age_days=33))["model_expired"].severity == "critical"

    def test_what_is_not_known_is_no_reading(self) -> None:
        assert readings(Facts()) == {}

    def test_a_message_says_how_much_and_why(self) -> None:
        facts = Facts(price=70.0, change_24h=-0.3, volatility=0.8, drawdown=0.0, deviation=-0.143, target="00:30 UTC")
        more = {"interval": "5m", "forecast_age_s": 2100.0, "no_forecast": "the predictor is away."}
        said = {kind: found.message for kind, found in readings(Facts(**(vars(facts) | more))).items()}
        assert said["price_move_24h"] == "The price moved -30.0% in 24 hours, to 70.00."
        assert said["volatility"] == "Annualised volatility over 20 bars of 5m is 80%."
        assert said["drawdown"] == "The price is 0.0% below its highest close of the last 24 hours."
        assert said["forecast_deviation"] == "The forecast for 00:30 UTC is -14.3% off the price."
        assert said["forecast_late"] == "The newest forecast was made 35 minutes ago: the predictor is away."


class TestTheFacts:
    @pytest.mark.parametrize(("price", "raised"), [(125.0, False), (125.01, True), (75.0, False), (74.99, True)])
    def test_a_move_is_that_of_24_hours(self, tmp_path: Path, price: float, raised: bool) -> None:
        assert look(tmp_path, {0: 100.0, DAY: price})["price_move_24h"].alarming is raised

    @pytest.mark.parametrize(("price", "raised"), [(75.0, False), (74.99, True), (100.0, False), (130.0, False)])
    def test_a_drawdown_is_from_the_highest_close_of_the_day(self, tmp_path: Path, price: float, raised: bool) -> None:
        assert look(tmp_path, {0: 90.0, 1: 100.0, 2: price})["drawdown"].alarming is raised

    def test_the_highest_close_of_more_than_a_day_ago_is_forgotten(self, tmp_path: Path) -> None:
        assert not look(tmp_path / "a", {0: 100.0, DAY - 1: 60.0, DAY: 60.0})["drawdown"].alarming
        assert look(tmp_path / "b", {1: 100.0, DAY - 1: 60.0, DAY: 60.0})["drawdown"].alarming

    @pytest.mark.parametrize(("predicted", "value"), [(125.0, 0.25), (75.0, 0.25)])
    def test_a_deviation_is_the_forecasts_against_its_price(
        self, tmp_path: Path, predicted: float, value: float
    ) -> None:
        row = forecast(0, price=100.0, predicted=predicted).iloc[0]
        assert look(tmp_path, {0: 100.0}, row)["forecast_deviation"].value == value

    def test_without_a_bar_from_a_day_ago_there_is_no_change_over_24_hours(self, tmp_path: Path) -> None:
        assert "price_move_24h" not in look(tmp_path / "a", {1: 100.0, DAY: 200.0})
        assert look(tmp_path / "b", {0: 100.0, 2: 150.0, DAY + 1: 200.0})["price_move_24h"].value == 1.0

    def test_an_empty_store_has_no_figures(self, tmp_path: Path) -> None:
        assert readings(gather_facts(open_delta(tmp_path), SPEC, EXACT, now=T0)) == {}

    def test_the_age_of_the_newest_bar_counts_from_its_close(self, tmp_path: Path) -> None:
        assert look(tmp_path, {0: 100.0}, now=5)["stale_bars"].value == 4 * 300

    def test_features_lag_behind_bars_as_far_as_their_newest_rows(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        bars = make_random_bars(60)
        add_bars(storage, bars.head(50), SPEC)
        storage.features.write_bars(bars)
        found = readings(gather_facts(storage, SPEC, EXACT, now=at(60)))
        assert found["feature_lag"].value == 10 * 300
        assert "volatility" not in found
        add_bars(storage, bars, SPEC)
        found = readings(gather_facts(storage, SPEC, EXACT, now=at(60)))
        assert found["feature_lag"].value == 0
        assert (
            found["volatility"].value == storage.features.read_features("bitcoin", SPEC.hash)["volatility_20"].iloc[-1]
        )

    def test_a_forecast_is_as_old_as_when_it_was_made(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        storage.features.write_bars(make_closing_bars({0: 100.0}))
        assert "forecast_late" not in readings(gather_facts(storage, SPEC, EXACT, now=at(9)))
        storage.log.write_forecasts(pd.concat([forecast(1), forecast(2)]))
        assert readings(gather_facts(storage, SPEC, EXACT, now=at(9)))["forecast_late"].value == 7 * 300

    @pytest.mark.parametrize(("count", "misses", "coverage"), [(199, 199, None), (200, 50, 0.75), (200, 0, 1.0)])
    def test_coverage_counts_what_settled_once_there_is_enough_that_does_not_overlap(
        self, count: int, misses: int, coverage: float | None
    ) -> None:
        def settled(numbers: range, actual: list[float]) -> pd.DataFrame:
            made = pd.to_datetime([at(number) for number in numbers])
            bounds = {"actual_price": actual, "lower_80": 95.0, "upper_80": 105.0}
            return pd.DataFrame({"made_at": made, "target_at": made + 6 * FIVE.delta, **bounds})

        rows = settled(range(0, 6 * count, 6), [200.0] * misses + [100.0] * (count - misses))
        old, pending = settled(range(-6, -5), [200.0]), settled(range(6 * count, 6 * count + 1), [UNKNOWN])
        found = coverage_since(pd.concat([old, rows, pending]), T0)
        assert found == coverage if coverage is not None else isnan(found)
        if coverage is None:  # more of the same outcomes are no more evidence
            more = pd.concat([rows, settled(range(3, 4), [100.0])]).sort_values("made_at")
            assert isnan(coverage_since(more, T0))


class TestOpenAlerts:
    def update(
        self,
        storage: Storage,
        *found: Reading,
        now: int = 0,
        settings: AlertSettings = EXACT.alerts,
        tick: str | None = None,
    ) -> pd.DataFrame:
        stored, tick = storage.log.read_alerts("bitcoin"), str(now) if tick is None else tick
        changed = next_alerts(stored, found, "bitcoin", settings, now=at(now), tick=tick)
        storage.log.write_alerts(changed)
        return changed

    def test_one_alert_is_open_a_kind_however_often_it_alarms(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        raised = self.update(storage, reading("drawdown", 0.6), reading("volatility", 0.9), now=1)
        assert raised["kind"].tolist() == ["drawdown", "volatility"]
        assert self.update(storage, reading("drawdown", 0.7), now=2).empty
        (alert,) = storage.log.read_alerts("bitcoin").query("kind == 'drawdown'").itertuples()
        assert (alert.value, alert.threshold, alert.message) == (0.6, 0.5, "drawdown is 0.6.")
        assert (alert.asset, alert.raised_at) == ("bitcoin", at(1))
        assert pd.isna(alert.resolved_at)

    def test_an_alert_ends_when_its_figure_is_calm_not_just_below_the_limit(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        hovering = [reading("drawdown", value, clears_at=0.9) for value in (0.51, 0.49, 0.51, 0.46)]
        self.update(storage, hovering[0], now=1)
        assert [len(self.update(storage, each, now=2)) for each in hovering] == [0, 0, 0, 0]
        changed = self.update(storage, reading("drawdown", 0.45, clears_at=0.9), now=3)
        assert changed["resolved_at"].tolist() == [at(3)]
        assert storage.log.read_alerts("bitcoin", open_only=True).empty

    def test_one_that_ended_is_raised_again_after_the_cool_down(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)  # the cool-down is four bars
        self.update(storage, reading("drawdown", 0.6), now=1)
        self.update(storage, reading("drawdown", 0.1), now=2)
        assert self.update(storage, reading("drawdown", 0.6), now=5).empty
        assert len(self.update(storage, reading("drawdown", 0.6), now=6)) == 1
        alerts = storage.log.read_alerts("bitcoin")
        assert alerts["raised_at"].tolist() == [at(6), at(1)]
        assert alerts["resolved_at"].isna().tolist() == [True, False]

    def test_what_is_worse_than_the_one_that_ended_is_not_held_back(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        self.update(storage, reading("drawdown", 0.6), now=1)
        self.update(storage, reading("drawdown", 0.1), now=2)
        assert self.update(storage, reading("drawdown", 1.1), now=3)["severity"].tolist() == ["critical"]
        self.update(storage, reading("drawdown", 0.1), now=4)
        assert self.update(storage, reading("drawdown", 1.1), now=5).empty

    def test_an_open_one_gets_worse_once_and_not_milder(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        self.update(storage, reading("drawdown", 0.6), now=1)
        assert self.update(storage, reading("drawdown", 1.1), now=2)["severity"].tolist() == ["critical"]
        assert self.update(storage, reading("drawdown", 1.2), now=3).empty
        assert self.update(storage, reading("drawdown", 0.6), now=4).empty
        (alert,) = storage.log.read_alerts("bitcoin").itertuples()
        assert (alert.severity, alert.value, alert.message) == ("critical", 1.1, "drawdown is 1.1.")
        assert alert.raised_at == at(1)

    def test_one_may_be_raised_while_another_ends(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        self.update(storage, reading("drawdown", 0.6), now=1)
        changed = self.update(storage, reading("drawdown", 0.1), reading("volatility", 0.6), now=2)
        assert list(changed) == ALERTS.names
        assert changed.set_index("kind")["resolved_at"].isna().to_dict() == {"volatility": True, "drawdown": False}
        assert storage.log.read_alerts("bitcoin", open_only=True)["kind"].tolist() == ["volatility"]

    def test_what_is_not_known_neither_raises_nor_ends(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        self.update(storage, reading("volatility", 0.9), now=1)
        assert self.update(storage, now=2).empty
        assert storage.log.read_alerts("bitcoin", open_only=True)["kind"].tolist() == ["volatility"]

    def test_each_alert_has_an_id_of_its_own(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path)
        now = AlertSettings(cool_down_s=0)
        for number in range(0, 6, 2):  # though they rest on the same bar
            self.update(
                storage, reading("drawdown", 0.6), reading("volatility", 0.6), now=number, settings=now, tick=""
            )
            self.update(storage, reading("drawdown", 0.1), reading("volatility", 0.1), now=number + 1, settings=now)
        assert storage.log.read_alerts("bitcoin")["alert_id"].nunique() == 6


class TestTheMachinery:
    def test_a_step_that_keeps_failing_raises_an_alert_that_says_which_and_why(self, tmp_path: Path) -> None:
        storage, noon = open_delta(tmp_path), at(144)
        run = StepRun(step="ingest", began_at=noon)
        for _ in range(3):
            run = run.fails(noon, "SourceError", "CoinGecko is away.")
        found = readings(gather_facts(storage, SPEC, EXACT, runs=[run], now=noon))
        assert found["run_failed"].alarming  # though there is not a single bar
        assert found["run_failed"].message == "Step 'ingest' failed 3 times in a row: CoinGecko is away."
        over = readings(gather_facts(storage, SPEC, EXACT, runs=[run.succeeds(noon)], now=noon))
        assert over["run_failed"].calm

    def test_a_pipeline_that_does_not_run_raises_one(self, tmp_path: Path) -> None:
        run = StepRun(step="drift", began_at=at(0)).succeeds(at(0))
        found = readings(gather_facts(open_delta(tmp_path), SPEC, EXACT, runs=[run], now=at(24)))
        assert (found["run_late"].value, found["run_late"].alarming) == (4, True)  # 0:16, 0:46, 1:16, 1:46

    def test_features_that_wait_for_hopsworks_raise_one_once_they_do_so_for_long(self, tmp_path: Path) -> None:
        storage = open_hopsworks_away(tmp_path)
        add_bars(storage, make_random_bars(60), SPEC)
        for hours, alarming in [(0.5, False), (1.5, True)]:
            facts = gather_facts(storage, SPEC, EXACT, now=datetime.now(UTC) + timedelta(hours=hours))
            assert readings(facts)["feature_store_lag"].alarming is alarming

    def test_where_there_is_no_hopsworks_nothing_lags(self, tmp_path: Path) -> None:
        assert isnan(gather_facts(open_delta(tmp_path), SPEC, EXACT, now=T0).store_lag_s)
        storage = open_hopsworks(tmp_path / "near")
        add_bars(storage, make_random_bars(60), SPEC)
        assert gather_facts(storage, SPEC, EXACT, now=T0).store_lag_s == 0
