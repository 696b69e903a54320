"""When schedules may be changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosentinel.errors import UserInputError
from pipelines.kubeflow.ticks import AFTER, BEFORE, calm_moment, next_tick, settled_moment

FIVE = "0 */5 * * * *"
CRONS = st.sampled_from([FIVE, "0 2-59/5 * * * *", "0 16,46 * * * *", "0 0 3 * * *", "0 30 4 1 * *"])


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-02T{text}").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "calm"),
    [
        ("10:02:00", "10:02:00"),  # calm already
        ("10:04:00", "10:04:00"),  # just so
        ("10:04:01", "10:05:45"),  # too close before
        ("10:05:00", "10:05:45"),  # on the tick
        ("10:05:44", "10:05:45"),  # too close behind
    ],
)
def test_a_moment_is_calm_away_from_ticks(now: str, calm: str) -> None:
    assert calm_moment([FIVE], at(now)) == at(calm)


@given(st.lists(CRONS, min_size=1, max_size=4), st.integers(0, 86_400 * 40))
def test_a_calm_moment_is_away_from_every_tick(crons: list[str], seconds: int) -> None:
    now = at("00:00:00") + timedelta(seconds=seconds)
    calm = calm_moment(crons, now)
    assert now <= calm <= now + timedelta(minutes=10)
    for cron in crons:
        assert next_tick(cron, calm) >= calm + BEFORE
        assert next_tick(cron, calm - AFTER) > calm
    assert settled_moment(crons, calm) == calm


def test_where_ticks_are_dense_the_longest_pause_is_taken() -> None:
    minute = "0 * * * * *"
    assert calm_moment([minute], at("10:00:10")) == at("10:00:30")
    # 90 seconds from 10:00:30 to 10:02:00 are the longest
    assert calm_moment([minute.replace("*", "*/2", 1), "30 */2 * * * *"], at("10:01:50")) == at("10:03:15")


def test_what_is_no_cron_expression_is_named() -> None:
    for wrong in ("0 99 * * * *", "a b c d e f", "0 * * * *  *  * *"):
        with pytest.raises(UserInputError, match=r"is no cron expression: .* Six fields"):
            calm_moment([wrong], at("10:00:00"))
