"""What baselines know of the past: equal to slow loops, at no cost but its own for a gap, and blind to the future."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.forecasting.baselines import EWMA_HALF_LIVES, HAR_WINDOWS
from cryptosentinel.forecasting.history import compute_history, compute_realised
from cryptosentinel.market.bars import PRICES
from tests.builders import FIVE, make_random_bars

HORIZON = 6
FLOOR = 1e-6


def with_gap(bars: pd.DataFrame, *lost: int) -> pd.DataFrame:
    return bars.drop(index=list(lost)).reset_index(drop=True)


def slow_returns(bars: pd.DataFrame) -> list[float | None]:
    """The log return of each bar; None where the bar before is missing."""
    times, closes = bars["timestamp"], bars["close"]
    return [
        math.log(closes[row] / closes[row - 1]) if row and times[row] - times[row - 1] == FIVE.delta else None
        for row in range(len(bars))
    ]


def slow_history(bars: pd.DataFrame) -> dict[str, list[float]]:
    """The columns, each value by a loop over all that went before it."""
    returns = slow_returns(bars)
    columns: dict[str, list[float]] = {"last_return": []}
    for row in range(len(bars)):
        last = returns[row - HORIZON + 1 : row + 1] if row >= HORIZON else [None]
        columns["last_return"].append(0.0 if None in last else sum(last))  # type: ignore[arg-type]
        for bars_back in HAR_WINDOWS:
            known = [r**2 for r in returns[max(row - bars_back + 1, 0) : row + 1] if r is not None]
            value = math.sqrt(sum(known) / len(known)) if known else 0.0
            columns.setdefault(f"rv_{bars_back}", []).append(max(value, FLOOR))
        for half_life in EWMA_HALF_LIVES:
            known = [r**2 for r in returns[: row + 1] if r is not None]
            weights = [0.5 ** (age / half_life) for age in range(len(known))][::-1]
            value = math.sqrt(sum(w * k for w, k in zip(weights, known, strict=True)) / sum(weights)) if known else 0.0
            columns.setdefault(f"ewma_{half_life}", []).append(max(value, FLOOR))
    return columns


def slow_realised(bars: pd.DataFrame) -> list[float]:
    returns = slow_returns(bars)
    values = []
    for row in range(len(bars)):
        ahead = returns[row + 1 : row + 1 + HORIZON]
        values.append(math.nan if len(ahead) < HORIZON or None in ahead else math.sqrt(sum(r**2 for r in ahead)))  # type: ignore[operator]
    return values


MARKETS = {
    "whole": make_random_bars(330),
    "gaps": with_gap(make_random_bars(330, seed=1), 3, 100, 101, 102, 110, 320),
    "one bar": make_random_bars(1),
    "no more than the horizon": make_random_bars(HORIZON),
    "nothing": make_random_bars(1).iloc[:0],
}


@pytest.mark.parametrize("bars", MARKETS.values(), ids=MARKETS.keys())
def test_history_equals_slow_loops(bars: pd.DataFrame) -> None:
    fast, slow = compute_history(bars, FIVE, HORIZON), slow_history(bars)
    assert len(bars) == 0 or fast.keys() == slow.keys()
    for name, values in slow.items():
        np.testing.assert_allclose(fast[name], values, rtol=1e-9, atol=1e-15, err_msg=name)
    np.testing.assert_allclose(compute_realised(bars, FIVE, HORIZON), slow_realised(bars), rtol=1e-9)


def test_a_market_that_does_not_move_has_a_volatility_that_a_logarithm_can_be_taken_of() -> None:
    bars = make_random_bars(400)
    bars.loc[50:, list(PRICES)] = 600.0
    history = compute_history(bars, FIVE, HORIZON)
    assert history["rv_6"][-1] == FLOOR
    assert all((values >= FLOOR).all() for name, values in history.items() if name != "last_return")
    assert compute_realised(bars, FIVE, HORIZON)[100] == 0


def test_one_wild_bar_does_not_colour_the_calm_long_after_it() -> None:
    bars = make_random_bars(700)
    bars[list(PRICES)] = 600.0 * (bars[list(PRICES)] / 600.0) ** 1e-3
    wild = bars.copy()
    wild.loc[300, list(PRICES)] *= 100.0
    calm, after = (compute_history(frame, FIVE, HORIZON)["rv_6"][400:] for frame in (bars, wild))
    np.testing.assert_allclose(after, calm, rtol=1e-3)


def test_a_gap_costs_its_own_bars_and_nothing_else() -> None:
    whole = make_random_bars(900)
    gap = with_gap(whole, 500)
    before, after = compute_history(whole, FIVE, HORIZON), compute_history(gap, FIVE, HORIZON)
    for name in before:
        np.testing.assert_array_equal(after[name][:500], before[name][:500], err_msg=name)
    assert (after["last_return"][500 : 500 + HORIZON] == 0).all(), "a return over a gap is not known"
    assert (after["last_return"][500 + HORIZON :] == before["last_return"][501 + HORIZON :]).all()
    np.testing.assert_allclose(after["rv_6"][500 + HORIZON :], before["rv_6"][501 + HORIZON :], rtol=1e-9)
    realised = compute_realised(gap, FIVE, HORIZON)
    assert np.flatnonzero(np.isnan(realised)).tolist() == [*range(500 - HORIZON, 500), *range(899 - HORIZON, 899)]


@settings(derandomize=True, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), row=st.integers(1, 398), lost=st.sets(st.integers(1, 398), max_size=4))
def test_later_bars_change_nothing_before_them_but_the_volatility_that_came_true(
    seed: int, row: int, lost: set[int]
) -> None:
    bars = with_gap(make_random_bars(400, seed=seed), *lost)
    row = min(row, len(bars) - 1)
    other = bars.copy()
    noise = np.random.default_rng(seed).uniform(0.5, 2.0, len(bars) - row)
    other.loc[row:, list(PRICES)] = other.loc[row:, list(PRICES)].mul(noise, axis=0)
    left, right = compute_history(bars, FIVE, HORIZON), compute_history(other, FIVE, HORIZON)
    for name, values in left.items():
        np.testing.assert_array_equal(values[:row], right[name][:row], err_msg=name)
    before, after = compute_realised(bars, FIVE, HORIZON), compute_realised(other, FIVE, HORIZON)
    np.testing.assert_array_equal(before[: max(row - HORIZON, 0)], after[: max(row - HORIZON, 0)])
    reaching = slice(max(row - HORIZON, 0), row)
    known = np.isfinite(before[reaching])
    assert (before[reaching][known] != after[reaching][known]).all(), "its horizon reaches into what changed"


@settings(derandomize=True, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(1e-3, 1e6))
def test_the_price_level_does_not_matter(seed: int, factor: float) -> None:
    bars = make_random_bars(300, seed=seed)
    other = bars.copy()
    other[list(PRICES)] *= factor
    left, right = compute_history(bars, FIVE, HORIZON), compute_history(other, FIVE, HORIZON)
    for name, values in left.items():
        np.testing.assert_allclose(values, right[name], rtol=1e-8, atol=1e-12, err_msg=name)
