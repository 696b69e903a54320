"""KServe's `ModelServer` with what it cannot be told: the host, free ports, no load and unload over the network.

Besides KServe's own routes there is `GET /v2/models/<name>/bundle` (see `serving.info`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from grpc import aio

from cryptosentinel.config import ServingSettings
from cryptosentinel.errors import ServingError
from serving._kserve import (
    DataPlane,
    ExceptionToStatusInterceptor,
    InferenceServicer,
    Model,
    ModelNotFound,
    ModelRepositoryExtension,
    ModelServer,
    RESTServer,
    add_GRPCInferenceServiceServicer_to_server,
)
from serving.dataplane import ForecastDataPlane, NoRepositoryExtension
from serving.openapi import describe
from serving.predictor import ForecastModel
from serving.refusals import add_refusals
from serving.state import remove_state, write_state
from serving.timeseries import add_time_series

log = logging.getLogger("serving")

MAX_GRPC_MESSAGE_BYTES = 8 * 2**20


class ForecastServer(ModelServer):
    """Serves one model over REST and gRPC, and says so once it really answers.

    Args:
        model: the model; it may become ready later, and is answered for with 503 until then.
        serving: where.
        listener: the socket for REST, bound by the caller, who so knows first whether the port is free.
        state: a file to write once it answers, and to remove at the end.
        background: what runs beside the servers, e.g. following a registry.
        grace_s: how long accepted requests are waited for at the end.
    """

    def __init__(
        self,
        model: ForecastModel,
        serving: ServingSettings,
        listener: socket.socket,
        state: Path | None,
        background: list[Callable[[], Coroutine[Any, Any, None]]],
        *,
        grace_s: int,
    ) -> None:
        super().__init__(
            http_port=serving.http_port,
            grpc_port=serving.grpc_port,
            enable_latency_logging=False,
            grace_period=grace_s,
        )
        self.dataplane = ForecastDataPlane(self.registered_models)
        self.model_repository_extension = NoRepositoryExtension(self.registered_models)
        self._rest = _RESTServer(self.dataplane, self.model_repository_extension, model, listener, grace_s)
        self._grpc: aio.Server | None = None
        self._model = model
        self._serving = serving
        self._listener = listener
        self._state = state
        self._background = background

    def start(self, models: list[Model]) -> None:
        """Serves until a signal ends it.

        Raises:
            ServingError: the gRPC port cannot be listened on, or the state file cannot be written.
        """
        for model in models:
            self.register_model(model)
        try:
            asyncio.run(self._serve())
        finally:
            if self._state is not None:
                remove_state(self._state)

    def stop(self, sig: int) -> None:
        """Called for a signal: by uvicorn once it has answered what it had accepted, or, before it runs, at once."""
        assert self._grpc is not None
        log.info("stopping signal=%d", sig)
        self._rest.end()
        self._stopping = asyncio.get_running_loop().create_task(self._grpc.stop(self.grace_period))

    async def _serve(self) -> None:
        self._grpc, grpc_port = self._open_grpc()
        await self._grpc.start()
        self.register_signal_handler()
        beside = [asyncio.create_task(work()) for work in self._background]
        beside.append(asyncio.create_task(self._announce(grpc_port)))
        main = [asyncio.create_task(self._rest.start()), asyncio.create_task(self._grpc.wait_for_termination())]
        try:
            await _until_all_end_or_one_fails(main, beside)
        finally:
            for task in (*beside, *main):
                task.cancel()

    def _open_grpc(self) -> tuple[aio.Server, int]:
        server = aio.server(
            interceptors=(ExceptionToStatusInterceptor(),),
            options=[
                ("grpc.so_reuseport", 0),  # else a second server takes half of the calls, silently
                ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_BYTES),
            ],
        )
        add_GRPCInferenceServiceServicer_to_server(
            InferenceServicer(self.dataplane, self.model_repository_extension), server
        )
        host = f"[{self._serving.host}]" if ":" in self._serving.host else self._serving.host
        try:
            return server, server.add_insecure_port(f"{host}:{self.grpc_port}")
        except RuntimeError as error:
            raise ServingError(
                f"The predictor cannot listen on {host}:{self.grpc_port} for gRPC: {error}.",
                remedy="Stop what uses the port, or set serving.grpc_port to another one (0: any that is free).",
            ) from error

    async def _announce(self, grpc_port: int) -> None:
        """Asks the server itself until it answers: only then it is ready."""
        url = f"http://{_address(self._serving, self._listener.getsockname()[1])}"
        grpc = _address(self._serving, grpc_port)
        transport = httpx.AsyncHTTPTransport()  # given, it keeps the environment's proxies out
        async with httpx.AsyncClient(transport=transport) as client:
            while not await _succeeds(client, f"{url}/v2/models/{self._model.name}/ready"):
                await asyncio.sleep(0.1)
        if self._state is not None:
            write_state(self._state, url=url, grpc=grpc, model_name=self._model.name)
        served = self._model.served
        champion = served.bundle.manifest.champion
        log.info("ready url=%s grpc=%s bundle_version=%d champion=%s", url, grpc, served.version, champion)


async def _succeeds(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).is_success
    except httpx.TransportError:
        return False


def _address(serving: ServingSettings, port: int) -> str:
    """Where a client on this machine reaches `port`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(serving.host, serving.host)  # noqa: S104
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _until_all_end_or_one_fails(main: list[asyncio.Task[Any]], beside: list[asyncio.Task[None]]) -> None:
    """Waits for the tasks of `main`; a failure of any task is raised at once."""
    pending: set[asyncio.Task[Any]] = {*main, *beside}
    while not all(task.done() for task in main):
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


class _RESTServer(RESTServer):
    def __init__(
        self,
        dataplane: DataPlane,
        repository: ModelRepositoryExtension,
        model: ForecastModel,
        listener: socket.socket,
        grace_s: int,
    ) -> None:
        super().__init__("kserve.model_server:app", dataplane, repository, 0, grace_period=grace_s)
        self._model = model
        self._listener = listener

    def _register_endpoints(self, app: FastAPI) -> None:
        super()._register_endpoints(app)
        app.add_api_route("/v2/models/{model_name}/bundle", self._bundle, methods=["GET"], tags=["V2"])
        add_time_series(app, self._model, self._model.forecast)
        describe(app)

    def _add_exception_handlers(self, app: FastAPI) -> None:
        super()._add_exception_handlers(app)
        add_refusals(app)

    async def start(self) -> None:
        self.create_application()
        await self._server.serve(sockets=[self._listener])

    def end(self) -> None:
        self._server.should_exit = True

    async def _bundle(self, model_name: str) -> dict[str, Any]:
        """Which bundle is served, and what it needs."""
        if model_name != self._model.name:
            raise ModelNotFound(model_name)
        return self._model.info().model_dump(mode="json")
