"""KServe's time-series endpoint: bars as multivariate series in, one forecast a series out.

    POST /v1/timeseries/forecast
    {"model": "cryptosentinel",
     "inputs": [{"type": "multivariate_time_series", "name": "btc", "frequency": "minute", "interval": "5m",
                 "start_timestamp": "2025-01-06T00:00:00Z", "series": [[open, high, low, close, volume], ...]}],
     "options": {"horizon": 1, "quantiles": [0.1, 0.5, 0.9]}}

KServe knows no frequency of 5 minutes: `frequency` names the unit, and `interval`, which may be left out where the
bars are one unit long, how many. A model of ours forecasts one moment, `horizon_bars` ahead; what lies between would be
made up. So `horizon` is 1, a step of that length, and the answer's `start_timestamp` is the moment that it is for. Of
closes alone there are no features: a univariate series is refused.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter, FastAPI, Request
from starlette.datastructures import Headers
from starlette.responses import Response

from cryptosentinel.bundle import PROBABILITIES, Manifest
from cryptosentinel.market.bars import Interval
from serving._kserve import (
    ErrorResponse,
    ForecastRequest,
    ForecastResponse,
    InvalidInput,
    Model,
    ModelNotFound,
    ModelNotReady,
    TimeSeriesDataPlane,
    TimeSeriesEndpoints,
    TimeSeriesInput,
    TimeSeriesType,
    create_error_response,
)
from serving.asked import Asked, Reply, SpecMismatch, check_text, number_of, shown
from serving.bars import MAX_BARS, VALUES, Series, milliseconds, rows_of_bars
from serving.instances import predictions_of
from serving.tensors import QUANTILES, TARGET_AT

PREFIX = "/v1/timeseries/"
_UNITS = {"minute": "m", "T": "m", "hour": "h", "H": "h"}
_UNIT_NAMES = {"m": "minute", "h": "hour"}


class Forecast(NamedTuple):
    """A request: as KServe reads it, which takes text and booleans for numbers, and each input's series as it came."""

    request: ForecastRequest
    series: list[list[Any]]


def asked_of_forecast(forecast: Forecast, manifest: Manifest, *, now: datetime) -> Asked:
    """What a time-series request asks.

    Raises:
        InvalidInput: it cannot be answered; the message says what to send.
    """
    request = forecast.request
    if not request.inputs:
        raise InvalidInput("'inputs' is empty; send at least one series.")
    if sum(map(len, forecast.series)) > MAX_BARS:
        raise InvalidInput(f"There are more than {MAX_BARS:,} bars; send at most {MAX_BARS:,} a request.")
    if request.options.horizon != 1:
        minutes = manifest.horizon_bars * Interval(manifest.interval).seconds // 60
        raise InvalidInput(
            f"'horizon' is {shown(request.options.horizon)}; send 1: this model forecasts one step, {minutes} minutes"
            f" ahead ({manifest.horizon_bars} bars of {manifest.interval})."
        )
    for sent in request.inputs:
        check_text("name", sent.name)
    for probability in request.options.quantiles or ():
        _column(probability)
    pairs = zip(request.inputs, forecast.series, strict=True)
    return rows_of_bars([_series(sent, rows, manifest) for sent, rows in pairs], None, manifest, now=now)


def forecast_response(forecast: Forecast, reply: Reply, manifest: Manifest, *, now: datetime) -> dict[str, Any]:
    """The answer: KServe's `ForecastResponse`, and what a V1 prediction has, beside it."""
    told = predictions_of(reply, manifest)
    predictions = told.pop("predictions")
    quantiles = forecast.request.options.quantiles
    outputs = []
    for sent, prediction in zip(forecast.request.inputs, predictions, strict=True):
        values = prediction.pop(QUANTILES)
        content = {
            **prediction,
            "type": TimeSeriesType.UNIVARIATE,
            "name": sent.name,
            "mean_forecast": [prediction["predicted_price"]],
            "frequency": sent.frequency,
            "interval": manifest.interval,
            "start_timestamp": prediction[TARGET_AT],
            "quantiles": None if quantiles is None else {str(p): [values[_column(p)]] for p in quantiles},
        }
        output_id = str(uuid.uuid4())
        outputs.append({"type": "time_series_forecast", "id": output_id, "status": "completed", "content": [content]})
    return {
        **told,
        "id": str(uuid.uuid4()),
        "created_at": int(now.timestamp()),
        "status": "completed",
        "model": forecast.request.model,
        "outputs": outputs,
        "horizon_bars": manifest.horizon_bars,
    }


def add_time_series(app: FastAPI, model: Model, answer: Callable[[Forecast], Awaitable[dict[str, Any]]]) -> None:
    """Adds the two routes; KServe's own registration knows only models of one class by name."""
    endpoints = TimeSeriesEndpoints(_DataPlane(model, answer))
    refused = {status: {"model": ErrorResponse} for status in (400, 404, 409, 422, 503)}
    router = APIRouter(tags=["Time series"])
    router.add_api_route(
        PREFIX + "forecast",
        endpoints.forecast,
        methods=["POST"],
        response_model=ForecastResponse,
        responses=refused,  # type: ignore[arg-type]
    )
    router.add_api_route(PREFIX + "models", endpoints.models, methods=["GET"], response_model=list[str])
    app.include_router(router)


def refusal(error: Exception) -> ErrorResponse | None:
    """The endpoint's own form of an error; None where it is no client's fault."""
    statuses = {
        SpecMismatch: HTTPStatus.CONFLICT,
        InvalidInput: HTTPStatus.BAD_REQUEST,
        ModelNotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    }
    for kind, status in statuses.items():
        if isinstance(error, kind):
            return error_response(str(error), status)
    return None


def error_response(message: str, status: HTTPStatus) -> ErrorResponse:
    """An error as KServe's time-series endpoint writes it."""
    return create_error_response(message=message, err_type=status.phrase, status_code=status)


class _DataPlane(TimeSeriesDataPlane):
    def __init__(self, model: Model, answer: Callable[[Forecast], Awaitable[dict[str, Any]]]) -> None:
        self._model = model
        self._answer = answer

    async def forecast(
        self,
        request_body: ForecastRequest,
        raw_request: Request,
        headers: Headers,  # noqa: ARG002 (KServe passes them; they are never answered)
        response: Response,  # noqa: ARG002
    ) -> ForecastResponse | ErrorResponse:
        if request_body.model != self._model.name:
            return error_response(str(ModelNotFound(shown(request_body.model))), HTTPStatus.NOT_FOUND)
        try:
            sent = await raw_request.json()
            series = [one["series"] for one in sent["inputs"]]
            return ForecastResponse.model_validate(await self._answer(Forecast(request_body, series)))
        except Exception as error:
            if refused := refusal(error):
                return refused
            raise

    async def models(self) -> list[Model]:
        return [self._model]


def _series(sent: TimeSeriesInput, rows: list[Any], manifest: Manifest) -> Series:
    where = f"Series {shown(sent.name)}: "
    if sent.type is not TimeSeriesType.MULTIVARIATE:
        raise InvalidInput(
            f"{where}The type is univariate, and closes alone do not give this model's features. Send 'type'"
            " 'multivariate_time_series' and 'series' [[open, high, low, close, volume], ...]."
        )
    _check_interval(sent, manifest, where)
    try:
        start_ms = milliseconds(str(sent.start_timestamp))
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{where}'start_timestamp' is {shown(sent.start_timestamp)}; send when the first bar opens, in ISO 8601."
        ) from error
    values = []
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(VALUES):
            raise InvalidInput(f"{where}Bar {number} is not a list of open, high, low, close and volume.")
        try:
            values.append([number_of(value) for value in row])
        except (TypeError, OverflowError) as error:
            raise InvalidInput(f"{where}Bar {number}: prices and volume must be numbers.") from error
    step_ms = Interval(manifest.interval).seconds * 1000
    opened_ms = start_ms + step_ms * np.arange(len(rows), dtype=np.int64)
    return Series(opened_ms, np.array(values, dtype=np.float64).reshape(-1, len(VALUES)), where)


def _check_interval(sent: TimeSeriesInput, manifest: Manifest, where: str) -> None:
    """Nothing but these two words says how far apart the rows are."""
    unit = _UNITS.get(sent.frequency.value, "")
    interval = (sent.model_extra or {}).get("interval", f"1{unit}")
    if interval != manifest.interval or unit != manifest.interval[-1]:
        wanted = f"'frequency' '{_UNIT_NAMES[manifest.interval[-1]]}' and 'interval' '{manifest.interval}'"
        given = f"'{sent.frequency.value}' and {shown(interval)}"
        raise InvalidInput(f"{where}Its frequency and interval are {given}; send {wanted}, and such bars.")


def _column(probability: float) -> int:
    for column, known in enumerate(PROBABILITIES):
        if math.isclose(probability, known, rel_tol=1e-9):
            return column
    known = ", ".join(map(str, PROBABILITIES))
    raise InvalidInput(f"There is no quantile {shown(probability)}; send some of {known}.")
