"""What acting on the directions would have earned."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosentinel.backtest.models import Account
from cryptosentinel.backtest.rows import Rows
from cryptosentinel.backtest.strategy import COSTS_BP, _certain, _slots, strategy
from tests.backtest.builders import START, make_forecasts


def rows_of(prices: list[float], p_up: list[float], horizon_bars: int = 1) -> Rows:
    """Forecasts a bar apart; `prices` reaches `horizon_bars` further than `p_up`."""
    now, later = np.array(prices[:-horizon_bars]), np.array(prices[horizon_bars:])
    frame = pd.DataFrame(
        {
            "made_at": pd.date_range(START, periods=len(p_up), freq="5min"),
            "price": now,
            "actual_price": later,
            "actual_return": np.log(later / now),
            "p_up": p_up,
        }
    )
    return Rows(frame, "5m", horizon_bars)


def account(rows: Rows, name: str, cost_bp: float) -> Account:
    return next(one for one in strategy(rows).accounts if (one.name, one.cost_bp) == (name, cost_bp))


def test_a_turn_costs_a_round_trip_and_the_first_and_last_side_half_of_one() -> None:
    still = rows_of([100.0] * 4, [0.6, 0.4, 0.6])
    assert account(still, "every", 10.0).growth == pytest.approx(0.9995 * 0.999 * 0.999 * 0.9995)
    assert account(still, "every", 0.0).growth == 1.0


def test_staying_on_one_side_costs_one_round_trip_however_long() -> None:
    still = rows_of([100.0] * 51, [0.6] * 50)
    assert account(still, "every", 10.0).growth == pytest.approx(0.9995**2)


def test_going_out_costs_half_a_round_trip() -> None:
    still = rows_of([100.0] * 4, [0.6, 0.5, 0.6])
    out_between = account(still, "every", 10.0)
    assert out_between.growth == pytest.approx(0.9995**4)
    assert out_between.invested == pytest.approx(2 / 3)


def test_long_earns_a_rise_and_short_earns_a_fall() -> None:
    rows = rows_of([100.0, 110.0, 99.0], [0.7, 0.3])
    assert account(rows, "every", 0.0).growth == pytest.approx(1.1 * 1.1)
    assert account(rows, "hold", 0.0).growth == pytest.approx(0.99)


def slow_growth(rows: Rows, cost_bp: float) -> float:
    """The rule, one part of the account and one decision after the other."""
    moves, sides = np.expm1(rows.actual), np.sign(rows.p_up - 0.5)
    parts = []
    for offset in range(rows.horizon_bars):
        value, held = 1.0, 0.0
        for bar in range(offset, len(moves), rows.horizon_bars):
            value *= 1 - 0.5e-4 * cost_bp * abs(sides[bar] - held)
            held = sides[bar]
            value *= 1 + held * moves[bar]
        parts.append(value * (1 - 0.5e-4 * cost_bp * abs(held)))
    return float(np.mean(parts))


@pytest.mark.parametrize("cost_bp", COSTS_BP)
def test_accounts_are_those_of_the_slow_rule(cost_bp: float) -> None:
    forecasts = make_forecasts(12, pending=0).dropna(subset="actual_return")
    whole = forecasts[: len(forecasts) // 6 * 6]
    rows = Rows(whole, "5m", 6)
    assert account(rows, "every", cost_bp).growth == pytest.approx(slow_growth(rows, cost_bp))


def test_without_a_forecast_the_account_is_out() -> None:
    forecasts = make_forecasts(3, pending=0).dropna(subset="actual_return")
    gap = forecasts.drop(forecasts.index[100:160])
    whole = forecasts.assign(p_up=forecasts["p_up"].where(~forecasts.index.isin(range(100, 160)), 0.5))
    for cost_bp in COSTS_BP:
        out, silent = (account(Rows(frame, "5m", 6), "every", cost_bp) for frame in (gap, whole))
        assert out.growth == pytest.approx(silent.growth)
    assert account(Rows(gap, "5m", 6), "hold", 0.0).growth == account(Rows(whole, "5m", 6), "hold", 0.0).growth


def test_costs_only_take() -> None:
    accounts = {cost: account(Rows(make_forecasts(12), "5m", 6), "every", cost).growth for cost in COSTS_BP}
    assert accounts[0.0] > accounts[5.0] > accounts[10.0]


def test_the_figures_of_a_steady_climb() -> None:
    days = 40
    daily = 1.002 ** (1 / 288)
    rows = rows_of([100 * daily**bar for bar in range(days * 288 + 1)], [0.6] * days * 288)
    steady = account(rows, "every", 0.0)
    assert steady.annual_return == pytest.approx(1.002**365 - 1)
    assert steady.drawdown == 0.0
    assert len(steady.values) == len(strategy(rows).times) == days + 1


def test_sharpe_and_its_error_are_those_of_daily_returns() -> None:
    rows = Rows(make_forecasts(32, pending=0).dropna(subset="actual_return")[: 31 * 288], "5m", 6)
    one = account(rows, "every", 0.0)
    returns = np.diff(one.values) / one.values[:-1]
    ratio = returns.mean() / returns.std(ddof=1)
    assert one.sharpe == pytest.approx(ratio * np.sqrt(365))
    assert one.sharpe_se == pytest.approx(np.sqrt(365 * (1 + ratio**2 / 2) / len(returns)))
    falls = [1 - value / max(one.values[: day + 1]) for day, value in enumerate(one.values)]
    assert max(falls) <= one.drawdown < 2 * max(falls), "it may be deeper within a day"


def test_less_than_a_month_is_not_annualised() -> None:
    one = account(Rows(make_forecasts(29), "5m", 6), "every", 0.0)
    assert np.isnan([one.annual_return, one.sharpe, one.sharpe_se]).all()


def test_about_a_tenth_of_the_time_is_the_most_certain_tenth() -> None:
    forecasts = make_forecasts(40)
    rows = Rows(forecasts, "5m", 6)
    certain = _certain(rows, _slots(rows))
    assert not certain[: 7 * 288].any()
    assert certain[7 * 288 :].mean() == pytest.approx(0.1, abs=0.02)
    distance = np.abs(rows.p_up - 0.5)
    assert distance[certain].mean() > 1.5 * distance.mean()


@given(st.integers(8 * 288, 12 * 288 - 1))
def test_what_was_most_certain_is_known_at_the_time(changed_from: int) -> None:
    p_up = 0.5 + 0.05 * np.random.default_rng(0).standard_normal(12 * 288)
    other = p_up.copy()
    other[changed_from:] = 0.99
    told = []
    for values in (p_up, other):
        rows = rows_of([100.0] * (12 * 288 + 1), values.tolist())
        told.append(_certain(rows, _slots(rows))[:changed_from])
    np.testing.assert_array_equal(*told)
