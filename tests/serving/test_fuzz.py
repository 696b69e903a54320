"""Whatever is sent, the answer is the client's fault or a forecast: never a 500, a crash or a stack trace.

`benchmarks/fuzz_serving.py` does the same with 100,000 bodies against a server of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from random import Random

import grpc
import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from serving.admission import Admission
from serving.model_server import ForecastServer
from serving.servicer import ForecastServicer
from tests.serving.asking import as_forecast, as_series, bars_of, make_app, make_model, make_server
from tests.serving.bodies import FORECAST, INFER, PREDICT, grpc_message, rest_body

randoms = st.randoms(use_true_random=False)
often = settings(max_examples=300, suppress_health_check=list(HealthCheck), database=None)


class Explains:
    """In place of an explainer."""

    async def explain(self, rows, served, *, lime):
        return {"explanations": [], "sentence": [], "bundle_version": served.version}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> ForecastServer:
    return make_server(make_model(tmp_path_factory.mktemp("bundle") / "trained", handover=Explains()))


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture(scope="module")
def rest(server, loop) -> Iterator[httpx.AsyncClient]:
    # Its errors are answered, as by a server, and not raised here.
    transport = httpx.ASGITransport(make_app(server), raise_app_exceptions=False)
    client = httpx.AsyncClient(transport=transport, base_url="http://server")
    yield client
    loop.run_until_complete(client.aclose())


@pytest.fixture(scope="module")
def infer(server, loop) -> Iterator[grpc.aio.UnaryUnaryMultiCallable]:
    async def begin() -> tuple[grpc.aio.Server, grpc.aio.Channel]:
        served = grpc.aio.server()
        ForecastServicer(server.dataplane, server.model_repository_extension, Admission(2**23)).add_to(served)
        port = served.add_insecure_port("127.0.0.1:0")
        await served.start()
        return served, grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    served, channel = loop.run_until_complete(begin())
    yield GRPCInferenceServiceStub(channel).ModelInfer
    loop.run_until_complete(channel.close())
    loop.run_until_complete(served.stop(None))


def status_over_rest(random: Random, rest: httpx.AsyncClient, loop: asyncio.AbstractEventLoop) -> int:
    body = rest_body(random)
    headers = body.headers | {"authorization": "Bearer secret"}
    answered = loop.run_until_complete(rest.post(body.path, content=body.content, headers=headers))
    assert answered.status_code < 500 or answered.status_code == 503, answered.text
    assert answered.status_code == 200 or answered.json()["error"]
    assert "Traceback" not in answered.text
    assert "secret" not in answered.text + str(answered.headers)
    return answered.status_code


def status_over_grpc(random: Random, infer: grpc.aio.UnaryUnaryMultiCallable, loop: asyncio.AbstractEventLoop) -> str:
    async def ask() -> tuple[str, str]:
        call = infer(grpc_message(random))
        return (await call.code()).name, await call.details()

    status, sentence = loop.run_until_complete(ask())
    assert status in {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}, sentence
    assert status == "OK" or sentence
    return status


@seed(4)
@given(randoms)
@often
def test_no_body_over_rest_is_the_servers_fault(rest, loop, random):
    status_over_rest(random, rest, loop)


@seed(4)
@given(randoms)
@often
def test_no_message_over_grpc_is_the_servers_fault(infer, loop, random):
    status_over_grpc(random, infer, loop)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (INFER, {"id": "\ud800", "inputs": []}, 400),
        (INFER, {"inputs": [], "parameters": {"\ud800": []}}, 400),
        (INFER, {"inputs": [{"name": "\ud800", "shape": [1], "datatype": "FP64", "data": [1]}]}, 400),
        (FORECAST, as_forecast(as_series(bars_of(), name="\ud800")), 400),
        (FORECAST, as_forecast(as_series(bars_of()), model="\ud800"), 404),
        (PREDICT, {"\ud800": 1}, 400),
    ],
)
def test_half_a_character_is_refused(rest, loop, path, body, status):
    sent = {"content-type": "application/json"}
    answered = loop.run_until_complete(rest.post(path, content=json.dumps(body), headers=sent))
    assert answered.status_code == status
    assert answered.json()["error"]


def test_what_is_sent_is_neither_all_good_nor_all_bad(rest, infer, loop):
    seeds = [Random(number) for number in range(200)]
    over_rest = Counter(status_over_rest(random, rest, loop) for random in seeds)
    over_grpc = Counter(status_over_grpc(random, infer, loop) for random in seeds)
    assert {200, 400, 422} <= over_rest.keys()
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= over_grpc.keys()
    assert over_rest[200] > 10
    assert over_grpc["OK"] > 10
