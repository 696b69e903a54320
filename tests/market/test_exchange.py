"""An exchange through the real ccxt, against a server that speaks Binance's API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from cryptosentinel.config import ExchangeSettings, MarketSettings
from cryptosentinel.errors import (
    RateLimitedError,
    SettingsError,
    SourceAnswerError,
    SourceError,
    SourceUnavailableError,
    UserInputError,
)
from cryptosentinel.market.bars import COLUMNS, TIMESTAMP_DTYPE
from cryptosentinel.market.exchange import ExchangeSource
from cryptosentinel.market.source import Source
from tests.market.binance import STEP, Binance, price_at, to
from tests.market.servers import Answer, json_answer, serving

NOW = datetime(2025, 3, 1, 12, 2, 30, tzinfo=UTC)
DAY = timedelta(days=1)
HTML = Answer(b"<html>busy</html>", 503, {"content-type": "text/html"})


def source(
    config: dict[str, Any],
    *,
    exchange: str = "binance",
    naps: list[float] | None = None,
    interval: str = "5m",
    asset: str = "bitcoin",
    **reach: Any,
) -> ExchangeSource:
    settings = ExchangeSettings(**{"timeout_s": 5.0, "max_attempts": 3, **reach})
    return ExchangeSource(
        exchange,
        MarketSettings(source=f"exchange:{exchange}", asset=asset, interval=interval, exchange=settings),
        ccxt_config=config,
        clock=lambda: NOW,
        sleep=(naps if naps is not None else []).append,
    )


def whole(bars: pd.DataFrame, start: datetime, count: int) -> bool:
    stamps = [round(t.timestamp() * 1000) for t in bars["timestamp"]]
    first = -(-round(start.timestamp() * 1000) // STEP) * STEP
    return stamps == [first + i * STEP for i in range(count)] and bars["close"].tolist() == [
        price_at(s) for s in stamps
    ]


def test_a_long_window_comes_whole_page_by_page_and_ends_before_the_open_bar() -> None:
    binance = Binance(NOW)
    start = NOW - 9 * DAY
    with binance.running() as config:
        bars = source(config).bars(start, NOW + DAY)
    assert whole(bars, start, 9 * 288 - 1)
    assert bars["timestamp"].iloc[-1] == pd.Timestamp("2025-03-01T11:55Z")
    assert [request.query["limit"] for request in binance.asked] == ["1000", "1000", "591"]
    assert tuple(bars.columns) == COLUMNS
    assert bars["timestamp"].dtype == TIMESTAMP_DTYPE
    assert set(bars["source"]) == {"exchange:binance"}


def test_the_window_s_end_is_excluded() -> None:
    with Binance(NOW).running() as config:
        bars = source(config).bars(NOW.replace(hour=3, minute=0, second=0), NOW.replace(hour=4, minute=0, second=0))
    assert len(bars) == 12
    assert bars["timestamp"].iloc[-1] == pd.Timestamp("2025-03-01T03:55Z")


def test_a_caller_stopped_half_way_goes_on_from_what_it_has() -> None:
    start = NOW - 9 * DAY
    with Binance(NOW).running() as config:
        pages = source(config).pages(start, NOW)
        stored = [next(pages), next(pages)]
        pages.close()
        rest = source(config).bars(stored[-1]["timestamp"].iloc[-1] + pd.Timedelta("5min"), NOW)
    assert whole(pd.concat([*stored, rest]), start, 9 * 288 - 1)


def test_pages_before_a_failure_are_good_and_it_is_explained() -> None:
    binance = Binance(NOW, faults=[None, HTML, HTML, HTML])
    stored = []
    with binance.running() as config, pytest.raises(SourceUnavailableError, match=r"binance \(asked for bars of BTC"):
        stored.extend(source(config).pages(NOW - 9 * DAY, NOW))
    assert binance.faults == []


FAILURES: dict[str, tuple[Answer, type[SourceError], str]] = {
    "429": (json_answer({"code": -1003, "msg": "slow"}, 429, retry_after="90"), RateLimitedError, "wait 90 s"),
    "418, a ban": (json_answer({"code": -1003, "msg": "banned"}, 418), RateLimitedError, "banned"),
    "500": (json_answer({}, 500), SourceUnavailableError, "500"),
    "503 as an HTML page": (HTML, SourceUnavailableError, "503"),
    "451, a place it does not serve": (json_answer({"code": 0, "msg": "place"}, 451), SourceUnavailableError, "place"),
    "silence": (Answer(manner="silent"), SourceUnavailableError, "is not available"),
    "a reset connection": (Answer(manner="reset"), SourceUnavailableError, "is not available"),
    "a body cut short": (Answer(b"[", manner="cut short"), SourceUnavailableError, "is not available"),
    "an HTML page under status 200": (Answer(b"<html>"), SourceAnswerError, "no market data"),
    "an empty body": (Answer(b""), SourceAnswerError, "no market data"),
    "truncated JSON": (Answer(b'[[1,"2'), SourceAnswerError, "no market data"),
    "an error of its own": (json_answer({"code": -1100, "msg": "Illegal"}, 400), SourceAnswerError, "Illegal"),
    "rows that are no bars": (json_answer([[None, "a"]]), SourceAnswerError, "other bars"),
    "a list of nulls": (json_answer([None]), SourceAnswerError, "other bars"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_explained(name: str) -> None:
    answer, error, says = FAILURES[name]
    patience = {"timeout_s": 0.5, "max_attempts": 2} if name == "silence" else {}
    binance = Binance(NOW, faults=[answer] * 3)
    with binance.running() as config, pytest.raises(SourceError) as raised:
        source(config, **patience).bars(NOW - 9 * DAY, NOW)
    assert type(raised.value) is error
    assert says in str(raised.value)


@pytest.mark.parametrize("name", ["500", "503 as an HTML page", "418, a ban", "a reset connection"])
def test_a_passing_failure_is_retried(name: str) -> None:
    with Binance(NOW, faults=[FAILURES[name][0]]).running() as config:
        assert whole(source(config).bars(NOW - DAY, NOW), NOW - DAY, 287)


def test_the_wait_asked_for_is_kept_where_patience_allows() -> None:
    naps: list[float] = []
    limited = json_answer({"code": -1003, "msg": "slow"}, 429, retry_after="3")
    with Binance(NOW, faults=[limited]).running() as config:
        source(config, naps=naps).bars(NOW - DAY, NOW)
    assert 3 <= naps[0] <= 13


def test_a_page_repeated_once_is_asked_for_again() -> None:
    binance = Binance(NOW)
    start = NOW - 9 * DAY
    old = json_answer(binance.klines(round(start.timestamp() * 1000), 1000))
    binance.faults = [None, old]
    with binance.running() as config:
        assert whole(source(config).bars(start, NOW), start, 9 * 288 - 1)


def test_a_page_repeated_for_ever_is_an_error_not_a_loop() -> None:
    binance = Binance(NOW)
    old = json_answer(binance.klines(round((NOW - 20 * DAY).timestamp() * 1000), 1000))
    binance.faults = [old] * 9
    with (
        binance.running() as config,
        pytest.raises(SourceAnswerError, match="answered other bars where bars of BTC/USDT from 2025"),
    ):
        source(config).bars(NOW - 9 * DAY, NOW)
    assert len(binance.asked) == 3


def test_the_last_bar_repeated_where_nothing_is_newer_is_the_end() -> None:
    binance = Binance(NOW)
    binance.faults = [json_answer(binance.klines(round((NOW - DAY).timestamp() * 1000), 1))] * 9
    with binance.running() as config:
        assert source(config).bars(NOW - timedelta(hours=1), NOW).empty


def test_empty_pages_are_passed_over() -> None:
    binance = Binance(NOW, faults=[json_answer([]), json_answer([])])
    with binance.running() as config:
        bars = source(config).bars(NOW - 9 * DAY, NOW)
    assert len(bars) == 9 * 288 - 1 - 2000


def test_a_window_from_before_the_listing_begins_with_the_listing() -> None:
    listed = datetime(2025, 2, 27, tzinfo=UTC)
    with Binance(NOW, listed=listed).running() as config:
        bars = source(config).bars(NOW - 90 * DAY, NOW)
    assert bars["timestamp"].iloc[0] == listed
    assert len(bars) == 2 * 288 + 144


def test_missing_bars_stay_missing_and_repeated_or_off_grid_rows_count_once() -> None:
    binance = Binance(NOW)
    rows = binance.klines(round((NOW - timedelta(hours=1)).timestamp() * 1000), 12)
    odd = [*rows[:5], rows[4], [rows[5][0] + 1, *rows[5][1:]], *rows[6:]]
    binance.faults = [json_answer(odd)]
    with binance.running() as config:
        bars = source(config).bars(NOW - timedelta(hours=1), NOW)
    assert [round(t.timestamp() * 1000) for t in bars["timestamp"]] == [r[0] for r in rows[:5] + rows[6:11]]


def test_an_empty_window_asks_nothing() -> None:
    binance = Binance(NOW)
    with binance.running() as config:
        assert source(config).bars(NOW, NOW - DAY).empty
        assert source(config).bars(NOW + DAY, NOW + 2 * DAY).empty
        assert list(source(config).pages(NOW, NOW)) == []
    assert binance.asked == []


def test_a_quote_is_the_last_trade() -> None:
    with Binance(NOW).running() as config:
        quote = source(config).quote()
    assert (quote.price, quote.change_24h, quote.volume_24h, quote.market_cap) == (101.5, -0.025, 3e9, None)
    assert quote.at == NOW


def test_a_ping_asks_once() -> None:
    with Binance(NOW).running() as config:
        source(config).ping()
    with serving(json_answer({}, 500)) as server, pytest.raises(SourceUnavailableError):
        source(to(server.url)).ping()
    assert len(server.requests) == 1


def test_an_unknown_exchange_is_answered_with_close_ones() -> None:
    with pytest.raises(UserInputError, match=r"no exchange 'binanse'. Did you mean binance"):
        source({}, exchange="binanse").quote()


def test_an_unknown_symbol_is_answered_with_close_ones() -> None:
    with Binance(NOW).running() as config, pytest.raises(UserInputError, match=r"no market BTC/USDX.*BTC/USDT"):
        source(config, symbol="BTC/USDX").bars(NOW - DAY, NOW)


def test_an_exchange_that_lists_nothing_is_at_fault_not_the_user() -> None:
    with serving(json_answer({"symbols": []})) as server, pytest.raises(SourceAnswerError, match="lists no markets"):
        source(to(server.url)).bars(NOW - DAY, NOW)


def test_an_interval_the_exchange_has_not_is_answered_with_those_it_has() -> None:
    with pytest.raises(UserInputError, match=r"bitmex has no 15m bars; it offers: 1m, 5m, 1h, 1d"):
        source({}, exchange="bitmex", interval="15m").quote()


@pytest.mark.parametrize(("asset", "symbol"), [("ethereum", "BTC/USDT"), ("bitcoin", "ETH/USDT")])
def test_an_asset_is_never_labelled_with_another_s_prices(asset: str, symbol: str) -> None:
    with pytest.raises(SettingsError, match=r"market\.asset.*market\.exchange\.symbol"):
        source({}, asset=asset, symbol=symbol)


def test_it_is_a_source() -> None:
    assert isinstance(source({}), Source)
