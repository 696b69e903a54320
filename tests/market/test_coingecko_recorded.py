"""CoinGecko's recorded answers of 2021, played back as they were."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.config import CoinGeckoSettings, MarketSettings
from cryptosentinel.errors import SourceAnswerError, SourceError, SourceUnavailableError
from cryptosentinel.market.coingecko import CoinGeckoSource
from tests.market.servers import Answer, json_answer, routing, serving

pytestmark = pytest.mark.market_data
DAY = timedelta(days=1)


def recording(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "coingecko" / f"{name}.json").read_text(encoding="utf-8"))


def played(recorded: dict[str, Any]) -> Answer:
    return json_answer(recorded["body"], recorded["status"])


def recorded_at(recorded: dict[str, Any]) -> datetime:
    return parsedate_to_datetime(recorded["recorded_at"])


def source(url: str, now: datetime, **options: str) -> CoinGeckoSource:
    settings = MarketSettings(source="coingecko", coingecko=CoinGeckoSettings(base_url=url, max_attempts=2), **options)
    return CoinGeckoSource(settings, clock=lambda: now, sleep=lambda _: None)


@pytest.mark.parametrize(("index", "bars_expected"), [(0, 286), (1, 287)])
def test_a_day_of_points_becomes_a_day_of_bars(market_data: Path, index: int, bars_expected: int) -> None:
    recorded = recording(market_data, f"minutely_historical_prices_for_one_coin__{index}_200")
    now = recorded_at(recorded)
    with serving(played(recorded)) as server:
        bars = source(server.url, now).bars(now - DAY, now)
    prices = pd.Series(dict(recorded["body"]["prices"])).sort_index()
    ends = [round(opened.timestamp() * 1000) + 300_000 for opened in bars["timestamp"]]
    assert len(bars) == bars_expected
    assert bars["timestamp"].diff().dropna().eq(pd.Timedelta("5min")).all()
    assert bars["timestamp"].max() + pd.Timedelta("5min") <= now
    assert bars["close"].tolist() == [prices[prices.index <= end].iloc[-1] for end in ends]
    # A day's estimated volume is the rolling one within what it moved in that day.
    rolling = np.array([volume for _, volume in recorded["body"]["total_volumes"]])
    traded = float((bars["volume"] * bars["close"]).sum()) * 288 / len(bars)
    assert rolling.min() < traded < rolling.max()


def test_a_month_of_hourly_points_becomes_hourly_bars(market_data: Path) -> None:
    recorded = recording(market_data, "hourly_historical_prices_for_one_coin__0_200")
    now = recorded_at(recorded)
    with serving(played(recorded)) as server:
        bars = source(server.url, now, interval="1h").bars(now - 29 * DAY, now)
    assert len(bars) == 29 * 24 - 1
    assert bars["timestamp"].diff().dropna().eq(pd.Timedelta("1h")).all()


@pytest.mark.parametrize(
    ("name", "days", "currency", "candles"),
    [
        ("ohlc_data_for_one_coin_in_the_last_7_days__0_200", 7, "usd", 41),
        ("ohlc_data_for_one_coin_in_the_last_30_days_in_myr__0_200", 30, "myr", 179),
    ],
)
def test_the_candle_still_open_is_left_out(
    market_data: Path, name: str, days: int, currency: str, candles: int
) -> None:
    recorded = recording(market_data, name)
    now = recorded_at(recorded)
    with serving(played(recorded)) as server:
        market = source(server.url, now, currency=currency)
        bars = market.ohlc(days)
    assert len(bars) == candles
    assert bars["timestamp"].iloc[-1] == pd.Timestamp("2021-05-15T08:00Z")
    assert "1 unfinished" in market.notes[0]


def test_a_quote_takes_its_details_from_the_market_list(market_data: Path) -> None:
    price = recording(market_data, "simple_price_for_one_coin__0_200")
    row = recording(market_data, "market_data_for_a_coin__0_200")
    with routing({"/simple/price": played(price), "/coins/markets": played(row)}) as server:
        quote = source(server.url, recorded_at(price)).quote()
    assert (quote.price, quote.volume_24h, quote.market_cap) == (49013, 61679663434, 917825524991)
    assert quote.change_24h == pytest.approx(-0.0437931)


def test_an_asset_dropped_without_a_word_is_an_error(market_data: Path) -> None:
    recorded = recording(market_data, "price_for_multiple_coins__0_200")
    with serving(played(recorded)) as server, pytest.raises(SourceAnswerError, match="no price of 'ethereum'"):
        source(server.url, recorded_at(recorded), asset="ethereum").quote()


def test_every_recorded_refusal_is_explained(market_data: Path) -> None:
    refusals = [
        recorded
        for path in sorted((market_data / "coingecko").glob("*.json"))
        if (recorded := json.loads(path.read_text(encoding="utf-8")))["status"] >= 400
    ]
    assert len(refusals) > 10
    for recorded in refusals:
        with serving(played(recorded)) as server, pytest.raises(SourceError) as raised:
            source(server.url, recorded_at(recorded)).bars(recorded_at(recorded) - DAY, recorded_at(recorded))
        expected = SourceUnavailableError if recorded["status"] == 500 else SourceAnswerError
        assert type(raised.value) is expected, urlsplit(recorded["request"]["uri"]).path
        assert recorded["body"]["error"] in str(raised.value)
