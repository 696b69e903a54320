"""CoinGecko as a market: a quote, and bars from its off-grid price points.

It gives 5-minute points for the last 24 hours and hourly ones for 90 days; nothing finer is made up from them.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pandas as pd

from cryptosentinel.config import MarketSettings
from cryptosentinel.errors import SettingsError, SourceAnswerError, SourceError, UserInputError
from cryptosentinel.market._calls import to_ms, utc_now
from cryptosentinel.market._http import JsonClient
from cryptosentinel.market._ticks import bars_from_ticks
from cryptosentinel.market.bars import PRICES, Interval, empty_bars, make_bars, utc
from cryptosentinel.market.source import Quote

_DAY = timedelta(days=1)
_HOURLY_DAYS = 90
# What `/ohlc` makes of its `days`: the only ones it takes, and the length of its candles.
_CANDLES = {1: timedelta(minutes=30)} | dict.fromkeys((7, 14, 30), timedelta(hours=4))
_CANDLES |= dict.fromkeys((90, 180, 365), timedelta(days=4))


class CoinGeckoSource:
    """The price of an asset averaged over many exchanges, as CoinGecko publishes it.

    Bars reach back 24 hours; hourly ones 90 days. Their volume is an estimate (see `_ticks.bars_from_ticks`), and
    their highs and lows are those of a point every five minutes, so ranges are narrower than an exchange's.

    Attributes:
        notes: sentences about the last answer, for people: what was left out of it, what is carried in it.
    """

    name: ClassVar[str] = "coingecko"
    simulated: ClassVar[bool] = False

    def __init__(
        self,
        market: MarketSettings,
        *,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if market.interval == "1m":
            raise SettingsError(
                "CoinGecko has no 1-minute prices (setting 'market.interval').",
                remedy="Use 5m, 15m or 1h, or an exchange: market.source=exchange:binance.",
            )
        reach = market.coingecko
        self.asset = market.asset
        self.currency = market.currency
        self.interval = Interval(market.interval)
        self.notes: list[str] = []
        self._clock = clock
        self._client = JsonClient(
            service="CoinGecko",
            setting="market.coingecko",
            base_url=reach.base_url,
            timeout_s=reach.timeout_s,
            budget_s=reach.budget_s,
            max_attempts=reach.max_attempts,
            key=reach.api_key,
            key_header=reach.api_key_header,
            sleep=sleep,
        )

    def now(self) -> datetime:
        """The wall clock."""
        return self._clock()

    def ping(self) -> None:
        """Asks whether CoinGecko answers.

        Raises:
            SourceError: it does not.
        """
        self._client.get("/ping")

    def bars(self, start: datetime, end: datetime) -> pd.DataFrame:
        """The complete bars with ``start <= timestamp < end`` that its points cover; see `Source.bars`.

        Raises:
            SourceError: see `JsonClient.get`; `SourceAnswerError` also where the answer holds no usable price.
        """
        self.notes = []
        start, end, now = utc(start), utc(end), self.now()
        hourly = self.interval.name == "1h"
        if start >= min(end, now) or end <= now - (timedelta(days=_HOURLY_DAYS) if hourly else _DAY):
            return empty_bars()
        prices, volumes = self._points(1, now)
        if hourly and start < now - _DAY:
            days = min(_HOURLY_DAYS, max(2, math.ceil((now - start) / _DAY) + 1))
            older_prices, older_volumes = self._points(days, now)
            prices, volumes = _append(older_prices, prices), _append(older_volumes, volumes)
        sampled = bars_from_ticks(prices, volumes, self.interval, to_ms(now))
        sampled = sampled[(sampled.index >= to_ms(start)) & (sampled.index < to_ms(end))]
        carried = int(sampled.pop("carried").sum())
        if carried:
            self.notes.append(f"{carried} of {len(sampled)} bars had no price of their own and carry the last one.")
        if sampled.empty:
            return empty_bars()
        return make_bars(self.asset, self.name, pd.to_datetime(sampled.index, unit="ms", utc=True), **_columns(sampled))

    def ohlc(self, days: int) -> pd.DataFrame:
        """CoinGecko's own candles, 30 minutes (`days` 1), 4 hours (to 30) or 4 days long, as bars without volume.

        CoinGecko stamps a candle with its close; here, as in every bar, the timestamp is its open. Unfinished ones
        and impossible ones are left out.

        Raises:
            UserInputError: `days` is not one of 1, 7, 14, 30, 90, 180, 365.
            SourceError: as in `bars`.
        """
        if days not in _CANDLES:
            raise UserInputError(f"CoinGecko has no candles for {days} days; it takes {', '.join(map(str, _CANDLES))}.")
        path = f"/coins/{self.asset}/ohlc"
        answer = self._client.get(path, {"vs_currency": self.currency, "days": days})
        if not isinstance(answer, list):
            raise SourceAnswerError(f"CoinGecko ({path}) answered a {type(answer).__name__} instead of candles.")
        self.notes = []
        left_out: Counter[str] = Counter()
        rows = {}
        for candle in answer:
            numbers = _numbers(candle, 5)
            if numbers is None:
                left_out["not five numbers"] += 1
                continue
            closed_at, open_, high, low, close = numbers
            if closed_at > to_ms(self.now()):
                left_out["unfinished"] += 1
            elif not 0 < low <= min(open_, close) <= max(open_, close) <= high:
                left_out["impossible"] += 1
            else:
                rows[int(closed_at) - _CANDLES[days] // timedelta(milliseconds=1)] = (open_, high, low, close)
        self._note(left_out, len(answer), "candles")
        if not rows:
            return empty_bars()
        candles = pd.DataFrame.from_dict(rows, orient="index", columns=list(PRICES)).sort_index()
        stamps = pd.to_datetime(candles.index, unit="ms", utc=True)
        return make_bars(self.asset, self.name, stamps, **_columns(candles), volume=math.nan)

    def quote(self) -> Quote:
        """The price now, from `/simple/price`; what that lacks, from `/coins/markets`.

        Raises:
            SourceError: as in `bars`.
        """
        c = self.currency
        details = {f"include_{name}": "true" for name in ("market_cap", "24hr_vol", "24hr_change", "last_updated_at")}
        answer = self._client.get("/simple/price", {"ids": self.asset, "vs_currencies": c, **details})
        known = answer.get(self.asset) if isinstance(answer, dict) else None
        if not isinstance(known, dict):
            # An asset it does not know is left out without a word.
            raise SourceAnswerError(
                f"CoinGecko (/simple/price) answered no price of '{self.asset}'.",
                remedy="Check market.asset: it is CoinGecko's id, e.g. bitcoin.",
            )
        keys = (c, f"{c}_24h_change", f"{c}_24h_vol", f"{c}_market_cap", "last_updated_at")
        price, change, volume, cap, at = (_number(known.get(key)) for key in keys)
        if price is None or price <= 0 or None in (change, volume, cap):
            row = self._market_row(required=price is None or price <= 0)
            price = price if price is not None and price > 0 else _number(row.get("current_price"))
            change = change if change is not None else _number(row.get("price_change_percentage_24h"))
            volume = volume if volume is not None else _number(row.get("total_volume"))
            cap = cap if cap is not None else _number(row.get("market_cap"))
        if price is None or price <= 0:
            raise SourceAnswerError(
                f"CoinGecko answered no price of '{self.asset}' in '{c}'.",
                remedy="Check market.currency: it is a currency such as usd or eur.",
            )
        now = self.now()
        return Quote(
            asset=self.asset,
            price=price,
            at=datetime.fromtimestamp(at, tz=UTC) if at is not None and 0 < at < now.timestamp() else now,
            change_24h=change / 100 if change is not None else None,
            volume_24h=volume if volume is not None and volume >= 0 else None,
            market_cap=cap or None,  # CoinGecko writes 0 where it does not know
        )

    def _market_row(self, *, required: bool) -> dict[str, Any]:
        try:
            answer = self._client.get("/coins/markets", {"ids": self.asset, "vs_currency": self.currency})
        except SourceError as error:
            if required:
                raise
            self.notes = [f"The quote lacks details: {error}"]
            return {}
        rows = answer if isinstance(answer, list) else []
        return next((row for row in rows if isinstance(row, dict) and row.get("id") == self.asset), {})

    def _points(self, days: int, now: datetime) -> tuple[pd.Series, pd.Series]:
        """Prices and rolling 24-hour volumes by time in ms, ordered, unique; what is not usable is left out."""
        path = f"/coins/{self.asset}/market_chart"
        answer = self._client.get(path, {"vs_currency": self.currency, "days": days})
        points = answer.get("prices") if isinstance(answer, dict) else None
        if not isinstance(points, list):
            raise SourceAnswerError(f"CoinGecko ({path}) answered no 'prices'.")
        oldest, newest = to_ms(now - (days + 1) * _DAY), to_ms(now)
        left_out: Counter[str] = Counter()
        prices = _series(points, oldest, newest, left_out, positive=True)
        self._note(left_out, len(points), "prices")
        if points and prices.empty:
            remedy = "Check this machine's clock." if left_out["in the future"] == len(points) else ""
            raise SourceAnswerError(f"CoinGecko ({path}): {self.notes[-1]}", remedy=remedy)
        volumes = answer.get("total_volumes")
        ignored: Counter[str] = Counter()
        return prices, _series(volumes if isinstance(volumes, list) else [], oldest, newest, ignored, positive=False)

    def _note(self, left_out: Counter[str], total: int, what: str) -> None:
        if left_out:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
            self.notes.append(f"{left_out.total()} of {total} {what} were left out: {reasons}.")


def _series(points: list[Any], oldest: int, newest: int, left_out: Counter[str], *, positive: bool) -> pd.Series:
    values: dict[int, float] = {}
    for point in points:
        numbers = _numbers(point, 2)
        stamp, value = numbers or (0.0, -1.0)
        if value < 0 or (positive and value == 0):
            left_out["not a positive number"] += 1
        elif stamp > newest:
            left_out["in the future"] += 1
        elif stamp < oldest:
            left_out["older than asked for"] += 1
        else:
            values[int(stamp)] = value
    return pd.Series(values, dtype="float64").sort_index()


def _append(older: pd.Series, newer: pd.Series) -> pd.Series:
    return pd.concat([older[older.index < newer.index.min()] if len(newer) else older, newer])


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    return {str(name): column.to_numpy() for name, column in frame.items()}


def _numbers(row: object, count: int) -> list[float] | None:
    """The first `count` values of a JSON array, if they are finite numbers."""
    values = [_number(value) for value in row[:count]] if isinstance(row, list) else []
    numbers = [value for value in values if value is not None]
    return numbers if len(numbers) == count else None


def _number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
