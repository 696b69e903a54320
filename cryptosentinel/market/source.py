"""What a market source is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

import pandas as pd

from cryptosentinel.market.bars import Interval


@dataclass(frozen=True)
class Quote:
    """The market at one moment. What a source cannot know is None.

    Attributes:
        price: in the quote currency.
        change_24h: relative change of the price over 24 hours (0.05 is +5%).
        volume_24h: traded in 24 hours, in the quote currency.
        market_cap: in the quote currency.
        at: when the source says this was.
    """

    asset: str
    price: float
    at: datetime
    change_24h: float | None = None
    volume_24h: float | None = None
    market_cap: float | None = None


@runtime_checkable
class Source(Protocol):
    """A market: bars for a window, a quote, and a clock.

    A source answers for one asset and one interval. It returns what it has, uncleaned (`cleaning.clean` does that),
    but on the grid, typed as `bars.COLUMNS`, and never a bar that is unfinished by its own clock.
    """

    asset: str
    interval: Interval

    @property
    def name(self) -> str:
        """Written into every bar: `coingecko`, `exchange:binance`, `file:<name>`, `simulated:<seed>`."""

    @property
    def simulated(self) -> bool:
        """Whether the market is invented; people are told wherever they see its prices."""

    def now(self) -> datetime:
        """The source's own clock (UTC): the wall clock of a live market, the position of a replay."""

    def bars(self, start: datetime, end: datetime) -> pd.DataFrame:
        """The complete bars with ``start <= timestamp < end``, ordered; none is a frame of no rows.

        Raises:
            SourceError: the source failed; `RateLimitedError`, `SourceUnavailableError`, `SourceAnswerError`.
            MarketDataError: a file cannot be read as bars.
        """

    def quote(self) -> Quote:
        """The market at `now()`.

        Raises:
            SourceError: as in `bars`.
            NotEnoughDataError: the source has no bar at or before `now()`.
        """
