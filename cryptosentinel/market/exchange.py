"""An exchange as a market, through ccxt: deep history page by page, and a quote."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import pandas as pd

from cryptosentinel.config import MarketSettings
from cryptosentinel.errors import (
    RateLimitedError,
    SettingsError,
    SourceAnswerError,
    SourceError,
    SourceUnavailableError,
    UserInputError,
)
from cryptosentinel.market._calls import TransientError, retry_after_s, to_ms, utc_now, with_retries
from cryptosentinel.market.bars import PRICES, Interval, empty_bars, make_bars, utc
from cryptosentinel.market.source import Quote

Answer = TypeVar("Answer")
_MAX_PAGE_BARS = 1000


class ExchangeSource:
    """Bars and quotes of one symbol on one exchange.

    Args:
        exchange_id: ccxt's name of it, e.g. `binance`.
        market: `market.exchange.symbol` is what is asked for, `market.asset` what the bars are labelled with.
        ccxt_config: passed on to ccxt as it is, e.g. ``{"urls": ...}`` or ``{"httpsProxy": ...}``.

    ccxt, which takes seconds to import, is first needed when something is asked; only then does it turn out
    (`UserInputError`) that it knows no such exchange, or that the exchange has no bars of this interval.

    Raises:
        SettingsError: `market.asset` and `market.exchange.symbol` are different things.
    """

    simulated: ClassVar[bool] = False

    def __init__(
        self,
        exchange_id: str,
        market: MarketSettings,
        *,
        ccxt_config: Mapping[str, Any] | None = None,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.asset = market.asset
        self.interval = Interval(market.interval)
        self.symbol = market.exchange.symbol
        self._id = exchange_id
        self._settings = market.exchange
        self._clock = clock
        self._sleep = sleep
        if self.symbol.startswith("BTC/") != (self.asset == "bitcoin"):
            raise SettingsError(
                f"Settings 'market.asset' ({self.asset}) and 'market.exchange.symbol' ({self.symbol}) do not match.",
                remedy="Set both, e.g. market.asset=ethereum market.exchange.symbol=ETH/USDT"
                " (or, behind CoinGecko, no exchange: market.exchange.backfill_id='').",
            )
        self._ccxt_config = ccxt_config or {}

    @property
    def name(self) -> str:
        """`exchange:<id>`."""
        return f"exchange:{self._id}"

    @cached_property
    def _client(self) -> Any:
        client = _client(self._id, self.symbol, self._settings.timeout_s, self._ccxt_config)
        if self.interval.name not in (client.timeframes or {}) or not client.has["fetchOHLCV"]:
            offered = ", ".join(client.timeframes or {}) or "none"
            raise UserInputError(f"{self._id} has no {self.interval.name} bars; it offers: {offered}.")
        return client

    def now(self) -> datetime:
        """The wall clock."""
        return self._clock()

    def ping(self) -> None:
        """Asks, once, whether the exchange answers.

        Raises:
            SourceError: it does not.
        """
        fetch_time = self._client.fetch_time if self._client.has["fetchTime"] else None
        self._call("a sign", fetch_time or (lambda: self._client.fetch_ticker(self.symbol)), max_attempts=1)

    def bars(self, start: datetime, end: datetime) -> pd.DataFrame:
        """All of `pages`, as one frame; see `Source.bars`."""
        pages = list(self.pages(start, end))
        return pd.concat(pages, ignore_index=True) if pages else empty_bars()

    def pages(self, start: datetime, end: datetime) -> Iterator[pd.DataFrame]:
        """The complete bars with ``start <= timestamp < end``, oldest first, a page at a time.

        Each page can be stored before the next one is asked for: a caller that is stopped half way goes on from the
        newest bar it has stored, and gets the bars it would have got. Pages are never empty.

        Raises:
            SourceError: the exchange failed, after retries; the pages before are good.
            UserInputError: the exchange has no such symbol or interval, or is none.
        """
        step = self.interval.seconds * 1000
        since = -(-to_ms(utc(start)) // step) * step
        while True:
            last = min(to_ms(utc(end)) - 1, to_ms(self.interval.last_complete(self.now())))
            if since > last:
                return
            limit = min(self._page_bars(), (last - since) // step + 1)
            rows = self._page(since, limit)
            rows = {stamp: row for stamp, row in rows.items() if stamp <= last}
            if rows:
                frame = pd.DataFrame.from_dict(rows, orient="index", columns=[*PRICES, "volume"]).sort_index()
                stamps = pd.to_datetime(frame.index, unit="ms", utc=True)
                columns = {str(name): column.to_numpy() for name, column in frame.items()}
                yield make_bars(self.asset, self.name, stamps, **columns)
                since = max(rows) + step
            else:
                since += limit * step  # nothing was traded, or listed yet, for as long as a page is

    def quote(self) -> Quote:
        """The last trade and its 24-hour figures; see `Source.quote`."""
        ticker = self._call("a quote", lambda: self._client.fetch_ticker(self.symbol))
        price, change = ticker.get("last"), ticker.get("percentage")
        if price is None or not price > 0:
            raise SourceAnswerError(f"{self._id} answered a quote of {self.symbol} without a price.")
        at = ticker.get("timestamp")
        now = self.now()
        return Quote(
            asset=self.asset,
            price=float(price),
            at=min(now, datetime.fromtimestamp(at / 1000, tz=UTC)) if at else now,
            change_24h=change / 100 if change is not None else None,
            volume_24h=ticker.get("quoteVolume"),
        )

    def _page_bars(self) -> int:
        spot = (self._client.features or {}).get("spot") or {}
        return min(_MAX_PAGE_BARS, (spot.get("fetchOHLCV") or {}).get("limit") or 500)

    def _page(self, since: int, limit: int) -> dict[int, list[Any]]:
        """Rows on the grid from `since` on, by time in ms."""
        step = self.interval.seconds * 1000

        def ask() -> dict[int, list[Any]]:
            rows = self._client.fetch_ohlcv(self.symbol, self.interval.name, since=since, limit=limit)
            page = {row[0]: row[1:6] for row in rows if row[0] >= since and row[0] % step == 0}
            # ccxt leaves out what is older than `since`, and makes no bars of what is not JSON: neither is a gap.
            answer = self._client.last_json_response
            # Near the end of time an exchange may answer the last bar it has, for want of a newer one.
            due = since + self._page_bars() * step < to_ms(self.now())
            if not page and (answer is None or (due and _holds_rows(answer))):
                at = datetime.fromtimestamp(since / 1000, tz=UTC)
                what = "no market data" if answer is None else "other bars"
                raise TransientError(
                    SourceAnswerError(f"{self._id} answered {what} where bars of {self.symbol} from {at} on are due.")
                )
            return page

        return self._call("bars", ask)

    def _call(self, what: str, ask: Callable[[], Answer], *, max_attempts: int | None = None) -> Answer:
        """What `ask` answers, with retries; what ccxt raises becomes one of our errors."""
        import ccxt

        asked = f"{self._id} (asked for {what} of {self.symbol})"

        def attempt() -> Answer:
            try:
                return ask()
            except (ccxt.DDoSProtection, ccxt.RateLimitExceeded) as error:
                wait_s = retry_after_s((self._client.last_response_headers or {}).get("retry-after"), utc_now())
                later = f" and asks to wait {wait_s:.0f} s" if wait_s is not None else ""
                limited = RateLimitedError(
                    f"{asked} limits our rate{later}: {_first_line(error)}.", retry_after_s=wait_s, remedy="Wait."
                )
                raise TransientError(limited, retry_after_s=wait_s) from error
            except ccxt.BadSymbol as error:
                if not self._client.markets:
                    raise SourceAnswerError(f"{asked} lists no markets.") from error
                close = difflib.get_close_matches(self.symbol, list(self._client.markets), n=3)
                hint = f"Did you mean {', '.join(close)}?" if close else "Set market.exchange.symbol."
                raise UserInputError(f"{self._id} has no market {self.symbol}.", remedy=hint) from error
            except ccxt.NetworkError as error:
                raise TransientError(_unavailable(asked, error)) from error
            except ccxt.AuthenticationError as error:
                raise _unavailable(asked, error) from error
            except (ccxt.BaseError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
                # ccxt's parsers run into these when the answer is not shaped as the exchange documents it.
                raise SourceAnswerError(f"{asked} answered no market data: {_first_line(error)}.") from error

        attempts = max_attempts or self._settings.max_attempts
        budget_s = attempts * self._settings.timeout_s
        return with_retries(attempt, max_attempts=attempts, budget_s=budget_s, sleep=self._sleep)


def _client(exchange_id: str, symbol: str, timeout_s: float, config: Mapping[str, Any]) -> Any:
    import ccxt

    if exchange_id not in ccxt.exchanges:
        close = difflib.get_close_matches(exchange_id, ccxt.exchanges, n=3)
        hint = f"Did you mean {', '.join(close)}?" if close else "ccxt's documentation lists those it knows."
        raise UserInputError(f"There is no exchange '{exchange_id}'.", remedy=hint)
    # requests_trust_env: proxies from the environment, as everywhere else.
    defaults = {"enableRateLimit": True, "timeout": int(timeout_s * 1000)}
    defaults |= {"requests_trust_env": True, "enableLastJsonResponse": True, "enableLastResponseHeaders": True}
    client = getattr(ccxt, exchange_id)({**defaults, **config})
    kinds = client.options.get("fetchMarkets")
    # The lists of derivatives are long, and on other hosts that may be away.
    if ":" not in symbol and isinstance(kinds, dict) and isinstance(kinds.get("types"), list):
        client.options["fetchMarkets"] = {**kinds, "types": ["spot"]}
    return client


def _holds_rows(answer: Any) -> bool:
    if isinstance(answer, dict):
        return any(_holds_rows(value) for value in answer.values())
    return isinstance(answer, list) and bool(answer)


def _unavailable(asked: str, error: Exception) -> SourceError:
    remedy = "" if "451" not in str(error) else "It does not serve this place; choose another exchange."
    return SourceUnavailableError(f"{asked} is not available: {_first_line(error)}.", remedy=remedy)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
