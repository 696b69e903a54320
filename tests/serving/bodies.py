"""Bodies that no client of ours would send: noise, and good requests of every protocol with something wrong put in.

Everything is drawn from a `random.Random`: a seeded one, so that a run of many thousands can be repeated, or
hypothesis's own, which finds the smallest that fails.
"""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from cryptosentinel.features import SCALE_FEATURE
from serving.bars import VALUES
from tests.serving.asking import MODEL, as_bars, as_forecast, as_request, as_series, bars_of
from tests.serving.builders import COUNT, instances

PREDICT, EXPLAIN = f"/v1/models/{MODEL}:predict", f"/v1/models/{MODEL}:explain"
INFER, FORECAST = f"/v2/models/{MODEL}/infer", "/v1/timeseries/forecast"
JSON = "application/json"
BINARY = "application/octet-stream"
EVENT_JSON = "application/cloudevents+json"

_BARS = bars_of()
_ROWS = [{"name": "close", "shape": [1], "datatype": "FP64", "data": [600.0]}]
_SCALE = {"name": SCALE_FEATURE, "shape": [1], "datatype": "FP64", "data": [0.001]}
_FEATURES = {"name": "features", "shape": [1, COUNT], "datatype": "FP64", "data": [0.0] * COUNT}
_V1 = [{"instances": instances(2)}, {"bars": as_bars(_BARS), "interval": "5m"}, {"series": [{"bars": as_bars(_BARS)}]}]
_EXPLAINED = [*_V1[:2], {"instances": instances(1), "lime": True}]
_V2 = [
    {"id": "1", "inputs": [*_ROWS, _FEATURES], "outputs": [{"name": "p_up"}]},
    {"inputs": [*_ROWS, _SCALE], "parameters": {"binary_data_output": True}},
    as_request(_BARS).to_rest()[0],
]
_FORECASTS = [as_forecast(as_series(_BARS), options={"horizon": 1, "quantiles": [0.1, 0.9]}, metadata={"a": 1})]
_EVENT = {"specversion": "1.0", "id": "1", "source": "/x", "type": "t", "time": "2025-01-01T00:00:00Z"}

_ODD: list[Callable[[Random], Any]] = [
    lambda _: None,
    lambda _: True,
    lambda _: [],
    lambda _: {},
    lambda _: "",
    lambda _: 0,
    lambda _: -1,
    lambda _: 2**31,
    lambda _: 2**53,
    lambda _: 2**63,
    lambda _: 10**400,
    lambda _: -1e308,
    lambda _: 5e-324,
    lambda _: float("nan"),
    lambda _: float("inf"),
    *[lambda _: "\ud800"] * 3,
    lambda _: "\x00",
    lambda _: "NaN",
    lambda _: "x" * 5_000,
    lambda _: "{%s}' OR 1=1",
    lambda random: [[[[random.random()]]]],
    lambda random: {"binary_data_size": random.choice([-1, 0, 8, 2**40, "8", None])},
    lambda random: random.choice(["FP32", "BYTES", "INT64", "FP16", "BOOL", "UINT8", "", "fp64"]),
    lambda random: random.choice(["close", "features", "bar_timestamp", "interval", "spec_hash", "data"]),
    lambda random: [random.choice([1, -1, 0, 2, 10**6, 10**30]) for _ in range(random.randrange(4))],
    lambda random: random.uniform(-1e6, 1e6),
    lambda random: random.choice(["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2025-13-01", "5m", "1h"]),
]


@dataclass
class Body:
    """A request over REST."""

    path: str
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)


def rest_body(random: Random) -> Body:
    """A body for one of the REST endpoints."""
    path = random.choice([PREDICT, EXPLAIN, INFER, INFER, FORECAST])
    kind = random.random()
    if kind < 0.05:
        return Body(path, random.randbytes(random.randrange(200)), {"content-type": random.choice([JSON, BINARY, "*"])})
    if kind < 0.10:
        return Body(path, _nested(random), {"content-type": JSON})
    if kind < 0.15:
        return Body(path, json.dumps(random.choice(_ODD)(random)).encode(), {"content-type": JSON})
    if path == INFER and kind < 0.45:
        return _binary(random)
    good = random.choice({INFER: _V2, FORECAST: _FORECASTS, EXPLAIN: _EXPLAINED, PREDICT: _V1}[path])
    value = spoilt(good, random)
    headers = {"content-type": JSON}
    event = 0.10 if path in {PREDICT, EXPLAIN} else 0.05  # of each form: all in the body, or the rest in headers
    if kind < 0.15 + event:
        value = spoilt({**_EVENT, "data": random.choice([good, value])}, random)
        headers = {"content-type": random.choice([JSON, EVENT_JSON])}
    elif kind < 0.15 + 2 * event:
        headers = {"content-type": JSON} | {
            f"ce-{name}": text for name, text in _EVENT.items() if random.random() < 0.8
        }
    content = json.dumps(value).encode()
    if random.random() < 0.05:
        content = content[: random.randrange(len(content) + 1)]
    return Body(path, content, headers)


def grpc_message(random: Random) -> pb.ModelInferRequest:
    """A message for `ModelInfer`."""
    often = random.choice([0.0, 0.05, 0.3])  # how often something is wrong

    def odd(good: Any, *bad: Any) -> Any:
        return random.choice(bad) if random.random() < often else good

    message = pb.ModelInferRequest(model_name=odd(MODEL, "nobody", ""), id="1")
    raw = random.random() < 0.5
    for sent in random.choice(_V2)["inputs"]:
        given = message.inputs.add(
            name=odd(sent["name"], "luck", "close", ""),
            datatype=odd(sent["datatype"], "BYTES", "FP16", "INT64", "X", ""),
            shape=odd(sent["shape"], [], [-1], [0], [2**62, 2**62], [1] * 40),
        )
        values = odd(sent["data"], [], [float("nan")], [float("inf")] * 3, [-1.0] * 1_000, sent["data"][1:])
        if raw:
            code = "q" if sent["datatype"] == "INT64" else "d"
            kind = int if code == "q" else float
            packed = struct.pack(f"<{len(values)}{code}", *(kind(v) if abs(v) < 2**62 else kind(0) for v in values))
            message.raw_input_contents.append(odd(packed, random.randbytes(13)))
        elif sent["datatype"] == "INT64":
            given.contents.int64_contents.extend(int(v) if abs(v) < 2**62 else -1 for v in values)
        else:
            given.contents.fp64_contents.extend(values)
        if random.random() < often:
            given.contents.bytes_contents.append(b"\xff")
            given.parameters["a"].string_param = "b"
    if raw and random.random() < often:
        del message.raw_input_contents[-1:]
    if random.random() < 0.2:
        message.outputs.add(name=odd("p_up", "moon", ""))
    if random.random() < often:
        message.parameters[random.choice(["spec_hash", "interval", "binary_data_output", "x"])].int64_param = 3
    return message


def spoilt(good: Any, random: Random) -> Any:
    """A copy of a good request with up to three things changed, taken away or added."""
    value = copy.deepcopy(good)
    for _ in range(random.choice([0, 1, 1, 1, 2, 3])):
        holders = [value, *_some_holders(value, random)]
        holder = random.choice([one for one in holders if isinstance(one, dict | list)] or [None])
        if isinstance(holder, dict):
            name = random.choice([*holder, *VALUES, "extra", "\ud800"])
            if random.random() < 0.3:
                holder.pop(name, None)
            else:
                holder[name] = random.choice(_ODD)(random)
        elif isinstance(holder, list):
            place = random.randrange(len(holder) + 1)
            if random.random() < 0.3:
                del holder[place : place + random.choice([1, 5, 400])]
            else:
                holder[place : place + 1] = [random.choice(_ODD)(random)] * random.choice([1, 1, 2, 700])
    return value


def _some_holders(value: Any, random: Random) -> list[Any]:
    """A way down from the top, one holder a level."""
    way = []
    while isinstance(value, dict | list) and value:
        value = random.choice(list(value.values()) if isinstance(value, dict) else value)
        way.append(value)
    return way


def _nested(random: Random) -> bytes:
    depth = random.choice([50, 1_000, 100_000])
    opening = random.choice([b"[", b'{"inputs":', b'{"instances":[', b'{"a":'])
    return opening * depth


def _binary(random: Random) -> Body:
    header = spoilt(
        {
            "inputs": [
                {"name": "close", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}},
                {"name": SCALE_FEATURE, "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}},
            ],
            "parameters": {"binary_data_output": True},
            "id": "1",
        },
        random,
    )
    head = json.dumps(header).encode()
    data = random.choice([struct.pack("<dd", 600.0, 0.001), b"", random.randbytes(30)])
    length = random.choice([str(len(head))] * 8 + ["0", "-3", "x", "99999999999999999999", ""])
    headers = {"content-type": BINARY, "inference-header-content-length": length}
    return Body(INFER, head + data, headers)
