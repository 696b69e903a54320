"""What every market source must do. A new source is held to it by a builder in `SOURCES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest

from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.market.bars import COLUMNS, PRICES, Interval, empty_bars, utc
from cryptosentinel.market.file import FileSource
from cryptosentinel.market.simulated import SimulatedSource
from cryptosentinel.market.source import Source
from tests.builders import T0, make_random_bars

FIVE = Interval("5m")


@dataclass(frozen=True)
class Subject:
    """A source under test.

    Attributes:
        source: answers the same to the same question; its clock may stand still or run.
        start: of a window of at least 12 hours that lies in the past and has bars.
        end: of that window.
        without_bars: the same source where it has no bars, to be asked for a quote; None where there is no such place.
    """

    source: Source
    start: datetime
    end: datetime
    without_bars: Source | None = None


@contextmanager
def file(folder: Path) -> Iterator[Subject]:
    bars = make_random_bars(600)
    path = folder / "recorded.parquet"
    bars[["timestamp", *PRICES, "volume"]].drop(index=[400, 401]).to_parquet(path)
    yield Subject(
        FileSource(path, "bitcoin", FIVE),
        T0 + timedelta(hours=24),
        T0 + timedelta(hours=44),
        without_bars=FileSource(path, "bitcoin", FIVE, now=T0),
    )


@contextmanager
def replayed_minutes(folder: Path) -> Iterator[Subject]:
    bars = make_random_bars(3000, interval=Interval("1m"))
    path = folder / "minutes.csv.gz"
    bars[["timestamp", *PRICES, "volume"]].to_csv(path, index=False)
    now = T0 + timedelta(hours=40, seconds=17)
    yield Subject(FileSource(path, "bitcoin", FIVE, now=now), T0 + timedelta(hours=20), T0 + timedelta(hours=40))


@contextmanager
def simulated(folder: Path) -> Iterator[Subject]:
    del folder
    yield Subject(
        SimulatedSource("bitcoin", FIVE, seed=3, now=T0 + timedelta(minutes=2)),
        T0 - timedelta(hours=20),
        T0,
        without_bars=SimulatedSource("bitcoin", FIVE, now=datetime.fromisoformat("2009-01-03T18:15:05+00:00")),
    )


@contextmanager
def simulated_live(folder: Path) -> Iterator[Subject]:
    del folder
    source = SimulatedSource("bitcoin", FIVE)
    yield Subject(source, source.now() - timedelta(hours=20), source.now() - timedelta(hours=1))


Builder = Callable[[Path], AbstractContextManager[Subject]]
SOURCES: dict[str, Builder] = {
    "file": file,
    "file of minutes, replayed": replayed_minutes,
    "simulated": simulated,
    "simulated, live": simulated_live,
}


@pytest.fixture(params=SOURCES)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with SOURCES[request.param](tmp_path) as built:
        yield built


def test_it_is_a_source(subject: Subject) -> None:
    assert isinstance(subject.source, Source)
    assert subject.source.asset == "bitcoin"
    assert subject.source.interval == FIVE


def test_its_name_says_what_kind_it_is(subject: Subject) -> None:
    kind, _, detail = subject.source.name.partition(":")
    assert kind in {"coingecko", "exchange", "file", "simulated"}
    assert detail or kind == "coingecko"
    assert subject.source.simulated == (kind == "simulated")


def test_bars_have_the_columns_and_types_of_bars(subject: Subject) -> None:
    bars = subject.source.bars(subject.start, subject.end)
    assert len(bars) > 100
    assert tuple(bars.columns) == COLUMNS
    assert bars.dtypes.equals(empty_bars().dtypes)
    assert bars.index.equals(pd.RangeIndex(len(bars)))
    assert set(bars["asset"]) == {"bitcoin"}


def test_every_bar_keeps_its_source(subject: Subject) -> None:
    sources = set(subject.source.bars(subject.start, subject.end)["source"])
    assert subject.source.name in sources
    assert all(sources)


def test_bars_are_on_the_grid_in_order_and_in_the_window(subject: Subject) -> None:
    times = subject.source.bars(subject.start, subject.end)["timestamp"]
    assert (times == times.dt.floor(FIVE.delta)).all()
    assert times.is_monotonic_increasing
    assert times.is_unique
    assert times.min() >= pd.Timestamp(subject.start)
    assert times.max() < pd.Timestamp(subject.end)


def test_prices_are_possible(subject: Subject) -> None:
    bars = subject.source.bars(subject.start, subject.end)
    assert (bars[list(PRICES)] > 0).all(axis=None)
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert not (bars["volume"] < 0).any()


def test_an_unfinished_bar_is_never_given(subject: Subject) -> None:
    bars = subject.source.bars(subject.start, subject.source.now() + timedelta(days=1))
    assert bars["timestamp"].iloc[-1] + FIVE.delta <= pd.Timestamp(subject.source.now())


def test_a_window_is_half_open(subject: Subject) -> None:
    times = subject.source.bars(subject.start, subject.end)["timestamp"]
    inner = subject.source.bars(utc(times.iloc[3]), utc(times.iloc[7]))["timestamp"]
    assert inner.tolist() == times.iloc[3:7].tolist()


def test_a_window_is_the_sum_of_its_parts(subject: Subject) -> None:
    middle = subject.start + (subject.end - subject.start) / 3
    parts = [subject.source.bars(subject.start, middle), subject.source.bars(middle, subject.end)]
    whole = subject.source.bars(subject.start, subject.end)
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)


def test_the_same_question_has_the_same_answer(subject: Subject) -> None:
    first, second = (subject.source.bars(subject.start, subject.end) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_a_window_may_be_in_any_time_zone(subject: Subject) -> None:
    tokyo = timezone(timedelta(hours=9))
    bars = subject.source.bars(subject.start.astimezone(tokyo), subject.end.astimezone(tokyo))
    pd.testing.assert_frame_equal(bars, subject.source.bars(subject.start, subject.end))


@pytest.mark.parametrize("window", ["the future", "nothing", "backwards", "before there were markets"])
def test_a_window_without_bars_is_a_frame_of_no_rows(subject: Subject, window: str) -> None:
    start, end = {
        "the future": (subject.source.now() + timedelta(days=1), subject.source.now() + timedelta(days=2)),
        "nothing": (subject.start, subject.start),
        "backwards": (subject.end, subject.start),
        "before there were markets": (utc("1999-01-01"), utc("1999-01-02")),
    }[window]
    bars = subject.source.bars(start, end)
    assert bars.empty
    assert tuple(bars.columns) == COLUMNS
    assert bars.dtypes.equals(empty_bars().dtypes)


def test_its_clock_is_in_utc_and_does_not_run_backwards(subject: Subject) -> None:
    first, second = subject.source.now(), subject.source.now()
    assert first.utcoffset() == timedelta(0)
    assert first <= second


def test_the_quote_is_of_now_and_near_the_last_bar(subject: Subject) -> None:
    quote = subject.source.quote()
    now = subject.source.now()
    bars = subject.source.bars(now - timedelta(hours=6), now)
    assert quote.asset == "bitcoin"
    assert quote.at.utcoffset() == timedelta(0)
    assert now - timedelta(hours=1) <= quote.at <= now
    assert bars["close"].iloc[-1] * 0.9 < quote.price < bars["close"].iloc[-1] * 1.1
    assert quote.change_24h is None or -1 < quote.change_24h < 10
    assert quote.volume_24h is None or quote.volume_24h >= 0
    assert quote.market_cap is None or quote.market_cap > 0


def test_there_is_no_quote_where_there_are_no_bars(subject: Subject) -> None:
    if subject.without_bars is None:
        pytest.skip("this source has bars everywhere")
    with pytest.raises(NotEnoughDataError):
        subject.without_bars.quote()
