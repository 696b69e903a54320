"""Which market is opened, how people are told, and which folder its data belongs in."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cryptosentinel.config import MarketSettings
from cryptosentinel.errors import SettingsError, UserInputError
from cryptosentinel.market._calls import call_within, retry_after_s
from cryptosentinel.market.backfill import BackfilledSource
from cryptosentinel.market.coingecko import CoinGeckoSource
from cryptosentinel.market.exchange import ExchangeSource
from cryptosentinel.market.file import FileSource
from cryptosentinel.market.opening import Opened, open_source, source_slug
from cryptosentinel.market.simulated import SimulatedSource
from tests.market.binance import Binance, to
from tests.market.servers import Answer, json_answer, serving

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
PONG = json_answer({"gecko_says": "(V3) To the Moon!"})


def settings(source: str, url: str = "http://127.0.0.1:9", backfill_id: str = "", **other: Any) -> MarketSettings:
    return MarketSettings.model_validate(
        {
            "source": source,
            "probe_timeout_s": 5,
            "coingecko": {"base_url": url},
            "exchange": {"backfill_id": backfill_id, "timeout_s": 1},
            **other,
        }
    )


def opened_with(answer: Answer, **other: Any) -> Opened:
    with serving(answer) as server:
        return open_source(settings("auto", server.url, **other), now=NOW)


def test_a_file_is_opened_with_the_clock_it_is_given(tmp_path: Path) -> None:
    opened = open_source(settings(f"file:{tmp_path}/bars.csv"), now=NOW)
    assert isinstance(opened.source, FileSource)
    assert opened.source.now() == NOW
    assert opened.notice == ""


def test_a_simulated_market_is_opened_with_its_seed_and_clock() -> None:
    opened = open_source(settings("simulated:7"), now=NOW)
    assert (opened.source.name, opened.source.now(), opened.slug) == ("simulated:7", NOW, "simulated-7")
    assert open_source(settings("simulated")).slug == "simulated-0"


def test_live_markets_have_the_wall_clock_whatever_clock_is_given() -> None:
    for source in ("coingecko", "exchange:binance"):
        assert open_source(settings(source), now=NOW).source.now() > NOW + timedelta(days=1)


def test_coingecko_has_the_exchange_behind_it_unless_told_otherwise() -> None:
    assert isinstance(open_source(settings("coingecko")).source, CoinGeckoSource)
    backed = open_source(settings("coingecko", backfill_id="kraken")).source
    assert isinstance(backed, BackfilledSource)
    assert backed.history.name == "exchange:kraken"


def test_an_exchange_is_opened_by_name() -> None:
    opened = open_source(settings("exchange:kraken"))
    assert isinstance(opened.source, ExchangeSource)
    assert (opened.source.name, opened.slug) == ("exchange:kraken", "exchange-kraken")
    with pytest.raises(UserInputError, match="Did you mean"):
        open_source(settings("exchange:krakn")).source.quote()


def test_opening_does_not_import_what_takes_seconds_to_import() -> None:
    program = """
import sys
from cryptosentinel.config import MarketSettings
from cryptosentinel.market import open_source
for source in ("coingecko", "exchange:binance"):
    open_source(MarketSettings(source=source))
sys.exit("ccxt" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_auto_is_coingecko_where_that_answers() -> None:
    opened = opened_with(PONG)
    assert isinstance(opened.source, CoinGeckoSource)
    assert (opened.setting, opened.slug, opened.notice) == ("coingecko", "coingecko", "")


def test_auto_is_coingecko_where_that_only_limits_our_rate() -> None:
    assert isinstance(opened_with(json_answer({}, 429)).source, CoinGeckoSource)


def test_auto_puts_the_exchange_behind_coingecko_where_it_answers() -> None:
    with serving(PONG) as gecko, Binance(NOW).running() as config:
        opened = open_source(settings("auto", gecko.url, backfill_id="binance"), ccxt_config=config)
    assert isinstance(opened.source, BackfilledSource)
    assert (opened.setting, opened.notice) == ("coingecko", "")


def test_auto_does_without_an_exchange_that_does_not_answer_and_says_so() -> None:
    with serving(PONG) as gecko, serving(Answer(manner="silent")) as silent:
        opened = open_source(settings("auto", gecko.url, backfill_id="binance"), ccxt_config=to(silent.url))
    assert isinstance(opened.source, CoinGeckoSource)
    assert opened.setting == "coingecko"
    assert opened.notice.startswith("binance (asked for a sign")
    assert "using CoinGecko alone" in opened.notice


@pytest.mark.parametrize(
    ("answer", "because"),
    [
        (Answer(manner="silent"), "no answer within|did not answer within"),
        (Answer(b" " * 10_000, manner="dripping"), "no answer within|had not finished"),
        (Answer(manner="reset"), "cannot be reached"),
        (json_answer({}, 503), "503"),
        (Answer(b"<html>Please log in</html>"), "an HTML page"),
        (Answer(status=302, headers={"location": "http://login.example"}), "redirects to"),
    ],
    ids=["silence", "drip", "reset", "503", "a login page", "a redirect to one"],
)
def test_auto_is_the_simulated_market_where_coingecko_does_not_answer_and_says_so(answer: Answer, because: str) -> None:
    timeout_s = 0.3 if answer.manner in ("silent", "dripping") else 5
    opened = opened_with(answer, probe_timeout_s=timeout_s)
    assert isinstance(opened.source, SimulatedSource)
    assert opened.source.now() == NOW
    assert (opened.setting, opened.slug) == ("simulated:0", "simulated-0")
    assert opened.notice.startswith("CoinGecko")
    assert "using a SIMULATED market" in opened.notice
    assert any(reason in opened.notice for reason in because.split("|"))


def test_auto_asks_once() -> None:
    with serving(json_answer({}, 500)) as server:
        open_source(settings("auto", server.url))
    assert len(server.requests) == 1


def test_auto_does_not_hide_settings_that_cannot_be_followed() -> None:
    with pytest.raises(SettingsError, match="1-minute"):
        open_source(settings("auto", interval="1m"))
    with pytest.raises(SettingsError, match="base_url"):
        open_source(settings("auto", "nowhere"))
    with pytest.raises(UserInputError, match="no exchange 'binanse'"):
        opened_with(PONG, backfill_id="binanse")


def test_waiting_ends_even_for_what_cannot_be_interrupted() -> None:
    never = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
        call_within(0.2, never.wait)
    never.set()


def test_a_call_in_time_answers_or_fails_as_it_would_have() -> None:
    assert call_within(5, lambda: "yes") == "yes"
    with pytest.raises(ZeroDivisionError):
        call_within(5, lambda: 1 // 0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 1.5 ", 1.5),
        ("Sat, 01 Mar 2025 12:01:30 GMT", 90),
        ("Sat, 01 Mar 2025 11:00:00 GMT", 0),
        ("Sat, 01 Mar 2025 12:01:30", 90),
        ("-5", None),
        ("nan", None),
        ("9" * 400, None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_the_wait_asked_for_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds


@pytest.mark.parametrize(
    ("setting", "slug"),
    [
        ("coingecko", "coingecko"),
        ("exchange:binance", "exchange-binance"),
        ("simulated", "simulated-0"),
        ("simulated:007", "simulated-7"),
    ],
)
def test_a_slug_names_the_market(setting: str, slug: str) -> None:
    assert source_slug(setting) == slug


def test_files_of_the_same_name_have_slugs_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    slugs = {source_slug(f"file:{tmp_path}/{folder}/my bars.csv") for folder in ("a", "b")}
    assert len(slugs) == 2
    assert all(slug.startswith("file-my-bars-") and len(slug) == len("file-my-bars-") + 8 for slug in slugs)
    monkeypatch.chdir(tmp_path / "a")
    assert source_slug("file:../a/my bars.csv") in slugs
    assert len(source_slug(f"file:{'x' * 200}.csv")) < 80


def test_auto_is_no_market_until_it_is_opened() -> None:
    with pytest.raises(ValueError, match="before it is opened"):
        source_slug("auto")
