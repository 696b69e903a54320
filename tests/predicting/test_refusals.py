"""When no forecast is made: on which side of a limit, and in words that say which setting and what to do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cryptosentinel.config import ForecastSettings
from cryptosentinel.predicting.refusals import expired_model, stale_features
from tests.builders import T0

LIMITS = ForecastSettings(max_data_age_s=900, max_model_age_days=45)


@pytest.mark.parametrize("age_s", [-60, 0, 899, 900])
def test_fresh_features_are_forecast_from(age_s: int) -> None:
    assert stale_features(T0, LIMITS, now=T0 + timedelta(seconds=age_s)) is None


def test_stale_features_are_not() -> None:
    refusal = stale_features(T0, LIMITS, now=T0 + timedelta(minutes=27))
    assert refusal is not None
    assert refusal.reason == (
        "the newest features are 27 minutes old, more than forecast.max_data_age_s (15 minutes): "
        "let the feature pipeline run"
    )
    assert stale_features(T0, LIMITS, now=T0 + timedelta(seconds=901)) is not None


@pytest.mark.parametrize("age_days", [0, 44.9, 45])
def test_a_model_of_recent_data_forecasts(age_days: float) -> None:
    assert expired_model(T0, LIMITS, now=T0 + timedelta(days=age_days)) is None


def test_an_expired_model_does_not() -> None:
    refusal = expired_model(T0, LIMITS, now=T0 + timedelta(days=46))
    assert refusal is not None
    assert refusal.reason == (
        "the champion's data end 46 days ago, more than forecast.max_model_age_days (45 days): "
        "let the training pipeline run"
    )
    assert expired_model(T0, LIMITS, now=T0 + timedelta(days=45, seconds=1)) is not None


@pytest.mark.parametrize(
    ("age", "words"),
    [(timedelta(minutes=35), "35 minutes"), (timedelta(minutes=150), "2.5 hours"), (timedelta(days=50), "50 days")],
)
def test_ages_are_told_in_units_that_leave_something_of_them(age: timedelta, words: str) -> None:
    refusal = expired_model(T0, ForecastSettings(max_model_age_days=0.01), now=T0 + age)
    assert refusal is not None
    assert refusal.reason.startswith(f"the champion's data end {words} ago, more than")
    assert "(14.4 minutes)" in refusal.reason


def test_what_has_learnt_nothing_never_expires() -> None:
    assert expired_model(None, LIMITS, now=T0 + timedelta(days=9999)) is None
