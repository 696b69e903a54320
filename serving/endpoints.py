"""The endpoints that forecasts and explanations are asked of over REST, V1 and V2, in place of KServe's own.

They ask the same data plane and answer in the same forms. KServe's read and check a body, and an answer, with FastAPI
and pydantic value by value; these leave that to `serving.v2` and `serving.instances`, which check all values anyway.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from serving._kserve import InferenceVerb, Model
from serving.dataplane import ForecastDataPlane
from serving.v2_requests import request_of_binary, request_of_json

_V1, _V2 = "/v1/models/{model_name}", "/v2/models/{model_name}/infer"
_JSON_LENGTH = "inference-header-content-length"


def with_inference(app: FastAPI, dataplane: ForecastDataPlane) -> ASGIApp:
    """The app behind the three routes, which still describe themselves in its OpenAPI, with its answers to errors."""

    async def predict(request: Request) -> Response:
        name, model = _asked(request, dataplane)
        payload, attributes = dataplane.decode(await request.body(), request.headers)
        response, _ = await model(payload)
        return _answer(dataplane.encode(name, response, request.headers, attributes))

    async def explain(request: Request) -> Response:
        name, model = _asked(request, dataplane)
        payload, attributes = dataplane.decode(await request.body(), request.headers)
        response, _ = await model(payload, verb=InferenceVerb.EXPLAIN)
        return _answer(dataplane.encode(name, response, request.headers, attributes))

    async def infer(request: Request) -> Response:
        name, model = _asked(request, dataplane)
        body, length = await request.body(), request.headers.get(_JSON_LENGTH)
        response, _ = await model(
            request_of_json(body, name) if length is None else request_of_binary(body, length, name)
        )
        return _answer(dataplane.encode(name, response, request.headers, {}))

    endpoints = {_V2: infer, f"{_V1}:predict": predict, f"{_V1}:explain": explain}
    routes = [_Route(path, endpoint, methods=["POST"]) for path, endpoint in endpoints.items()]
    # What nobody has a sentence for is answered, and logged, further out.
    handlers = {kind: handler for kind, handler in app.exception_handlers.items() if kind is not Exception}
    return ExceptionMiddleware(Router(routes, redirect_slashes=False, default=app), handlers)


class _Route(Route):
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self  # as FastAPI's do, for logs and traces
        await super().handle(scope, receive, send)


def _asked(request: Request, dataplane: ForecastDataPlane) -> tuple[str, Model]:
    """The model that is asked. One that is not ready says so itself."""
    name = request.path_params["model_name"]
    return name, dataplane.get_model_from_registry(name)


def _answer(encoded: tuple[Any, dict[str, str]]) -> Response:
    content, headers = encoded
    if isinstance(content, dict):
        content = orjson.dumps(content)
    return Response(content, headers={"content-type": "application/json", **headers})
