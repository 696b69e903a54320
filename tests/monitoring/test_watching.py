"""Every step of a pipeline is watched: what comes of it is in the store, and in a push gateway where there is one."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from components.step import leave_out, observe, step
from cryptosentinel.config import Settings
from cryptosentinel.errors import CryptoSentinelError, MarketDataError, StoreUnavailableError
from cryptosentinel.monitoring import METRICS
from cryptosentinel.storage import ALERTS, StepRun, open_run_log
from cryptosentinel.storage.frames import of_records
from cryptosentinel.storage.runs import RunLog
from cryptosentinel.workspace import Workspace, open_workspace
from tests.builders import T0, add_bars, at
from tests.monitoring.builders import Gateway, gateway, nobody, watched
from tests.predicting.builders import forecast

NOON = "2025-01-06T12:00:00+00:00"
MARKET = "simulated-3-bitcoin-usd-5m"


def work(
    settings: Settings, name: str, part: str = "", *, fails: Exception | None = None, rows: int = 3, **figures: float
) -> None:
    """A step that ends, well or not."""
    with suppress(CryptoSentinelError), step(name, settings.public_json(), NOON, part) as workspace:
        observe({"inserted": rows}, workspace.source.now(), **figures)
        if fails is not None:
            raise fails


def runs_of(settings: Settings) -> list[StepRun]:
    workspace = open_workspace(settings)
    return open_run_log(settings.storage, workspace.storage.uri).read()


def test_a_step_is_noted_in_the_store_while_it_runs_and_when_it_has_ended(tmp_path: Path) -> None:
    settings = watched(tmp_path)
    with step("ingest", settings.public_json(), NOON):
        (run,) = runs_of(settings)
        assert run.ended_at is None
        observe({"inserted": 3})
        observe({"updated": 1}, datetime(2025, 1, 6, 11, tzinfo=UTC), bars=7.0)
    (run,) = runs_of(settings)
    assert run.succeeded
    assert (run.rows, run.newest, run.figures) == (
        {"inserted": 3, "updated": 1},
        datetime(2025, 1, 6, 11, tzinfo=UTC),
        {"bars": 7.0},
    )


def test_a_failure_is_noted_in_its_own_words(tmp_path: Path) -> None:
    settings = watched(tmp_path)
    work(settings, "ingest", fails=MarketDataError("The file is empty.", remedy="Name another."))
    (run,) = runs_of(settings)
    assert (run.failures, run.cause, run.message) == (1, "MarketDataError", "The file is empty.")


def test_a_good_run_tells_when_how_long_how_many_and_how_late(tmp_path: Path) -> None:
    before = datetime.now(UTC).timestamp()
    with gateway() as there:
        work(watched(tmp_path, monitoring__pushgateway_url=there.url), "ingest")
        whose = {"job": "cryptosentinel", "market": MARKET, "step": "ingest"}
        for name in ("run", "success"):
            assert before <= there.value(f"cryptosentinel_step_last_{name}_timestamp_seconds", **whose) < before + 600
        assert there.value("cryptosentinel_step_success", **whose) == 1
        assert there.value("cryptosentinel_step_rows", kind="inserted", **whose) == 3
        assert there.value("cryptosentinel_step_lag_seconds", **whose) == 0
        assert there.value("cryptosentinel_step_failures", **whose) == 0
        assert 0 < there.value("cryptosentinel_step_duration_seconds", **whose) < 600


def test_a_failed_run_tells_so_and_leaves_what_the_last_good_one_told(tmp_path: Path) -> None:
    with gateway() as there:
        settings = watched(tmp_path, monitoring__pushgateway_url=there.url)
        work(settings, "ingest")
        good = there.value("cryptosentinel_step_last_success_timestamp_seconds")
        for _ in range(2):
            work(settings, "ingest", rows=99, fails=MarketDataError("The file is empty."))
        assert there.value("cryptosentinel_step_success") == 0
        assert there.value("cryptosentinel_step_failures") == 2
        assert there.value("cryptosentinel_step_last_success_timestamp_seconds") == good
        assert there.value("cryptosentinel_step_last_run_timestamp_seconds") > good
        assert there.value("cryptosentinel_step_rows", kind="inserted") == 3


def test_runs_of_a_step_are_one_group_and_parts_of_a_training_one_each(tmp_path: Path) -> None:
    with gateway() as there:
        settings = watched(tmp_path, monitoring__pushgateway_url=there.url)
        for part in ("ridge", "direction", "ridge"):
            work(settings, "train", part)
        assert sorted(dict(key)["part"] for key in there.groups) == ["direction", "ridge"]


def test_a_step_whose_store_is_away_still_tells_that_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object, **more: object) -> Workspace:
        raise StoreUnavailableError("The store is away.")

    monkeypatch.setattr("components.step.open_workspace", away)
    with gateway() as there:
        work(watched(tmp_path, monitoring__pushgateway_url=there.url), "ingest", fails=StoreUnavailableError("x"))
        assert there.value("cryptosentinel_step_success", step="ingest", market=MARKET) == 0


@pytest.mark.parametrize("method", ["begin", "write", "forget"])
def test_a_run_that_cannot_be_noted_is_no_failure_of_its_step(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object, **more: object) -> None:
        raise StoreUnavailableError("The disk is full.")

    monkeypatch.setattr(RunLog, method, full)
    with caplog.at_level(logging.WARNING), step("ingest", watched(tmp_path).public_json(), NOON):
        observe({"inserted": 3})
        if method == "forget":
            leave_out()
    assert any("The disk is full." in line for line in caplog.messages)


def test_a_gateway_that_is_away_is_no_failure_of_a_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = watched(tmp_path, monitoring__pushgateway_url=nobody())
    with caplog.at_level(logging.WARNING):
        work(settings, "ingest")
    assert [line.split(" to=")[0] for line in caplog.messages] == ["metrics were not sent"]
    assert runs_of(settings)[0].succeeded


def test_what_another_process_does_is_neither_noted_nor_told(tmp_path: Path) -> None:
    with gateway() as there:
        settings = watched(tmp_path, monitoring__pushgateway_url=there.url)
        with step("ingest", settings.public_json(), NOON):
            leave_out()
        assert (there.groups, runs_of(settings)) == ({}, [])


class TestFigures:
    """What a step tells of what it keeps."""

    @pytest.fixture(scope="class")
    @classmethod
    def filled(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A home folder with 60 bars to 17:00, features of all but the last two, forecasts, alerts and deliveries."""
        home = tmp_path_factory.mktemp("filled")
        workspace = open_workspace(watched(home), now=at(60))
        storage = workspace.storage
        add_bars(storage, workspace.source.bars(T0, at(58)), workspace.spec)
        storage.features.write_bars(workspace.source.bars(T0, at(60)))
        rows = pd.concat([forecast(number, predicted=100.5) for number in (10, 13, 16, 22, 28, 50)])
        storage.log.write_forecasts(rows)
        done = rows.iloc[:5].assign(
            actual_price=[101.0, 101.0, 99.0, 120.0, 94.0],
            outcome=["correct", "correct", "incorrect", "correct", "missed"],
            settled_at=pd.Timestamp(at(40)),
        )
        done.loc[done["outcome"] == "missed", "actual_price"] = math.nan
        storage.log.settle(done)
        alert = {
            "alert_id": "1",
            "kind": "volatility",
            "severity": "warning",
            "asset": "bitcoin",
            "raised_at": pd.Timestamp(at(50)),
            "value": 1.0,
            "threshold": 0.5,
            "message": "",
            "resolved_at": pd.NaT,
        }
        over = alert | {"alert_id": "2", "resolved_at": pd.Timestamp(at(51))}
        storage.log.write_alerts(of_records([alert, over], ALERTS))
        workspace.champion()
        return home

    def told(self, home: Path, name: str, there: Gateway, **more: object) -> Callable[..., float]:
        settings = watched(home, monitoring__pushgateway_url=there.url, **more)
        with step(name, settings.public_json(), at(60).isoformat()):
            observe({}, drift_score=0.25)
        return lambda metric, **labels: there.value(f"cryptosentinel_{metric}", step=name, **labels)

    def test_of_bars_and_features_the_newest_closes(self, filled: Path) -> None:
        with gateway() as there:
            bars = self.told(filled, "ingest", there)
            features = self.told(filled, "featurize", there)
            assert bars("newest_bar_timestamp_seconds") == at(60).timestamp()
            assert features("newest_features_timestamp_seconds") == at(58).timestamp()
            assert "cryptosentinel_feature_store_waiting_entries" not in there.names()

    def test_of_drift_its_score(self, filled: Path) -> None:
        with gateway() as there:
            assert self.told(filled, "drift", there)("drift_score") == 0.25

    def test_of_forecasts_their_accuracy_beside_the_random_walk(self, filled: Path) -> None:
        with gateway() as there:
            told = self.told(filled, "predict", there)
            counts = {name: told("forecasts", outcome=name) for name in ("correct", "incorrect", "missed", "pending")}
            assert counts == {"correct": 3, "incorrect": 1, "missed": 1, "pending": 1}
            # Errors of 0.5, 0.5, 1.5 and 19.5 on prices of 100; of the random walk 1, 1, 1 and 20.
            assert told("forecast_error_ratio", model="champion") == pytest.approx(0.22 / 4)
            assert told("forecast_error_ratio", model="random_walk") == pytest.approx(0.23 / 4)
            assert told("forecast_coverage_ratio", level="80") == 0.75
            assert told("forecast_hit_ratio") == 0.75
            assert told("forecast_independent_outcomes") == 3  # those made at bars 10, 16 and 22
            assert told("newest_forecast_timestamp_seconds") == at(50).timestamp()

    def test_of_the_champion_and_of_alerts(self, filled: Path) -> None:
        with gateway() as there:
            told = self.told(filled, "predict", there)
            assert told("champion_version") == 0
            assert told("champion_registered_timestamp_seconds") > 1.7e9
            assert [told("alerts_open", severity=severity) for severity in ("warning", "critical")] == [1, 0]
            assert told("deliveries_pending") == told("deliveries_pending_since_timestamp_seconds") == 0

    def test_what_is_not_known_yet_is_no_number(self, tmp_path: Path) -> None:
        with gateway() as there:
            told = self.told(tmp_path, "predict", there)
            assert math.isnan(told("forecast_coverage_ratio", level="95"))
            assert math.isnan(told("newest_forecast_timestamp_seconds"))

    def test_each_metric_is_told_by_the_step_that_the_table_names(self, filled: Path) -> None:
        """All but Hopsworks', which this store has not."""
        tables = {metric.name: metric for metric in METRICS}
        with gateway() as there:
            for name in ("ingest", "featurize", "drift", "train", "evaluate", "register", "predict"):
                self.told(filled, name, there)
            work(watched(filled, monitoring__pushgateway_url=there.url), "featurize")
            for metric, labels, _ in there.series():
                assert tables[metric].step in {"", labels["step"]}
                assert labels.keys() - {"job", "market", "step"} == set(tables[metric].labels)
            assert {name for name in tables if "feature_store" not in name} == there.names()

    def test_names_end_in_their_unit(self) -> None:
        for metric in METRICS:
            assert metric.name.startswith("cryptosentinel_")
            words = metric.name.split("_")
            assert not {"seconds", "ratio", "bytes", "total"} & set(words[:-1])
            assert ("timestamp" in words) <= (words[-1] == "seconds")
            assert metric.help.endswith(".")


@pytest.mark.parametrize("error", [CryptoSentinelError("The table is damaged."), KeyError("The table is damaged.")])
def test_figures_that_cannot_be_read_do_not_keep_a_run_from_being_told(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object, **more: object) -> object:
        raise error

    monkeypatch.setattr("cryptosentinel.monitoring.figures.recent_forecasts", broken)
    with gateway() as there:
        work(watched(tmp_path, monitoring__pushgateway_url=there.url), "predict")
        assert there.value("cryptosentinel_step_success") == 1
    assert any("The table is damaged." in line for line in caplog.messages)


def test_what_a_run_found_is_readable_for_others(tmp_path: Path) -> None:
    settings = watched(tmp_path)
    work(settings, "drift", drift_score=0.25)
    (path,) = (tmp_path / MARKET / "store" / "runs").iterdir()
    assert json.loads(path.read_text())["figures"] == {"drift_score": 0.25}
