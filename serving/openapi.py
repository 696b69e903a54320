"""The server's OpenAPI: KServe's, with the bodies that it does not describe and the refusals that it does not name."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from serving.instances import BAR_KEYS, BARS, INSTANCES, SERIES
from serving.tensors import INTERVAL, SPEC_HASH

_NUMBER = {"type": "number"}
_BAR = {
    "type": "object",
    "properties": dict.fromkeys(sorted(BAR_KEYS), _NUMBER)
    | {"timestamp": {"oneOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}]}},
    "required": sorted(BAR_KEYS),
    "additionalProperties": False,
}
_BARS = {"type": "array", "items": _BAR, "minItems": 1}
_ROW = {
    "type": "object",
    "properties": {"close": _NUMBER, "features": {"type": "object", "additionalProperties": _NUMBER}},
    "required": ["close", "features"],
    "additionalProperties": False,
}
_TEXT = {"type": "string"}


def _object(needed: str, of_needed: dict[str, Any], **optional: Any) -> dict[str, Any]:
    properties = {needed: of_needed, **optional}
    return {"type": "object", "properties": properties, "required": [needed], "additionalProperties": False}


_ONE_SERIES = _object(BARS, _BARS)
V1_BODY = {
    "oneOf": [
        _object(INSTANCES, {"type": "array", "items": _ROW, "minItems": 1}, **{SPEC_HASH: _TEXT}),
        _object(BARS, _BARS, **{INTERVAL: _TEXT}),
        _object(SERIES, {"type": "array", "items": _ONE_SERIES, "minItems": 1}, **{INTERVAL: _TEXT}),
    ]
}
_REFUSAL = {
    "description": "Refused; the sentence says what to send, or when to ask again.",
    "content": {"application/json": {"schema": _object("error", _TEXT)}},
}
_REFUSALS = ("400", "404", "409", "413", "422", "503")


def describe(app: FastAPI) -> None:
    """Completes what FastAPI finds out by itself."""
    found = app.openapi

    def completed() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = found()
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    _complete(path, operation)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = completed  # type: ignore[method-assign]


def _complete(path: str, operation: dict[str, Any]) -> None:
    if path.endswith((":predict", ":explain")):
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": V1_BODY}}}
    if path == "/metrics":
        operation["responses"]["200"]["content"] = {"text/plain": {"schema": _TEXT}}
    if path.endswith(":explain"):
        operation["responses"]["501"] = _REFUSAL
    if "parameters" in operation or "requestBody" in operation:
        for status in _REFUSALS:
            if "timeseries" not in path or status == "413":
                operation["responses"][status] = _REFUSAL
