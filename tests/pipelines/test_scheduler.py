"""The cadence on one machine."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from cryptosentinel.config import ScheduleSettings
from cryptosentinel.errors import UserInputError
from pipelines.scheduler import next_tick, scheduled, shortest_pause_s, start_schedules
from pipelines.up import next_runs
from tests.pipelines.builders import PATIENCE_S

NOW = datetime(2025, 1, 6, 12, 1, 30, tzinfo=UTC)
EVERY_SECOND = "* * * * * *"
NEVER = "0 0 0 30 2 *"


def ticks(cron: str, count: int) -> list[str]:
    times = [next_tick(cron, NOW)]
    while len(times) < count:
        times.append(next_tick(cron, times[-1]))
    return [f"{time:%H:%M:%S}" for time in times]


def test_six_fields_begin_with_seconds_and_are_in_utc() -> None:
    assert ticks("15 */10 * * * *", 2) == ["12:10:15", "12:20:15"]
    assert next_tick(EVERY_SECOND, NOW).utcoffset() == timedelta(0)


def test_a_tick_that_is_now_is_past() -> None:
    assert next_tick("30 * * * * *", NOW) == NOW + timedelta(minutes=1)


def test_features_come_every_five_minutes_and_forecasts_two_minutes_later() -> None:
    schedules = ScheduleSettings()
    assert ticks(schedules.feature, 3) == ["12:05:00", "12:10:00", "12:15:00"]
    assert ticks(schedules.inference, 3) == ["12:02:00", "12:07:00", "12:12:00"]
    assert ticks(schedules.training, 3) == ["12:16:00", "12:46:00", "13:16:00"]


def test_people_are_told_when_each_pipeline_runs_next() -> None:
    from cryptosentinel.config import Settings

    assert {name: f"{at:%H:%M}" for name, at in next_runs(Settings(), NOW).items()} == {
        "feature": "12:05",
        "training": "12:16",
        "inference": "12:02",
    }


@pytest.mark.parametrize(
    ("cron", "seconds"),
    [("0 */5 * * * *", 300), ("0 2-59/5 * * * *", 300), ("0 16,46 * * * *", 1800), ("0 1,3,30 * * * *", 120)],
)
def test_of_intervals_as_long_as_the_shortest_pause_none_has_two_ticks(cron: str, seconds: float) -> None:
    assert shortest_pause_s(cron) == seconds


@pytest.mark.parametrize("cron", [NEVER, "a b c d e f"])
def test_a_schedule_that_never_comes_has_no_intervals(cron: str) -> None:
    with pytest.raises(UserInputError, match="is none"):
        shortest_pause_s(cron)


def test_what_a_schedule_starts_has_leases() -> None:
    from cryptosentinel.config import Settings

    assert Settings().leases.interval_s == 0
    assert scheduled(Settings(), "0 */5 * * * *").leases.interval_s == 300


def test_a_job_never_overlaps_itself_and_does_not_hold_up_another() -> None:
    stop, slow_is_in, others = threading.Event(), threading.Event(), threading.Semaphore(0)
    entries = []

    def slow() -> None:
        entries.append("slow")
        slow_is_in.set()
        stop.wait(PATIENCE_S)

    schedules = ScheduleSettings(feature=EVERY_SECOND, inference=EVERY_SECOND, training=NEVER)
    threads = start_schedules(schedules, {"feature": slow, "inference": others.release}, stop)
    try:
        assert slow_is_in.wait(PATIENCE_S)
        for _ in range(2):  # two more ticks, which the slow one misses
            assert others.acquire(timeout=PATIENCE_S)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert entries == ["slow"]
    assert not any(thread.is_alive() for thread in threads)


def test_a_schedule_far_from_its_tick_stops_at_once() -> None:
    stop = threading.Event()
    threads = start_schedules(ScheduleSettings(), {"training": lambda: None}, stop)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)


def test_a_job_that_raises_is_told_and_runs_again_at_its_next_time(caplog: pytest.LogCaptureFixture) -> None:
    stop, runs = threading.Event(), threading.Semaphore(0)

    def failing() -> None:
        runs.release()
        raise RuntimeError("nobody foresaw this")

    threads = start_schedules(ScheduleSettings(feature=EVERY_SECOND), {"feature": failing}, stop)
    try:
        for _ in range(2):
            assert runs.acquire(timeout=PATIENCE_S)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert "nobody foresaw this" in caplog.text
