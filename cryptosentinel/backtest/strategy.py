"""What acting on the stated directions would have earned. No advice: the costs are there to show what is left.

The rule: at each decision, go long with the whole account when `p_up` > 0.5 and short when it is below, and hold for
one horizon. Forecasts come every bar, so there are `horizon_bars` ways to place decisions that do not overlap; the
account is split equally over all of them at the start, and each part goes its own way.

Money: a part held at s (1 long, -1 short, 0 out) over a move r of the price is multiplied by 1 + s r. A change of s
trades abs(change) of the part and costs half the round trip on it, so that a turn from long to short costs one whole
round trip; the last position is closed. Where there is no forecast or no outcome, the part is out. Borrowing, funding
and slippage beyond the stated cost are free, which flatters the strategy.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.backtest.models import Account, Strategy
from cryptosentinel.backtest.rows import Array, Rows

COSTS_BP = (0.0, 5.0, 10.0)
TOP_SHARE = 0.1
TRAILING_DAYS, FIRST_DAYS = 30, 7
_YEAR = timedelta(days=365)
_ANNUALISED_YEARS = 30 / 365  # of less, figures of a year would be make-believe
_DAY = timedelta(days=1)


def strategy(rows: Rows) -> Strategy:
    """Trades on every direction, on the tenth most certain, and not at all, at several costs."""
    side = np.where(rows.stated, np.sign(rows.p_up - 0.5), 0.0)
    move = np.expm1(rows.actual)
    slot = _slots(rows)
    # Decisions by row, the ways to place them by column.
    shape = (int(slot[-1]) // rows.horizon_bars + 1, rows.horizon_bars)
    moves, every, top = (np.zeros(shape) for _ in range(3))
    moves.flat[slot], every.flat[slot] = move, side
    top.flat[slot] = side * _certain(rows, slot)
    horizon = rows.horizon_bars * rows.interval.delta
    step = max(1, round(_DAY / horizon))  # decisions a day
    accounts = [
        _account(name, cost, positions, moves, step, horizon)
        for name, positions in (("every", every), ("top_tenth", top))
        for cost in COSTS_BP
    ]
    prices = np.full(shape, np.nan)
    prices.flat[slot] = rows("price")
    accounts.append(_hold(prices, float(rows("actual_price")[-1]), step, horizon))
    first = rows.made_at[0].astype(datetime).replace(tzinfo=UTC)
    times = [first + int(number) * horizon for number in _marks(shape[0], step)]
    return Strategy(times=times, accounts=accounts)


def _slots(rows: Rows) -> NDArray[np.int64]:
    """Each row's place on the grid of bars, from the first row's."""
    bar = np.timedelta64(rows.interval.seconds, "s")
    return np.asarray((rows.made_at - rows.made_at[0]) // bar, np.int64)


def _certain(rows: Rows, slot: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether `p_up` is as far from 0.5 as the top tenth of the 30 days before; the threshold is renewed daily.

    Equal values count as certain: calibrated probabilities have steps, and the highest step may hold more than a
    tenth. Nothing is certain in the first week.
    """
    distance = np.nan_to_num(np.abs(rows.p_up - 0.5))
    day = slot // rows.interval.bars_per_day
    # Where each day begins, and the first row from `TRAILING_DAYS` before it.
    days = np.arange(FIRST_DAYS, day[-1] + 1)
    begins, ends = np.searchsorted(day, days), np.searchsorted(day, days + 1)
    trailing = np.searchsorted(day, days - TRAILING_DAYS)
    certain = np.zeros(len(distance), dtype=bool)
    # A forecast's outcome is not used, only what it said, so everything before the day is known when the day begins.
    for old, begin, end in zip(trailing, begins, ends, strict=True):
        if old < begin < end:
            threshold = np.quantile(distance[old:begin], 1 - TOP_SHARE)
            certain[begin:end] = (distance[begin:end] >= threshold) & (distance[begin:end] > 0)
    return certain


def _account(name: str, cost_bp: float, positions: Array, moves: Array, step: int, horizon: timedelta) -> Account:
    """The account of a rule; decisions by row, the ways to place them by column."""
    out = np.zeros((1, positions.shape[1]))
    changes = np.abs(np.diff(np.vstack([out, positions, out]), axis=0))
    kept = 1 - 0.5e-4 * cost_bp * changes
    growth = np.maximum(1 + positions * moves, 0) * kept[:-1]
    growth[-1] *= kept[-1]
    value = np.vstack([out + 1, growth.cumprod(axis=0)]).mean(axis=1)
    days = len(positions) * (horizon / _DAY)
    return _figures(
        name,
        cost_bp,
        value,
        step,
        horizon,
        round_trips_a_day=float(changes.sum() / 2 / positions.shape[1] / days),
        invested=float((positions != 0).mean()),
    )


def _hold(prices: Array, last: float, step: int, horizon: timedelta) -> Account:
    """Buying at the first price and holding; where the price is not known, the one before it."""
    known = np.isfinite(prices[:, 0])
    before = np.maximum.accumulate(np.where(known, np.arange(len(prices)), 0))
    value = np.append(prices[before, 0], last) / prices[0, 0]
    days = len(prices) * (horizon / _DAY)
    return _figures("hold", 0.0, value, step, horizon, round_trips_a_day=1 / days, invested=1.0)


def _figures(
    name: str, cost_bp: float, value: Array, step: int, horizon: timedelta, *, round_trips_a_day: float, invested: float
) -> Account:
    daily = value[_marks(len(value) - 1, step)]
    change = np.diff(daily) / daily[:-1]
    a_year = _YEAR / (step * horizon)
    years = (len(value) - 1) * (horizon / _YEAR)
    annual = years >= _ANNUALISED_YEARS
    deviation = float(change.std(ddof=1)) if annual else 0.0
    a_day = float(change.mean()) / deviation if deviation > 0 else math.nan
    return Account.model_validate(
        {
            "name": name,
            "cost_bp": cost_bp,
            "growth": float(value[-1]),
            "annual_return": float(value[-1] ** (1 / years) - 1) if annual else math.nan,
            "sharpe": a_day * math.sqrt(a_year),
            "sharpe_se": math.sqrt((1 + a_day**2 / 2) / len(change) * a_year) if annual else math.nan,
            "drawdown": float((1 - value / np.maximum.accumulate(value)).max()),
            "round_trips_a_day": round_trips_a_day,
            "invested": invested,
            "values": [float(one) for one in daily],
        }
    )


def _marks(count: int, step: int) -> NDArray[np.int64]:
    """Where the account is looked at: its start, then every `step` decisions, and its end."""
    return np.unique(np.append(np.arange(0, count + 1, step), count))
