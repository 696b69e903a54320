"""Cleaning drops and corrects by named rules, never fills in, and does not depend on order or on what comes later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.market.bars import PRICES, Interval, empty_bars
from cryptosentinel.market.cleaning import MAX_MOVE, RULES, CleaningReport, Gap, clean, combined, find_gaps
from cryptosentinel.market.file import FileSource
from tests.builders import FIVE, T0
from tests.market.dirty import BARS, HELD_HOUR, changed, cleaned, dropped, flat


def test_clean_bars_stay_as_they_are() -> None:
    bars, report = cleaned(BARS)
    pd.testing.assert_frame_equal(bars, BARS)
    assert report == CleaningReport(300, 300)
    assert report.summary() == "Kept 300 of 300 bars (nothing to clean); 0 gaps (0 bars missing)."


def test_no_bars_are_clean() -> None:
    bars, report = cleaned(empty_bars())
    pd.testing.assert_frame_equal(bars, empty_bars())
    assert report == CleaningReport(0, 0)


def test_the_bars_given_are_not_changed() -> None:
    given_bars = changed(5, volume=-1.0, high=1.0, low=1.0)
    before = given_bars.copy()
    cleaned(given_bars.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(given_bars, before)


@pytest.mark.parametrize("ago", [timedelta(0), timedelta(seconds=1), timedelta(minutes=4, seconds=59)])
def test_an_unfinished_bar_is_dropped(ago: timedelta) -> None:
    bars, report = cleaned(BARS, now=BARS["timestamp"].iloc[-1].to_pydatetime() + ago)
    assert len(bars) == 299
    assert report.counts == {"unfinished": 1}


def test_a_bar_off_the_grid_is_dropped_and_not_moved() -> None:
    bars = BARS.copy()
    bars.loc[7, "timestamp"] += pd.Timedelta(seconds=2)
    assert dropped(bars) == [7]
    assert cleaned(bars)[1].counts == {"off_grid": 1}


@pytest.mark.parametrize("column", PRICES)
@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_an_impossible_price_is_dropped(column: str, wrong: float) -> None:
    bars = changed(7, **{column: wrong})
    assert dropped(bars) == [7]
    assert cleaned(bars)[1].counts == {"impossible": 1}


def test_high_below_low_is_dropped() -> None:
    bars = changed(7, high=BARS["low"][7], low=BARS["high"][7])
    assert dropped(bars) == [7]


def test_a_range_that_does_not_hold_open_and_close_is_widened() -> None:
    middle = BARS.loc[7, ["open", "close"]].mean()
    bars, report = cleaned(changed(7, high=middle, low=middle))
    assert report.counts == {"range_widened": 1}
    assert bars.loc[7, "high"] == BARS.loc[7, ["open", "close"]].max()
    assert bars.loc[7, "low"] == BARS.loc[7, ["open", "close"]].min()


@pytest.mark.parametrize("volume", [-1.0, np.inf])
def test_impossible_volume_becomes_unknown(volume: float) -> None:
    bars, report = cleaned(changed(7, volume=volume))
    assert np.isnan(bars.loc[7, "volume"])
    assert report.counts == {"volume_unknown": 1}


@pytest.mark.parametrize("volume", [0.0, np.nan])
def test_zero_and_unknown_volume_are_kept(volume: float) -> None:
    given_bars = changed(7, volume=volume)
    bars, report = cleaned(given_bars)
    pd.testing.assert_frame_equal(bars, given_bars)
    assert report.counts == {}


def test_bars_are_put_in_order() -> None:
    bars, report = cleaned(pd.concat([BARS[150:], BARS[:150]]))
    pd.testing.assert_frame_equal(bars, BARS)
    assert report.counts == {"reordered": 150}


def test_copies_collapse() -> None:
    bars, report = cleaned(pd.concat([BARS, BARS[10:20], BARS[10:12]]).sort_values("timestamp"))
    pd.testing.assert_frame_equal(bars, BARS)
    assert report.counts == {"copies": 12}


def test_of_two_readings_of_a_bar_the_one_with_more_trade_wins() -> None:
    forming = BARS[7:8].assign(close=BARS["open"][7], volume=BARS["volume"][7] / 2)
    unknown = BARS[9:10].assign(close=BARS["open"][9], volume=np.nan)
    behind = pd.concat([BARS, forming, unknown]).sort_values("timestamp", kind="stable")
    before = pd.concat([unknown, forming, BARS]).sort_values("timestamp", kind="stable")
    for given_bars in (behind, before, before[::-1]):
        bars, report = cleaned(given_bars)
        pd.testing.assert_frame_equal(bars, BARS)
        assert report.counts["conflicts"] == 2


def test_of_two_readings_with_the_same_trade_it_is_always_the_same_that_wins() -> None:
    other = BARS[7:8].assign(close=BARS["open"][7])
    first, second = (cleaned(pd.concat(order))[0] for order in ([BARS, other], [other, BARS]))
    pd.testing.assert_frame_equal(first, second)


def test_a_wrong_reading_of_a_bar_does_not_win_by_its_volume() -> None:
    wrong = BARS[7:8].assign(**dict.fromkeys(PRICES, 0.01), volume=1e9)
    bars, report = cleaned(pd.concat([wrong, BARS]))
    pd.testing.assert_frame_equal(bars, BARS)
    assert report.counts["outliers"] == 1


# Outliers


@pytest.mark.parametrize(
    ("row", "price"), [(row, price) for row in (1, 7, 298, 299) for price in (0.01, 6.0, 390.0, 950.0, 6e6)]
    + [(0, price) for price in (0.01, 6.0, 6e6)]
)  # fmt: skip
def test_a_price_far_off_is_dropped_wherever_it_is(row: int, price: float) -> None:
    bars = flat(row, price)
    assert dropped(bars) == [row]
    assert cleaned(bars)[1].counts == {"outliers": 1}


@pytest.mark.parametrize("column", ["high", "low"])
def test_a_wick_far_off_is_dropped(column: str) -> None:
    assert dropped(changed(7, **{column: {"high": 6e6, "low": 0.01}[column]})) == [7]


def test_an_hour_of_wrong_prices_is_dropped() -> None:
    assert dropped(flat(50, 0.01, count=12)) == list(range(50, 62))


@pytest.mark.parametrize("factor", [0.7, 0.85, 1.2, 1.45])
def test_a_crash_that_stays_is_kept(factor: float) -> None:
    bars = BARS.copy()
    bars.loc[100:, list(PRICES)] *= factor
    assert dropped(bars) == []


def test_a_price_that_doubled_is_believed_after_three_bars() -> None:
    bars = BARS.copy()
    bars.loc[100:, list(PRICES)] *= 2
    assert dropped(bars) == [100, 101]


def test_a_price_is_believed_after_a_long_gap() -> None:
    bars = BARS.copy()
    bars.loc[100:, list(PRICES)] *= 5
    bars = bars.drop(index=range(80, 100)).reset_index(drop=True)
    assert dropped(bars) == []


def test_wrong_prices_at_the_beginning_are_outvoted_by_what_follows() -> None:
    bars = flat(0, 0.01, count=3)
    assert dropped(bars) == [0, 1, 2]


def test_of_two_bars_that_disagree_the_first_is_believed() -> None:
    assert dropped(flat(1, 0.01)[:2]) == [1]


def slow_outliers(bars: pd.DataFrame) -> list[int]:
    """The rule read off its definition, for ordered bars whose first is right."""
    kept, gone = 0, []
    for row in range(1, len(bars)):
        age = (bars["timestamp"][row] - bars["timestamp"][kept]) / FIVE.delta
        move = max(abs(np.log(bars[name][row] / bars["close"][kept])) for name in PRICES)
        if move > np.log(MAX_MOVE) * max(age, 1) ** 0.5:
            gone.append(row)
        else:
            kept = row
    return gone


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(12, 59), st.sampled_from([0.3, 0.6, 0.7, 1.4, 1.6, 3.0, 100.0])), max_size=30))
def test_the_fast_outlier_rule_is_the_slow_one(wild: list[tuple[int, float]]) -> None:
    bars = BARS[:60].drop(index=[30, 31, 45]).reset_index(drop=True)
    for row, factor in wild:
        bars.loc[row % len(bars) if row % len(bars) >= 12 else 12, list(PRICES)] *= factor
    assert dropped(bars) == slow_outliers(bars)


# Halts and gaps


def halted(row: int, count: int) -> pd.DataFrame:
    bars = flat(row, BARS["close"][row], count)
    bars.loc[row : row + count - 1, "volume"] = 0.0
    return bars


def test_a_market_that_stands_still_for_an_hour_is_quiet() -> None:
    assert dropped(halted(50, HELD_HOUR)) == []


def test_a_market_that_stands_still_for_longer_is_shut() -> None:
    bars, report = cleaned(halted(50, 30))
    assert report.counts == {"halted": 18}
    assert report.gaps == (Gap(T0 + 61 * FIVE.delta, T0 + 80 * FIVE.delta, 18),)
    assert len(bars) == 282


def test_still_prices_with_trade_or_with_unknown_volume_are_no_halt() -> None:
    assert dropped(flat(50, 600.0, 30)) == []
    assert dropped(halted(50, 30).assign(volume=np.nan)) == []


def test_gaps_are_listed_and_not_filled() -> None:
    bars, report = cleaned(BARS.drop(index=[5, 6, 7, 100]))
    assert len(bars) == 296
    assert report.gaps == (
        Gap(T0 + 4 * FIVE.delta, T0 + 8 * FIVE.delta, 3),
        Gap(T0 + 99 * FIVE.delta, T0 + 101 * FIVE.delta, 1),
    )
    assert report.missing_bars == 4
    assert report.summary().endswith("2 gaps (4 bars missing).")


# The report


def test_the_report_tells_what_was_done_with_examples() -> None:
    bars = flat(7, 0.01)
    bars.loc[[20, 21, 22, 23, 24], "close"] = np.nan
    report = cleaned(bars)[1]
    assert report.summary() == ("Kept 294 of 300 bars (impossible 5, outliers 1); 2 gaps (6 bars missing).")
    content = report.to_dict()
    assert content["counts"] == {"impossible": 5, "outliers": 1}
    assert len(content["examples"]["impossible"]) == 3
    assert content["examples"]["outliers"][0].startswith("2025-01-06T00:35:00+00:00: open 0.01, high 0.01")
    assert content["gaps"][0] == {
        "after": "2025-01-06T00:30:00+00:00",
        "before": "2025-01-06T00:40:00+00:00",
        "missing": 1,
    }
    assert (content["gap_count"], content["missing_bars"], content["bars_out"]) == (2, 6, 294)


def test_reports_of_pieces_add_up() -> None:
    parts = [cleaned(flat(7, 0.01))[1], cleaned(changed(9, close=np.nan))[1], cleaned(flat(8, 0.01))[1]]
    total = combined(parts, gaps=parts[0].gaps)
    assert (total.bars_in, total.bars_out) == (900, 897)
    assert total.counts == {"outliers": 2, "impossible": 1}
    assert total.examples["outliers"] == parts[0].examples["outliers"]
    assert total.gaps == parts[0].gaps


def test_every_rule_says_what_it_does() -> None:
    assert all(rule.__doc__ for rule in RULES.values())


def test_gaps_of_nothing_are_none() -> None:
    assert find_gaps(empty_bars()["timestamp"], FIVE) == ()


@pytest.mark.market_data
@pytest.mark.parametrize(
    ("name", "interval", "shut"),
    [
        ("binance_btcusdt_5m_2017_2025h1", "5m", 9),  # 2019-06-07, 2021-02-11, 2023-03-24
        ("binance_btcusdt_1m_regimes", "1m", 0),  # the crashes of 2018-02, 2020-03, 2021-05, 2022-11, 2024-08
        ("binance_btcusdt_1m_regimes", "15m", 0),
        ("binance_btcusdt_5m_2017_2025h1", "1h", 0),
    ],
)
def test_no_bar_of_a_recorded_market_is_dropped_but_of_a_shut_one(
    market_data: Path, name: str, interval: str, shut: int
) -> None:
    source = FileSource(market_data / f"{name}.parquet", "bitcoin", Interval(interval))
    bars = source.bars(datetime(2000, 1, 1, tzinfo=UTC), source.now())
    report = clean(bars, source.interval, source.now()).report
    assert report.counts == ({"halted": shut} if shut else {})
    assert report.bars_out == len(bars) - shut
