"""What is taken out of features before they are compared."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd

from cryptosentinel.drift.adjusting import at_cadence, cadence_of, fit_adjustment

CADENCE = timedelta(minutes=20)
BAR = timedelta(minutes=5)
DAYS = 42


def rows(values: np.ndarray | None = None) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=DAYS * 72, freq=CADENCE, tz="UTC")
    noise = np.random.default_rng(0).normal(size=len(index))
    return pd.DataFrame({"timestamp": index, "a": noise if values is None else values + 0.1 * noise})


def test_the_hours_and_the_weekend_are_taken_out() -> None:
    frame = rows()
    hour = frame["timestamp"].dt.hour + frame["timestamp"].dt.minute / 60
    season = np.cos(2 * np.pi * (hour - 15) / 24) - 0.8 * (frame["timestamp"].dt.dayofweek >= 5)
    frame = rows(season.to_numpy())
    adjusted = fit_adjustment(frame, ["a"], window=timedelta(hours=3), cadence=CADENCE)(frame)
    weekend, hours = adjusted.index.dayofweek >= 5, adjusted["a"].groupby(adjusted.index.hour).mean()
    assert abs(adjusted["a"][weekend].mean() - adjusted["a"][~weekend].mean()) < 0.05
    assert hours.max() - hours.min() < 0.2  # of 2 before


def test_the_level_of_the_day_before_is_taken_out_of_what_follows() -> None:
    level = np.repeat(np.random.default_rng(1).normal(size=DAYS // 3 * 2), 108)  # a level lasts 36 hours
    frame = rows(level)
    spans = (timedelta(hours=6), timedelta(hours=24))
    plain = fit_adjustment(frame, ["a"], window=timedelta(hours=3), cadence=CADENCE)(frame)
    news = fit_adjustment(frame, ["a"], window=timedelta(hours=3), cadence=CADENCE, spans=spans)(frame)
    assert news["a"].std() < 0.75 * plain["a"].std()
    half = timedelta(hours=15) - CADENCE  # the window, and the half of the longest span that must be there
    assert news.index[0] == frame["timestamp"].iloc[0] + half


def test_a_rows_own_window_has_no_say_in_its_level() -> None:
    """What changes within the window stays in it whole."""
    frame = rows()
    spans = (timedelta(hours=6),)
    adjustment = fit_adjustment(frame, ["a"], window=timedelta(hours=3), cadence=CADENCE, spans=spans)
    changed = frame.copy()
    changed.loc[changed.index[-9:], "a"] = frame["a"].iloc[-9:] + 100
    before, after = adjustment(frame).iloc[-9:], adjustment(changed).iloc[-9:]
    lifted = np.arcsinh((changed["a"].to_numpy()[-9:] - adjustment.centre) / adjustment.spread)
    was = np.arcsinh((frame["a"].to_numpy()[-9:] - adjustment.centre) / adjustment.spread)
    np.testing.assert_allclose((after - before)["a"], lifted - was)


def test_a_feature_that_never_moves_is_no_fault() -> None:
    frame = rows().assign(a=3.0)
    adjusted = fit_adjustment(frame, ["a"], window=timedelta(hours=3), cadence=CADENCE)(frame)
    np.testing.assert_allclose(adjusted["a"], 0.0, atol=1e-12)


def test_the_cadence_is_the_usual_distance_and_rows_are_picked_by_it() -> None:
    frame = rows()
    assert cadence_of(frame.drop(index=range(100, 300))) == CADENCE
    bars = pd.DataFrame({"timestamp": pd.date_range("2024-01-01", periods=200, freq=BAR, tz="UTC")})
    newest = bars["timestamp"].iloc[-1].to_pydatetime()
    picked = at_cadence(bars, newest, BAR, timedelta(minutes=17.5))["timestamp"]
    assert picked.iloc[-1] == newest
    assert set(picked.diff().dropna()) == {timedelta(minutes=15), timedelta(minutes=20)}
