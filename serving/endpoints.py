"""The endpoints that forecasts and explanations are asked of over REST, V1 and V2, in place of KServe's own.

They ask the same data plane and answer in the same forms. KServe's read and check a body, and an answer, with FastAPI
and pydantic value by value; these leave that to `serving.v2` and `serving.instances`, which check all values anyway.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving._kserve import ModelNotReady
from serving.dataplane import ForecastDataPlane
from serving.v2 import request_of_binary, request_of_json

_V1, _V2 = "/v1/models/{model_name}", "/v2/models/{model_name}/infer"
_JSON_LENGTH = "inference-header-content-length"


def add_inference(app: FastAPI, dataplane: ForecastDataPlane) -> None:
    """Puts the three routes before KServe's, which still describe themselves in OpenAPI."""

    async def predict(request: Request) -> Response:
        payload, attributes = dataplane.decode(await _body(request, dataplane), request.headers)
        response, _ = await dataplane.infer(request.path_params["model_name"], payload)
        return _answer(request, dataplane, response, attributes)

    async def explain(request: Request) -> Response:
        payload, attributes = dataplane.decode(await _body(request, dataplane), request.headers)
        response, _ = await dataplane.explain(request.path_params["model_name"], payload)
        return _answer(request, dataplane, response, attributes)

    async def infer(request: Request) -> Response:
        body = await _body(request, dataplane)
        name, length = request.path_params["model_name"], request.headers.get(_JSON_LENGTH)
        payload = request_of_json(body, name) if length is None else request_of_binary(body, length, name)
        response, _ = await dataplane.infer(name, payload)
        return _answer(request, dataplane, response, {})

    for path, endpoint in ((f"{_V1}:predict", predict), (f"{_V1}:explain", explain), (_V2, infer)):
        app.router.routes.insert(0, _Route(path, endpoint, methods=["POST"]))


class _Route(Route):
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self  # as FastAPI's do, for logs and traces
        await super().handle(scope, receive, send)


async def _body(request: Request, dataplane: ForecastDataPlane) -> bytes:
    name = request.path_params["model_name"]
    if not await dataplane.model_ready(name, True):
        raise ModelNotReady(name)
    return await request.body()


def _answer(request: Request, dataplane: ForecastDataPlane, response: Any, attributes: dict[str, Any]) -> Response:
    """As bytes; to a CloudEvent, as one."""
    content, headers = dataplane.encode(request.path_params["model_name"], response, request.headers, attributes)
    if isinstance(content, dict):
        content = orjson.dumps(content)
    return Response(content, headers={"content-type": "application/json", **headers})
