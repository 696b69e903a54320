"""Bars with something wrong among them, and what cleaning makes of them."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from cryptosentinel.market.bars import PRICES
from cryptosentinel.market.cleaning import CleaningReport, clean
from tests.builders import FIVE, T0, make_random_bars

BARS = make_random_bars(300)
NOW = T0 + 300 * FIVE.delta
HELD_HOUR = 12  # bars of a halt that are kept


def cleaned(bars: pd.DataFrame, now: datetime = NOW) -> tuple[pd.DataFrame, CleaningReport]:
    result = clean(bars, FIVE, now)
    return result.bars, result.report


def changed(row: int, **values: float) -> pd.DataFrame:
    bars = BARS.copy()
    for name, value in values.items():
        bars.loc[row, name] = value
    return bars


def flat(row: int, price: float, count: int = 1) -> pd.DataFrame:
    return changed(slice(row, row + count - 1), **dict.fromkeys(PRICES, price))


def dropped(bars: pd.DataFrame) -> list[int]:
    """Which rows are gone."""
    left = set(cleaned(bars)[0]["timestamp"])
    return [row for row, time in enumerate(bars["timestamp"]) if time not in left]
