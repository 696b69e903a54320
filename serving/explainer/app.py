"""The explainer over HTTP: answers at once, and explains in one thread behind a short queue.

    GET  /healthz      200 once it is up
    GET  /readyz       200 once it can explain a bundle; says which, and its digest
    POST /explain      {"rows": {"close": [...], "features": [[...]]}, "bundle": digest, "lime": false}
    GET  /importances  of the bundle that came last
    GET  /metrics      for Prometheus

What it cannot do now (it loads, its bundle is another, too many wait) is a 503 that says when to ask again.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np
import psutil
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from cryptosentinel.errors import UserInputError
from cryptosentinel.explaining import sentence
from serving import logs
from serving.explainer.explainers import Explainers, Loaded
from serving.explainer.question import Asked
from serving.logs import fields

log = logging.getLogger("serving.explainer")

T = TypeVar("T")

LOOK_S = 1.0  # how often it looks for a new bundle
STUCK_S = 120.0  # a computation that takes longer never ends: the process does
SOON_S, BUSY_S = 2, 1  # when to ask again


class _Metrics:
    def __init__(self, registry: CollectorRegistry, explainers: Explainers) -> None:
        self.requests = Counter(
            "cryptosentinel_explainer_requests",
            "By method, and what came of them: ok, invalid, refused, failed, gone.",
            ["method", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "cryptosentinel_explainer_duration_seconds",
            "Of computing one request, without waiting for it.",
            ["method"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=registry,
        )
        self.waiting = Gauge("cryptosentinel_explainer_queue", "Requests computed or waiting to be.", registry=registry)
        version = Gauge("cryptosentinel_explainer_bundle_version", "Of the bundle that came last.", registry=registry)
        version.set_function(lambda: explainers.newest.served.version if explainers.newest else float("nan"))


class ExplainerApp:
    """The application and its state.

    Args:
        explainers: the bundles.
        max_waiting: requests at once.
        max_memory_mb: of this process; beyond it, `grown` is called.
        grown: ends the process once what it accepted is answered.
        registry: of its metrics.
    """

    def __init__(
        self,
        explainers: Explainers,
        *,
        max_waiting: int,
        max_memory_mb: int,
        grown: Callable[[], None],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._explainers = explainers
        self._max_waiting = max_waiting
        self._max_memory_mb = max_memory_mb
        self._grown = grown
        self._registry = registry
        self._metrics = _Metrics(registry, explainers)
        self._waiting = 0
        self._seeking: asyncio.Future[None] | None = None
        # One: explanations must not take a second processor from the forecasts, and need not be safe for threads.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")

    def build(self) -> FastAPI:
        """The application."""
        app = FastAPI(title="CryptoSentinel explainer", lifespan=self._lifespan, docs_url=None, redoc_url=None)
        app.add_api_route("/healthz", self.healthz)
        app.add_api_route("/readyz", self.readyz)
        app.add_api_route("/explain", self.explain, methods=["POST"])
        app.add_api_route("/importances", self.importances)
        app.add_api_route("/metrics", self.metrics)
        app.add_exception_handler(RequestValidationError, _malformed)
        return app

    async def healthz(self) -> dict[str, bool]:
        """Whether it is up."""
        return {"up": True}

    async def readyz(self) -> JSONResponse:
        """Whether it can explain, and what."""
        newest = self._explainers.newest
        if newest is None:
            return _refusal("The explainer loads its bundle.", SOON_S)
        return JSONResponse({"ready": True, "bundle_version": newest.served.version, "digest": newest.served.digest})

    async def importances(self) -> Response:
        """Of the bundle that came last: how much each feature moves its forecasts."""
        newest = self._explainers.newest
        if newest is None:
            return _refusal("The explainer loads its bundle.", SOON_S)
        said = {
            "importances": newest.explainer.importances.model_dump(mode="json"),
            "bundle_version": newest.served.version,
        }
        return JSONResponse(said)

    def metrics(self) -> Response:
        """For Prometheus."""
        return Response(generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST})

    async def explain(self, asked: Asked, request: Request) -> Response:
        """Explains rows, or says why not now."""
        logs.request_id.set(request.headers.get("x-request-id", ""))
        method = "lime" if asked.lime else "shap"
        loaded = self._explainers.get(asked.bundle)
        if loaded is None:
            self._metrics.requests.labels(method, "refused").inc()
            self._seek(asked.bundle)
            return _refusal("The explainer loads the bundle that is served.", SOON_S)
        wanted = len(loaded.served.bundle.manifest.features)
        if any(len(row) != wanted for row in asked.rows.features):
            return _error(422, f"Rows of this bundle have {wanted} features.")
        if self._waiting >= self._max_waiting:
            self._metrics.requests.labels(method, "refused").inc()
            return _refusal(f"{self._waiting} explanations are asked for already.", BUSY_S)
        response, outcome = await self._answer(loaded, asked, request, method)
        self._metrics.requests.labels(method, outcome).inc()
        self._end_if_grown()
        return response

    async def _answer(self, loaded: Loaded, asked: Asked, request: Request, method: str) -> tuple[Response, str]:
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)
        try:
            body = await _unless_gone(request, self._in_thread(self._compute, loaded, asked, method))
        except _GoneError:
            return Response(status_code=499), "gone"
        except UserInputError as error:
            return _error(400, str(error)), "invalid"
        except Exception as error:
            log.exception("explain_failed", extra=fields(bundle_version=loaded.served.version, method=method))
            return _error(500, f"The explainer failed at this request ({type(error).__name__})."), "failed"
        finally:
            self._waiting -= 1
            self._metrics.waiting.set(self._waiting)
        return Response(body, media_type="application/json"), "ok"

    def _compute(self, loaded: Loaded, asked: Asked, method: str) -> str:
        began = time.perf_counter()
        explanations = [
            loaded.explainer.explain(np.array(row), close, lime=asked.lime)
            for row, close in zip(asked.rows.features, asked.rows.close, strict=True)
        ]
        answer = {
            "explanations": [explanation.model_dump(mode="json") for explanation in explanations],
            "sentence": [sentence(explanation) for explanation in explanations],
            "bundle_version": loaded.served.version,
        }
        body = json.dumps(answer, allow_nan=False)
        self._metrics.seconds.labels(method).observe(time.perf_counter() - began)
        return body

    def _in_thread(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, _or_end, work, *arguments)

    def _seek(self, digest: str) -> None:
        if self._seeking is None or self._seeking.done():
            self._seeking = self._in_thread(self._explainers.seek, digest)

    def _end_if_grown(self) -> None:
        memory_mb = psutil.Process().memory_info().rss / 2**20
        if memory_mb > self._max_memory_mb:
            log.warning("grown", extra=fields(memory_mb=round(memory_mb), max_memory_mb=self._max_memory_mb))
            self._grown()

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(self._look())
        yield
        looking.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _look(self) -> None:
        while True:
            await self._in_thread(self._explainers.refresh)
            await asyncio.sleep(LOOK_S)


class _GoneError(Exception):
    """Whoever asked has gone."""


async def _unless_gone(request: Request, work: asyncio.Future[T]) -> T:
    """What comes of the work, which is not begun once whoever asked has gone."""
    gone = asyncio.ensure_future(request.receive())  # the body is read: what comes next is that it disconnects
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise _GoneError
        return work.result()
    finally:
        gone.cancel()
        work.cancel()


def _or_end(work: Callable[..., T], *arguments: Any) -> T:
    """Does the work, or ends the process where it is stuck; it says where."""
    faulthandler.dump_traceback_later(STUCK_S, exit=True)
    try:
        return work(*arguments)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _refusal(text: str, retry_after_s: int) -> JSONResponse:
    return JSONResponse({"error": text}, 503, {"Retry-After": str(retry_after_s)})


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status)


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    """FastAPI's own answer repeats the input, and fails on a NaN in it."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _error(422, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}.")
