"""Brings a feature store's bars up to date from a market: fetch what is missing, clean it, upsert it, and report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from cryptosentinel.errors import NotEnoughDataError, SourceAnswerError, SourceError
from cryptosentinel.market.agreement import contradiction
from cryptosentinel.market.backfill import bar_pages
from cryptosentinel.market.bars import COLUMNS, TIMESTAMP_DTYPE, Interval, utc
from cryptosentinel.market.cleaning import CleaningReport, Gap, clean, combined, find_gaps
from cryptosentinel.market.source import Quote, Source
from cryptosentinel.storage.protocols import FeatureStore, Written

# How much of what is stored already is fetched again: live markets revise their last bars, and holes heal.
OVERLAP = timedelta(hours=24)

# A long history is stored in pieces of about this size, so that one that is stopped half way goes on from there.
BATCH_BARS = 25_000


@dataclass(frozen=True)
class IngestReport:
    """What an ingestion did.

    Attributes:
        source: the source's name.
        simulated: whether its prices are invented.
        start: of the time that was asked for.
        end: of the time that was asked for; bars that open then or later are not complete yet.
        inserted: bars that are new.
        updated: bars that the source revised.
        unchanged: bars that were stored already as they are.
        version: of the store's bars after it.
        touched_from: the earliest bar that is new or revised (features from here on are to be computed again); None
            where there is none.
        newest_bar: the newest bar stored; None while there is none.
        gaps: what is missing in the stored bars of the time asked for, since the source has not got it.
        cleaning: what cleaning did to the bars fetched; its gaps are `gaps`.
        quote: the market now; None where the source cannot say.
        notes: sentences about what was not as usual.
    """

    source: str
    simulated: bool
    start: datetime
    end: datetime
    inserted: int
    updated: int
    unchanged: int
    version: int
    touched_from: datetime | None
    newest_bar: datetime | None
    cleaning: CleaningReport
    quote: Quote | None
    notes: tuple[str, ...]

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What is missing in the stored bars of the time asked for."""
        return self.cleaning.gaps

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: times in ISO 8601."""
        times = {name: _iso(getattr(self, name)) for name in ("start", "end", "touched_from", "newest_bar")}
        quote = None if self.quote is None else {**asdict(self.quote), "at": _iso(self.quote.at)}
        cleaning = self.cleaning.to_dict()
        own = {name: getattr(self, name) for name in ("inserted", "updated", "unchanged", "version", "simulated")}
        return {"source": self.source, **own, **times, "cleaning": cleaning, "quote": quote, "notes": list(self.notes)}

    def summary(self) -> str:
        """What happened, in a few sentences."""
        return f"{self.market_summary()} {self.cleaning.summary()}"

    def market_summary(self) -> str:
        """What happened, but for the cleaning."""
        market = f"{self.source} (SIMULATED prices)" if self.simulated else self.source
        newest = f"the newest bar is {self.newest_bar:%Y-%m-%d %H:%M} UTC" if self.newest_bar else "no bar is stored"
        counts = f"bars added {self.inserted:,}, revised {self.updated:,}, unchanged {self.unchanged:,}"
        return " ".join((f"{market}: {counts}; {newest}.", *self.notes))


def ingest(source: Source, store: FeatureStore, *, history: timedelta, now: datetime | None = None) -> IngestReport:
    """Fetches what `store` lacks of the last `history`, cleans it and upserts it. Safe to repeat at any time.

    What is fetched: everything, if nothing is stored; else what is newer than the newest stored bar, and the 24 hours
    before it again (`OVERLAP`), which heals holes and takes over revisions; and what is older than the oldest stored
    bar of that time. A source without bars is no error; the report says so. So is one without a quote, since the bars
    are stored by then.

    Args:
        source: the market.
        store: where bars are kept.
        history: how far back bars are wanted.
        now: by default the source's clock. Bars that are unfinished then are not stored.

    Raises:
        SourceError: the source failed; what it gave before is stored, and the next time goes on from there.
        MarketDataError: a file cannot be read as bars; nothing was written.
        StorageError: the store failed.
    """
    asset, interval = source.asset, source.interval
    now = source.now() if now is None else utc(now)
    windows = _windows(store, asset, interval, interval.floor(now - history), interval.floor(now))
    filled = [_fill(source, store, window, now) for window in windows]
    start, end = min(window.start for window in windows), max(window.end for window in windows)
    batches = [batch for window in filled for batch in window.batches]
    written = [batch.written for batch in batches]
    cleaning = combined(
        (batch.cleaning for batch in batches),
        gaps=tuple(sorted((gap for window in filled for gap in window.gaps), key=lambda gap: gap.after)),
    )

    notes = [note for window in filled for note in window.notes]
    if cleaning.bars_out == 0:
        notes.append(f"{source.name} has no usable bars between {start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC.")
    quote = None
    try:
        quote = source.quote()
    except (SourceError, NotEnoughDataError) as error:
        notes.append(f"There is no quote: {error.message}")
    return IngestReport(
        source=source.name,
        simulated=source.simulated,
        start=start,
        end=end,
        inserted=sum(batch.inserted for batch in written),
        updated=sum(batch.updated for batch in written),
        unchanged=sum(batch.unchanged for batch in written),
        version=written[-1].version if written else store.version(),
        touched_from=min((batch.touched_from for batch in batches if batch.touched_from), default=None),
        newest_bar=store.last_timestamp(asset),
        cleaning=cleaning,
        quote=quote,
        notes=tuple(dict.fromkeys(notes)),
    )


@dataclass(frozen=True)
class _Window:
    """What to ask the source for. `older`: it ends at a stored bar, and is stored as a whole or not at all."""

    start: datetime
    end: datetime
    older: bool = False


@dataclass(frozen=True)
class _Batch:
    written: Written
    cleaning: CleaningReport
    touched_from: datetime | None


@dataclass(frozen=True)
class _Filled:
    batches: list[_Batch]
    gaps: tuple[Gap, ...]
    notes: list[str]


def _windows(store: FeatureStore, asset: str, interval: Interval, begin: datetime, end: datetime) -> list[_Window]:
    """What to ask the source for, the newest first."""
    newest = store.last_timestamp(asset)
    if newest is None:
        return [_Window(begin, end)]
    recent = _Window(max(begin, min(newest, end) - OVERLAP), end)
    # A store that was left behind gets the whole history. Where its beginning is stored, the rest need not be read.
    if recent.start == begin or len(store.read_bars(asset, begin, begin + OVERLAP)):
        return [recent]
    oldest = utc(store.read_bars(asset, begin, newest + interval.delta)["timestamp"].iloc[0])
    return [recent, _Window(begin, oldest, older=True)]


def _fill(source: Source, store: FeatureStore, window: _Window, now: datetime) -> _Filled:
    """Fetches and stores one window."""
    held = _bars(store.read_bars(source.asset, window.start, window.end))
    batches = []
    timestamps = [held["timestamp"]]
    if window.older:  # a bar beyond the window's end that is there
        timestamps.append(pd.Series([pd.Timestamp(window.end)], dtype=TIMESTAMP_DTYPE))
    for fetched in _fetched(source, window):
        cleaned = clean(fetched, source.interval, now)
        if problem := contradiction(cleaned.bars, held, source.interval):
            raise SourceAnswerError(
                f"{source.name} contradicts what it said of bars that are stored: {problem}. None of it was stored.",
                remedy="Compare its newest price with another source. If what is stored is wrong, wait: what the source"
                " goes on saying is believed within a day.",
            )
        changed = _changed(cleaned.bars, held)
        written = store.write_bars(cleaned.bars) if len(cleaned.bars) else Written(0, 0, 0, store.version())
        batches.append(_Batch(written, cleaned.report, utc(changed.iloc[0]) if len(changed) else None))
        timestamps.append(cleaned.bars["timestamp"])
    stored = pd.concat(timestamps).drop_duplicates().sort_values()
    return _Filled(batches, find_gaps(stored, source.interval), list(getattr(source, "notes", [])))


def _fetched(source: Source, window: _Window) -> Iterator[pd.DataFrame]:
    """What the source has of a window, in frames of `BATCH_BARS` or a little more."""
    pages: list[pd.DataFrame] = []
    for page in bar_pages(source, window.start, window.end):
        pages.append(page)
        # A hole in the middle of what is stored would not be looked for again.
        if not window.older and sum(map(len, pages)) >= BATCH_BARS:
            yield pd.concat(pages, ignore_index=True)
            pages = []
    if pages:
        yield pd.concat(pages, ignore_index=True)


def _bars(frame: pd.DataFrame) -> pd.DataFrame:
    """Bars from a store, whose times may have another unit."""
    return frame[list(COLUMNS)].astype({"timestamp": TIMESTAMP_DTYPE})


def _changed(bars: pd.DataFrame, held: pd.DataFrame) -> pd.Series:
    """The timestamps of bars that are not held as they are, in order."""
    before = held.set_index("timestamp").reindex(bars["timestamp"]).reset_index()[list(COLUMNS)]
    same = ((bars == before) | (bars.isna() & before.isna())).all(axis=1)
    return bars.loc[~same, "timestamp"]


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
