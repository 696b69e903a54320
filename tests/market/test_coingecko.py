"""CoinGecko, as it behaves and as it misbehaves, played by a real HTTP server."""

from __future__ import annotations

import gzip
import json
import logging
import math
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.errors import (
    RateLimitedError,
    SettingsError,
    SourceAnswerError,
    SourceError,
    SourceUnavailableError,
)
from cryptosentinel.market.bars import COLUMNS, TIMESTAMP_DTYPE
from cryptosentinel.market.source import Source
from tests.market.gecko import DAY, NOW, chart, ms, points, source
from tests.market.servers import Answer, Request, Server, json_answer, serving


def bars_of(answer: Answer, **options: Any) -> pd.DataFrame:
    with serving(answer) as server:
        return source(server.url, **options).bars(NOW - DAY, NOW)


HTML = b"<!DOCTYPE html><html><body>One moment, please</body></html>"
KEY = "CG-very-secret"
# Each: what CoinGecko does, the error it must become, and what the message must say.
FAILURES: dict[str, tuple[Answer, type[SourceError], str]] = {
    "429 with seconds to wait": (json_answer({}, 429, retry_after="120"), RateLimitedError, "asks to wait 120 s"),
    "429 with a date to wait for": (
        json_answer({}, 429, retry_after=format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)),
        RateLimitedError,
        "asks to wait 8",
    ),
    "429 without a time": (json_answer({}, 429), RateLimitedError, "limits our rate (429)"),
    "429 with a senseless time": (json_answer({}, 429, retry_after="soon"), RateLimitedError, "limits our rate (429)"),
    "429 as an HTML page": (Answer(HTML, 429, {"content-type": "text/html"}), RateLimitedError, "an HTML page"),
    "429 under status 200": (
        json_answer({"status": {"error_code": 429, "error_message": "You've exceeded the Rate Limit."}}),
        RateLimitedError,
        "429: You've exceeded the Rate Limit).",
    ),
    "401 for history too old": (
        json_answer({"error": {"status": {"error_code": 10012, "error_message": "past 365 days"}}}, 401),
        SourceAnswerError,
        "refuses the request (401, code 10012: past 365 days)",
    ),
    "401 for a wrong key, echoed": (
        json_answer({"status": {"error_code": 10002, "error_message": f"API Key {KEY} invalid"}}, 401),
        SourceAnswerError,
        "code 10002: API Key *** invalid",
    ),
    "403 as an HTML page": (Answer(HTML, 403, {"content-type": "text/html"}), SourceAnswerError, "403: an HTML page"),
    "404 for an unknown coin": (json_answer({"error": "coin not found"}, 404), SourceAnswerError, "404: coin not"),
    "422 for a missing parameter": (
        json_answer({"error": "Missing parameter vs_currency"}, 422),
        SourceAnswerError,
        "422: Missing parameter vs_currency",
    ),
    "an error under status 200": (json_answer({"error": "coin not found"}), SourceAnswerError, "(200: coin not found)"),
    "500 as JSON": (
        json_answer({"status": 500, "error": "Internal Server Error"}, 500),
        SourceUnavailableError,
        "500: Internal Server Error",
    ),
    "502 as an HTML page": (Answer(HTML, 502, {"content-type": "text/html"}), SourceUnavailableError, "502: an HTML"),
    "503 under status 200": (
        json_answer({"status": {"error_code": "503", "error_message": "busy"}}),
        SourceUnavailableError,
        "503: busy",
    ),
    "an HTML page under status 200": (Answer(HTML), SourceAnswerError, "no JSON (200: an HTML page)"),
    "truncated JSON": (Answer(json.dumps(chart(points())).encode()[:-50]), SourceAnswerError, "answered no JSON"),
    "an empty body": (Answer(b""), SourceAnswerError, "an empty body"),
    "bytes that are not text": (
        Answer(b"\xff\xfe\x00\x01", headers={"content-type": "image/png"}),
        SourceAnswerError,
        "4 bytes of image/png",
    ),
    "JSON nested beyond reason": (Answer(b"[" * 100_000), SourceAnswerError, "answered no JSON"),
    "a body cut short": (Answer(b'{"prices": [', manner="cut short"), SourceUnavailableError, "cannot be reached"),
    "a reset connection": (Answer(manner="reset"), SourceUnavailableError, "cannot be reached"),
    "silence": (Answer(manner="silent"), SourceUnavailableError, "did not answer within"),
    "a body that drips": (Answer(b" " * 10_000, manner="dripping"), SourceUnavailableError, "had not finished"),
    "a body without end": (Answer(manner="endless"), SourceAnswerError, "more than 16 MiB"),
    "a small body that unpacks to a huge one": (
        Answer(gzip.compress(b" " * 2**25), headers={"content-encoding": "gzip"}),
        SourceAnswerError,
        "more than 16 MiB",
    ),
    "a body that does not unpack": (
        Answer(b"not gzip", headers={"content-encoding": "gzip"}),
        SourceAnswerError,
        "cannot be decompressed",
    ),
    "a redirect": (
        Answer(status=302, headers={"location": "http://login.example/"}),
        SourceAnswerError,
        "redirects to http://login.example/",
    ),
    "a list instead of a chart": (json_answer([1, 2]), SourceAnswerError, "answered no 'prices'"),
    "a chart of null": (json_answer({"prices": None}), SourceAnswerError, "answered no 'prices'"),
    "null": (json_answer(None), SourceAnswerError, "answered no 'prices'"),
    "every price null": (
        json_answer(chart([[stamp, None] for stamp, _ in points()])),
        SourceAnswerError,
        "288 of 288 prices were left out: 288 not a positive number.",
    ),
    "a clock days ahead": (
        json_answer(chart([[stamp + ms(NOW) // 2, price] for stamp, price in points()])),
        SourceAnswerError,
        "288 in the future. Check this machine's clock.",
    ),
    "stamps in seconds": (
        json_answer(chart([[stamp / 1000, price] for stamp, price in points()])),
        SourceAnswerError,
        "288 older than asked for.",
    ),
}
IMPATIENT = {"silence", "a body that drips"}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_explained_and_never_shows_the_key(name: str, caplog: pytest.LogCaptureFixture) -> None:
    answer, error, says = FAILURES[name]
    caplog.set_level(logging.DEBUG)
    patience = {"timeout_s": 0.3} if name in IMPATIENT else {}
    with serving(answer) as server, pytest.raises(SourceError) as raised:
        source(server.url, key=KEY, **patience).bars(NOW - DAY, NOW)
    assert type(raised.value) is error
    assert says in str(raised.value)
    assert KEY not in "".join(traceback.format_exception(raised.value)) + caplog.text
    assert server.requests[0].headers["x-cg-demo-api-key"] == KEY


# Each: what is done to a good list of points, and how the notes tell.
BLEMISHES: dict[str, tuple[Any, str | None]] = {
    "the last point before its predecessor": (lambda p: [*p[:-2], p[-1], p[-2]], None),
    "all points in reverse": (lambda p: p[::-1], None),
    "a point twice": (lambda p: [*p[:7], p[6], *p[7:]], None),
    "a price of null": (lambda p: [*p, [p[50][0] + 1, None]], "1 not a positive number"),
    "a price of NaN": (lambda p: [*p, [p[50][0] + 1, math.nan]], "1 not a positive number"),
    "an infinite price": (lambda p: [*p, [p[50][0] + 1, math.inf]], "1 not a positive number"),
    "a price beyond any float": (lambda p: [*p, [p[50][0] + 1, 10**400]], "1 not a positive number"),
    "a negative price": (lambda p: [*p, [p[50][0] + 1, -5.0]], "1 not a positive number"),
    "a price of zero": (lambda p: [*p, [p[50][0] + 1, 0]], "1 not a positive number"),
    "a price as text": (lambda p: [*p, [p[50][0] + 1, "100"]], "1 not a positive number"),
    "a point of true": (lambda p: [*p, [p[50][0] + 1, True]], "1 not a positive number"),
    "a point without a price": (lambda p: [*p, [p[50][0] + 1]], "1 not a positive number"),
    "points that are not lists": (lambda p: [None, *p, {"a": 1}, "x"], "3 not a positive number"),
    "a point tomorrow": (lambda p: [*p, [ms(NOW + DAY), 9e9]], "1 in the future"),
    "a point in 1970": (lambda p: [[12, 9e9], *p], "1 older than asked for"),
}


@pytest.mark.parametrize("name", BLEMISHES)
def test_a_blemished_answer_gives_the_bars_of_the_clean_one(name: str) -> None:
    blemish, told = BLEMISHES[name]
    with serving(json_answer(chart(blemish(points())))) as server:
        market = source(server.url)
        bars = market.bars(NOW - DAY, NOW)
    pd.testing.assert_frame_equal(bars, bars_of(json_answer(chart(points()))))
    assert (told is None) == (market.notes == [])
    assert told is None or told in market.notes[0]


def volumes(known: int = 288, value: Any = 288 * 5000.0) -> list[Any]:
    return [[stamp, value] for stamp, _ in points()][:known]


@pytest.mark.parametrize(
    ("given", "known_bars"),
    [
        pytest.param(volumes(), 286, id="one a price"),
        pytest.param([*volumes(), [ms(NOW), 1e9], [ms(NOW) + 1, 1e9]], 286, id="more than prices"),
        pytest.param(volumes(known=144), 144, id="half as many as prices"),
        pytest.param(volumes(value=None), 0, id="null each"),
        pytest.param(volumes(value=-1.0), 0, id="negative"),
        pytest.param([], 0, id="none"),
        pytest.param("soon", 0, id="not a list"),
    ],
)
def test_volumes_that_do_not_match_the_prices_are_missing_not_misplaced(given: Any, known_bars: int) -> None:
    bars = bars_of(json_answer(chart(points(), given)))
    assert len(bars) == 286
    known = bars[bars["volume"].notna()]
    assert len(known) == known_bars
    np.testing.assert_allclose(known["volume"], 5000.0 / known["close"])


def test_bars_are_typed_on_the_grid_ordered_and_complete() -> None:
    bars = bars_of(json_answer(chart(points())))
    assert tuple(bars.columns) == COLUMNS
    assert bars["timestamp"].dtype == TIMESTAMP_DTYPE
    assert bars["timestamp"].diff().dropna().eq(pd.Timedelta("5min")).all()
    assert bars["timestamp"].iloc[-1] == pd.Timestamp("2025-03-01T11:55Z")
    assert set(bars["source"]) == {"coingecko"}
    assert set(bars["asset"]) == {"bitcoin"}


def test_a_window_is_cut_from_the_same_bars() -> None:
    start, end = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
    with serving(json_answer(chart(points()))) as server:
        market = source(server.url)
        everything, part = market.bars(NOW - DAY, NOW), market.bars(start, end)
    inside = everything[(everything["timestamp"] >= start) & (everything["timestamp"] < end)]
    pd.testing.assert_frame_equal(part, inside.reset_index(drop=True))
    assert len(part) == 12


def test_a_wrong_content_type_does_not_matter_where_the_body_is_json() -> None:
    answer = Answer(json.dumps(chart(points())).encode(), headers={"content-type": "text/plain"})
    assert len(bars_of(answer)) == 286


def test_a_gap_in_the_points_is_a_gap_in_the_bars_and_carried_bars_are_counted() -> None:
    kept = [p for p in points() if not ms(NOW - timedelta(minutes=90)) < p[0] < ms(NOW - timedelta(minutes=60))]
    with serving(json_answer(chart(kept))) as server:
        market = source(server.url)
        bars = market.bars(NOW - DAY, NOW)
    missing = 286 - len(bars)
    assert 3 <= missing <= 5
    assert bars["timestamp"].diff().max() == pd.Timedelta(minutes=5 * (missing + 1))
    assert market.notes == [f"1 of {len(bars)} bars had no price of their own and carry the last one."]


def test_no_points_are_no_bars() -> None:
    assert bars_of(json_answer(chart([]))).empty


def test_beyond_the_last_day_there_are_no_5_minute_bars_and_nothing_is_asked() -> None:
    with serving(json_answer(chart(points()))) as server:
        market = source(server.url)
        assert market.bars(NOW - 9 * DAY, NOW - 2 * DAY).empty
        assert market.bars(NOW + DAY, NOW + 2 * DAY).empty
        assert server.requests == []
        assert market.bars(NOW - 9 * DAY, NOW)["timestamp"].min() > NOW - DAY
        assert [request.query["days"] for request in server.requests] == ["1"]


def test_hourly_bars_reach_back_beyond_a_day_on_hourly_points() -> None:
    def answer(request: Request) -> Answer:
        return json_answer(chart(points() if request.query["days"] == "1" else points(60, 4 * DAY, value=50.0)))

    with Server(answer).running() as server:
        bars = source(server.url, interval="1h").bars(NOW - 3 * DAY, NOW)
    assert [request.query["days"] for request in server.requests] == ["1", "4"]
    assert bars["timestamp"].diff().dropna().eq(pd.Timedelta("1h")).all()
    assert len(bars) == 71
    # The last day is drawn from the finer points: twelve prices an hour, not one.
    assert (bars["high"] - bars["low"]).iloc[-20:].min() > (bars["high"] - bars["low"]).iloc[:40].max()


def test_one_minute_bars_cannot_be_had() -> None:
    with pytest.raises(SettingsError, match=r"no 1-minute prices.*exchange:binance"):
        source("http://127.0.0.1:9", interval="1m")


def test_a_passing_failure_is_retried_after_the_wait_asked_for() -> None:
    naps: list[float] = []
    with serving(json_answer({}, 429, retry_after="7"), json_answer(chart(points()))) as server:
        assert len(source(server.url, naps=naps).bars(NOW - DAY, NOW)) == 286
    assert len(naps) == 1
    assert 7 <= naps[0] <= 17


@pytest.mark.parametrize("name", ["500 as JSON", "a reset connection", "truncated JSON", "an empty body"])
def test_other_passing_failures_are_retried_too(name: str) -> None:
    with serving(FAILURES[name][0], json_answer(chart(points()))) as server:
        assert len(source(server.url).bars(NOW - DAY, NOW)) == 286


def test_retries_end_with_the_attempts() -> None:
    with serving(json_answer({}, 500)) as server, pytest.raises(SourceUnavailableError):
        source(server.url, max_attempts=3).bars(NOW - DAY, NOW)
    assert len(server.requests) == 3


def test_a_wait_beyond_the_budget_is_not_begun() -> None:
    naps: list[float] = []
    with serving(json_answer({}, 429, retry_after="31")) as server, pytest.raises(RateLimitedError) as raised:
        source(server.url, naps=naps, max_attempts=9).bars(NOW - DAY, NOW)
    assert raised.value.retry_after_s == 31
    assert naps == []
    assert len(server.requests) == 1


def test_a_refusal_is_not_asked_again() -> None:
    with serving(json_answer({"error": "coin not found"}, 404)) as server, pytest.raises(SourceAnswerError):
        source(server.url).bars(NOW - DAY, NOW)
    assert len(server.requests) == 1


@pytest.mark.parametrize("key", ["CG secret\n", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_a_setting_to_mend(key: str) -> None:
    with pytest.raises(SettingsError, match="api_key") as raised:
        source("http://127.0.0.1:9", key=key)
    assert key.strip() not in str(raised.value)


@pytest.mark.parametrize("url", ["api.example", "ftp://api.example", "http://host:port"])
def test_a_base_url_that_is_none_is_a_setting_to_mend(url: str) -> None:
    with pytest.raises(SettingsError, match=r"market\.coingecko\.base_url"):
        source(url).ping()


def test_it_is_a_source() -> None:
    assert isinstance(source("http://127.0.0.1:9"), Source)
