"""Opens the market that the settings name, and names the folder its data belongs in."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptosentinel.config import MarketSettings
from cryptosentinel.errors import RateLimitedError, SourceError
from cryptosentinel.market.backfill import BackfilledSource
from cryptosentinel.market.bars import Interval
from cryptosentinel.market.coingecko import CoinGeckoSource
from cryptosentinel.market.exchange import ExchangeSource
from cryptosentinel.market.file import FileSource
from cryptosentinel.market.simulated import SimulatedSource
from cryptosentinel.market.source import Source

# What finding out which market to use may take in total, exchange included.
AUTO_BOUND_S = 10.0


@dataclass(frozen=True)
class Opened:
    """A market, ready to be asked.

    Attributes:
        setting: what to set `market.source` to, to get this market again; differs from what was asked for with `auto`.
        notice: a sentence that people must see, loudly, where it is not empty: the market is not the one they may
            expect.
    """

    source: Source
    setting: str
    notice: str = ""

    @property
    def slug(self) -> str:
        """The name of the folder its data belongs in."""
        return source_slug(self.setting)


def open_source(
    market: MarketSettings, *, now: datetime | None = None, ccxt_config: Mapping[str, Any] | None = None
) -> Opened:
    """Opens `market.source`.

    `auto` is CoinGecko, with the exchange behind it where that answers, or else the simulated market; it asks the
    network, for `market.probe_timeout_s` until CoinGecko counts as away and for 10 seconds at most in all. The others
    ask nothing before their first bars.

    Args:
        market: the settings; `market.source` says which kind.
        now: the clock of a file or simulated market (a replay); live markets have the wall clock.
        ccxt_config: passed on to ccxt (see `ExchangeSource`).

    Raises:
        SettingsError: the settings cannot be followed, e.g. 1-minute bars from CoinGecko.
        UserInputError: with `auto`, there is no such exchange; otherwise its first bars say so.
    """
    kind, _, rest = market.source.partition(":")
    interval = Interval(market.interval)
    if kind == "auto":
        return _open_best(market, now, ccxt_config)
    if kind == "file":
        path = Path(rest).expanduser().resolve()  # the same file, wherever the setting is read again
        return Opened(FileSource(path, market.asset, interval, now=now), f"file:{path}")
    if kind == "simulated":
        return Opened(SimulatedSource(market.asset, interval, seed=int(rest or 0), now=now), market.source)
    if kind == "exchange":
        return Opened(ExchangeSource(rest, market, ccxt_config=ccxt_config), market.source)
    live = CoinGeckoSource(market)
    if not market.exchange.backfill_id:
        return Opened(live, market.source)
    history = ExchangeSource(market.exchange.backfill_id, market, ccxt_config=ccxt_config)
    return Opened(BackfilledSource(live, history), market.source)


def source_slug(setting: str) -> str:
    """A stable folder name for what `market.source` names, since bars of different markets must never mix.

    >>> source_slug("exchange:binance"), source_slug("simulated")
    ('exchange-binance', 'simulated-0')

    A file's holds eight digits of the SHA-256 of its absolute path.

    Raises:
        ValueError: for `auto`, which is no market until it is opened (`Opened.slug`).
    """
    kind, _, rest = setting.partition(":")
    if kind == "auto":
        raise ValueError("auto has no slug before it is opened")
    if kind == "file":
        path = Path(rest).expanduser().resolve()
        digest = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return f"file-{_plain(path.stem)[:48]}-{digest}"
    if kind == "simulated":
        return f"simulated-{int(rest or 0)}"
    return f"{kind}-{_plain(rest)}" if rest else kind


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def _open_best(market: MarketSettings, now: datetime | None, ccxt_config: Mapping[str, Any] | None) -> Opened:
    ends_at = time.monotonic() + AUTO_BOUND_S
    quick = market.coingecko.model_copy(update={"budget_s": market.probe_timeout_s, "max_attempts": 1})
    probe = CoinGeckoSource(market.model_copy(update={"coingecko": quick}))
    problem = _why_silent("CoinGecko", probe.ping, market.probe_timeout_s)
    if problem:
        simulated = SimulatedSource(market.asset, Interval(market.interval), now=now)
        return Opened(
            simulated,
            f"simulated:{simulated.seed}",
            f"{problem}: using a SIMULATED market. Its prices are invented. "
            "For real ones, mend the connection or set market.source=file:<path>.",
        )
    live = CoinGeckoSource(market)
    backfill_id = market.exchange.backfill_id
    if not backfill_id:
        return Opened(live, "coingecko")
    opened: list[ExchangeSource] = []

    def reach_exchange() -> None:
        opened.append(ExchangeSource(backfill_id, market, ccxt_config=ccxt_config))
        opened[0].ping()

    problem = _why_silent(backfill_id, reach_exchange, ends_at - time.monotonic())
    if not problem:
        return Opened(BackfilledSource(live, opened[0]), "coingecko")
    return Opened(
        live,
        "coingecko",
        f"{problem}: using CoinGecko alone, whose history is short (24 hours, or 90 days of 1h bars).",
    )


def _why_silent(name: str, ask: Callable[[], object], timeout_s: float) -> str:
    """Why there is no answer; nothing if there is one, be it that we ask too often."""
    from cryptosentinel.market._calls import call_within

    try:
        call_within(max(0.0, timeout_s), ask)
    except RateLimitedError:
        return ""
    except TimeoutError as error:
        return f"{name}: {error}"
    except SourceError as error:
        return error.message.rstrip(".")
    return ""
