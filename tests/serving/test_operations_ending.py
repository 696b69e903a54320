"""A predictor that is told to end while it is busy."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.serving.builders import instances
from tests.serving.test_operations import MODEL, PREDICT, infer_request

OUT_OF_TIME = "timeout graceful shutdown exceeded"  # what uvicorn says when it waited in vain
READY = f"/v2/models/{MODEL}/ready"


async def rest_client(url: str, count: int, answered: list[int]) -> None:
    """Asks without pause on one connection, until the server closes it with an answer, or before there is one."""
    body, last = {"instances": instances(count)}, False
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(), timeout=30) as client:
        while not last:
            try:
                response = await client.post(url + PREDICT, json=body)
            except httpx.ConnectError:  # every other error is one of a request that it had taken
                return
            answered.append(response.status_code)
            last = response.headers.get("connection") == "close"


async def grpc_client(address: str, count: int, answered: list[grpc.StatusCode]) -> None:
    """Asks without pause, until the server takes no more."""
    request = infer_request(count)
    async with grpc.aio.insecure_channel(address) as channel:
        while not answered or answered[-1] is grpc.StatusCode.OK:
            try:
                await GRPCInferenceServiceStub(channel).ModelInfer(request)
                answered.append(grpc.StatusCode.OK)
            except grpc.aio.AioRpcError as error:
                answered.append(error.code())


async def until(condition: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    while not await condition():
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_told_to_end_under_load_it_answers_all_it_accepted(serve, workers):
    child, state = serve(workers=workers, log_format="json")
    said: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: said.extend(json.loads(line) for line in child.stderr))
    reader.start()
    rest: list[list[int]] = [[] for _ in range(8)]
    over_grpc: list[list[grpc.StatusCode]] = [[] for _ in range(3)]

    async def load() -> None:
        clients = [rest_client(state.url, 200 if n % 2 else 1, answered) for n, answered in enumerate(rest)]
        clients += [grpc_client(state.grpc, 200 if n % 2 else 1, answered) for n, answered in enumerate(over_grpc)]
        running = asyncio.gather(*clients)
        async with asyncio.timeout(200):
            while not all(len(answered) >= 3 for answered in (*rest, *over_grpc)):
                await asyncio.sleep(0.02)
            child.send_signal(signal.SIGTERM)
            await running

    asyncio.run(load())
    assert child.wait(30) == 0
    reader.join()
    requests = [line for line in said if line["message"] == "request"]
    assert {(line["outcome"], line["status"]) for line in requests} == {("ok", 200), ("ok", "OK")}
    told = [line["protocol"] for line in requests]
    assert [status for answered in rest for status in answered] == [200] * told.count("v1")
    # A call that comes too late is told so, and may be sent elsewhere.
    assert sum(answered.count(grpc.StatusCode.OK) for answered in over_grpc) == told.count("grpc")
    assert {answered[-1] for answered in over_grpc} <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_told_to_end_it_is_not_ready_but_alive_and_still_answers_and_no_idle_connection_keeps_it(serve):
    child, state = serve()

    async def probe(client: httpx.AsyncClient) -> list[int]:
        child.send_signal(signal.SIGTERM)

        async def draining() -> bool:
            return (await client.get(READY)).status_code == 503

        await until(draining)
        paths = (READY, f"/v1/models/{MODEL}", "/v2/health/ready", "/v2/health/live")
        statuses = [(await client.get(path)).status_code for path in paths]
        return [*statuses, (await client.post(PREDICT, json={"instances": instances(1)})).status_code]

    async def ended() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(), base_url=state.url) as client:
            statuses = await probe(client)
            assert await asyncio.to_thread(child.wait, 30) == 0  # though nobody has closed a connection
            return statuses

    with httpx.Client(transport=httpx.HTTPTransport()) as idle, grpc.insecure_channel(state.grpc) as channel:
        idle.get(state.url + READY)
        GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest())
        assert asyncio.run(ended()) == [503, 503, 503, 200, 200]
    assert OUT_OF_TIME not in child.stderr.read()


def test_who_has_connected_before_the_end_and_asks_then_is_answered(serve):
    child, state = serve()
    port = int(state.url.rsplit(":")[-1])

    async def is_gone() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        child.send_signal(signal.SIGTERM)
        await until(is_gone)
        body = json.dumps({"instances": instances(1)}).encode()
        writer.write(f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        return await reader.read()

    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer.lower()
    assert child.wait(30) == 0


def test_a_second_signal_ends_it_at_once(serve):
    child, state = serve()

    async def stuck() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(state.url.rsplit(":")[-1]))
        writer.write(b"POST /v1/models/x:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")  # and no body
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(), base_url=state.url) as client:
            child.send_signal(signal.SIGINT)

            async def draining() -> bool:
                return (await client.get(READY)).status_code == 503

            await until(draining)
        child.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(child.wait, 30) == 0

    asyncio.run(stuck())
    assert OUT_OF_TIME not in child.stderr.read()
