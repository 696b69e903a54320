"""CoinGecko on this machine: its answers' shapes, at any time one likes, with whatever lies are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cryptosentinel.config import CoinGeckoSettings, MarketSettings
from cryptosentinel.market.coingecko import CoinGeckoSource
from tests.market.servers import Answer, Request, Server, json_answer

CHART = "/coins/bitcoin/market_chart"
# What is asked for below here is answered truthfully, and not counted.
TRUTH = "/truth"
_KNOT_S = 300

# Makes of a chart's points, [time in ms, value], what is answered.
Points = list[list[float]]


def noise(number: int) -> float:
    """Between -1 and 1, the same for the same number."""
    return math.modf(math.sin(number * 12.9898) * 43758.5453)[0]


def price(at_s: float) -> float:
    """What Bitcoin costs at a time: it swings over hours, and jitters from one five minutes to the next."""
    swing = 0.012 * math.sin(at_s / 2900) + 0.02 * math.sin(at_s / 13_000 + 1)
    return 60_000 * math.exp(swing + 0.002 * noise(int(at_s // _KNOT_S)))


def points(now: datetime, of: Callable[[float], float] = price) -> Points:
    """A day of points up to a minute ago, one about every five minutes, off the grid."""
    newest_s = now.timestamp() - 60
    knots = range(int((newest_s - 86_400) // _KNOT_S), int(newest_s // _KNOT_S) + 1)
    stamps = [knot * _KNOT_S + 150 + 100 * noise(knot) for knot in knots]
    return [[round(at * 1000), of(at)] for at in stamps if newest_s - 86_400 < at <= newest_s]


@dataclass
class Gecko:
    """What it is told.

    Attributes:
        clock: what time it is there.
        fault: what becomes of an answer; None: nothing.
        lie: what becomes of the prices in it; None: nothing.
        on_chart: is called when a chart is asked for, before it is answered.
        charts: when each chart was asked for.
    """

    clock: Callable[[], datetime]
    fault: Callable[[Request, Answer], Answer] | None = None
    lie: Callable[[Points], Points] | None = None
    on_chart: Callable[[], None] = lambda: None
    url: str = ""
    charts: list[datetime] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        honest = request.path.startswith(TRUTH)
        path = request.path.removeprefix(TRUTH)
        if path == CHART:
            if not honest:
                self.charts.append(self.clock())
                self.on_chart()
            found = points(self.clock())
            volumes = [[at, 3e10 * (1 + 0.1 * noise(int(at) // 1000))] for at, _ in found]
            if self.lie is not None and not honest:
                found = self.lie(found)
            answer = json_answer({"prices": found, "market_caps": volumes, "total_volumes": volumes})
        elif path == "/simple/price":
            at_s = self.clock().timestamp()
            known: dict[str, Any] = {"usd": price(at_s), "usd_market_cap": 1e12, "usd_24h_vol": 3e10}
            answer = json_answer({"bitcoin": known | {"usd_24h_change": 1.0, "last_updated_at": int(at_s) - 60}})
        else:
            answer = json_answer({"error": "coin not found"}, 404)
        return answer if honest or self.fault is None else self.fault(request, answer)

    def truth(self) -> CoinGeckoSource:
        """A source that is told the truth."""
        settings = MarketSettings(source="coingecko", coingecko=CoinGeckoSettings(base_url=self.url + TRUTH))
        return CoinGeckoSource(settings, clock=self.clock)


@contextmanager
def playing(clock: Callable[[], datetime]) -> Iterator[Gecko]:
    """CoinGecko as long as the block runs."""
    gecko = Gecko(clock)
    with Server(gecko.answer).running() as server:
        gecko.url = server.url
        yield gecko


# What it answers instead.


def html(_request: Request, _answer: Answer) -> Answer:
    """A page of a proxy, under 200."""
    page = b"<!DOCTYPE html><html><body>Attention Required! | Cloudflare</body></html>"
    return Answer(page, headers={"content-type": "text/html"})


def limited(retry_after_s: int) -> Callable[[Request, Answer], Answer]:
    body = {"status": {"error_code": 429, "error_message": "You've exceeded the Rate Limit."}}
    return lambda _request, _answer: json_answer(body, 429, retry_after=str(retry_after_s))


def limited_under_200(_request: Request, _answer: Answer) -> Answer:
    return json_answer({"status": {"error_code": 429, "error_message": "You've exceeded the Rate Limit."}})


def broken(_request: Request, _answer: Answer) -> Answer:
    return json_answer({"error": "Internal Server Error"}, 500)


def away(_request: Request, answer: Answer) -> Answer:
    return replace(answer, manner="reset")


def slow(_request: Request, answer: Answer) -> Answer:
    """A byte every 20 ms: all of it would take minutes."""
    return replace(answer, manner="dripping")


def silent(_request: Request, answer: Answer) -> Answer:
    return replace(answer, manner="silent")


def cut_short(_request: Request, answer: Answer) -> Answer:
    """Half of it, and the promise of more."""
    return replace(answer, body=answer.body[: len(answer.body) // 2], manner="cut short")


def half_a_json(_request: Request, answer: Answer) -> Answer:
    """Half of it, as though it were all."""
    return replace(answer, body=answer.body[: len(answer.body) // 2])


# What it says of prices.


def times(factor: float, newest: int | None = None) -> Callable[[Points], Points]:
    """All prices, or the newest few, so many times what they are."""

    def lie(honest: Points) -> Points:
        begin = 0 if newest is None else len(honest) - newest
        return [[at, value * factor if n >= begin else value] for n, (at, value) in enumerate(honest)]

    return lie


def hours_off(hours: float) -> Callable[[Points], Points]:
    """Its clock is wrong: each price is stamped so much later than it was."""
    return lambda honest: [[at + round(hours * 3_600_000), value] for at, value in honest]


def stuck(since: datetime) -> Callable[[Points], Points]:
    """No new point since then."""
    return lambda honest: [point for point in honest if point[0] <= since.timestamp() * 1000]


def frozen(since: datetime) -> Callable[[Points], Points]:
    """Points go on, with the price of that moment."""
    at_s = since.timestamp()
    return lambda honest: [[at, value if at <= at_s * 1000 else price(at_s)] for at, value in honest]


def muddled(honest: Points) -> Points:
    """Points twice, out of order, without a price, with an impossible one."""
    again = [[at, value * 1.0000001] for at, value in honest[-40:]]
    nothing: Any = [[honest[-5][0] + 1, None], [honest[-5][0] + 2, -1.0], [honest[-5][0] + 3, 0.0], "point", []]
    return [*reversed(honest), *again, *nothing]


def nothing(_honest: Points) -> Points:
    return []
