"""The newest run of each step: noted in the store, with how often it failed in a row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cryptosentinel.alerting.machinery import missed_ticks, most_failures, most_missed
from cryptosentinel.config import ScheduleSettings, StorageSettings
from cryptosentinel.storage import STEPS, RunLog, StepRun, open_run_log

NOON = datetime(2025, 1, 6, 12, tzinfo=UTC)


def minutes(count: float) -> datetime:
    return NOON + timedelta(minutes=count)


def log_in(folder: Path) -> RunLog:
    return open_run_log(StorageSettings(), str(folder))


def begun(log: RunLog, minute: float, step: str = "ingest", part: str = "") -> StepRun:
    return log.begin(step, part, now=minutes(minute))[1]


def failing(log: RunLog, minute: float, step: str = "ingest", part: str = "") -> None:
    log.write(begun(log, minute, step, part).fails(minutes(minute + 1), "SourceError", "CoinGecko is away."))


def going_well(log: RunLog, minute: float, step: str = "ingest", part: str = "", **found: object) -> None:
    log.write(begun(log, minute, step, part).succeeds(minutes(minute + 1), **found))


class TestTheLog:
    def test_a_run_that_went_well_says_when_and_what_it_found(self, tmp_path: Path) -> None:
        going_well(log_in(tmp_path), 0, rows={"inserted": 3}, newest=NOON, figures={"drift_score": 0.5})
        (run,) = log_in(tmp_path).read()
        assert (run.succeeded, run.seconds, run.failures, run.name) == (True, 60.0, 0, "ingest")
        assert (run.rows, run.newest, run.figures) == ({"inserted": 3}, NOON, {"drift_score": 0.5})

    def test_failures_are_counted_until_one_goes_well(self, tmp_path: Path) -> None:
        log = log_in(tmp_path)
        for minute in (0, 5, 10):
            failing(log, minute)
        (run,) = log.read()
        assert (run.failures, run.cause, run.message, run.succeeded) == (3, "SourceError", "CoinGecko is away.", False)
        going_well(log, 15)
        (run,) = log.read()
        assert (run.failures, run.cause, run.message) == (0, "", "")

    def test_a_failure_keeps_what_the_last_good_run_found(self, tmp_path: Path) -> None:
        log = log_in(tmp_path)
        going_well(log, 0, rows={"inserted": 3}, figures={"drift_score": 0.5})
        failing(log, 5)
        (run,) = log.read()
        assert (run.succeeded_at, run.ended_at) == (minutes(1), minutes(6))
        assert (run.rows, run.figures) == ({"inserted": 3}, {"drift_score": 0.5})

    def test_one_that_never_ended_counts_as_failed_when_the_next_begins(self, tmp_path: Path) -> None:
        log = log_in(tmp_path)
        begun(log, 0)
        (killed,) = log.read()
        assert (killed.ended_at, killed.failures, killed.seconds) == (None, 0, None)
        begun(log, 5)
        (run,) = log.read()
        assert (run.failures, run.cause) == (1, "Killed")

    def test_parts_are_told_apart_and_steps_come_in_their_order(self, tmp_path: Path) -> None:
        log = log_in(tmp_path)
        for step, part in [("predict", ""), ("train", "ridge"), ("ingest", ""), ("train", "direction")]:
            going_well(log, 0, step, part)
        assert [run.name for run in log.read()] == ["ingest", "train direction", "train ridge", "predict"]

    def test_one_that_is_left_out_leaves_the_run_before_it_as_it_was(self, tmp_path: Path) -> None:
        log = log_in(tmp_path)
        before, run = log.begin("ingest", now=NOON)
        log.forget(run, before)
        assert log.read() == []
        going_well(log, 5)
        stored = log.read()
        before, run = log.begin("ingest", now=minutes(10))
        log.forget(run, before)
        assert log.read() == stored

    def test_one_that_is_left_out_leaves_alone_what_the_other_one_noted_meanwhile(self, tmp_path: Path) -> None:
        log = log_in(tmp_path)
        other = begun(log, 0)
        before, run = log.begin("ingest", now=minutes(1))
        log.write(other.succeeds(minutes(2)))
        log.forget(run, before)
        assert [found.succeeded_at for found in log.read()] == [minutes(2)]

    @pytest.mark.parametrize("content", [b"", b"{", b'{"step": "ingest"}', b"\xff"])
    def test_a_file_that_cannot_be_read_is_no_run(self, tmp_path: Path, content: bytes) -> None:
        going_well(log_in(tmp_path), 0)
        (tmp_path / "runs" / "ingest.json").write_bytes(content)
        assert log_in(tmp_path).read() == []
        going_well(log_in(tmp_path), 5)
        assert len(log_in(tmp_path).read()) == 1


class TestWhatAlertsLookAt:
    def test_the_step_that_failed_most_often_is_named_with_its_cause(self, tmp_path: Path) -> None:
        log = log_in(tmp_path)
        failing(log, 0, "train", "ridge")
        for minute in (0, 5):
            failing(log, minute)
        assert most_failures(log.read()) == (2, "Step 'ingest' failed 2 times in a row: CoinGecko is away.")

    def test_nothing_is_known_where_nothing_ran(self) -> None:
        assert str(most_failures([])) == str(most_missed([], ScheduleSettings(), now=NOON)) == "(nan, '')"

    def test_a_part_that_is_trained_no_more_is_forgotten(self, tmp_path: Path) -> None:
        log = log_in(tmp_path)
        failing(log, 0, "train", "ridge")
        going_well(log, 60 * 23, "train", "direction")
        assert most_failures(log.read())[0] == 1
        going_well(log, 60 * 25, "train", "direction")
        assert most_failures(log.read())[0] == 0

    def test_a_pipeline_that_does_not_begin_misses_the_times_of_its_schedule(self, tmp_path: Path) -> None:
        log = log_in(tmp_path)
        going_well(log, 1, "ingest")
        going_well(log, 1, "drift")
        count, words = most_missed(log.read(), ScheduleSettings(), now=minutes(20))
        assert count == 4  # 12:05, 12:10, 12:15, 12:20; the training pipeline only 12:16
        assert words == "The feature pipeline last began at 2025-01-06 12:01 UTC, and missed 4 of its times since."

    def test_one_that_runs_and_fails_misses_nothing(self, tmp_path: Path) -> None:
        failing(log_in(tmp_path), 0)
        assert most_missed(log_in(tmp_path).read(), ScheduleSettings(), now=minutes(4))[0] == 0

    def test_times_are_counted_from_after_the_begin_to_now(self) -> None:
        assert [missed_ticks("0 */5 * * * *", NOON, minutes(now)) for now in (0, 4.99, 5, 10)] == [0, 0, 1, 2]
        assert missed_ticks("0 */5 * * * *", NOON, minutes(10**6)) == 1000


def test_a_step_that_began_its_pipeline_is_one_of_its_steps() -> None:
    from cryptosentinel.alerting.machinery import FIRST

    assert {pipeline: steps[0] for pipeline, steps in STEPS.items()} == FIRST
