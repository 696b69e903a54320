"""Bars: the one shape in which market data moves through this project.

A frame of bars has the columns of `COLUMNS`, one row a bar, ordered by `timestamp`, which is the bar's *open* (UTC,
milliseconds). A bar is complete once its interval has passed; unfinished bars are never stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd

from cryptosentinel.config import IntervalName

COLUMNS = ("asset", "timestamp", "open", "high", "low", "close", "volume", "source")
PRICES = ("open", "high", "low", "close")
TIMESTAMP_DTYPE = "datetime64[ms, UTC]"


@dataclass(frozen=True)
class Interval:
    """A bar's length, and the grid that bars of this length lie on (multiples of it since the Unix epoch).

    >>> five = Interval("5m")
    >>> five.floor(datetime(2025, 1, 1, 12, 34, 56, tzinfo=UTC)).isoformat()
    '2025-01-01T12:30:00+00:00'
    """

    name: IntervalName

    @property
    def seconds(self) -> int:
        """Length in seconds."""
        return {"1m": 60, "5m": 300, "15m": 900, "1h": 3600}[self.name]

    @property
    def delta(self) -> timedelta:
        """Length as a timedelta."""
        return timedelta(seconds=self.seconds)

    @property
    def bars_per_day(self) -> int:
        """How many bars a day has; crypto markets never close."""
        return 86_400 // self.seconds

    @property
    def bars_per_year(self) -> int:
        """How many bars a year of 365 days has, for annualising."""
        return 365 * self.bars_per_day

    def floor(self, time: datetime) -> datetime:
        """The open of the bar that `time` lies in."""
        seconds = int(time.timestamp() // self.seconds) * self.seconds
        return datetime.fromtimestamp(seconds, tz=UTC)

    def last_complete(self, now: datetime) -> datetime:
        """The open of the newest bar that is complete at `now`."""
        return self.floor(now) - self.delta


def empty_bars() -> pd.DataFrame:
    """A frame of no bars, with the right columns and types."""
    frame = pd.DataFrame({name: pd.Series(dtype="float64") for name in COLUMNS})
    return frame.astype({"asset": "str", "source": "str", "timestamp": TIMESTAMP_DTYPE})


def make_bars(asset: str, source: str, timestamp: object, **prices_and_volume: object) -> pd.DataFrame:
    """A frame of bars from columns; `timestamp` is anything `pandas.to_datetime` takes as UTC.

    Columns are coerced to the types of `COLUMNS`; nothing is cleaned or ordered (see `cleaning`).
    """
    frame = pd.DataFrame({"timestamp": pd.to_datetime(timestamp, utc=True), **prices_and_volume})
    frame["asset"], frame["source"] = asset, source
    frame["timestamp"] = frame["timestamp"].astype(TIMESTAMP_DTYPE)
    frame[[*PRICES, "volume"]] = frame[[*PRICES, "volume"]].astype("float64")
    return frame[list(COLUMNS)]


def utc(time: datetime | str | pd.Timestamp) -> datetime:
    """Any time as a timezone-aware UTC datetime; a naive one is read as UTC."""
    stamp = pd.Timestamp(time)
    stamp = stamp.tz_localize(UTC) if stamp.tzinfo is None else stamp.tz_convert(UTC)
    return datetime.fromtimestamp(stamp.timestamp(), tz=UTC)
