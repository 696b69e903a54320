"""Forecasts in words, in a table, and in figures."""

from __future__ import annotations

from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from cryptosentinel.bundle.bundle import UNKNOWN_REGIME
from cryptosentinel.forecasting.regimes import REGIMES
from cryptosentinel.predicting import REGIME_WORDS, describe_forecast, evidence, forecast_table, made_by, record
from tests.predicting.builders import forecast, settled


def log(*rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(rows, ignore_index=True)


def lines(table_of: pd.DataFrame, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(forecast_table(table_of))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


class TestRecord:
    def test_outcomes_are_counted_and_coverage_is_of_those_with_a_price(self) -> None:
        figures = record(
            log(
                settled(forecast(0), "correct", 104.0),
                settled(forecast(1), "correct", 105.0),  # on the bound of the 80% interval
                settled(forecast(2), "incorrect", 94.0),
                settled(forecast(3), "incorrect", 111.0),
                settled(forecast(4), "flat", 100.0),
                settled(forecast(5), "missed"),
                forecast(6),
                forecast(7),
            )
        )
        assert figures == {
            "made": 8,
            "settled": 6,
            "correct": 2,
            "incorrect": 2,
            "flat": 1,
            "missed": 1,
            "independent": 1,
            "covered_80": 3 / 5,
            "covered_95": 4 / 5,
        }

    @pytest.mark.parametrize(("count", "independent"), [(0, 0), (1, 1), (6, 1), (7, 2), (43, 8)])
    def test_outcomes_that_overlap_count_once(self, count: int, independent: int) -> None:
        rows = [settled(forecast(number), "flat", 100.0) for number in reversed(range(count))]
        assert record(log(*rows, forecast(100)))["independent"] == independent

    @pytest.mark.parametrize(
        ("independent", "said"),
        [
            (1, "1 outcome that does not overlap: too few to judge"),
            (29, "29 outcomes that do not overlap: too few to judge"),
            (30, "30 outcomes that do not overlap"),
        ],
    )
    def test_what_coverage_rests_on_is_said(self, independent: int, said: str) -> None:
        assert evidence(independent) == said

    @pytest.mark.parametrize("rows", [[forecast(0)], [settled(forecast(0), "missed")], [forecast(0).iloc[:0]]])
    def test_without_a_settled_price_coverage_is_not_known(self, rows: list[pd.DataFrame]) -> None:
        figures = record(log(*rows))
        assert (figures["covered_80"], figures["covered_95"]) == (None, None)


class TestTable:
    def test_a_row_says_what_was_forecast_and_what_came(self) -> None:
        rows = lines(
            log(
                settled(
                    forecast(0, price=7_194.04, predicted=7_310.0, interval_80=(6_993.1, 7_395)), "correct", 7_341.3
                ),
                settled(forecast(1, direction="flat"), "missed"),
                forecast(2, price=0.123456789, predicted=0.1234, direction="down", interval_80=(0.12, 0.13)),
            )
        )
        assert [" ".join(line.split()) for line in rows] == [
            "price P of",
            "for (UTC) then forecast 80% interval rise actual outcome",
            "01-06 00:30 7,194.04 7,310.00 6,993.1..7,395.0 60.0% 7,341.30 correct",
            "01-06 00:35 100.00 101.00 95.0..105.0 60.0% missed",
            "01-06 00:40 0.123457 0.123400 0.12000..0.13000 60.0% pending",
        ]

    @pytest.mark.parametrize(
        ("price", "width"),
        [(0.00001234, 80), (0.5, 80), (9.99, 80), (600.0, 80), (99_999.95, 80), (899_999.0, 80), (150_000_000.0, 100)],
    )
    def test_it_fits_a_terminal_of_80_columns_unless_prices_are_in_millions(self, price: float, width: int) -> None:
        bounds = (price * 0.9, price * 1.1)
        row = settled(forecast(0, price=price, predicted=price, interval_80=bounds), "incorrect", price)
        above, header, line = lines(log(row), width)
        assert "…" not in above + header + line
        assert line.endswith("incorrect")


class TestWords:
    def test_a_forecast_is_described_with_its_intervals_and_where_it_comes_from(self) -> None:
        said = describe_forecast(forecast(0).iloc[0], "usd")
        assert said.splitlines() == [
            "**bitcoin at 2025-01-06 00:30 UTC**, 30 minutes after a close of 100.00 USD:",
            "",
            "- forecast **101.00 USD**: +1.000%",
            "- probability of a rise 60.0%: up, 60.0% sure",
            "- 80% of outcomes between 95.00 and 105.00; 95% between 90.00 and 110.00",
            "- market regime: uptrend (rising)",
            "- price (ridge), range and direction: trained bundle 3; by other models: random_walk 100.00",
        ]

    def test_a_direction_may_be_called_though_the_price_is_forecast_to_stay(self) -> None:
        row = forecast(0, predicted=100.0, direction="down").assign(p_up=0.47, confidence=0.53).iloc[0]
        said = describe_forecast(row, "usd").splitlines()
        assert said[2:4] == [
            "- forecast **100.00 USD**: the price stays where it is",
            "- probability of a rise 47.0%: down, 53.0% sure",
        ]

    def test_where_no_direction_is_called_none_is_claimed(self) -> None:
        row = forecast(0, predicted=100.0, direction="flat").assign(p_up=0.5, confidence=0.5).iloc[0]
        assert "probability of a rise 50.0%: no direction is called" in describe_forecast(row, "usd")
        assert "sure" not in describe_forecast(row, "usd")

    @pytest.mark.parametrize(("p_up", "coin"), [(0.494, False), (0.4951, True), (0.5049, True), (0.506, False)])
    def test_a_direction_within_half_a_point_of_even_odds_is_called_a_coin(self, p_up: float, coin: bool) -> None:
        said = describe_forecast(forecast(0).assign(p_up=p_up).iloc[0], "usd")
        assert (f"probability of a rise {p_up:.1%}: up, but no better than a coin" in said) == coin
        assert ("sure" in said) != coin

    @pytest.mark.parametrize(
        ("champion", "regime", "said"),
        [
            ("blend", "uptrend", "price (blend), range and direction: trained bundle 3"),
            ("random_walk", "uptrend", "price: stays; range and direction: trained bundle 3"),
            ("random_walk", "unknown", "the random walk alone, bundle 3"),
        ],
    )
    def test_what_was_learnt_is_told_from_what_was_not(self, champion: str, regime: str, said: str) -> None:
        assert made_by(forecast(0).assign(champion=champion, regime=regime).iloc[0]) == said

    def test_every_regime_is_explained(self) -> None:
        assert set(REGIME_WORDS) == {*REGIMES, UNKNOWN_REGIME}

    @pytest.mark.parametrize(("outlying", "warned"), [(True, True), (False, False), (None, False), (pd.NA, False)])
    def test_features_unlike_any_trained_on_are_warned_of(self, outlying: object, warned: bool) -> None:
        said = describe_forecast(forecast(0).assign(outlying=outlying).iloc[0], "usd")
        assert ("unlike anything it was trained on; intervals widened" in said) == warned

    def test_a_small_price_keeps_the_digits_that_matter(self) -> None:
        row = forecast(0, price=0.0834, predicted=0.0835, interval_80=(0.083, 0.084)).iloc[0]
        assert "close of 0.083400 USD" in describe_forecast(row, "usd")
        assert "between 0.083000 and 0.084000" in describe_forecast(row, "usd")
