"""A long series made short looks the same."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.charts.thinning import candle_step, thin, thin_bars

START = pd.Timestamp("2025-01-01", tz="UTC")
VALUES = st.lists(st.one_of(st.just(float("nan")), st.integers(-5, 5).map(float)), min_size=1, max_size=120)


def spread(values: list[float], seed: int) -> tuple[pd.Series, np.ndarray]:
    """The values at irregular times, some of them the same."""
    minutes = np.sort(np.random.default_rng(seed).integers(0, 2 * len(values), len(values)))
    return pd.Series(START + pd.to_timedelta(minutes, unit="min")).dt.as_unit("ms"), np.array(values)


def runs(values: np.ndarray) -> int:
    """How many stretches a line through the values has."""
    present = ~np.isnan(values)
    return int(present[:1].sum() + (present[1:] & ~present[:-1]).sum())


@given(values=VALUES, seed=st.integers(0, 99), points=st.integers(4, 40))
def test_each_stretch_of_time_keeps_its_ends_and_its_extremes(values: list[float], seed: int, points: int) -> None:
    times, numbers = spread(values, seed)
    kept = thin(times, numbers, points)
    if len(numbers) <= points:
        assert kept.tolist() == list(range(len(numbers)))
        return
    width = (times.iloc[-1] - times.iloc[0]) / (points // 4)
    stretch = np.minimum(((times - times.iloc[0]) / width).fillna(0).to_numpy().astype(int), points // 4 - 1)
    whole, thinned = pd.Series(numbers), pd.Series(numbers[kept])
    for figure in ("first", "last", "min", "max"):  # of each stretch, ignoring what is missing
        expected = getattr(whole.groupby(stretch), figure)()
        pd.testing.assert_series_equal(
            getattr(thinned.groupby(stretch[kept]), figure)().reindex(expected.index), expected
        )


@given(values=VALUES, seed=st.integers(0, 99), points=st.integers(4, 40))
def test_positions_are_in_order_few_and_end_where_the_series_does(values: list[float], seed: int, points: int) -> None:
    times, numbers = spread(values, seed)
    kept = thin(times, numbers, points)
    assert (np.diff(kept) > 0).all()
    assert (kept[0], kept[-1]) == (0, len(numbers) - 1)
    assert (~np.isnan(numbers[kept])).sum() <= points


@given(values=VALUES, seed=st.integers(0, 99), points=st.integers(4, 40))
def test_a_line_is_interrupted_between_two_kept_values_just_where_one_is_missing(
    values: list[float], seed: int, points: int
) -> None:
    times, numbers = spread(values, seed)
    kept = thin(times, numbers, points)
    shown = kept[~np.isnan(numbers[kept])]
    for before, after in pairwise(shown):
        between = kept[(kept > before) & (kept < after)]
        assert len(between) == int(np.isnan(numbers[before:after]).any()) or len(numbers) <= points
    assert runs(numbers[kept]) <= runs(numbers)


def test_a_spike_of_one_value_among_many_is_kept() -> None:
    values = np.zeros(800_000)
    values[123_456], values[654_321] = 9.0, -9.0
    kept = thin(pd.date_range(START, periods=len(values), freq="5min"), values, 2_000)
    assert {123_456, 654_321} <= set(kept)
    assert len(kept) <= 2_000


def test_nothing_is_kept_of_nothing() -> None:
    assert thin(pd.DatetimeIndex([], tz="UTC"), np.array([]), 100).tolist() == []


def bars(count: int, freq: str = "5min") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    close = 100 + rng.normal(0, 1, count).cumsum()
    times = pd.Series(pd.date_range(START + pd.Timedelta("35min"), periods=count, freq=freq)).dt.as_unit("ms")
    low, high = close - rng.random(count), close + rng.random(count)
    return pd.DataFrame(
        {"asset": "bitcoin", "timestamp": times, "open": close, "high": high, "low": low, "close": close, "volume": 1.0}
    )


@given(count=st.integers(1, 400), most=st.integers(3, 120))
def test_candles_span_the_same_prices_time_and_volume_as_the_bars(count: int, most: int) -> None:
    whole = bars(count)
    candles, step = thin_bars(whole, most), candle_step(whole, most)
    assert candles.dtypes.equals(whole[list(candles)].dtypes)
    assert len(candles) <= most
    assert (candles["open"].iloc[0], candles["close"].iloc[-1]) == (whole["open"].iloc[0], whole["close"].iloc[-1])
    assert (candles["low"].min(), candles["high"].max()) == (whole["low"].min(), whole["high"].max())
    assert candles["volume"].sum() == whole["volume"].sum()
    if step is None:
        assert candles["timestamp"].tolist() == whole["timestamp"].tolist()
        return
    own = whole.groupby(candles["timestamp"].searchsorted(whole["timestamp"], side="right") - 1)
    for name, figure in {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}.items():
        assert candles[name].tolist() == getattr(own[name], figure)().tolist()
    assert (own["timestamp"].last() - candles["timestamp"] < step).all()


@pytest.mark.parametrize(("count", "most", "step"), [(288, 300, None), (289, 288, "15min"), (2_000, 200, "1h")])
def test_candles_last_as_long_as_people_expect(count: int, most: int, step: str | None) -> None:
    assert candle_step(bars(count), most) == (None if step is None else pd.Timedelta(step))


def test_candles_begin_on_the_hour_at_midnight_and_on_mondays() -> None:
    hourly, daily = thin_bars(bars(1_000), 100)["timestamp"], thin_bars(bars(10_000), 40)["timestamp"]
    assert (hourly == hourly.dt.floor("1h")).all()
    assert (daily == daily.dt.floor("1D")).all()
    weekly = thin_bars(bars(10_000, "1h"), 100)
    assert weekly["timestamp"].dt.day_name().unique().tolist() == ["Monday"]


def test_where_no_volume_is_known_a_candle_has_none() -> None:
    whole = bars(40).assign(volume=np.nan)
    whole.loc[39, "volume"] = 2.0
    volumes = thin_bars(whole, 10)["volume"]
    assert volumes.iloc[:-1].isna().all()
    assert volumes.iloc[-1] == 2.0


def test_a_gap_in_the_bars_is_one_in_the_candles() -> None:
    whole = bars(2_000)
    torn = whole[~whole["timestamp"].between("2025-01-03", "2025-01-04", inclusive="left")]
    assert not thin_bars(torn, 200)["timestamp"].between("2025-01-03", "2025-01-04", inclusive="left").any()
