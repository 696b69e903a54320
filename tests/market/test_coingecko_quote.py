"""CoinGecko's quote and its candles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from cryptosentinel.errors import SourceAnswerError, UserInputError
from tests.market.gecko import NOW, ms, source
from tests.market.servers import Answer, json_answer, routing, serving


def simple(**known: Any) -> Answer:
    return json_answer({"bitcoin": known})


MARKET_ROW = {
    "id": "bitcoin",
    "current_price": 99.0,
    "market_cap": 8e11,
    "total_volume": 5e10,
    "price_change_percentage_24h": -4.0,
}


def test_a_quote_has_price_change_volume_cap_and_time() -> None:
    answer = simple(
        usd=100.5, usd_market_cap=1e12, usd_24h_vol=3e10, usd_24h_change=-2.5, last_updated_at=ms(NOW) // 1000 - 40
    )
    with serving(answer) as server:
        quote = source(server.url).quote()
    assert (quote.price, quote.change_24h, quote.volume_24h, quote.market_cap) == (100.5, -0.025, 3e10, 1e12)
    assert quote.at == NOW - timedelta(seconds=40)
    assert len(server.requests) == 1


@pytest.mark.parametrize("price", [None, 0, -3, "100"])
def test_what_a_quote_lacks_comes_from_the_market_list(price: Any) -> None:
    with routing({"/simple/price": simple(usd=price), "/coins/markets": json_answer([{"id": "x"}, MARKET_ROW])}) as s:
        quote = source(s.url).quote()
    assert (quote.price, quote.change_24h, quote.volume_24h, quote.market_cap) == (99.0, -0.04, 5e10, 8e11)


def test_a_quote_without_details_is_better_than_none() -> None:
    with routing({"/simple/price": simple(usd=100.5), "/coins/markets": json_answer({}, 500)}) as server:
        market = source(server.url)
        quote = market.quote()
    assert (quote.price, quote.change_24h, quote.at) == (100.5, None, NOW)
    assert "lacks details" in market.notes[0]


@pytest.mark.parametrize("rows", [[], [{"id": "ethereum", "current_price": 5}], [None], {"a": 1}])
def test_no_price_anywhere_is_an_error_that_names_the_currency(rows: Any) -> None:
    with (
        routing({"/simple/price": simple(), "/coins/markets": json_answer(rows)}) as server,
        pytest.raises(SourceAnswerError, match=r"no price of 'bitcoin' in 'usd'"),
    ):
        source(server.url).quote()


@pytest.mark.parametrize("answer", [{}, {"ethereum": {"usd": 5}}, {"bitcoin": None}, []])
def test_a_dropped_asset_is_an_error_that_names_the_setting(answer: Any) -> None:
    with serving(json_answer(answer)) as server, pytest.raises(SourceAnswerError, match=r"market\.asset"):
        source(server.url).quote()


@pytest.mark.parametrize("stamp", [ms(NOW), 0, -1, 1e300, None, "now"])
def test_a_quote_is_never_from_the_future_or_from_nowhere(stamp: Any) -> None:
    details = {"usd_market_cap": 1e12, "usd_24h_vol": 3e10, "usd_24h_change": -2.5}
    with serving(simple(usd=1, last_updated_at=stamp, **details)) as server:
        assert source(server.url).quote().at == NOW


def test_candles_are_stamped_with_their_open_and_unfinished_or_impossible_ones_left_out() -> None:
    close = ms(datetime(2025, 3, 1, 12, tzinfo=UTC))
    half_hour = 1_800_000
    candles = [
        [close, 3, 5, 2, 4],
        [close - half_hour, 2, 3, 2, 3],
        [close + half_hour, 4, 4, 4, 4],
        [close - 2 * half_hour, 3, 2, 5, 4],
        [close - 3 * half_hour, None, 2, 5, 4],
    ]
    with serving(json_answer(candles)) as server:
        market = source(server.url)
        bars = market.ohlc(1)
    assert list(bars["timestamp"]) == [pd.Timestamp("2025-03-01T11:00Z"), pd.Timestamp("2025-03-01T11:30Z")]
    assert bars[["open", "high", "low", "close"]].to_numpy().tolist() == [[2, 3, 2, 3], [3, 5, 2, 4]]
    assert market.notes == ["3 of 5 candles were left out: 1 impossible, 1 not five numbers, 1 unfinished."]


def test_candles_come_for_certain_spans_only() -> None:
    with pytest.raises(UserInputError, match="1, 7, 14, 30, 90, 180, 365"):
        source("http://127.0.0.1:9").ohlc(2)
