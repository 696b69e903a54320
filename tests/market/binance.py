"""The part of Binance's public API that ccxt uses, on this machine."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.market.servers import Answer, Request, Server, json_answer

STEP = 300_000


def price_at(stamp: int) -> float:
    """A close for every 5-minute bar since the epoch."""
    return round(100 + 10 * math.sin(stamp / STEP / 50) + (stamp // STEP) % 7 / 10, 4)


@dataclass
class Binance:
    """Answers by its own clock, `now`; it began at `listed`; `faults` are answered in place of bars, in turn."""

    now: datetime
    listed: datetime | None = None
    faults: list[Answer | None] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)

    def klines(self, since: int, limit: int) -> list[list[Any]]:
        first = max(since, 0 if self.listed is None else round(self.listed.timestamp() * 1000))
        rows: list[list[Any]] = []
        stamp = -(-first // STEP) * STEP
        while stamp <= self.now.timestamp() * 1000 and len(rows) < limit:  # the last one is still open
            close = price_at(stamp)
            ohlc = [f"{x:.4f}" for x in (price_at(stamp - STEP), close + 20, close - 20, close)]
            rows.append([stamp, *ohlc, f"{7 + stamp // STEP % 5}.0", stamp + STEP - 1, "0", 5, "0", "0", "0"])
            stamp += STEP
        return rows

    def route(self, request: Request) -> Answer:
        if request.path.endswith("/klines"):
            self.asked.append(request)
            if self.faults and (fault := self.faults.pop(0)) is not None:
                return fault
            return json_answer(self.klines(int(request.query["startTime"]), int(request.query["limit"])))
        if request.path.endswith("/exchangeInfo"):
            pairs = [("BTC", "USDT"), ("BTC", "EUR"), ("ETH", "USDT")]
            return json_answer({"symbols": [market(base, quote) for base, quote in pairs]})
        if request.path.endswith("/ticker/24hr"):
            stamp = round(self.now.timestamp() * 1000)
            figures = {"lastPrice": "101.5", "priceChangePercent": "-2.5", "quoteVolume": "3e9", "closeTime": stamp}
            return json_answer({"symbol": "BTCUSDT", **figures})
        if request.path.endswith("/time"):
            return json_answer({"serverTime": round(self.now.timestamp() * 1000)})
        return json_answer({"code": -1, "msg": "no such path"}, 404)

    @contextlib.contextmanager
    def running(self) -> Iterator[dict[str, Any]]:
        """Yields what to tell ccxt so that it comes here."""
        with Server(self.route).running() as server:
            yield to(server.url)


def to(url: str) -> dict[str, Any]:
    return {"urls": {"api": {"public": f"{url}/api/v3"}}, "rateLimit": 1}


def market(base: str, quote: str) -> dict[str, Any]:
    return {
        "symbol": base + quote,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "filters": [],
        "permissions": ["SPOT"],
    }
