"""Ingestion fetches what a store lacks, cleans it, and says exactly what it did."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.errors import NotEnoughDataError, SourceUnavailableError
from cryptosentinel.market.bars import Interval, empty_bars
from cryptosentinel.market.cleaning import Gap
from cryptosentinel.market.file import FileSource
from cryptosentinel.market.ingest import OVERLAP, IngestReport, ingest
from cryptosentinel.market.simulated import SimulatedSource
from cryptosentinel.market.source import Quote
from tests.builders import FIVE, T0, MemoryStore, make_random_bars

DAYS = 10
BARS = make_random_bars(DAYS * 288)
END = T0 + timedelta(days=DAYS)
HISTORY = timedelta(days=5)


def at(bar: int) -> datetime:
    return T0 + bar * FIVE.delta


class Market:
    """A source that has these bars, and notes what it is asked for."""

    asset, interval, simulated, name = "bitcoin", FIVE, False, "test"

    def __init__(self, bars: pd.DataFrame = BARS, now: datetime = END) -> None:
        self.all, self.clock = bars, now
        self.asked: list[tuple[datetime, datetime]] = []
        self.without_quote: Exception | None = None

    def now(self) -> datetime:
        return self.clock

    def bars(self, start: datetime, end: datetime) -> pd.DataFrame:
        self.asked.append((start, end))
        times = self.all["timestamp"]
        inside = (times >= pd.Timestamp(start)) & (times < pd.Timestamp(end)) & (times + FIVE.delta <= self.clock)
        return self.all[inside].reset_index(drop=True)

    def quote(self) -> Quote:
        if self.without_quote:
            raise self.without_quote
        return Quote("bitcoin", 600.0, self.clock)


class PagedMarket(Market):
    """One that hands over its bars by the day, and fails on the given page."""

    def __init__(self, bars: pd.DataFrame = BARS, fails_at: int | None = None) -> None:
        super().__init__(bars)
        self.fails_at = fails_at

    def pages(self, start: datetime, end: datetime) -> Iterator[pd.DataFrame]:
        bars = self.bars(start, end)
        for page, first in enumerate(range(0, len(bars), 288)):
            if page == self.fails_at:
                raise SourceUnavailableError("The exchange is away.")
            yield bars[first : first + 288].reset_index(drop=True)


def run(market: Market, store: MemoryStore, **options: object) -> IngestReport:
    return ingest(market, store, **{"history": HISTORY, **options})  # type: ignore[arg-type]


def counts(report: IngestReport) -> tuple[int, int, int]:
    return report.inserted, report.updated, report.unchanged


def test_an_empty_store_gets_the_whole_history() -> None:
    market, store = Market(), MemoryStore()
    report = run(market, store)
    assert market.asked == [(END - HISTORY, END)]
    assert counts(report) == (5 * 288, 0, 0)
    assert (report.start, report.end) == (END - HISTORY, END)
    assert report.touched_from == END - HISTORY
    assert report.newest_bar == END - FIVE.delta
    assert report.version == store.writes
    assert report.gaps == ()
    pd.testing.assert_frame_equal(store.bars, BARS[5 * 288 :].reset_index(drop=True))


def test_a_repeat_changes_nothing() -> None:
    market, store = Market(), MemoryStore()
    run(market, store)
    report = run(market, store)
    assert counts(report) == (0, 0, 289)
    assert report.touched_from is None
    assert report.newest_bar == END - FIVE.delta


def test_later_only_what_is_new_and_a_day_before_it_is_fetched() -> None:
    market, store = Market(now=END - timedelta(hours=1)), MemoryStore()
    run(market, store)
    market.clock = END
    report = run(market, store)
    newest = END - timedelta(hours=1) - FIVE.delta
    assert market.asked[1:] == [(newest - OVERLAP, END)]
    assert counts(report) == (12, 0, 289)
    assert report.touched_from == END - timedelta(hours=1)


def test_a_revised_bar_is_taken_over_and_reported() -> None:
    market, store = Market(), MemoryStore()
    run(market, store)
    row = DAYS * 288 - 100
    market.all = BARS.copy()
    market.all.loc[row, "close"] *= 1.0001
    report = run(market, store)
    assert counts(report) == (0, 1, 288)
    assert report.touched_from == at(row)


def test_volume_that_is_still_unknown_is_no_revision() -> None:
    market, store = Market(BARS.assign(volume=np.nan)), MemoryStore()
    run(market, store)
    report = run(market, store)
    assert counts(report) == (0, 0, 289)
    assert report.touched_from is None


def test_a_hole_within_the_last_day_is_healed() -> None:
    row = DAYS * 288 - 100
    store = MemoryStore(BARS.drop(index=[row, row + 1]))
    report = run(Market(), store)
    assert report.inserted == 2
    assert report.touched_from == at(row)
    assert report.gaps == ()
    assert len(store.bars) == len(BARS)


def test_a_hole_that_the_source_has_too_is_reported_and_not_filled() -> None:
    row = DAYS * 288 - 100
    market, store = Market(BARS.drop(index=[row, row + 1])), MemoryStore()
    gap = Gap(at(row - 1), at(row + 2), 2)
    assert run(market, store).gaps == (gap,)
    assert run(market, store).gaps == (gap,)
    assert run(market, store).to_dict()["cleaning"]["missing_bars"] == 2


def test_a_bar_that_the_source_forgot_is_no_gap() -> None:
    market, store = Market(), MemoryStore()
    run(market, store)
    market.all = BARS.drop(index=range(DAYS * 288 - 200, DAYS * 288 - 150))
    report = run(market, store)
    assert report.gaps == ()
    assert len(store.bars) == 5 * 288


def test_a_gap_at_the_border_of_what_was_stored_is_reported() -> None:
    row = DAYS * 288 - 600  # two days ago, before the window that is fetched again
    market, store = Market(BARS[row:]), MemoryStore()
    run(market, store)
    market.all = BARS.drop(index=[row - 3, row - 2, row - 1])
    report = run(market, store)
    assert report.gaps == (Gap(at(row - 4), at(row), 3),)


def test_older_history_is_fetched_once_it_is_wanted() -> None:
    market, store = Market(), MemoryStore()
    run(market, store, history=timedelta(days=2))
    market.asked.clear()
    report = run(market, store)
    assert sorted(market.asked) == [(END - HISTORY, END - timedelta(days=2)), (END - FIVE.delta - OVERLAP, END)]
    assert counts(report) == (3 * 288, 0, 289)
    assert report.start == END - HISTORY
    assert report.touched_from == END - HISTORY
    assert report.gaps == ()
    pd.testing.assert_frame_equal(store.bars, BARS[5 * 288 :].reset_index(drop=True))


def test_history_that_the_source_does_not_have_is_not_fetched_again_and_again() -> None:
    market, store = Market(BARS[8 * 288 :]), MemoryStore()
    run(market, store)
    report = run(market, store)
    assert market.asked[1:] == [(END - FIVE.delta - OVERLAP, END), (END - HISTORY, END - timedelta(days=2))]
    assert counts(report) == (0, 0, 289)
    assert report.notes == ()


def test_a_store_left_behind_is_brought_up_to_date_from_the_start_of_the_history() -> None:
    store = MemoryStore(BARS[:288])
    market = Market()
    run(market, store)
    assert market.asked == [(END - HISTORY, END)]
    assert store.bars["timestamp"].iloc[0] == T0


def test_bars_are_cleaned_before_they_are_stored() -> None:
    bars = BARS.copy()
    row = DAYS * 288 - 10
    bars.loc[row, ["open", "high", "low", "close"]] = 0.01
    store = MemoryStore()
    report = run(Market(bars), store)
    assert report.cleaning.counts == {"outliers": 1}
    assert report.gaps == (Gap(at(row - 1), at(row + 1), 1),)
    assert store.bars["close"].min() > 100


def test_the_time_may_be_given_and_bars_unfinished_then_are_not_stored() -> None:
    market, store = Market(), MemoryStore()
    now = END - timedelta(hours=2) + timedelta(minutes=3)
    report = run(market, store, now=now)
    assert report.end == END - timedelta(hours=2)
    assert report.newest_bar == END - timedelta(hours=2) - FIVE.delta


def test_a_clock_before_what_is_stored_changes_nothing() -> None:
    store = MemoryStore(BARS)
    market = Market(now=END - timedelta(days=1))
    report = run(market, store)
    assert market.asked == [(END - timedelta(days=1) - OVERLAP, END - timedelta(days=1))]
    assert report.touched_from is None
    assert report.inserted == report.updated == 0


def test_a_source_without_bars_is_no_error() -> None:
    store = MemoryStore()
    report = run(Market(empty_bars()), store)
    assert counts(report) == (0, 0, 0)
    assert store.writes == 0
    assert (report.newest_bar, report.touched_from) == (None, None)
    assert report.notes == ("test has no usable bars between 2025-01-11 00:00 and 2025-01-16 00:00 UTC.",)
    assert "no bar is stored" in report.summary()


@pytest.mark.parametrize("error", [SourceUnavailableError("Away."), NotEnoughDataError("No bar", have=0, need=1)])
def test_bars_are_stored_even_if_there_is_no_quote(error: Exception) -> None:
    market, store = Market(), MemoryStore()
    market.without_quote = error
    report = run(market, store)
    assert report.quote is None
    assert report.inserted == 5 * 288
    assert report.notes == (f"There is no quote: {error.args[0]}",)


def test_what_the_source_has_to_say_is_passed_on() -> None:
    market = Market()
    market.notes = ["The backfill is away."]  # type: ignore[attr-defined]
    report = run(market, MemoryStore())
    assert report.notes == ("The backfill is away.",)
    assert "The backfill is away." in report.summary()


def test_a_failing_source_is_an_error() -> None:
    store = MemoryStore()
    with pytest.raises(SourceUnavailableError):
        run(PagedMarket(fails_at=0), store)
    assert store.writes == 0


def test_a_long_backfill_that_fails_half_way_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[ingest.__module__], "BATCH_BARS", 288)
    store = MemoryStore()
    with pytest.raises(SourceUnavailableError):
        run(PagedMarket(fails_at=3), store)
    assert len(store.bars) == 3 * 288
    report = run(PagedMarket(), store)
    assert counts(report) == (2 * 288, 0, 289)
    pd.testing.assert_frame_equal(store.bars, BARS[5 * 288 :].reset_index(drop=True))


def test_an_older_history_that_fails_half_way_leaves_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[ingest.__module__], "BATCH_BARS", 288)
    store = MemoryStore(BARS[8 * 288 :])
    with pytest.raises(SourceUnavailableError):
        run(PagedMarket(fails_at=2), store)
    assert store.bars["timestamp"].iloc[0] == at(8 * 288)
    run(PagedMarket(), store)
    pd.testing.assert_frame_equal(store.bars, BARS[5 * 288 :].reset_index(drop=True))


def test_a_replay_in_steps_stores_what_one_look_at_its_end_does(tmp_path: Path) -> None:
    path = tmp_path / "btc.parquet"
    BARS.drop(index=[2000, 2500]).to_parquet(path)
    whole, stepped = MemoryStore(), MemoryStore()
    ingest(FileSource(path, "bitcoin", FIVE), whole, history=timedelta(days=20))
    start = FileSource(path, "bitcoin", FIVE).replay_start(300)
    for step in range(0, 301, 50):
        ingest(FileSource(path, "bitcoin", FIVE, now=start + step * FIVE.delta), stepped, history=timedelta(days=20))
    pd.testing.assert_frame_equal(stepped.bars, whole.bars)


def test_a_simulated_market_is_called_one() -> None:
    source = SimulatedSource("bitcoin", Interval("5m"), seed=4, now=END)
    report = ingest(source, MemoryStore(), history=timedelta(days=1))
    assert report.simulated
    assert report.source == "simulated:4"
    assert report.summary().startswith("simulated:4 (SIMULATED prices): bars added 288, revised 0")


def test_the_report_is_plain_values() -> None:
    content = run(Market(), MemoryStore()).to_dict()
    assert content["source"] == "test"
    assert content["touched_from"] == "2025-01-11T00:00:00+00:00"
    assert content["quote"] == {
        "asset": "bitcoin",
        "price": 600.0,
        "at": "2025-01-16T00:00:00+00:00",
        "change_24h": None,
        "volume_24h": None,
        "market_cap": None,
    }
    assert (content["inserted"], content["simulated"], content["notes"]) == (1440, False, [])
