"""Times are shown in the viewer's zone, or in one that is chosen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.zone import CHOICES, UTC_ZONE, Zone

NOON = datetime(2025, 1, 6, 12, tzinfo=UTC)
JULY = datetime(2025, 7, 6, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("choice", "viewer", "name"),
    [
        (None, None, "UTC"),
        (None, "Europe/Berlin", "Europe/Berlin"),
        ("UTC", "Europe/Berlin", "UTC"),
        ("GMT+5", "Europe/Berlin", "Etc/GMT-5"),
        ("Asia/Tokyo", None, "Asia/Tokyo"),
        ("Nowhere/Else", "Europe/Berlin", "Europe/Berlin"),
        ("../../etc/passwd", "", "UTC"),
    ],
)
def test_what_is_chosen_comes_before_the_viewers_own_and_what_does_not_exist_is_none(choice, viewer, name) -> None:
    assert Zone.of(choice, viewer).name == name


@pytest.mark.parametrize(
    ("choice", "at", "told"),
    [
        ("UTC", NOON, "12:00 UTC"),
        ("GMT+5", NOON, "17:00 GMT+5"),
        ("GMT-9", NOON, "03:00 GMT-9"),
        ("Europe/Berlin", NOON, "13:00 GMT+1"),
        ("Europe/Berlin", JULY, "14:00 GMT+2"),
        ("Asia/Kathmandu", NOON, "17:45 GMT+5:45"),
        ("America/St_Johns", NOON, "08:30 GMT-3:30"),
        ("Europe/London", NOON, "12:00 UTC"),
    ],
)
def test_a_time_is_told_with_how_far_it_is_from_utc(choice, at, told) -> None:
    assert Zone.of(choice, None).told(at, at) == told


def test_a_time_of_another_day_there_has_its_date() -> None:
    assert UTC_ZONE.clock(NOON - timedelta(hours=2), NOON) == "10:00"
    assert UTC_ZONE.clock(NOON - timedelta(hours=13), NOON) == "2025-01-05 23:00"
    assert Zone.of("GMT+14", None).clock(NOON - timedelta(hours=3), NOON) == "2025-01-06 23:00"
    assert Zone.of("GMT-12", None).clock(NOON - timedelta(hours=13), NOON) == "2025-01-05 11:00"


def test_every_choice_is_a_zone() -> None:
    assert len(set(CHOICES)) == len(CHOICES)
    assert [choice for choice in CHOICES[1:] if Zone.of(choice, None) == UTC_ZONE] == []
