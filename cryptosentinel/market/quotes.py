"""A quote worked out from bars, for sources that have nothing but bars."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.market.bars import Interval, utc
from cryptosentinel.market.source import Quote

_DAY = timedelta(days=1)
# A bar this much older than 24 hours still stands for the price 24 hours ago.
_TOLERANCE = timedelta(hours=1)
#: How far back `quote_from_bars` looks from the newest bar.
QUOTE_WINDOW = _DAY + _TOLERANCE


def quote_from_bars(asset: str, bars: pd.DataFrame, interval: Interval, now: datetime) -> Quote:
    """The market at the close of the newest bar that is complete at `now`.

    Args:
        asset: CoinGecko's id.
        bars: ordered bars; they should reach back `QUOTE_WINDOW` from the newest.
        interval: of the bars.
        now: later bars, and one that is unfinished at this time, are left out.

    Returns:
        A quote at the newest bar's close: `change_24h` against the close 24 hours before it (None where there is none
        within the hour before that), `volume_24h` the sum of volume times close (None where no volume is known), no
        market cap.

    Raises:
        NotEnoughDataError: no bar is complete at `now`.
    """
    complete = bars[bars["timestamp"] <= pd.Timestamp(interval.last_complete(now))]
    if complete.empty:
        raise NotEnoughDataError(f"No bar of {asset} is complete at {now:%Y-%m-%d %H:%M} UTC", have=0, need=1)
    newest = complete.iloc[-1]
    day_ago = newest["timestamp"] - _DAY
    day = complete[complete["timestamp"] > day_ago]
    before = complete[complete["timestamp"].between(day_ago - _TOLERANCE, day_ago)]
    return Quote(
        asset=asset,
        price=float(newest["close"]),
        at=utc(newest["timestamp"]) + interval.delta,
        change_24h=None if before.empty else float(newest["close"] / before["close"].iloc[-1] - 1),
        volume_24h=float((day["volume"] * day["close"]).sum()) if day["volume"].notna().any() else None,
    )
