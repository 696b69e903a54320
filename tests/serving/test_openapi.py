"""The server keeps to its own OpenAPI, whatever Schemathesis makes of it."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving.asking import MODEL, make_app, make_model, make_server

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    return make_app(make_server(make_model(tmp_path_factory.mktemp("bundle") / "trained")))


def test_answers_are_as_documented(app):
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation = found.ok()

        @seed(4)
        @settings(max_examples=12, suppress_health_check=list(HealthCheck), database=None)
        @given(operation.as_strategy(), st.booleans())
        def answers_as_documented(case, ours):
            if ours and "model_name" in (case.path_parameters or {}):
                case.path_parameters["model_name"] = MODEL  # else no request would get further
            case.call_and_validate(checks=CHECKS)

        answers_as_documented()


def test_every_route_is_described(app):
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return await client.get("/openapi.json")

    paths = asyncio.run(ask()).json()["paths"]
    assert {"/v1/models/{model_name}:predict", "/v2/models/{model_name}/infer", "/v1/timeseries/forecast"} <= set(paths)
    predict = paths["/v1/models/{model_name}:predict"]["post"]
    forms = [form["required"][0] for form in predict["requestBody"]["content"]["application/json"]["schema"]["oneOf"]]
    assert forms == ["instances", "bars", "series"]
    assert {"400", "404", "413", "503"} <= predict["responses"].keys()
