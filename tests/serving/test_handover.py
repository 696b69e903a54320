"""Handing explanations over: what the predictor makes of an explainer's answers, and of none."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from cryptosentinel.config import load_settings
from cryptosentinel.errors import ServingError
from serving import logs
from serving._kserve import InvalidInput
from serving.bundles import Served, load_served
from serving.handover import ExplainerAwayError, ExplanationsOffError, Handover, handover_for, split_request
from serving.metrics import EXPLAIN_REFUSED, outcome_of
from serving.predictor import ForecastModel, NotServingYet
from tests.builders import make_random_bars
from tests.serving.asking import MODEL, make_app, make_server
from tests.serving.builders import COUNT, instances, make_rows, make_trained
from tests.serving.test_server import post

GOOD = json.dumps({"explanations": [{"a": 1}], "sentence": ["So it is."], "bundle_version": 99})


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Served:
    folder = tmp_path_factory.mktemp("bundle") / "trained"
    make_trained(folder)
    return load_served(folder, 7)


class Sidecar:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, GOOD, {}
        self.asked: list[dict[str, Any]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.url = ""


@contextmanager
def sidecar() -> Iterator[Sidecar]:
    beside = Sidecar()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            beside.asked.append({"path": self.path, "headers": dict(self.headers)} | json.loads(body))
            beside.may_answer.wait(20)
            self.send_response(beside.status)
            for name, value in ({"content-length": str(len(beside.body))} | beside.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(beside.body.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    beside.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield beside
    finally:
        beside.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def beside():
    with sidecar() as running:
        yield running


def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def handed_over(url: str, ask, *, timeout_s: float = 20.0, concurrency: int = 4) -> Any:
    """What `ask` makes of a handover."""

    async def run() -> Any:
        handover = Handover(url, timeout_s=timeout_s, concurrency=concurrency)
        try:
            return await ask(handover)
        finally:
            await handover.close()

    return asyncio.run(run())


def explained(url: str, served: Served, **options: Any) -> dict[str, Any]:
    return handed_over(url, lambda handover: handover.explain(make_rows(2), served, lime=False), **options)


def test_it_asks_for_rows_of_the_bundle_that_is_served(beside, served):
    handed_over(beside.url, lambda handover: handover.explain(make_rows(1), served, lime=True))
    (asked,) = beside.asked
    rows = make_rows(1)
    assert asked["rows"] == {"close": rows.close.tolist(), "features": rows.features.tolist()}
    assert (asked["path"], asked["bundle"], asked["lime"]) == ("/explain", served.digest, True)


def test_the_request_id_goes_with_it_and_nothing_else_of_the_request(beside, served):
    token = logs.request_id.set("r-17")
    try:
        explained(beside.url, served)
    finally:
        logs.request_id.reset(token)
    (asked,) = beside.asked
    sent = {name.lower(): value for name, value in asked["headers"].items()}
    assert sent["x-request-id"] == "r-17"
    assert "authorization" not in sent


def test_the_answer_names_the_version_that_the_predictor_knows(beside, served):
    answer = explained(beside.url, served)
    assert answer == {"explanations": [{"a": 1}], "sentence": ["So it is."], "bundle_version": 7}


@pytest.mark.parametrize("away", ["nobody listens", "it says nothing"])
def test_without_an_explainer_it_says_so_in_time(served, away):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = nobody() if away == "nobody listens" else f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ExplainerAwayError) as raised:
            explained(url, served, timeout_s=0.3)
    assert raised.value.retry_after_s == 2
    assert ("away" if away == "nobody listens" else "no answer within 0.3 s") in str(raised.value)


def test_one_that_answers_drop_by_drop_is_not_waited_for_either(served):
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n")
                while not stop.wait(0.05):
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(ExplainerAwayError, match="no answer within"):
                explained(f"http://127.0.0.1:{listener.getsockname()[1]}", served, timeout_s=0.5)
        finally:
            stop.set()
            thread.join()


def test_the_explainers_own_refusal_is_passed_on(beside, served):
    beside.status, beside.body, beside.headers = 503, '{"error": "It loads."}', {"retry-after": "5"}
    with pytest.raises(ExplainerAwayError, match=r"It loads\.") as raised:
        explained(beside.url, served)
    assert raised.value.retry_after_s == 5


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, '{"error": "x"}'),
        (422, '{"error": "x"}'),
        (200, "{"),
        (200, "[]"),
        (200, "{}"),
        (503, "gone"),
        (503, "{}"),
    ],
)
def test_whatever_else_it_answers_is_logged_and_a_503(beside, served, status, body, caplog):
    beside.status, beside.body = status, body
    with pytest.raises(ExplainerAwayError, match="failed at this request"):
        explained(beside.url, served)
    (said,) = [record for record in caplog.records if record.getMessage() == "explainer_failed"]
    assert said.fields["status"] == status


def test_a_row_that_cannot_be_explained_is_the_clients_fault(beside, served):
    beside.status, beside.body = 400, '{"error": "It is far from any market."}'
    with pytest.raises(InvalidInput, match="far from any market"):
        explained(beside.url, served)


def test_more_at_once_than_may_be_are_refused_and_a_place_is_free_again_after_each(beside, served):
    beside.may_answer.clear()
    refused = EXPLAIN_REFUSED._value.get()

    async def ask(handover: Handover) -> None:
        def one() -> Coroutine[Any, Any, Any]:
            return handover.explain(make_rows(1), served, lime=False)

        waiting = [asyncio.create_task(one()) for _ in range(2)]
        while len(beside.asked) < 2:
            await asyncio.sleep(0.001)
        with pytest.raises(ExplainerAwayError, match="Too many") as raised:
            await one()
        assert raised.value.retry_after_s == 1
        assert EXPLAIN_REFUSED._value.get() == refused + 1
        beside.may_answer.set()
        await asyncio.gather(*waiting)
        beside.status = 500
        for _ in range(3):
            with pytest.raises(ExplainerAwayError, match="failed"):
                await one()
        beside.status = 200
        await one()

    handed_over(beside.url, ask, concurrency=2)
    assert len(beside.asked) == 6


def test_one_that_started_again_is_asked_anew(served):
    async def ask(handover: Handover) -> None:
        for _ in range(3):
            await handover.explain(make_rows(1), served, lime=False)

    with sidecar() as beside:
        handed_over(beside.url, ask)
    assert len(beside.asked) == 3


def test_a_proxy_of_the_environment_is_not_asked(beside, served, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", nobody())
    assert explained(beside.url, served)["bundle_version"] == 7


def test_without_an_address_explanations_are_off_and_a_wrong_one_is_named():
    assert handover_for(load_settings(environ={}).serving) is None
    wrong = load_settings(environ={}, overrides={"serving.explainer_url": "localhost:8087"})
    with pytest.raises(ServingError, match=r"serving\.explainer_url"):
        handover_for(wrong.serving)


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({"instances": instances(1), "lime": 1}, "'lime' must be true or false"),
        ({"instances": instances(1) * 17}, "at most 16 to be explained"),
        ({"series": [{"bars": []}] * 17}, "at most 16 to be explained"),
        ({"instances": instances(1) * 2, "lime": True}, "at most 1 to be explained with 'lime'"),
    ],
)
def test_what_is_too_much_to_explain_is_told_so(payload, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        split_request(payload)


def test_the_rest_of_a_request_is_that_for_a_forecast():
    assert split_request({"instances": [1], "spec_hash": "x", "lime": True}) == (
        {"instances": [1], "spec_hash": "x"},
        True,
    )
    for other in (b"abc", [1], None):
        assert split_request(other) == (other, False)


class Recorded:
    """A handover that only keeps what it is handed."""

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        self.handed: list[Any] = []
        self.answer = answer or {}

    async def explain(self, rows, served, *, lime):
        self.handed.append((rows, served, lime))
        return self.answer


def ask_model(model: ForecastModel, payload: Any) -> Any:
    return asyncio.run(model.explain(payload, {"authorization": "Bearer secret"}))


@pytest.mark.parametrize(
    "payload",
    [
        {"instances": []},
        {"instances": [{"close": -1.0, "features": instances(1)[0]["features"]}]},
        {"instances": [{"close": 1.0, "features": instances(1)[0]["features"] | {"rsi_14": float("nan")}}]},
        {"instances": instances(1), "spec_hash": "0"},
        {"instances": instances(1), "more": 1},
        b"abc",
    ],
    ids=["empty", "price", "NaN", "spec", "more", "bytes"],
)
def test_a_request_that_is_no_good_for_a_forecast_is_refused_alike_and_goes_no_further(served, payload):
    for handover in (Recorded(), None):
        model = ForecastModel("m", handover=handover)
        model.serve(served)
        with pytest.raises(InvalidInput) as of_predict:
            asyncio.run(model.predict(payload))
        with pytest.raises(InvalidInput) as of_explain:
            ask_model(model, payload)
        assert str(of_explain.value) == str(of_predict.value)
        assert type(of_explain.value) is type(of_predict.value)
        assert handover is None or handover.handed == []


@pytest.mark.filterwarnings("ignore:overflow")  # a server says it once for all requests
def test_rows_with_no_finite_forecast_are_refused_alike(served):
    far = dict.fromkeys(instances(1)[0]["features"], 3e38)
    model = ForecastModel("m", handover=Recorded())
    model.serve(served)
    with pytest.raises(InvalidInput, match="no finite forecast"):
        ask_model(model, {"instances": [{"close": 1.0, "features": far}]})


def test_good_rows_are_handed_over(served):
    handover = Recorded()
    model = ForecastModel("m", handover=handover)
    model.serve(served)
    ask_model(model, {"instances": instances(3)})
    ask_model(model, {"instances": instances(1), "lime": True})
    (first, second) = handover.handed
    assert first[0].features.tolist() == make_rows(3).features.tolist()
    assert (first[1], first[2], second[2]) == (served, False, True)


def test_bars_are_featurized_before_they_are_handed_over(served):
    handover, bars = Recorded(), make_random_bars(600)
    model = ForecastModel("m", handover=handover)
    model.serve(served)
    names = ["open", "high", "low", "close", "volume"]
    sent = bars[names].assign(timestamp=[time.isoformat() for time in bars["timestamp"]]).to_dict("records")
    ask_model(model, {"bars": sent, "lime": True})
    ((rows, _, lime),) = handover.handed
    assert (rows.features.shape, rows.close.tolist(), lime) == ((1, COUNT), [bars["close"].iloc[-1]], True)


@pytest.mark.parametrize("form", ["all in the body", "the rest in headers"])
def test_a_cloudevent_is_explained_and_none_of_its_headers_comes_back(served, form):
    handover, body = Recorded({"explanations": ["So it is."]}), {"instances": instances(2)}
    model = ForecastModel(MODEL, handover=handover)
    model.serve(served)
    event = {
        "specversion": "1.0",
        "id": "mine",
        "source": "/caller",
        "type": "question",
        "time": "2025-01-01T00:00:00Z",
    }
    headers = {"content-type": "application/cloudevents+json", "authorization": "Bearer secret"}
    if form == "all in the body":
        body = event | {"data": body}
    else:
        headers |= {"content-type": "application/json"} | {f"ce-{name}": value for name, value in event.items()}

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(make_app(make_server(model)))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post(f"/v1/models/{MODEL}:explain", json=body, headers=headers)

    answer = asyncio.run(ask())
    assert answer.status_code == 200
    assert "So it is." in answer.text
    assert handover.handed[0][0].features.tolist() == make_rows(2).features.tolist()
    told = answer.text + str(answer.headers)
    assert "io.kserve.inference.response" in told  # the answer is one as well
    assert not any(word in told for word in ("secret", "mine", "/caller", "question"))


def test_explanations_that_are_off_are_not_there(served):
    model = ForecastModel("m")
    with pytest.raises(NotServingYet):
        ask_model(model, {"instances": instances(1)})
    model.serve(served)
    with pytest.raises(ExplanationsOffError, match=r"set `serving\.explainer_url`"):
        ask_model(model, {"instances": instances(1)})


def test_that_they_are_off_is_told_as_something_that_waiting_does_not_change(running):
    answer = post(running, f"/v1/models/{MODEL}:explain", {"instances": instances(1)})
    assert answer.status_code == 501
    assert "set `serving.explainer_url`" in answer.json()["error"]
    assert "retry-after" not in answer.headers
    assert outcome_of(501) == "client_error"  # nothing is wrong with the server
