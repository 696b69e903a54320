"""Points anywhere in time become bars on the grid, without looking ahead."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosentinel.market._ticks import MAX_AGE_INTERVALS, bars_from_ticks
from cryptosentinel.market.bars import Interval

FIVE = Interval("5m")
STEP = 300_000
T0 = 1_700_000_100_000 // STEP * STEP


def series(values: dict[int, float]) -> pd.Series:
    return pd.Series(values, dtype="float64").sort_index()


def at(minutes: float) -> int:
    return T0 + round(minutes * 60_000)


def sample(
    prices: dict[int, float], *, now: int | None = None, volumes: dict[int, float] | None = None
) -> pd.DataFrame:
    later = max(prices, default=T0) + 10 * STEP
    return bars_from_ticks(series(prices), series(volumes or {}), FIVE, later if now is None else now)


def obvious(prices: dict[int, float], now: int) -> dict[int, tuple[float, float, float, float, bool]]:
    """The same, read off the definition bar by bar."""
    bars: dict[int, tuple[float, float, float, float, bool]] = {}
    opens = range(min(prices) // STEP * STEP - STEP, max(prices) + STEP, STEP)
    first_seen = False
    for t in opens:
        end = t + STEP
        inside = [prices[s] for s in sorted(prices) if t < s <= end]
        before = [s for s in prices if s <= end]
        if end > now or t >= max(prices) or not before or end - max(before) > MAX_AGE_INTERVALS * STEP:
            continue
        if not first_seen:
            first_seen = True  # its open is unknown
            continue
        close = prices[max(before)]
        at_open = [s for s in prices if s <= t and t - s <= MAX_AGE_INTERVALS * STEP]
        open_ = prices[max(at_open)] if at_open else inside[0]
        bars[t] = (open_, max([open_, close, *inside]), min([open_, close, *inside]), close, not inside)
    return bars


points = st.lists(st.tuples(st.integers(1, 700_000), st.floats(0.5, 2.0)), min_size=1, max_size=40).map(
    lambda steps: dict(zip((T0 + np.cumsum([gap for gap, _ in steps])).tolist(), [p for _, p in steps], strict=True))
)
grid_points = st.lists(st.tuples(st.integers(1, 9), st.floats(0.5, 2.0)), min_size=1, max_size=40).map(
    lambda steps: dict(
        zip((T0 + STEP // 2 * np.cumsum([gap for gap, _ in steps])).tolist(), [p for _, p in steps], strict=True)
    )
)


@given(prices=points | grid_points, patience=st.integers(0, 12 * STEP))
def test_bars_are_what_the_definition_says(prices: dict[int, float], patience: int) -> None:
    now = max(prices) + patience - 2 * STEP
    bars = sample(prices, now=now)
    columns = ["open", "high", "low", "close", "carried"]
    got = {int(t): tuple(row) for t, row in zip(bars.index, bars[columns].to_numpy().tolist(), strict=True)}
    assert got == obvious(prices, now)


@given(prices=points | grid_points, cut=st.integers(0, 40), factor=st.floats(1.5, 9.0))
def test_no_bar_changes_with_what_happens_after_its_end(prices: dict[int, float], cut: int, factor: float) -> None:
    border = sorted(prices)[min(cut, len(prices) - 1)]
    other = {s: p if s <= border else p * factor for s, p in prices.items()}
    ends_before = slice(None, border - STEP)
    pd.testing.assert_frame_equal(sample(prices).loc[ends_before], sample(other).loc[ends_before])


@given(prices=points | grid_points, skip=st.integers(0, 40))
def test_a_shorter_answer_gives_the_same_bars_where_it_gives_any(prices: dict[int, float], skip: int) -> None:
    """So a window that slides never rewrites a stored bar with half of one."""
    kept = sorted(prices)[min(skip, len(prices) - 1) :]
    now = max(prices) + STEP
    full, part = sample(prices, now=now), sample({s: prices[s] for s in kept}, now=now)
    common = part.index.intersection(full.index)
    # The first bar after a gap may stand for the unknown first one: it is absent from the shorter answer.
    assert set(part.index) <= set(full.index)
    pd.testing.assert_frame_equal(part.loc[common], full.loc[common], check_dtype=False)


def test_the_close_is_the_newest_price_at_or_before_the_bar_s_end() -> None:
    bars = sample({at(-1): 1.0, at(1): 2.0, at(5): 3.0, at(5.1): 9.0})
    assert bars.loc[T0, ["open", "high", "low", "close"]].tolist() == [1.0, 3.0, 1.0, 3.0]


def test_a_price_is_carried_for_two_intervals_and_no_longer() -> None:
    bars = sample({at(-1): 1.0, at(1): 2.0, at(31): 5.0, at(36): 6.0})
    # The price of minute 1 is 4 minutes old at minute 5 and 9 at minute 10; at minute 15 it is too old.
    assert ((bars.index - T0) // 60_000).tolist() == [0, 5, 30, 35]
    assert bars["carried"].tolist() == [False, True, False, False]
    assert bars["open"].tolist() == [1.0, 2.0, 5.0, 5.0]


def test_a_bar_that_no_later_price_vouches_for_is_absent() -> None:
    assert sample({at(-1): 1.0, at(1): 2.0}, now=at(60)).index.tolist() == [T0]


def test_an_unfinished_bar_is_absent() -> None:
    prices = {at(-1): 1.0, at(1): 2.0, at(4): 3.0}
    assert sample(prices, now=at(5) - 1).empty
    assert len(sample(prices, now=at(5))) == 1


def test_volume_is_the_day_s_spread_over_its_bars_in_units_of_the_asset() -> None:
    bars = sample({at(-1): 50.0, at(1): 40.0}, volumes={at(2): 288 * 40.0 * 7})
    assert bars["volume"].tolist() == [pytest.approx(7.0)]


def test_volume_is_missing_where_none_is_fresh() -> None:
    assert sample({at(-1): 50.0, at(1): 40.0}, volumes={at(-30): 1e9})["volume"].isna().all()
    assert sample({at(-1): 50.0, at(1): 40.0}, volumes={at(6): 1e9})["volume"].isna().all()


def test_no_prices_are_no_bars() -> None:
    assert sample({}).empty
