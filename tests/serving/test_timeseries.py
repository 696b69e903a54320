"""KServe's time-series endpoint, in this process."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from serving._kserve import ForecastResponse
from tests.serving.asking import MODEL, NEED, as_forecast, as_series, bars_of, make_app, make_model, make_server
from tests.serving.builders import DATA_END, NOW


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("bundle") / "trained")


@pytest.fixture(scope="module")
def app(model):
    return make_app(make_server(model))


def ask(app: Any, body: Any, path: str = "/v1/timeseries/forecast") -> httpx.Response:
    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return await (client.get(path) if body is None else client.post(path, json=body))

    return asyncio.run(asked())


def test_a_forecast_is_of_the_moment_that_the_bundle_forecasts(app):
    body = as_forecast(as_series(bars_of()), options={"horizon": 1, "quantiles": [0.1, 0.5, 0.9]})
    answered = ask(app, body)
    assert answered.status_code == 200
    response = ForecastResponse.model_validate(answered.json())
    assert (response.model, response.status, response.created_at) == (MODEL, "completed", NOW.timestamp())
    assert answered.json()["bundle_version"] == 7
    assert answered.json()["data_end"] == DATA_END.isoformat()
    assert answered.json()["abstention"] == ""
    [output] = response.outputs
    [forecast] = output.content
    assert forecast.start_timestamp == (NOW + timedelta(minutes=30)).isoformat()
    assert forecast.model_extra["made_at"] == NOW.isoformat()
    assert (forecast.name, forecast.type, forecast.frequency) == ("btc", "univariate_time_series", "minute")
    assert forecast.mean_forecast == [forecast.model_extra["predicted_price"]]
    assert list(forecast.quantiles) == ["0.1", "0.5", "0.9"]
    [low], [middle], [high] = forecast.quantiles.values()
    assert low < middle < high
    assert (low, high) == (forecast.model_extra["lower_80"], forecast.model_extra["upper_80"])
    assert (forecast.model_extra["stale"], forecast.model_extra["abstained"]) == (False, False)


def test_each_series_has_an_output(app):
    second = as_series(bars_of(NEED + 3, start=NOW - timedelta(days=9)), name="old")
    outputs = ask(app, as_forecast(as_series(bars_of()), second)).json()["outputs"]
    assert [output["content"][0]["name"] for output in outputs] == ["btc", "old"]
    assert [output["content"][0]["stale"] for output in outputs] == [False, True]
    assert outputs[0]["content"][0]["quantiles"] is None
    assert outputs[0]["id"] != outputs[1]["id"]


@pytest.mark.parametrize(
    ("frequency", "interval", "status"),
    [("minute", "5m", 200), ("T", "5m", 200), ("hour", "5m", 400), ("minute", None, 400), ("day", "5m", 400)],
)
def test_the_interval_is_said_and_never_guessed(app, frequency, interval, status):
    series = as_series(bars_of(), frequency=frequency, interval=interval)
    if interval is None:
        del series["interval"]
    answered = ask(app, as_forecast(series))
    assert answered.status_code == status
    if status == 400:
        assert "send 'frequency' 'minute' and 'interval' '5m'" in answered.json()["error"]["message"]


def test_the_model_is_listed(app):
    assert ask(app, None, "/v1/timeseries/models").json() == [MODEL]


def test_a_model_without_a_bundle_asks_to_come_back(tmp_path):
    from serving.predictor import ForecastModel

    answered = ask(make_app(make_server(ForecastModel(MODEL))), as_forecast(as_series(bars_of())))
    assert answered.status_code == 503
    assert "ask again" in answered.json()["error"]["message"]
