"""What a forecast log promises, whatever it is built on; so far it is Delta Lake only: Hopsworks gets no forecasts."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from cryptosentinel.errors import StorageError
from cryptosentinel.storage import (
    ALERTS,
    DRIFT_REPORTS,
    FORECASTS,
    MUTES,
    ForecastLog,
)
from tests.storage.builders import (
    BAR,
    MILLISECONDS,
    START,
    acknowledged,
    alert,
    drift_report,
    forecasts,
    muted,
    open_delta,
    settled,
)


@pytest.fixture
def log(tmp_path: Path) -> ForecastLog:
    return open_delta(tmp_path / "home").log


class TestForecastLog:
    def test_forecasts_come_back_in_order(self, log):
        log.write_forecasts(forecasts([5, 2]))
        log.write_forecasts(forecasts([3]))
        read = log.read_forecasts("bitcoin")
        assert read["forecast_id"].tolist() == ["bitcoin-2", "bitcoin-3", "bitcoin-5"]
        assert list(read) == FORECASTS.names
        assert read["by_model"][0] == '{"ridge": 101.0}'
        assert read["bundle_version"].tolist() == [0, 0, 0]

    def test_the_first_answer_counts(self, log):
        log.write_forecasts(forecasts([1], predicted=101.0))
        again = forecasts([1, 2], predicted=555.0)
        again["made_at"] += pd.Timedelta("40s")
        assert astuple(log.write_forecasts(again))[:3] == (1, 0, 1)
        assert log.read_forecasts("bitcoin")["predicted_price"].tolist() == [101.0, 555.0]

    def test_a_forecast_made_again_after_the_month_ended_is_the_same_forecast(self, log):
        log.write_forecasts(forecasts([23]))
        again = forecasts([23]).assign(made_at=START + 25 * BAR)
        assert log.write_forecasts(again).unchanged == 1
        assert len(log.read_forecasts("bitcoin")) == 1

    def test_settling_writes_the_outcome_and_nothing_else(self, log):
        log.write_forecasts(forecasts(range(3)))
        changed = settled(forecasts([1])).assign(predicted_price=999.0, made_at=START + 2 * BAR)
        assert astuple(log.settle(changed))[:3] == (0, 1, 0)
        read = log.read_forecasts("bitcoin").set_index("forecast_id")
        assert read["outcome"].tolist() == [None, "correct", None]
        row = read.loc["bitcoin-1"]
        assert (row["predicted_price"], row["actual_price"], row["made_at"]) == (101.0, 102.0, START + BAR)
        assert row["settled_at"] == START + 7 * BAR + pd.Timedelta("1min")

    def test_a_settled_forecast_stays_as_it_is(self, log):
        log.write_forecasts(forecasts([1]))
        log.settle(settled(forecasts([1]), actual=102.0))
        assert log.settle(settled(forecasts([1]), actual=50.0)).unchanged == 1
        assert log.write_forecasts(forecasts([1])).unchanged == 1
        assert log.read_forecasts("bitcoin")["actual_price"].tolist() == [102.0]

    def test_a_revision_corrects_the_outcome_of_what_has_a_price_and_nothing_else(self, log):
        log.write_forecasts(forecasts(range(3)))
        log.settle(settled(forecasts([1]), actual=102.0))
        log.settle(settled(forecasts([2]), actual=float("nan")).assign(outcome="missed"))
        offered = settled(forecasts(range(3)), actual=90.0).assign(outcome="incorrect", predicted_price=999.0)
        offered["settled_at"] += pd.Timedelta("1h")
        assert astuple(log.revise(offered))[:3] == (0, 1, 2)
        read = log.read_forecasts("bitcoin").set_index("forecast_id")
        assert read["outcome"].tolist() == [None, "incorrect", "missed"]
        assert read["actual_price"].isna().tolist() == [True, False, True]
        row = read.loc["bitcoin-1"]
        assert (row["predicted_price"], row["actual_price"]) == (101.0, 90.0)
        assert row["settled_at"] == START + 7 * BAR + pd.Timedelta("1min")

    def test_settling_what_was_never_forecast_is_an_error(self, log):
        log.write_forecasts(forecasts([1]))
        with pytest.raises(StorageError, match="1 of 2"):
            log.settle(settled(forecasts([1, 2])))
        assert log.read_forecasts("bitcoin", unsettled=True)["forecast_id"].tolist() == ["bitcoin-1"]

    def test_forecasts_are_found_by_asset_window_and_lack_of_outcome(self, log):
        log.write_forecasts(pd.concat([forecasts(range(40)), forecasts([7], asset="ethereum")], ignore_index=True))
        log.settle(settled(forecasts(range(20, 28))))
        read = log.read_forecasts("bitcoin", START + 18 * BAR, START + 30 * BAR, unsettled=True)
        assert read["forecast_id"].tolist() == [f"bitcoin-{number}" for number in (18, 19, 28, 29)]

    def test_columns_may_be_chosen_and_rows_come_by_time_all_the_same(self, log):
        for number in (5, 1, 30, 3, 0, 8):
            log.write_forecasts(forecasts([number]))
        read = log.read_forecasts("bitcoin", columns=["forecast_id", "price"])
        assert list(read) == ["forecast_id", "price"]
        assert read["forecast_id"].tolist() == [f"bitcoin-{number}" for number in (0, 1, 3, 5, 8, 30)]
        assert list(log.read_forecasts("bitcoin", START + 40 * BAR, columns=["price"])) == ["price"]
        with pytest.raises(StorageError, match="no column luck"):
            log.read_forecasts("bitcoin", columns=["price", "luck"])

    def test_its_version_changes_with_what_is_in_it(self, log):
        assert log.version() == -1
        seen = [log.version()]
        for write in (log.write_forecasts, lambda rows: log.settle(settled(rows))):
            write(forecasts([1]))
            assert log.version() not in seen
            seen.append(log.version())
        log.settle(settled(forecasts([1])))
        log.write_alerts(alert("a"))
        assert log.version() == seen[-1]

    def test_figures_and_flags_come_back_as_they_were_written(self, log):
        written = forecasts(range(3)).assign(
            sigma=[0.1, 1 / 3, None], median=99.5, dissimilarity=[0.0, 7.25, 1.0], outlying=[False, True, None]
        )
        log.write_forecasts(written)
        read = log.read_forecasts("bitcoin")
        assert read["outlying"].tolist() == [False, True, pd.NA]
        assert read["sigma"].tolist()[:2] == [0.1, 1 / 3]
        assert (read["median"].tolist(), read["dissimilarity"].tolist()) == ([99.5] * 3, [0.0, 7.25, 1.0])

    def test_an_empty_log_answers_typed_frames(self, log):
        empty = log.read_forecasts("bitcoin")
        log.write_forecasts(settled(forecasts([1])))
        assert (empty.dtypes == log.read_forecasts("bitcoin").dtypes).all()
        assert list(log.read_alerts("bitcoin")) == ALERTS.names

    def test_alerts_are_replaced_by_id_and_come_newest_first(self, log):
        log.write_alerts(pd.concat([alert("a", raised=1), alert("b", raised=5)], ignore_index=True))
        log.write_alerts(alert("c", raised=3))
        assert astuple(log.write_alerts(alert("a", raised=1, resolved=9)))[:3] == (0, 1, 0)
        assert log.read_alerts("bitcoin")["alert_id"].tolist() == ["b", "c", "a"]
        assert log.read_alerts("bitcoin", open_only=True)["alert_id"].tolist() == ["b", "c"]
        assert log.read_alerts("ethereum").empty
        assert log.read_alerts("bitcoin")["resolved_at"].dtype == MILLISECONDS

    def test_an_acknowledgement_is_the_firsts_and_changes_nothing_else(self, log):
        log.write_alerts(alert("a"))
        before = log.read_alerts("bitcoin")
        for who in ("ann", "bob"):
            log.acknowledge(acknowledged(alert("a").assign(message="other", value=9.0), who))
        after = log.read_alerts("bitcoin")
        assert after["acknowledged_by"].tolist() == ["ann"]
        assert after["acknowledged_at"].tolist() == [START]
        assert_frame_equal(after.assign(acknowledged_by=None, acknowledged_at=before["acknowledged_at"]), before)
        with pytest.raises(StorageError, match="not in"):
            log.acknowledge(acknowledged(alert("never raised"), "ann"))

    def test_who_writes_an_alert_without_knowing_that_it_is_acknowledged_keeps_that(self, log):
        log.write_alerts(alert("a"))
        log.acknowledge(acknowledged(alert("a"), "ann"))
        log.write_alerts(alert("a").assign(message="once more"))
        assert log.read_alerts("bitcoin")["acknowledged_by"].tolist() == ["ann"]
        log.write_alerts(alert("a", resolved=9))
        assert log.read_alerts("bitcoin")["acknowledged_by"].tolist() == ["ann"]

    def test_what_gets_worse_has_to_be_acknowledged_again_and_gets_no_milder(self, log):
        mild, bad = alert("a"), alert("a").assign(severity="critical", value=0.5)
        log.write_alerts(mild)
        log.acknowledge(acknowledged(mild, "ann"))
        log.write_alerts(bad)
        for late in (lambda: log.acknowledge(acknowledged(mild, "bob")), lambda: log.write_alerts(mild)):
            late()
            read = log.read_alerts("bitcoin")
            assert read[["severity", "value"]].to_numpy().tolist() == [["critical", 0.5]]
            assert read[["acknowledged_by", "acknowledged_at"]].isna().all(axis=None)
        log.acknowledge(acknowledged(bad, "ann"))
        log.write_alerts(bad)
        assert log.read_alerts("bitcoin")["acknowledged_by"].tolist() == ["ann"]
        log.write_alerts(alert("a", resolved=9))  # by who did not know how bad it was
        assert log.read_alerts("bitcoin", open_only=True).empty
        assert log.read_alerts("bitcoin")["severity"].tolist() == ["critical"]

    def test_what_is_resolved_is_neither_opened_nor_acknowledged(self, log):
        log.write_alerts(alert("a", resolved=9))
        log.write_alerts(alert("a").assign(severity="critical"))
        log.acknowledge(acknowledged(alert("a"), "ann"))
        read = log.read_alerts("bitcoin")
        assert read["resolved_at"].tolist() == [START + 9 * BAR]
        assert (read["severity"].tolist(), read["acknowledged_by"].tolist()) == (["warning"], [None])

    def test_of_mutes_what_was_said_last_counts_whenever_it_comes(self, log):
        assert list(log.read_mutes("bitcoin")) == MUTES.names
        for kind, at, until in [("b", 3, 9), ("a", 1, 5), ("a", 4, 4), ("a", 2, 8)]:
            log.write_mutes(muted(kind, at, until))
        read = log.read_mutes("bitcoin")
        assert read["kind"].tolist() == ["a", "b"]
        assert read["muted_until"].tolist() == [START + 4 * BAR, START + 9 * BAR]
        assert log.read_mutes("ethereum").empty

    def test_reports_of_drift_are_replaced_by_id_and_come_by_time(self, log):
        assert list(log.read_drift("bitcoin")) == DRIFT_REPORTS.names
        log.write_drift(pd.concat([drift_report(9, 0.5), drift_report(2, 0.1)], ignore_index=True))
        assert astuple(log.write_drift(drift_report(2, 0.4)))[:3] == (0, 1, 0)
        read = log.read_drift("bitcoin", columns=["score", "data_end"])
        assert (list(read), read["score"].tolist()) == (["score", "data_end"], [0.4, 0.5])
        assert log.read_drift("bitcoin", START + 3 * BAR, columns=["score"])["score"].tolist() == [0.5]
        assert log.read_drift("bitcoin", end=START + 9 * BAR)["body"].tolist() == ["{}"]
        assert log.read_drift("ethereum").empty

    def test_maintenance_changes_no_forecast(self, log):
        for number in range(36):
            log.write_forecasts(forecasts([number]))
        log.write_alerts(alert("a"))
        before = log.read_forecasts("bitcoin"), log.read_alerts("bitcoin")
        log.maintain()
        assert_frame_equal(log.read_forecasts("bitcoin"), before[0])
        assert_frame_equal(log.read_alerts("bitcoin"), before[1])
