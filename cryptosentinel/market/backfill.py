"""A live market with a short memory, and an exchange behind it for what is older."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from cryptosentinel.errors import SourceError
from cryptosentinel.market.bars import PRICES, empty_bars, utc
from cryptosentinel.market.source import Quote, Source

MIN_OVERLAP_BARS = 24
# Beyond this the two are not the same market in two places (BTC/USDT behind bitcoin in gbp, or behind ethereum).
MAX_PRICE_RATIO = 1.25
_OVERLAP = timedelta(days=1)
_RATIO_LASTS = timedelta(hours=1)
# A feed that looks back a day at every tick always begins a little before what the live market still has.
_EDGE = timedelta(hours=1)


@runtime_checkable
class PagedSource(Source, Protocol):
    """A source that can hand over a long history piece by piece."""

    def pages(self, start: datetime, end: datetime) -> Iterator[pd.DataFrame]:
        """What `bars` returns, oldest first, in frames that are not empty."""


def bar_pages(source: Source, start: datetime, end: datetime) -> Iterator[pd.DataFrame]:
    """The bars of any source in pages, oldest first, each of which can be stored before the next is asked for.

    A caller that is stopped half way goes on from the newest bar it has stored.
    """
    if isinstance(source, PagedSource):
        yield from source.pages(start, end)
        return
    bars = source.bars(start, end)
    if len(bars):
        yield bars


@dataclass(frozen=True)
class Scale:
    """What the prices and volumes of one market are multiplied with to stand beside those of another."""

    price: float
    volume: float


def scale_between(live: pd.DataFrame, history: pd.DataFrame) -> Scale | str:
    """The median ratios live/history of closes and of volumes over the bars that both have, or why there are none.

    The median, since single bars of either market may be wrong. Volumes without a ratio stay as they are.
    """
    both = live.merge(history, on="timestamp", suffixes=("", "_history"))
    prices = _positive_ratios(both["close"], both["close_history"])
    if len(prices) < MIN_OVERLAP_BARS:
        return f"the two have {len(prices)} bars in common, and scaling needs {MIN_OVERLAP_BARS}"
    price = float(np.median(prices))
    if not 1 / MAX_PRICE_RATIO <= price <= MAX_PRICE_RATIO:
        return f"their prices differ by a factor of {price:.4g}, so they are not the same asset in the same currency"
    volumes = _positive_ratios(both["volume"], both["volume_history"])
    return Scale(price, float(np.median(volumes)) if len(volumes) >= MIN_OVERLAP_BARS else 1.0)


def scaled(bars: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Bars at another level: returns, ranges and relative volumes stay as they are."""
    prices = bars[list(PRICES)] * scale.price
    return bars.assign(**{name: prices[name] for name in PRICES}, volume=bars["volume"] * scale.volume)


class BackfilledSource:
    """`live` for the newest part, `history`, scaled to its level, for what is older than `live` has.

    A window that reaches into what `live` has, and begins less than an hour before it, is answered by `live` alone.
    Every bar keeps the name of the source it came from. While `history` is away, or cannot be scaled, there is `live`
    alone, and `notes` says so. If it goes away half way, the error is raised, since the bars after the hole would
    hide it; `pages` can be taken up again.

    Attributes:
        notes: sentences about the last answer, for people.
    """

    def __init__(self, live: Source, history: Source) -> None:
        if (live.asset, live.interval) != (history.asset, history.interval):
            raise ValueError("a backfill must have the asset and the interval of what it stands behind")
        self.live = live
        self.history = history
        self.asset = live.asset
        self.interval = live.interval
        self.notes: list[str] = []
        self._scale: tuple[datetime, Scale] | None = None

    @property
    def name(self) -> str:
        """The live source's."""
        return self.live.name

    @property
    def simulated(self) -> bool:
        """Whether either is."""
        return self.live.simulated or self.history.simulated

    def now(self) -> datetime:
        """The live source's clock."""
        return self.live.now()

    def quote(self) -> Quote:
        """The live source's quote."""
        return self.live.quote()

    def bars(self, start: datetime, end: datetime) -> pd.DataFrame:
        """All of `pages`, as one frame; see `Source.bars`."""
        pages = list(self.pages(start, end))
        return pd.concat(pages, ignore_index=True) if pages else empty_bars()

    def pages(self, start: datetime, end: datetime) -> Iterator[pd.DataFrame]:
        """The complete bars with ``start <= timestamp < end``, oldest first; see `ExchangeSource.pages`.

        Raises:
            SourceError: the live source failed, or the history did after its first bars.
        """
        start, end, now = utc(start), utc(end), self.now()
        self.notes = []
        live = self.live.bars(min(start, now - _OVERLAP), now)
        self.notes += getattr(self.live, "notes", [])
        known_from = utc(live["timestamp"].iloc[0]) if len(live) else now
        reaches_back = start < known_from - _EDGE or (start < known_from and end <= known_from)
        if reaches_back and start < end:
            scale = self._scale_at(now, live, known_from)
            given = 0
            problem = scale if isinstance(scale, str) else ""
            try:
                if isinstance(scale, Scale):
                    for page in bar_pages(self.history, start, min(end, known_from)):
                        given += 1
                        yield scaled(page, scale)
            except SourceError as error:
                if given:
                    raise
                problem = self._away(error)
            if problem:
                self.notes.append(f"There are no bars before {known_from:%Y-%m-%d %H:%M} UTC: {problem}.")
        wanted = live[(live["timestamp"] >= start) & (live["timestamp"] < end)]
        if len(wanted):
            yield wanted.reset_index(drop=True)

    def _scale_at(self, now: datetime, live: pd.DataFrame, known_from: datetime) -> Scale | str:
        # Kept for a while, so that a backfill taken in several windows has one level.
        if self._scale is not None and timedelta(0) <= now - self._scale[0] < _RATIO_LASTS:
            return self._scale[1]
        try:
            overlap = self.history.bars(known_from, now)
        except SourceError as error:
            return self._away(error)
        scale = scale_between(live, overlap)
        if isinstance(scale, str):
            return f"{self.history.name} cannot stand behind {self.live.name}, for {scale}"
        self._scale = (now, scale)
        return scale

    def _away(self, error: SourceError) -> str:
        return f"{self.history.name} is away ({error.message.rstrip('.')})"


def _positive_ratios(above: pd.Series, below: pd.Series) -> np.ndarray:
    over, under = above.to_numpy("float64"), below.to_numpy("float64")
    usable = np.isfinite(over) & np.isfinite(under) & (over > 0) & (under > 0)
    return np.asarray(over[usable] / under[usable])
