"""Answers as CoinGecko gives them, and a source that asks for them in 2025."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptosentinel.config import CoinGeckoSettings, MarketSettings
from cryptosentinel.market.coingecko import CoinGeckoSource

NOW = datetime(2025, 3, 1, 12, 2, 30, tzinfo=UTC)
DAY = timedelta(days=1)


def source(
    url: str, *, interval: str = "5m", key: str | None = None, naps: list[float] | None = None, **reach: Any
) -> CoinGeckoSource:
    quick = {"timeout_s": 2.0, "budget_s": 30.0, "max_attempts": 2, **reach}
    settings = MarketSettings(
        source="coingecko", interval=interval, coingecko=CoinGeckoSettings(base_url=url, api_key=key, **quick)
    )
    return CoinGeckoSource(settings, clock=lambda: NOW, sleep=(naps if naps is not None else []).append)


def ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def points(minutes_apart: float = 5, back: timedelta = DAY, value: float = 100.0) -> list[list[Any]]:
    """Points with a price of their own each, the newest a minute old, off the grid."""
    count = int(back / timedelta(minutes=minutes_apart))
    first = ms(NOW - timedelta(minutes=1)) - round((count - 1) * minutes_apart * 60_000)
    return [[first + round(i * minutes_apart * 60_000), value + i / 10] for i in range(count)]


def chart(prices: list[Any], volumes: list[Any] | None = None) -> dict[str, Any]:
    if volumes is None:
        volumes = [[point[0], 288 * 5000.0] for point in points()]
    return {"prices": prices, "market_caps": [], "total_volumes": volumes}
