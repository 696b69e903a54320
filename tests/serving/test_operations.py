"""What a predictor does around each request: ids, limits, counts, probes."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client.parser import text_string_to_metric_families

from serving import admission, middleware
from serving.admission import Admission
from serving.middleware import MAX_HEAD_BYTES, Operations
from tests.serving.builders import instances, make_rows
from tests.serving.test_server import MODEL, get, post

PREDICT = f"/v1/models/{MODEL}:predict"
UNKNOWN_ID = re.compile(r"[0-9a-f]{32}")


def scraped(url: str) -> dict[tuple[str, ...], float]:
    """Every sample of `/metrics`, by its name and the values of its labels."""
    text = httpx.get(url + "/metrics", trust_env=False, timeout=20).text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def grown(running, ask: Any) -> dict[tuple[str, ...], float]:
    """What `ask` adds to the metrics."""
    before = scraped(running.process.url)
    ask()
    after = scraped(running.process.url)
    return {name: value - before.get(name, 0) for name, value in after.items()}


def requests(protocol: str, outcome: str) -> tuple[str, ...]:
    return ("cryptosentinel_request_duration_seconds_count", outcome, protocol)  # labels in order of their names


def stub(running) -> Any:
    return GRPCInferenceServiceStub(grpc.insecure_channel(running.process.grpc))


def infer_request(rows: int) -> pb.ModelInferRequest:
    values = make_rows(rows)
    inputs = [("close", values.close), ("features", values.features)]
    return pb.ModelInferRequest(
        model_name=MODEL,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name=name,
                datatype="FP64",
                shape=array.shape,
                contents=pb.InferTensorContents(fp64_contents=array.ravel()),
            )
            for name, array in inputs
        ],
    )


def infer(running, rows: int = 1, **more: Any) -> Any:
    return stub(running).ModelInfer.with_call(infer_request(rows), **more)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers with the length of the body."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


def ask(app: Any, path: str = PREDICT, content: Any = b"", **headers: str) -> httpx.Response:
    async def answer() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return await client.post(path, content=content, headers=headers)

    return asyncio.run(answer())


async def pieces(*sizes: int) -> Any:
    for size in sizes:
        yield b"x" * size


def test_a_callers_request_id_comes_back(running):
    assert post(running, PREDICT, {"instances": instances(1)}, **{"x-request-id": "mine 1"}).headers[
        "x-request-id"
    ] == ("mine 1")
    assert post(running, PREDICT, b"{", **{"x-request-id": "mine 2"}).headers["x-request-id"] == "mine 2"
    assert get(running, "/nowhere").headers["x-request-id"]
    _, call = infer(running, metadata=(("x-request-id", "mine 3"),))
    assert dict(call.trailing_metadata())["x-request-id"] == "mine 3"
    with pytest.raises(grpc.RpcError) as raised:
        stub(running).ModelReady(pb.ModelReadyRequest(name="nobody"), metadata=(("x-request-id", "mine 4"),))
    assert dict(raised.value.trailing_metadata())["x-request-id"] == "mine 4"


@pytest.mark.parametrize("given", ["x" * 129, "a\tb", "caf\xe9", ""])
def test_a_request_id_that_is_long_or_cannot_be_printed_is_replaced(given):
    app = Operations(echo, Admission(100))
    answered = asyncio.run(
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x").get(
            "/", headers=[(b"x-request-id", given.encode("latin-1"))]
        )
    )
    assert UNKNOWN_ID.fullmatch(answered.headers["x-request-id"])


def test_two_requests_never_share_an_id():
    app = Operations(echo, Admission(100))
    assert ask(app).headers["x-request-id"] != ask(app).headers["x-request-id"]


@pytest.mark.parametrize("content", [b"x" * 101, pieces(50, 50, 1)], ids=["its length is told", "in chunks"])
def test_a_body_above_the_limit_is_refused(content):
    answered = ask(Operations(echo, Admission(100)), content=content)
    assert answered.status_code == 413
    assert "larger than 100 bytes" in answered.json()["error"]


def test_a_body_at_the_limit_arrives_whole():
    app = Operations(echo, Admission(100))
    assert ask(app, content=b"x" * 100).text == "100"
    assert ask(app, content=pieces(50, 0, 50)).text == "100"


def test_a_body_whose_length_is_too_large_is_not_read():
    async def never() -> Any:
        raise AssertionError("it was read")
        yield b""

    async def connection() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-length", b"101"), (b"expect", b"100-continue")]
        scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": headers}
        await Operations(never, Admission(100))(scope, receive, send)
        return sent

    assert asyncio.run(connection())[0]["status"] == 413


@pytest.mark.parametrize(("pause_s", "read"), [(0.003, 100), (30, 1)], ids=["it comes slowly", "it comes no more"])
def test_a_refused_body_is_read_for_as_long_as_it_comes(monkeypatch, pause_s, read):
    monkeypatch.setattr(middleware, "LINGER_PAUSE_S", 0.5)
    count = 0

    async def receive() -> Any:
        nonlocal count
        count += 1
        await asyncio.sleep(pause_s)
        return {"type": "http.request", "body": b"x", "more_body": count < 100}

    async def run() -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append((message["type"], message.get("more_body"), count))

        scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": [(b"content-length", b"101")]}
        await Operations(echo, Admission(100))(scope, receive, send)
        return sent

    # The answer is sent before the body is read, and ended after it: the connection stays open for as long.
    whole, end = ("http.response.body", True, 0), ("http.response.body", False, read)
    assert asyncio.run(run())[1:] == [whole, end]


def test_bodies_held_at_once_are_bounded_and_released():
    held = Admission(100)
    app = Operations(echo, held)
    assert held.hold(admission.BODIES_HELD * 100 - 50)
    answered = ask(app, content=b"x" * 51)
    assert (answered.status_code, answered.headers["retry-after"]) == (503, "1")
    for _ in range(3):
        assert ask(app, content=b"x" * 50).status_code == 200
        assert ask(app, content=pieces(30, 30)).status_code == 503


def test_more_requests_at_once_than_it_takes_are_told_to_come_back():
    entered, done = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await done.wait()
        await echo(scope, receive, send)

    async def run() -> None:
        app = Operations(slow, Admission(100, max_in_flight=1))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            first = asyncio.create_task(client.post(PREDICT))
            await entered.wait()
            refused = await client.post(PREDICT)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            probe = asyncio.create_task(client.get("/v2/health/live"))
            done.set()
            assert (await probe).status_code == 200
            assert (await first).status_code == 200
            assert (await client.post(PREDICT)).status_code == 200

    asyncio.run(run())


def test_a_body_that_does_not_arrive_is_waited_for_only_so_long(monkeypatch):
    monkeypatch.setattr(middleware, "BODY_TIMEOUT_S", 0.05)

    async def stuck() -> Any:
        yield b"x"
        await asyncio.sleep(0.3)
        yield b"x"

    held = Admission(100)
    assert ask(Operations(echo, held), content=stuck()).status_code == 408
    assert held.hold(admission.BODIES_HELD * 100)


def test_a_failure_says_nothing_to_the_caller_and_everything_to_the_log(caplog):
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("inner detail")

    with caplog.at_level(logging.ERROR, "serving"):
        answered = ask(Operations(broken, Admission(100)), **{"x-request-id": "mine"})
    assert answered.status_code == 500
    assert "inner" not in answered.text
    record = caplog.records[-1]
    assert record.exc_info[0] is ZeroDivisionError
    assert record.fields["status"] == 500


def test_a_large_body_is_refused_by_the_server(running):
    assert post(running, PREDICT, b"x" * (8 * 2**20 + 1)).status_code == 413
    with pytest.raises(grpc.RpcError) as raised:
        infer(running, rows=40_000)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert running.client.ready()


def test_a_head_without_an_end_is_cut_off(running):
    address = urlsplit(running.process.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-a: ")
        connection.settimeout(20)
        said = b""
        try:
            for _ in range(MAX_HEAD_BYTES // 1024 + 1000):
                connection.sendall(b"a" * 1024)
            said = connection.recv(65536)
        except OSError:
            pass  # it is closed while we still send
    assert said == b"" or said.startswith(b"HTTP/1.1 400")
    assert get(running, "/v2/health/live").status_code == 200


def test_a_head_may_be_as_long_as_is_usual_and_come_in_parts(running):
    address = urlsplit(running.process.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        for _ in range(2):  # on one connection: each head counts for itself
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n")
            for number in range(40):
                connection.sendall(b"x-%d: %s\r\n" % (number, b"a" * 1000))
            connection.sendall(b"\r\n")
            answered = b""
            while not answered.endswith(b"}"):
                answered += connection.recv(65536)
            assert answered.startswith(b"HTTP/1.1 200")


def test_requests_are_counted_by_protocol_and_outcome(running):
    running.serve(1)

    def some() -> None:
        post(running, PREDICT, {"instances": instances(3)})
        post(running, PREDICT, b"{")
        post(running, f"/v2/models/{MODEL}/infer", {"inputs": []})
        post(running, f"/v2/models/{MODEL}/infer", b"x", **{"inference-header-content-length": "1"})
        infer(running)
        with pytest.raises(grpc.RpcError):
            stub(running).ModelInfer(pb.ModelInferRequest(model_name=MODEL))

    more = grown(running, some)
    assert more[requests("v1", "ok")] == 1
    assert more[requests("v1", "client_error")] == 1
    assert more[requests("v2", "client_error")] == 1
    assert more[requests("v2_binary", "client_error")] == 1
    assert more[requests("grpc", "ok")] == 1
    assert more[requests("grpc", "client_error")] == 1
    assert more["cryptosentinel_forecast_rows_total",] == 4
    assert scraped(running.process.url)["cryptosentinel_requests_in_flight", "v1"] == 0


def test_paths_that_do_not_exist_make_no_new_series(running):
    get(running, "/one"), get(running, "/v1/x")  # the series exist from here on
    before = scraped(running.process.url).keys()
    more = grown(running, lambda: [get(running, f"/{number}") for number in range(5)])
    assert more[requests("other", "client_error")] == 5
    assert scraped(running.process.url).keys() == before


def test_outlying_rows_are_counted(running):
    bundle = running.serve(1)
    rows = make_rows(1)
    rows.features[:] *= 50
    rows.features[0, -1] = 40.0
    outlying = int(bundle.infer(rows.features, rows.close).outlying.sum())
    assert outlying == 1
    data = {"inputs": [{"name": "close", "shape": [1], "datatype": "FP64", "data": rows.close.tolist()}]}
    features = {"name": "features", "shape": list(rows.features.shape), "datatype": "FP64"}
    data["inputs"].append(features | {"data": rows.features.ravel().tolist()})
    more = grown(running, lambda: post(running, f"/v2/models/{MODEL}/infer", data))
    assert more["cryptosentinel_outlying_rows_total",] == 1


def test_the_served_bundle_is_told_and_its_swaps_are_counted(running):
    running.serve(1)
    more = grown(running, lambda: running.serve(2))
    assert more["cryptosentinel_bundle_swaps_total", "ok"] == 1
    samples = scraped(running.process.url)
    assert samples["cryptosentinel_bundle_version",] == 2
    assert samples["cryptosentinel_bundle_age_seconds",] > 365 * 86_400
    running.serve(0)  # it has seen no data, so it has no age
    samples = scraped(running.process.url)
    assert samples["cryptosentinel_bundle_version",] == 0
    assert ("cryptosentinel_bundle_age_seconds",) not in samples


def test_probes_answer(running):
    for path in ("/v2/health/live", "/v2/health/ready", f"/v2/models/{MODEL}/ready", f"/v1/models/{MODEL}"):
        assert get(running, path).status_code == 200, path
    assert stub(running).ServerReady(pb.ServerReadyRequest()).ready


def test_kserves_own_metrics_stay(running):
    post(running, PREDICT, {"instances": instances(1)})
    assert scraped(running.process.url)["request_predict_seconds_count", MODEL] > 0
    assert json.dumps(get(running, "/openapi.json").json()).count('"/metrics"') == 1
