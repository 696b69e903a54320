"""Every fault that a request can have, in every protocol that can have it: the rows of the table in docs/serving.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import grpc
import httpx
import numpy as np
import pandas as pd
from kserve.protocol.infer_type import RequestedOutput

from cryptosentinel.config import ServingSettings
from cryptosentinel.features import SCALE_FEATURE
from cryptosentinel.market.bars import Interval
from serving._kserve import InferInput, InferRequest
from serving.asked import MAX_ROWS
from serving.bars import MAX_BARS
from tests.builders import make_random_bars
from tests.serving.asking import MODEL, NEED, as_bars, as_forecast, as_request, as_series, ask_grpc, bars_of
from tests.serving.builders import COUNT, NOW, SPEC, instances

LARGE = b" " * (ServingSettings().max_body_bytes + 1)
FIVE = SPEC.interval.delta
NOT_SENT = "\N{EN DASH}"
V1, V2, SERIES = f"/v1/models/{MODEL}:predict", f"/v2/models/{MODEL}/infer", "/v1/timeseries/forecast"


class Fault(NamedTuple):
    """A request with one fault, as each protocol sends it; None where it cannot. A body may be bytes, or a path."""

    v1: Any = None
    v2: Any = None
    grpc: InferRequest | None = None
    time_series: Any = None


def tensor(name: str, shape: list[int], data: list[Any], datatype: str = "FP64") -> InferInput:
    return InferInput(name, shape, datatype, data)


CLOSE, SCALE = tensor("close", [1], [600.0]), tensor(SCALE_FEATURE, [1], [0.001])


def in_v2(*inputs: InferInput, v1: Any = None, time_series: Any = None, **parameters: Any) -> Fault:
    request = InferRequest(MODEL, list(inputs), parameters=parameters or None)
    return Fault(v1, request, request, time_series)


def in_bars(bars: pd.DataFrame, *, time_series: bool = True) -> Fault:
    """Where text and V1 bodies cannot hold the values, KServe's JSON reader refuses them as no JSON."""
    request = as_request(bars)
    return Fault({"bars": as_bars(bars)}, request, request, as_forecast(as_series(bars)) if time_series else None)


def edited(row: int, **values: Any) -> pd.DataFrame:
    bars = bars_of()
    for name, value in values.items():
        bars.loc[bars.index[row], name] = value
    return bars


def series_with(**changed: Any) -> Fault:
    return Fault(time_series=as_forecast(as_series(bars_of(), **changed)))


def path(text: str) -> httpx.URL:
    return httpx.URL(text)


def faults() -> dict[str, Fault]:
    row, bar = instances(1)[0], as_bars(bars_of(1))[0]
    ahead = SPEC.interval.floor(datetime.now(UTC)) + timedelta(days=1)
    lucky = tensor("luck", [1], [7.0])
    unknown_model = InferRequest("nobody", [CLOSE, SCALE])
    unknown_output = InferRequest(MODEL, [CLOSE, SCALE], request_outputs=[RequestedOutput("moon")])
    mixed = bars_of().iloc[[1, 0, *range(2, NEED)]]
    return {
        "no JSON": Fault(b"{", b"{", None, b"{"),
        "a field of the request is missing": Fault({}, {}, None, {"model": MODEL}),
        "no rows, no series": in_v2(v1={"instances": []}, time_series=as_forecast()),
        "an unknown name": in_v2(CLOSE, lucky, v1={"instances": [row | {"features": row["features"] | {"luck": 7.0}}]}),
        "a feature, an input or a column is missing": in_v2(
            CLOSE,
            v1={"instances": [{"close": 1.0, "features": {}}]},
            time_series=as_forecast(as_series(bars_of(), series=[[1.0, 1.0, 1.0, 1.0]])),
        ),
        "another shape": in_v2(CLOSE, tensor("features", [1, 2], [0.0, 0.0])),
        "another datatype": in_v2(tensor("close", [1], [600], "INT64"), SCALE),
        "text, null or booleans for numbers": Fault(
            {"bars": [bar | {"open": "600"}]},
            {"inputs": [{"name": "close", "shape": [1], "datatype": "FP64", "data": ["600"]}]},
            None,
            as_forecast(as_series(bars_of(), series=[[True, 1.0, 1.0, 1.0, 1.0]])),
        ),
        "fewer values than the shape says": in_v2(tensor("close", [2], [1.0]), SCALE),
        "as many of some inputs as of others": in_v2(tensor("close", [2], [1.0, 2.0]), SCALE),
        "NaN in a feature": in_v2(CLOSE, tensor("features", [1, COUNT], [float("nan")] + [0.0] * (COUNT - 1))),
        "an infinite price": in_v2(tensor("close", [1], [float("inf")]), SCALE),
        "a price of zero or less": in_v2(tensor("close", [1], [-1.0]), SCALE, v1={"instances": [row | {"close": 0}]}),
        "values far from any market's": in_v2(CLOSE, tensor(SCALE_FEATURE, [1], [1e6])),
        "features of another spec": in_v2(CLOSE, SCALE, v1={"instances": [row], "spec_hash": "abc"}, spec_hash="abc"),
        "too many rows": in_v2(
            tensor("close", [MAX_ROWS + 1], [1.0] * (MAX_ROWS + 1)), v1={"instances": [0] * (MAX_ROWS + 1)}
        ),
        "a body too large": Fault(LARGE, LARGE, InferRequest(MODEL, [CLOSE, SCALE], request_id=LARGE.decode()), LARGE),
        "an unknown output": Fault(v2=unknown_output, grpc=unknown_output),
        "too few bars": in_bars(bars_of(NEED - 1)),
        "too many bars": in_bars(bars_of(MAX_BARS + 1)),
        "NaN in a bar": in_bars(edited(3, close=np.nan))._replace(v1=None),
        "a bar's price of zero or less": in_bars(edited(3, low=0.0)),
        "negative volume": in_bars(edited(3, volume=-1.0)),
        "high below low": in_bars(edited(3, high=1.0, low=2.0)),
        "open or close beyond high and low": in_bars(edited(3, close=1e9)),
        "unsorted bars": in_bars(mixed, time_series=False),
        "a bar twice": in_bars(bars_of().iloc[[0, 0, *range(1, NEED)]], time_series=False),
        "a gap": in_bars(bars_of(NEED + 9).drop(index=[100, 101]), time_series=False),
        "bars off the grid": in_bars(edited(0, timestamp=pd.Timestamp(NOW - NEED * FIVE - timedelta(minutes=4)))),
        "bars of another interval, said": Fault(
            {"bars": as_bars(bars_of()), "interval": "1m"},
            as_request(bars_of(), interval="1m"),
            as_request(bars_of(), interval="1m"),
            as_forecast(as_series(bars_of(), interval="1m")),
        ),
        "bars of another interval, found": in_bars(
            make_random_bars(NEED, start=NOW - timedelta(hours=NEED), interval=Interval("1h")), time_series=False
        ),
        "a bar that is not complete": in_bars(bars_of(start=ahead)),
        "a time that is none": Fault({"bars": [bar | {"timestamp": "noon"}]})._replace(
            time_series=as_forecast(as_series(bars_of(), start_timestamp="noon"))
        ),
        "no time": series_with(start_timestamp=None),
        "closes alone": series_with(type="univariate_time_series", series=[1.0, 2.0]),
        "no interval where there must be one": series_with(interval="1m"),
        "another horizon": Fault(time_series=as_forecast(as_series(bars_of()), options={"horizon": 6})),
        "an unknown quantile": Fault(
            time_series=as_forecast(as_series(bars_of()), options={"horizon": 1, "quantiles": [0.3]})
        ),
        "an unknown model": Fault(
            path("/v1/models/nobody:predict"),
            path("/v2/models/nobody/infer"),
            unknown_model,
            as_forecast(as_series(bars_of()), model="nobody"),
        ),
        "a version in the URL": Fault(v2=path(f"/v2/models/{MODEL}/versions/1/infer")),
        "an unknown path": Fault(path("/v1/moon"), path("/v2/moon"), None, path("/v1/timeseries/moon")),
        "unloading the model": Fault(v2=path(f"/v2/repository/models/{MODEL}/unload")),
    }


class Answered(NamedTuple):
    status: str
    sentence: str


def play(fault: Fault, url: str, grpc_address: str) -> dict[str, Answered]:
    """What a server answers, by protocol."""
    answered = {}
    for name, body, own in (("V1", fault.v1, V1), ("V2", fault.v2, V2), ("Time series", fault.time_series, SERIES)):
        if body is not None:
            answered[name] = _post(url, own, body, form=name)
    if fault.grpc is not None:
        try:
            ask_grpc(grpc_address, fault.grpc)
            answered["gRPC"] = Answered("OK", "")
        except grpc.RpcError as error:
            answered["gRPC"] = Answered(error.code().name, error.details())
    return answered


def _post(url: str, own: str, body: Any, *, form: str) -> Answered:
    if isinstance(body, httpx.URL):
        own, body = str(body), {"inputs": [{"name": "close", "shape": [1], "datatype": "FP64", "data": [1.0]}]}
    if isinstance(body, InferRequest):
        body = body.to_rest()[0]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json", "authorization": "Bearer secret"}
    response = httpx.post(url + own, content=content, headers=sent, trust_env=False, timeout=30)
    assert "secret" not in response.text + str(response.headers)
    assert "Traceback" not in response.text
    error = response.json()["error"]
    if form == "Time series":
        assert error["code"] == str(response.status_code)
        error = error["message"]
    return Answered(str(response.status_code), error)


def table(answered: dict[str, dict[str, Answered]]) -> Iterator[str]:
    """The lines of the table in docs/serving.md."""
    protocols = ("V1", "V2", "gRPC", "Time series")
    yield f"| Fault | {' | '.join(protocols)} | Sentence |"
    yield "|---" * (len(protocols) + 2) + "|"
    for fault, by_protocol in answered.items():
        statuses = [by_protocol[name].status if name in by_protocol else NOT_SENT for name in protocols]
        sentences = dict.fromkeys(_masked(by_protocol[name].sentence) for name in protocols if name in by_protocol)
        yield f"| {fault} | {' | '.join(statuses)} | {'<br>'.join(sentences)} |"


def _masked(sentence: str) -> str:
    sentence = sentence.removeprefix("Series 'btc': ")
    sentence = re.sub(r"[0-9a-f]{64}|\d{4}-\d\d-\d\dT[\d:]+Z", "…", sentence)
    return sentence.replace("|", "\\|").replace("<", "&lt;")
