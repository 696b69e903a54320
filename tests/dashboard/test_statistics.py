"""The arithmetic of the page Data analysis: returns, seasons, memory, distributions, volatility."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from dashboard.data import analysis as data
from dashboard.data import statistics
from tests.builders import FIVE, make_random_bars


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.001, count)


def bars_of(moves: np.ndarray, start: str = "2025-01-06") -> pd.DataFrame:
    """Bars with these log returns, from a Monday on."""
    bars = make_random_bars(len(moves), start=pd.Timestamp(start, tz="UTC").to_pydatetime())
    return bars.assign(close=100 * np.exp(np.cumsum(moves)), volume=1000 * np.abs(moves))


def test_a_return_over_a_gap_is_not_known() -> None:
    bars = make_random_bars(10).drop(index=[4])
    moves = statistics.log_returns(bars, FIVE)
    assert list(np.flatnonzero(np.isnan(moves))) == [0, 4]
    assert moves[1] == pytest.approx(np.log(bars["close"].iloc[1] / bars["close"].iloc[0]))


def test_longer_returns_neither_overlap_nor_span_a_gap() -> None:
    bars = make_random_bars(60)
    closes = bars["close"].to_numpy()
    expected = np.diff(np.log(closes[5::6]))  # at 00:30, 01:00, ...
    assert data.returns_over(bars, FIVE, 6) == pytest.approx(expected)
    assert data.returns_over(bars.drop(index=[11]), FIVE, 6) == pytest.approx(expected[2:])


def test_an_hour_that_is_wilder_is_found_in_the_viewers_zone() -> None:
    bars = bars_of(noise(30 * 288))
    wild = bars["timestamp"].dt.tz_convert("America/New_York").dt.hour == 9
    hours, _ = statistics.seasons(bars_of(np.where(wild, 3, 1) * noise(30 * 288)), FIVE, "America/New_York")
    nine = hours.set_index("season").loc[9]
    assert nine["volatility_low"] > 2
    assert nine["volume_low"] > 2
    assert hours.set_index("season")["volatility_high"].drop(9).max() < 1.2
    assert set(hours["count"]) == {29}  # the first day and the last are cut by midnight in New York
    utc, _ = statistics.seasons(bars_of(np.where(wild, 3, 1) * noise(30 * 288)), FIVE, "UTC")
    assert utc.set_index("season")["volatility"].idxmax() == 14


def test_hours_and_days_that_lack_bars_do_not_count() -> None:
    bars = bars_of(noise(8 * 288))
    hours, _ = statistics.seasons(bars.drop(index=range(288 + 24, 288 + 30)), FIVE, "UTC")  # half of 02:00
    assert dict(hours.set_index("season")["count"]) == {hour: 7 if hour == 2 else 8 for hour in range(24)}
    hours, _ = statistics.seasons(bars.drop(index=range(288 + 24, 288 + 60)), FIVE, "UTC")  # three hours of a day
    assert set(hours["count"]) == {7}


def test_neither_a_wild_month_nor_a_market_that_grows_is_a_season() -> None:
    moves = noise(28 * 288)
    grown = np.repeat(np.geomspace(1, 20, 28), 288) * moves
    for before, after in zip(
        statistics.seasons(bars_of(moves), FIVE, "UTC"), statistics.seasons(bars_of(grown), FIVE, "UTC"), strict=True
    ):
        kept = ["volatility", "volatility_low", "volume"]
        if len(before) == 24:  # within a week it grows, so its days are not alike
            pd.testing.assert_frame_equal(before[kept], after[kept], atol=0.02)
        assert before["volatility"].mean() == pytest.approx(1, abs=0.01)
        assert after["volatility"].mean() == pytest.approx(1, abs=0.01)


def test_weekdays_are_told_from_whole_weeks_only() -> None:
    moves = noise(31 * 288)
    quiet = (np.arange(len(moves)) // 288) % 7 == 5
    hours, weekdays = statistics.seasons(bars_of(np.where(quiet, 0.2, 1) * moves), FIVE, "UTC")
    assert list(weekdays["season"]) == list(range(7))
    assert set(weekdays["count"]) == {4}  # three days belong to a fifth
    assert weekdays["volatility"].idxmin() == 5
    assert statistics.seasons(bars_of(moves[: 3 * 288]), FIVE, "UTC")[0].empty
    assert statistics.seasons(bars_of(moves[: 27 * 288]), FIVE, "UTC")[1].empty
    assert len(hours) == 24


@pytest.mark.parametrize(("freedom", "known"), [(3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042)])
def test_students_quantile_is_close(freedom: int, known: float) -> None:
    assert statistics.student(freedom) == pytest.approx(known, rel=0.01)


def test_intervals_of_the_mean_hold_it_as_often_as_they_say() -> None:
    hours = [statistics.seasons(bars_of(noise(8 * 288, seed)), FIVE, "UTC")[0] for seed in range(20)]
    held = pd.concat([(table["return_low"] <= 0) & (table["return_high"] >= 0) for table in hours])
    assert 0.92 < held.mean() < 0.98


def test_autocorrelations_are_the_sums_that_define_them() -> None:
    moves = noise(200)
    moves[[0, 50, 51]] = np.nan
    found = statistics.memory(moves, 5)
    assert found is not None
    x = np.nan_to_num(moves - np.nanmean(moves))
    for lag in range(1, 6):
        assert found.returns[lag - 1] == pytest.approx((x[lag:] * x[:-lag]).sum() / (x * x).sum())
        bound = 1.96 * np.sqrt((x[lag:] ** 2 * x[:-lag] ** 2).sum()) / (x * x).sum()
        assert found.returns_bound[lag - 1] == pytest.approx(bound)
    assert found.count == 197
    assert statistics.memory(moves, 50) is None


def test_without_memory_values_stay_within_their_bound_in_calm_and_wild_times() -> None:
    wild = np.repeat(np.exp(np.random.default_rng(1).normal(0, 1, 60)), 200)
    found = statistics.memory(wild * noise(12_000), 200)
    assert found is not None
    assert 0.9 < (np.abs(found.returns) < found.returns_bound).mean() < 0.99
    assert (found.sizes[:50] > found.sizes_bound[:50]).all()  # while sizes have one


def test_a_normal_sample_looks_like_the_normal_distribution() -> None:
    found = statistics.distribution(np.random.default_rng(2).normal(3, 2, 40_000))
    assert found is not None
    assert (found.mean, found.deviation) == (pytest.approx(3, abs=0.05), pytest.approx(2, abs=0.05))
    assert abs(found.skewness) < 0.05
    assert abs(found.tails) < 0.1
    assert (found.density * np.diff(found.edges)).sum() == pytest.approx(0.998, abs=0.001)
    assert found.quantiles["Value"].to_numpy() == pytest.approx(found.quantiles["Normal"].to_numpy(), abs=0.2)
    x, y = statistics.normal_density(found)
    centres = (found.edges[1:] + found.edges[:-1]) / 2
    assert np.abs(np.interp(centres, x, y) - found.density).max() < 0.02


def test_heavy_tails_are_told_and_few_or_equal_values_say_nothing() -> None:
    found = statistics.distribution(np.random.default_rng(3).standard_t(3, 40_000))
    assert found is not None
    assert found.tails > 3
    assert statistics.distribution(np.ones(100)) is None
    assert statistics.distribution(np.arange(29.0)) is None
    few = statistics.distribution(np.arange(60.0))
    assert few is not None
    assert list(few.quantiles["Share below"]) == [0.25, 0.5, 0.75]


def test_volatility_is_annualised_and_known_where_most_returns_are() -> None:
    moves = np.full(48, 0.001)
    moves[14:22] = np.nan
    times = pd.date_range("2025-01-06", periods=48, freq="5min", tz="UTC")
    found = statistics.volatility(times, moves, timedelta(hours=1), FIVE)
    assert found.iloc[0] == pytest.approx(100 * 0.001 * np.sqrt(288 * 365))
    assert list(found.isna()) == [False, True, False, False]
