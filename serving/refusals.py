"""What REST answers where a request is refused: a status, and a sentence that says what to send."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serving.asked import SpecMismatch
from serving.dataplane import first_of
from serving.handover import ExplainerAwayError, ExplanationsOffError
from serving.timeseries import PREFIX, error_response


def add_refusals(app: FastAPI) -> None:
    """Adds our handlers to KServe's, or in their place."""
    app.add_exception_handler(SpecMismatch, _spec_mismatch)
    app.add_exception_handler(ExplainerAwayError, _no_explanation)
    app.add_exception_handler(ExplanationsOffError, _no_explanations)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _no_such_thing)
    app.add_exception_handler(NotImplementedError, _no_versions)
    app.add_exception_handler(Exception, _failed)


async def _spec_mismatch(request: Request, error: Exception) -> JSONResponse:
    return _refuse(request, HTTPStatus.CONFLICT, str(error))


async def _no_explanation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ExplainerAwayError)
    return _refuse(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": str(error.retry_after_s)})


async def _no_explanations(request: Request, error: Exception) -> JSONResponse:
    return _refuse(request, HTTPStatus.NOT_IMPLEMENTED, str(error))


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's own answer repeats the input, and fails on a NaN in it."""
    assert isinstance(error, RequestValidationError)
    sentence = (
        f"The request is not of the time-series form: {first_of(error.errors())}. Send"
        ' {"model", "inputs": [{"type", "name", "series", "frequency", ...}, ...], "options": {...}} as'
        " application/json."
    )
    return _refuse(request, HTTPStatus.UNPROCESSABLE_ENTITY, sentence)


async def _no_such_thing(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _refuse(request, HTTPStatus(error.status_code), f"{error.detail}.", error.headers)


async def _no_versions(request: Request, _: Exception) -> JSONResponse:
    """KServe's for a URL with a version in it."""
    return _refuse(request, HTTPStatus.NOT_FOUND, "There is one version at a time: leave `/versions/...` out.")


async def _failed(request: Request, _: Exception) -> JSONResponse:
    """KServe's own tells the exception to whoever asked."""
    return _refuse(request, HTTPStatus.INTERNAL_SERVER_ERROR, "The predictor failed to answer; its log says why.")


def refusal(path: str, status: HTTPStatus, sentence: str) -> dict[str, Any]:
    """The body of a refusal, in the form of the endpoint that was asked."""
    return error_response(sentence, status).model_dump() if path.startswith(PREFIX) else {"error": sentence}


def _refuse(request: Request, status: HTTPStatus, sentence: str, headers: object = None) -> JSONResponse:
    content = refusal(request.url.path, status, sentence)
    return JSONResponse(content, status, headers)  # type: ignore[arg-type]
