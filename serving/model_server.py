"""KServe's `ModelServer` with what it cannot be told: the host, free ports, no load and unload unless asked for.

Told to end, it says so to probes, still answers for a moment, then takes nothing new and ends once all is answered.

Besides KServe's own routes there is `GET /v2/models/<name>/bundle` (see `serving.info`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
import uvloop
from fastapi import FastAPI
from grpc import aio
from starlette.types import ASGIApp
from uvicorn.importer import import_from_string

from cryptosentinel.config import ServingSettings
from cryptosentinel.errors import ServingError
from serving import tracing
from serving._kserve import (
    DataPlane,
    Model,
    ModelNotFound,
    ModelRepositoryExtension,
    ModelServer,
    RESTServer,
)
from serving.admission import Admission
from serving.bundles import Source
from serving.dataplane import ForecastDataPlane
from serving.endpoints import with_inference
from serving.logs import fields
from serving.metrics import MetricsEndpoint
from serving.middleware import BoundedProtocol, Operations
from serving.openapi import describe
from serving.predictor import ForecastModel
from serving.refusals import add_refusals
from serving.repository import NoRepositoryExtension, RepositoryExtension
from serving.servicer import ForecastServicer
from serving.state import remove_state, write_state
from serving.timeseries import add_time_series

log = logging.getLogger("serving")

# Told to end, it still answers what comes, and closes each connection with the answer: until nothing came for QUIET_S,
# or LAME_DUCK_S have passed.
QUIET_S, LAME_DUCK_S = 0.5, 3.0
# Objects between collections: those of some tens of requests, in place of Python's one.
GARBAGE = 20_000


class ForecastServer(ModelServer):
    """Serves one model over REST and gRPC, and says so once it really answers.

    Args:
        model: the model; it may become ready later, and is answered for with 503 until then.
        serving: where.
        listener: the socket for REST, bound by the caller, who so knows first whether the port is free.
        state: a file to write once it answers, and to remove at the end.
        background: what runs beside the servers, e.g. following a registry.
        grace_s: how long accepted requests are waited for at the end.
        worker: which of several processes this is; gRPC is answered by the first, 0.
        source: of its bundle, where it may be loaded and unloaded over the network.
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
        worker: int | None = None,
        source: Source | None = None,
    ) -> None:
        super().__init__(
            http_port=serving.http_port,
            grpc_port=serving.grpc_port,
            enable_latency_logging=False,
            enable_grpc=not worker,
            grace_period=grace_s,
        )
        self._admission = Admission(serving.max_body_bytes)
        self.dataplane = ForecastDataPlane(self.registered_models, model, self._admission)
        self.model_repository_extension = (
            NoRepositoryExtension(self.registered_models)
            if source is None
            else RepositoryExtension(self.registered_models, model, source)
        )
        self._rest = _RESTServer(
            self.dataplane, self.model_repository_extension, model, listener, grace_s, self._admission
        )
        self._grpc: aio.Server | None = None
        self._ending: asyncio.Task[None] | None = None
        self._model = model
        self._serving = serving
        self._listener = listener
        self._state = state
        self._background = background
        self._worker = worker

    def start(self, models: list[Model]) -> None:
        """Serves until a signal ends it.

        Raises:
            ServingError: the gRPC port cannot be listened on, or the state file cannot be written.
        """
        for model in models:
            self.register_model(model)
        try:
            # Any number may be asked, and what is not finite is refused by name: here once, not at each request.
            with np.errstate(over="ignore", invalid="ignore"):
                uvloop.run(self._serve())
        finally:
            if self._state is not None:
                remove_state(self._state)

    def stop(self, sig: int) -> None:
        """Called for a signal; a second one ends it without waiting for what it accepted."""
        if self._ending is None:
            log.info("stopping", extra=fields(signal=sig))
            self._admission.draining = True
            self._ending = asyncio.get_running_loop().create_task(self._end())
        else:
            self._ending.cancel()
            self._ending = asyncio.get_running_loop().create_task(self._end_at_once())

    async def _end_at_once(self) -> None:
        self._rest.end(at_once=True)
        if self._grpc is not None:
            await self._grpc.stop(0)

    async def _end(self) -> None:
        loop = asyncio.get_running_loop()
        deadline, entered = loop.time() + LAME_DUCK_S, -1
        while loop.time() < deadline and self._admission.entered != entered:
            entered = self._admission.entered
            await asyncio.sleep(QUIET_S)
        self._rest.end()
        if self._grpc is not None:
            await self._grpc.stop(self.grace_period)

    async def _serve(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop, number)
        main = [asyncio.create_task(self._rest.start())]
        grpc_port = None
        if self.enable_grpc:
            self._grpc, grpc_port = self._open_grpc()
            await self._grpc.start()
            main.append(asyncio.create_task(self._grpc.wait_for_termination()))
        beside = [asyncio.create_task(work()) for work in self._background]
        beside.append(asyncio.create_task(self._announce(grpc_port)))
        try:
            await _until_all_end_or_one_fails(main, beside)
        finally:
            for task in (*beside, *main):
                task.cancel()

    def _open_grpc(self) -> tuple[aio.Server, int]:
        server = aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # else a second server takes half of the calls, silently
                ("grpc.max_receive_message_length", self._serving.max_body_bytes),
                ("grpc.max_send_message_length", -1),  # answers are as long as requests allow
            ],
        )
        ForecastServicer(self.dataplane, self.model_repository_extension, self._admission).add_to(server)
        host = f"[{self._serving.host}]" if ":" in self._serving.host else self._serving.host
        try:
            return server, server.add_insecure_port(f"{host}:{self.grpc_port}")
        except RuntimeError as error:
            raise ServingError(
                f"The predictor cannot listen on {host}:{self.grpc_port} for gRPC: {error}.",
                remedy="Stop what uses the port, or set serving.grpc_port to another one (0: any that is free).",
            ) from error

    async def _announce(self, grpc_port: int | None) -> None:
        """Says that it answers, once it does: when it accepts connections, and has a bundle."""
        while not (self._rest.accepts and self._model.ready):
            await asyncio.sleep(0.05)
        # What was loaded stays: collections need not look at it again, and what a request leaves needs few of them.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE)
        url = f"http://{_address(self._serving, self._listener.getsockname()[1])}"
        grpc = "" if grpc_port is None else _address(self._serving, grpc_port)
        if self._state is not None:
            write_state(self._state, url=url, grpc=grpc, model_name=self._model.name)
        served = self._model.served
        said = {"bundle_version": served.version, "champion": served.bundle.manifest.champion}
        if self._worker is None:
            log.info("ready", extra=fields(url=url, grpc=grpc, **said))
        else:
            log.info("worker_ready", extra=fields(worker=self._worker, **said))


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


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the model server's: gRPC has to end as well."""
        yield


class _RESTServer(RESTServer):
    def __init__(
        self,
        dataplane: DataPlane,
        repository: ModelRepositoryExtension,
        model: ForecastModel,
        listener: socket.socket,
        grace_s: int,
        admission: Admission,
    ) -> None:
        super().__init__("kserve.model_server:app", dataplane, repository, 0, grace_period=grace_s)
        self.config.http, self.config.ws = BoundedProtocol, "none"
        self.config.lifespan, self.config.proxy_headers = "off", False  # nothing here needs them
        self._server = _Uvicorn(self.config)
        self._model = model
        self._listener = listener
        self._admission = admission

    @property
    def accepts(self) -> bool:
        """Whether it accepts connections."""
        return bool(self._server.started)

    def _register_endpoints(self, app: FastAPI) -> None:
        # Before KServe's, which tells of this process alone.
        app.add_api_route("/metrics", MetricsEndpoint(self._model), methods=["GET"], include_in_schema=False)
        super()._register_endpoints(app)
        app.add_api_route("/v2/models/{model_name}/bundle", self._bundle, methods=["GET"], tags=["V2"])
        add_time_series(app, self._model, self._model.forecast)
        describe(app)

    def _add_exception_handlers(self, app: FastAPI) -> None:
        super()._add_exception_handlers(app)
        add_refusals(app)

    def _add_middlewares(self, app: FastAPI) -> None:
        """Without KServe's, which times each request for a log that is off."""

    def complete(self, app: FastAPI) -> ASGIApp:
        """With what is not FastAPI's."""
        return with_inference(app, self.dataplane)

    async def start(self) -> None:
        self.create_application()
        app = self.complete(import_from_string(self.config.app))
        # Not as FastAPI's: those are inside the middleware that answers what failed.
        self.config.app = Operations(tracing.TracedApp(app) if tracing.enabled() else app, self._admission)
        await self._server.serve(sockets=[self._listener])

    def end(self, *, at_once: bool = False) -> None:
        self._server.should_exit = True
        self._server.force_exit = at_once

    async def _bundle(self, model_name: str) -> dict[str, Any]:
        """Which bundle is served, and what it needs."""
        if model_name != self._model.name:
            raise ModelNotFound(model_name)
        return self._model.info().model_dump(mode="json")
