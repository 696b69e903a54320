"""Requests of every protocol, and servers in this process to ask."""

from __future__ import annotations

import asyncio
import socket
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
from fastapi import FastAPI
from kserve import InferenceGRPCClient, InferenceRESTClient, RESTConfig
from starlette.types import ASGIApp

from cryptosentinel.config import ServingSettings
from serving._kserve import InferInput, InferRequest
from serving.bars import VALUES
from serving.bundles import load_served
from serving.model_server import ForecastServer
from serving.predictor import ForecastModel
from tests.builders import make_random_bars
from tests.serving.builders import NOW, SPEC, make_trained

MODEL = "cryptosentinel"
NEED = SPEC.warm_up_bars
FIRST = NOW - NEED * SPEC.interval.delta  # so that the last bar closes at `NOW`


def bars_of(count: int = NEED, *, start: datetime | None = None) -> pd.DataFrame:
    """So many bars; the last one closes at `NOW` unless they start elsewhere."""
    return make_random_bars(count, start=start or NOW - count * SPEC.interval.delta, price=60_000.0)


def as_bars(bars: pd.DataFrame) -> list[dict[str, Any]]:
    """In the V1 form, with times in ISO 8601."""
    times = [time.isoformat() for time in bars["timestamp"]]
    return [{"timestamp": time, **row} for time, row in zip(times, bars[list(VALUES)].to_dict("records"), strict=True)]


def as_tensors(bars: pd.DataFrame) -> list[InferInput]:
    """In the V2 form."""
    opened_ms = bars["timestamp"].astype("int64").tolist()
    return [
        InferInput("bar_timestamp", [len(bars)], "INT64", opened_ms),
        *(InferInput(f"bar_{name}", [len(bars)], "FP64", bars[name].tolist()) for name in VALUES),
    ]


def as_request(bars: pd.DataFrame, **parameters: Any) -> InferRequest:
    """A V2 request."""
    return InferRequest(MODEL, as_tensors(bars), parameters=parameters or None)


def as_series(bars: pd.DataFrame, **changed: Any) -> dict[str, Any]:
    """In the form of KServe's time-series endpoint."""
    return {
        "type": "multivariate_time_series",
        "name": "btc",
        "frequency": "minute",
        "interval": "5m",
        "start_timestamp": bars["timestamp"].iloc[0].isoformat(),
        "series": bars[list(VALUES)].to_numpy().tolist(),
        **changed,
    }


def as_forecast(*inputs: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A request of the time-series endpoint."""
    return {"model": MODEL, "inputs": list(inputs), "options": {"horizon": 1}, **changed}


def make_model(folder: Path, *, now: datetime = NOW, handover: Any = None) -> ForecastModel:
    """A model with a trained bundle whose clock stands still."""
    model = ForecastModel(MODEL, clock=lambda: now, handover=handover)
    make_trained(folder, lean=1.0)
    model.serve(load_served(folder, 7))
    return model


def make_server(model: ForecastModel) -> ForecastServer:
    """A server that listens nowhere."""
    server = ForecastServer(model, ServingSettings(), socket.socket(), None, [], grace_s=1)
    server.register_model(model)
    return server


def make_app(server: ForecastServer) -> ASGIApp:
    """Its REST half."""
    app = FastAPI()
    rest = server._rest
    rest._add_middlewares(app)
    rest._register_endpoints(app)
    rest._add_exception_handlers(app)
    return rest.complete(app)


def ask_rest(url: str, request: InferRequest) -> Any:
    """Asks V2 over REST with KServe's own client."""

    async def ask() -> Any:
        config = RESTConfig(protocol="v2", transport=httpx.AsyncHTTPTransport())
        async with InferenceRESTClient(config) as client:
            return await client.infer(url, request, model_name=request.model_name)

    return asyncio.run(ask())


def ask_v1(url: str, payload: dict[str, Any]) -> Any:
    """Asks V1 with KServe's own client."""

    async def ask() -> Any:
        config = RESTConfig(protocol="v1", transport=httpx.AsyncHTTPTransport())
        async with InferenceRESTClient(config) as client:
            return await client.infer(url, payload, model_name=MODEL)

    return asyncio.run(ask())


def ask_grpc(address: str, request: InferRequest) -> Any:
    """Asks V2 over gRPC with KServe's own client."""

    async def ask() -> Any:
        async with InferenceGRPCClient(address, retries=0) as client:
            return await client.infer(request)

    return asyncio.run(ask())
