"""An exchange behind a live market: scaled to its level, labelled, and honest about its absence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.config import CoinGeckoSettings, ExchangeSettings, MarketSettings
from cryptosentinel.errors import SourceUnavailableError
from cryptosentinel.market.backfill import BackfilledSource, PagedSource, Scale, bar_pages, scale_between, scaled
from cryptosentinel.market.bars import PRICES, Interval, make_bars
from cryptosentinel.market.coingecko import CoinGeckoSource
from cryptosentinel.market.exchange import ExchangeSource
from cryptosentinel.market.source import Quote, Source
from tests.market.binance import STEP, Binance, price_at
from tests.market.servers import Answer, json_answer, serving

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FIVE = Interval("5m")


def frame(start: datetime, closes: list[float], volume: float = 1.0, source: str = "x") -> pd.DataFrame:
    stamps = pd.date_range(FIVE.floor(start), periods=len(closes), freq="5min")
    closes_ = np.array(closes)
    return make_bars(
        "bitcoin", source, stamps, open=closes_, high=closes_ * 1.01, low=closes_ * 0.99, close=closes_, volume=volume
    )


@dataclass
class Shelf:
    """A source with these bars; after `fails_after` answers it is away."""

    held: pd.DataFrame
    name: str = "exchange:shelf"
    fails_after: int = 10**6
    asset: str = "bitcoin"
    interval: Interval = FIVE
    simulated: bool = False
    time: datetime = NOW
    asked: list[tuple[datetime, datetime]] = field(default_factory=list)

    def now(self) -> datetime:
        return self.time

    def bars(self, start: datetime, end: datetime) -> pd.DataFrame:
        if len(self.asked) >= self.fails_after:
            raise SourceUnavailableError("The shelf is closed.")
        self.asked.append((start, end))
        inside = (self.held["timestamp"] >= start) & (self.held["timestamp"] < end)
        return self.held[inside].reset_index(drop=True)

    def pages(self, start: datetime, end: datetime) -> Iterator[pd.DataFrame]:
        while start < end:
            page = self.bars(start, min(end, start + timedelta(days=2)))
            start += timedelta(days=2)
            if len(page):
                yield page

    def quote(self) -> Quote:
        return Quote("bitcoin", 1.0, self.time)


def walk(days: int, level: float, seed: int = 0) -> list[float]:
    """The same path, at any level."""
    return list(level * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.001, days * 288))))


def pair(live_level: float = 100.2, **history: int) -> tuple[Shelf, Shelf]:
    start = NOW - 10 * DAY
    old = Shelf(frame(start, walk(10, 100.0), volume=3.0, source="exchange:shelf"), **history)
    live_bars = frame(start, walk(10, live_level), volume=6.0, source="live")
    return Shelf(live_bars[live_bars["timestamp"] >= NOW - DAY].reset_index(drop=True), name="live"), old


def log_returns(bars: pd.DataFrame) -> np.ndarray:
    return np.diff(np.log(bars[list(PRICES)].to_numpy()), axis=0)


@settings(max_examples=50, deadline=None)
@given(
    closes=st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=30),
    price=st.floats(0.8, 1.25),
    volume=st.floats(1e-3, 1e3),
)
def test_scaling_leaves_returns_and_ranges_as_they_are(closes: list[float], price: float, volume: float) -> None:
    bars = frame(NOW, closes, volume=5.0)
    other = scaled(bars, Scale(price, volume))
    np.testing.assert_allclose(log_returns(other), log_returns(bars), atol=1e-12)
    np.testing.assert_allclose(other["high"] / other["low"], bars["high"] / bars["low"], rtol=1e-12)
    np.testing.assert_allclose(other["close"], bars["close"] * price)
    np.testing.assert_allclose(other["volume"], 5.0 * volume)
    pd.testing.assert_frame_equal(other[["asset", "timestamp", "source"]], bars[["asset", "timestamp", "source"]])


def test_the_scale_is_the_median_ratio_so_that_wrong_bars_do_not_count() -> None:
    history, live = frame(NOW, [100.0] * 40, volume=2.0), frame(NOW, [100.2] * 40, volume=1.0)
    live.loc[:5, "close"] = 0.01
    live.loc[6, ["close", "volume"]] = [np.nan, np.inf]
    history.loc[7, ["close", "volume"]] = 0.0
    assert scale_between(live, history) == Scale(pytest.approx(1.002), 0.5)


def test_volumes_that_cannot_be_compared_stay_as_they_are() -> None:
    history, live = frame(NOW, [100.0] * 40), frame(NOW, [100.0] * 40, volume=np.nan)
    assert scale_between(live, history) == Scale(1.0, 1.0)


def test_too_few_common_bars_are_no_scale() -> None:
    history = frame(NOW, [100.0] * 40)
    assert scale_between(frame(NOW, [100.0] * 23), history) == ("the two have 23 bars in common, and scaling needs 24")
    assert isinstance(scale_between(frame(NOW, [100.0] * 24), history), Scale)


@pytest.mark.parametrize("level", [126.0, 79.0, 3000.0])
def test_another_market_is_no_backfill(level: float) -> None:
    reason = scale_between(frame(NOW, [level] * 40), frame(NOW, [100.0] * 40))
    assert isinstance(reason, str)
    assert "not the same asset" in reason


def test_old_bars_come_from_the_history_at_the_live_level_without_a_seam() -> None:
    live, history = pair()
    market = BackfilledSource(live, history)
    bars = market.bars(NOW - 8 * DAY, NOW)
    assert len(bars) == 8 * 288
    assert bars["timestamp"].diff().dropna().eq(pd.Timedelta("5min")).all()
    assert bars["source"].tolist() == ["exchange:shelf"] * (7 * 288) + ["live"] * 288
    np.testing.assert_allclose(log_returns(bars)[:, -1], np.diff(np.log(walk(10, 1.0)))[2 * 288 :], atol=1e-12)
    assert bars["volume"].unique().tolist() == [6.0]
    assert market.notes == []


def test_a_window_that_the_live_market_covers_does_not_trouble_the_history() -> None:
    live, history = pair()
    assert len(BackfilledSource(live, history).bars(NOW - timedelta(hours=3), NOW)) == 36
    assert history.asked == []


def test_the_edge_of_what_the_live_market_has_does_not_trouble_the_history() -> None:
    live, history = pair()
    market = BackfilledSource(live, history)
    assert set(market.bars(NOW - DAY - timedelta(minutes=55), NOW)["source"]) == {"live"}
    assert history.asked == []
    assert len(market.bars(NOW - DAY - timedelta(minutes=55), NOW - DAY)) == 11
    assert len(market.bars(NOW - DAY - timedelta(minutes=65), NOW)) == 288 + 13


def test_a_window_wholly_before_the_live_market_is_scaled_too() -> None:
    live, history = pair()
    bars = BackfilledSource(live, history).bars(NOW - 8 * DAY, NOW - 5 * DAY)
    assert len(bars) == 3 * 288
    np.testing.assert_allclose(bars["close"], np.array(walk(10, 100.2))[2 * 288 :][: 3 * 288])


def test_windows_taken_one_after_the_other_have_one_level() -> None:
    live, history = pair()
    market = BackfilledSource(live, history)
    first = market.bars(NOW - 8 * DAY, NOW - 5 * DAY)
    live.held["close"] *= 1.01
    second = market.bars(NOW - 5 * DAY, NOW - 2 * DAY)
    np.testing.assert_allclose(pd.concat([first, second])["close"], np.array(walk(10, 100.2))[2 * 288 :][: 6 * 288])
    live.time = NOW + timedelta(hours=2)
    later = market.bars(NOW - 5 * DAY, NOW - 2 * DAY)
    assert (later["close"] / second["close"]).median() == pytest.approx(1.01)


def test_while_the_history_is_away_there_is_the_live_market_alone_and_a_note() -> None:
    live, history = pair(fails_after=0)
    market = BackfilledSource(live, history)
    assert set(market.bars(NOW - 8 * DAY, NOW)["source"]) == {"live"}
    assert market.notes == [
        "There are no bars before 2025-02-28 12:00 UTC: exchange:shelf is away (The shelf is closed)."
    ]
    market.bars(NOW - timedelta(hours=1), NOW)
    assert market.notes == []


def test_a_history_that_goes_away_before_its_first_bar_is_away() -> None:
    live, history = pair(fails_after=1)
    market = BackfilledSource(live, history)
    assert set(market.bars(NOW - 8 * DAY, NOW)["source"]) == {"live"}
    assert "is away" in market.notes[0]


def test_a_history_that_goes_away_half_way_is_an_error_after_the_good_pages() -> None:
    live, history = pair(fails_after=3)
    stored = []
    with pytest.raises(SourceUnavailableError):
        stored.extend(BackfilledSource(live, history).pages(NOW - 8 * DAY, NOW))
    assert [len(page) for page in stored] == [576, 576]
    assert all(set(page["source"]) == {"exchange:shelf"} for page in stored)


def test_a_history_that_is_another_market_is_left_aside_with_a_note() -> None:
    live, history = pair(live_level=3000.0)
    market = BackfilledSource(live, history)
    assert set(market.bars(NOW - 8 * DAY, NOW)["source"]) == {"live"}
    assert "exchange:shelf cannot stand behind live" in market.notes[0]


def test_without_live_bars_there_are_none() -> None:
    live, history = pair()
    live.held = live.held.iloc[:0]
    market = BackfilledSource(live, history)
    assert market.bars(NOW - 8 * DAY, NOW).empty
    assert "0 bars in common" in market.notes[0]


def test_a_live_market_that_is_away_is_an_error() -> None:
    live, history = pair()
    live.fails_after = 0
    with pytest.raises(SourceUnavailableError):
        BackfilledSource(live, history).bars(NOW - 8 * DAY, NOW)


def test_a_backfill_of_something_else_is_refused() -> None:
    live, history = pair()
    history.asset = "ethereum"
    with pytest.raises(ValueError, match="asset and the interval"):
        BackfilledSource(live, history)


def test_it_answers_as_the_live_market_does() -> None:
    live, history = pair()
    market = BackfilledSource(live, history)
    assert (market.name, market.now(), market.quote().price, market.simulated) == ("live", NOW, 1.0, False)
    assert isinstance(market, Source)
    assert isinstance(market, PagedSource)


def test_any_source_can_be_taken_in_pages() -> None:
    live, history = pair()
    assert [len(page) for page in bar_pages(BackfilledSource(live, history), NOW - 5 * DAY, NOW)] == [576, 576, 288]


def test_coingecko_and_an_exchange_work_together_over_the_network() -> None:
    stamps = [round((NOW - DAY).timestamp() * 1000) + i * STEP for i in range(288)]
    prices = [[s + 140_000, price_at((s + 140_000) // STEP * STEP) * 1.002] for s in stamps]
    chart = json_answer({"prices": prices, "total_volumes": [[s, 1e6] for s in stamps]})
    market = MarketSettings(source="coingecko", exchange=ExchangeSettings(timeout_s=5))
    with serving(chart) as gecko, Binance(NOW).running() as config:
        reach = market.model_copy(update={"coingecko": CoinGeckoSettings(base_url=gecko.url)})
        live = CoinGeckoSource(reach, clock=lambda: NOW)
        both = BackfilledSource(live, ExchangeSource("binance", reach, ccxt_config=config, clock=lambda: NOW))
        bars = both.bars(NOW - 6 * DAY, NOW)
    assert both.notes == []
    assert bars["timestamp"].diff().dropna().eq(pd.Timedelta("5min")).all()
    counts = bars["source"].value_counts()
    assert counts["coingecko"] + counts["exchange:binance"] == 6 * 288
    old = bars[bars["source"] == "exchange:binance"]
    expected = [price_at(round(t.timestamp() * 1000)) * 1.002 for t in old["timestamp"]]
    np.testing.assert_allclose(old["close"], expected, rtol=1e-4)


def test_coingecko_alone_when_the_exchange_fails_over_the_network() -> None:
    stamps = [round((NOW - DAY).timestamp() * 1000) + i * STEP for i in range(288)]
    chart = json_answer({"prices": [[s + 140_000, 100.0] for s in stamps], "total_volumes": []})
    binance = Binance(NOW, faults=[Answer(manner="reset")] * 9)
    market = MarketSettings(source="coingecko", exchange=ExchangeSettings(timeout_s=5, max_attempts=2))
    with serving(chart) as gecko, binance.running() as config:
        reach = market.model_copy(update={"coingecko": CoinGeckoSettings(base_url=gecko.url)})
        history = ExchangeSource("binance", reach, ccxt_config=config, clock=lambda: NOW, sleep=lambda _: None)
        both = BackfilledSource(CoinGeckoSource(reach, clock=lambda: NOW), history)
        assert set(both.bars(NOW - 6 * DAY, NOW)["source"]) == {"coingecko"}
    assert "exchange:binance is away" in both.notes[-1]
