"""Bars from a file, with a clock of its own, so that a recorded market can be replayed; `tables` reads the file."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from cryptosentinel.errors import MarketDataError, NotEnoughDataError
from cryptosentinel.market.bars import Interval, make_bars, utc
from cryptosentinel.market.quotes import QUOTE_WINDOW, quote_from_bars
from cryptosentinel.market.source import Quote
from cryptosentinel.market.tables import read_table

_RESAMPLING = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


class FileSource:
    """A Parquet or CSV file of bars as long as `interval`, or finer ones, which are put together.

    The file is read when first asked, and again only if it changed; every source of the same file shares what was read.

    A bar put together from finer ones covers what the file has of it, but only if the last of them is there: its close
    is then the price at its end. Nothing is filled in. A row that is off the grid is passed on as it is, for `cleaning`
    to drop and count.

    Args:
        path: what `tables.read_table` reads.
        asset: written into the bars.
        interval: of the bars wanted.
        now: the clock. Bars that are unfinished then do not exist yet, and the quote is as of then. By default the end
            of the last bar; `replay_start` gives the time that holds back some.
    """

    simulated = False

    def __init__(self, path: Path | str, asset: str, interval: Interval, now: datetime | None = None) -> None:
        self.path, self.asset, self.interval = Path(path), asset, interval
        self._now = None if now is None else utc(now)

    @property
    def name(self) -> str:
        """`file:<name>`, without folder and extension."""
        return f"file:{Path(self.path.name.removesuffix('.gz')).stem}"

    def now(self) -> datetime:
        """The time given, or else the end of the last bar.

        Raises:
            MarketDataError: the file cannot be read as bars.
        """
        return utc(self._table()["timestamp"].iloc[-1]) + self.interval.delta if self._now is None else self._now

    def bars(self, start: datetime, end: datetime) -> pd.DataFrame:
        """The bars with ``start <= timestamp < end`` that are complete at `now()`, in the order of their times.

        Raises:
            MarketDataError: the file cannot be read as bars.
        """
        table = self._table()
        complete = pd.Timestamp(utc(self.now()) - self.interval.delta)
        first, stop = table["timestamp"].searchsorted([pd.Timestamp(utc(start)), pd.Timestamp(utc(end))])
        rows = table.iloc[first : min(stop, table["timestamp"].searchsorted(complete, side="right"))]
        return make_bars(self.asset, self.name, **{name: rows[name].array for name in rows.columns})

    def quote(self) -> Quote:
        """The market at the close of the newest complete bar; a file has no market cap.

        Raises:
            MarketDataError: the file cannot be read as bars.
            NotEnoughDataError: no bar is complete at `now()`.
        """
        now, times = self.now(), self._table()["timestamp"]
        complete = times[times <= pd.Timestamp(self.interval.last_complete(now))]
        newest = now if complete.empty else utc(complete.iloc[-1])
        window = self.bars(newest - QUOTE_WINDOW, newest + self.interval.delta)
        return quote_from_bars(self.asset, window, self.interval, now)

    def replay_start(self, held_back: int) -> datetime:
        """The clock at which the last `held_back` bars of the file do not exist yet.

        Raises:
            MarketDataError: the file cannot be read as bars.
            NotEnoughDataError: that would leave no bar.
        """
        times = self._table()["timestamp"].unique()
        if len(times) <= held_back:
            raise NotEnoughDataError(
                f"Cannot hold back the last {held_back:,} bars of {self.path}",
                have=len(times),
                need=held_back + 1,
                remedy="Set market.file.replay_bars (--replay-bars) to less, or use a longer file.",
            )
        return utc(times[-1 - held_back]) + self.interval.delta

    def _table(self) -> pd.DataFrame:
        try:
            status = self.path.stat()
        except OSError as error:
            problem = "There is no file" if isinstance(error, FileNotFoundError) else "Cannot read"
            detail = "" if isinstance(error, FileNotFoundError) else f": {error.strerror}"
            raise MarketDataError(f"{problem} {self.path}{detail}.") from error
        return _bars_of_file(self.path, self.interval, status.st_mtime_ns, status.st_size)


# Keyed by what changes when the file does. Two: a file, and one that it is compared with.
@lru_cache(maxsize=2)
def _bars_of_file(path: Path, interval: Interval, modified_ns: int, size: int) -> pd.DataFrame:
    """The bars of a file at the interval wanted."""
    del modified_ns, size
    table = read_table(path)
    own = _own_interval(table["timestamp"], path)
    if own is None or own == interval.delta:
        bars = table
    elif own < interval.delta and interval.delta % own == timedelta(0):
        bars = _put_together(table, pd.Timedelta(own), pd.Timedelta(interval.delta))
    else:
        raise MarketDataError(
            f"{path} has a bar every {own}, from which bars of {interval.name} cannot be made.",
            remedy="Set market.interval (--set market.interval=1h) to a multiple of the file's, or name a finer file.",
        )
    if not (bars["timestamp"].dt.floor(interval.delta) == bars["timestamp"]).any():
        raise MarketDataError(
            f"No row of {path} makes a bar of {interval.name}: its times, such as {table['timestamp'].iloc[0]}, "
            f"are not on the grid.",
            remedy="The time of a bar must be when it opens, in UTC.",
        )
    return bars


def _own_interval(times: pd.Series, path: Path) -> timedelta | None:
    """The usual distance of a file's times; None where it has a single one."""
    distances = times.drop_duplicates().diff().iloc[1:]
    if distances.empty:
        return None
    counts = distances.value_counts()
    if counts.iloc[0] < len(distances) / 2:
        raise MarketDataError(
            f"{path} has no interval: its times are {distances.min()} to {distances.max()} apart.",
            remedy="A file must hold bars at a fixed distance, not trades.",
        )
    return cast("timedelta", counts.index[0].to_pytimedelta())


def _put_together(table: pd.DataFrame, own: pd.Timedelta, wanted: pd.Timedelta) -> pd.DataFrame:
    """Finer bars as bars of the interval wanted, each only if its last part is there."""
    table = table.drop_duplicates("timestamp", keep="last")
    opens = table["timestamp"].dt.floor(wanted)
    ends = table["timestamp"] + own
    # A part that reaches over the border belongs to no bar: it would let a bar see beyond its end.
    inside = ends <= opens + wanted
    table, opens, ends = table[inside], opens[inside], ends[inside]
    # A sum of no known volume is unknown, not zero.
    bars = table.groupby(opens.rename("open_time")).agg(_RESAMPLING)
    bars.loc[table.groupby(opens)["volume"].count() == 0, "volume"] = np.nan
    complete = opens[ends == opens + wanted]
    return bars.loc[complete].reset_index(names="timestamp")
