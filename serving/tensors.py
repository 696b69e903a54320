"""The V2 tensors of a forecast, for server and client alike.

A request is `close` and either `features` or, for rows that are not warm yet, the scale feature alone; then the random
walk answers. Or it is one series of raw bars in six tensors, for one row. An answer has one tensor for each field of
`bundle.Inference`, the bounds of the 80% and 95% intervals by name beside all `quantiles`, the flags of `asked.Reply`,
and `price_<name>` for each of the bundle's candidates and their blend.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.bundle import BLEND, PROBABILITIES, Inference, Manifest
from cryptosentinel.errors import ServingError
from cryptosentinel.features import SCALE_FEATURE
from cryptosentinel.predicting import Answer, Rows
from serving._kserve import InferInput, InferOutput, InferRequest, InferResponse, InvalidInput, to_http_parameters
from serving.asked import CLOSE, FEATURES, MAX_ROWS, Array, Asked, Reply, check_text, checked_rows, shown
from serving.bars import MAX_BARS, VALUES, Series, rows_of_bars

BAR_TIMESTAMP = "bar_timestamp"
# Parameters: the first two of a request, the others of an answer; the last two where bars were sent.
SPEC_HASH, INTERVAL = "spec_hash", "interval"
BUNDLE_VERSION, DATA_END, ABSTENTION, MADE_AT, TARGET_AT = (
    "bundle_version",
    "data_end",
    "abstention",
    "made_at",
    "target_at",
)
CANDIDATE_PRICE = "price_"
NUMBERS = ("predicted_price", "log_return", "sigma", "p_up", "confidence", "dissimilarity")
QUANTILES, OUTLYING = "quantiles", "outlying"
FLAGS = ("abstained", "stale")  # what is said of a row, beside what the bundle answers
INTERVALS = ("lower_80", "upper_80", "lower_95", "upper_95")
NAMES = ("direction", "regime", "champion")


class Tensor(NamedTuple):
    """A tensor as V2 metadata describes it; -1 stands for the number of rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def described(self) -> dict[str, Any]:
        """As KServe wants it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


def input_tensors(manifest: Manifest) -> list[Tensor]:
    """What a request may hold: the first, and one of the next two; or all others, where -1 is the number of bars."""
    return [
        Tensor(CLOSE, "FP64", (-1,)),
        Tensor(FEATURES, "FP64", (-1, len(manifest.features))),
        Tensor(manifest.scale_feature, "FP64", (-1,)),
        *BAR_TENSORS,
    ]


BAR_TENSORS = [Tensor(BAR_TIMESTAMP, "INT64", (-1,)), *(Tensor(f"bar_{name}", "FP64", (-1,)) for name in VALUES)]


def output_tensors(manifest: Manifest) -> list[Tensor]:
    """What an answer holds."""
    return [
        *(Tensor(name, "FP64", (-1,)) for name in (*NUMBERS, *INTERVALS)),
        Tensor(QUANTILES, "FP64", (-1, len(PROBABILITIES))),
        *(Tensor(name, "BOOL", (-1,)) for name in (OUTLYING, *FLAGS)),
        *(Tensor(name, "BYTES", (-1,)) for name in NAMES),
        *(Tensor(CANDIDATE_PRICE + name, "FP64", (-1,)) for name in priced(manifest)),
    ]


def priced(manifest: Manifest) -> list[str]:
    """Whose prices an answer holds."""
    return [*manifest.candidates, *([BLEND] if manifest.blend else [])]


def request_of(rows: Rows, model_name: str) -> InferRequest:
    """The request that asks for `rows`."""
    second = (SCALE_FEATURE, rows.volatility) if rows.features is None else (FEATURES, rows.features)
    inputs = [InferInput(name, list(a.shape), "FP64", a.ravel().tolist()) for name, a in ((CLOSE, rows.close), second)]
    return InferRequest(model_name, inputs, request_id=str(uuid.uuid4()), parameters={SPEC_HASH: rows.spec_hash})


def request_of_bars(bars: pd.DataFrame, model_name: str, interval: str | None = None) -> InferRequest:
    """The request that asks for one row of raw bars; `interval` is what they are, where that is to be checked."""
    opened_ms = bars["timestamp"].astype("datetime64[ms, UTC]").astype(np.int64)
    columns = [opened_ms, *(bars[name].astype(np.float64) for name in VALUES)]
    inputs = [
        InferInput(tensor.name, [len(bars)], tensor.datatype, column.tolist())
        for tensor, column in zip(BAR_TENSORS, columns, strict=True)
    ]
    parameters = {} if interval is None else {INTERVAL: interval}
    return InferRequest(model_name, inputs, request_id=str(uuid.uuid4()), parameters=parameters)


def asked_of(request: InferRequest, manifest: Manifest, *, now: datetime) -> Asked:
    """What a request asks.

    Raises:
        InvalidInput: the request cannot be answered; the message says what to send.
    """
    check_text("id", request.id)
    tensors = {tensor.name: tensor for tensor in input_tensors(manifest)}
    given: dict[str, NDArray[Any]] = {}
    for sent in request.inputs:
        if sent.name not in tensors:
            raise InvalidInput(f"There is no input {shown(sent.name)}. {_what_to_send(manifest)}")
        if sent.name in given:
            raise InvalidInput(f"The input '{sent.name}' came twice. {_what_to_send(manifest)}")
        given[sent.name] = _values(sent, tensors[sent.name])
    parameters = to_http_parameters(request.parameters or {})
    if given.keys() == {tensor.name for tensor in BAR_TENSORS}:
        return _asked_of_bars(given, parameters.get(INTERVAL), manifest, now=now)
    if CLOSE not in given or len(given) != 2 or given.keys() - {CLOSE, FEATURES, manifest.scale_feature}:
        raise InvalidInput(f"The inputs are {sorted(given)}. {_what_to_send(manifest)}")
    spec_hash = parameters.get(SPEC_HASH, manifest.spec_hash)
    return Asked(
        checked_rows(
            given[CLOSE], given.get(FEATURES), given.get(manifest.scale_feature), manifest, spec_hash=spec_hash
        )
    )


def _asked_of_bars(given: dict[str, NDArray[Any]], interval: object, manifest: Manifest, *, now: datetime) -> Asked:
    counts = {name: len(values) for name, values in given.items()}
    if len(set(counts.values())) != 1:
        raise InvalidInput(f"Bars differ: {counts}. Send as many of each.")
    values = np.column_stack([given[f"bar_{name}"] for name in VALUES])
    return rows_of_bars([Series(given[BAR_TIMESTAMP], values)], interval, manifest, now=now)


def response_to(request: InferRequest, reply: Reply, manifest: Manifest) -> InferResponse:
    """The response that carries a reply.

    Raises:
        InvalidInput: the request wants an output that does not exist.
    """
    answer = reply.answer
    arrays = {
        **{name: getattr(reply, name) for name in FLAGS},
        **{name: getattr(answer.inference, name) for name in (*NUMBERS, *INTERVALS, QUANTILES, OUTLYING, *NAMES)},
        **{CANDIDATE_PRICE + name: price for name, price in answer.inference.by_model.items()},
    }
    tensors = output_tensors(manifest)
    if request.request_outputs:
        wanted = {output.name for output in request.request_outputs}
        if unknown := wanted - arrays.keys():
            raise InvalidInput(f"There is no output {shown(min(unknown))}. There are: {', '.join(arrays)}.")
        tensors = [tensor for tensor in tensors if tensor.name in wanted]
    return InferResponse(
        response_id=request.id or str(uuid.uuid4()),
        model_name=request.model_name,
        model_version=str(answer.bundle_version),
        infer_outputs=[
            InferOutput(t.name, list(arrays[t.name].shape), t.datatype, arrays[t.name].ravel().tolist())
            for t in tensors
        ],
        parameters={
            BUNDLE_VERSION: answer.bundle_version,
            DATA_END: answer.data_end.isoformat() if answer.data_end else "",
            **{name: getattr(manifest, name) for name in ("champion", "asset", "currency", "interval")},
            "horizon_bars": manifest.horizon_bars,
            "simulated": manifest.simulated,
            ABSTENTION: reply.abstention,
            **_times(reply, manifest),
        },
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )


def _times(reply: Reply, manifest: Manifest) -> dict[str, str]:
    """Of the one row that bars are."""
    if reply.made_at is None:
        return {}
    return {MADE_AT: reply.made_at[0].isoformat(), TARGET_AT: reply.target_at(manifest)[0].isoformat()}


def answer_of(response: InferResponse, rows: int) -> Answer:
    """The answer that a response to `rows` rows carries.

    Raises:
        ServingError: it is not a forecast.
    """
    outputs = {output.name: output for output in response.outputs}
    try:
        parameters = to_http_parameters(response.parameters or {})
        version, horizon_bars = int(parameters[BUNDLE_VERSION]), int(parameters["horizon_bars"])
        data_end = datetime.fromisoformat(parameters[DATA_END]) if parameters[DATA_END] else None
        inference = Inference(
            **{name: _output(outputs[name], rows) for name in NUMBERS},
            quantiles=_output(outputs[QUANTILES], rows, len(PROBABILITIES)),
            outlying=np.array(outputs[OUTLYING].data, dtype=np.bool_).reshape(rows),
            **{name: np.array(outputs[name].data, dtype=np.str_).reshape(rows) for name in NAMES},
            by_model={
                name.removeprefix(CANDIDATE_PRICE): _output(output, rows)
                for name, output in outputs.items()
                if name.startswith(CANDIDATE_PRICE)
            },
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ServingError(
            f"The predictor's answer is not a forecast ({type(error).__name__}: {error}).",
            remedy="Check that `serving.url` and `serving.model_name` name a predictor of this release.",
        ) from error
    return Answer(inference, version, horizon_bars, data_end)


def _output(output: InferOutput, *shape: int) -> Array:
    values = np.array(output.data, dtype=np.float64).reshape(shape)
    if not np.isfinite(values).all():
        raise ValueError(f"'{output.name}' is not finite")
    return values


def _values(sent: InferInput, tensor: Tensor) -> NDArray[Any]:
    """A tensor's values as an array of the shape it claims.

    Raises:
        InvalidInput: it has another datatype or shape, too many rows, or something else than numbers.
    """
    bars = tensor in BAR_TENSORS
    what, most = ("bars", MAX_BARS) if bars else ("rows", MAX_ROWS)
    wanted = f"[{what}" + "".join(f", {size}" for size in tensor.shape[1:]) + "]"
    if sent.datatype != tensor.datatype:
        raise InvalidInput(f"'{sent.name}' is {shown(sent.datatype)}; send {tensor.datatype} {wanted}.")
    shape = tuple(sent.shape)
    if len(shape) != len(tensor.shape) or shape[1:] != tensor.shape[1:] or shape[0] < 1:
        raise InvalidInput(
            f"'{sent.name}' has shape {shown(list(shape))}; send {wanted}, with at least one {what[:-1]}."
        )
    if shape[0] > most:
        raise InvalidInput(f"'{sent.name}' has {shape[0]:,} {what}; send at most {most:,} a request.")
    try:
        # There is no list where the data came in binary over gRPC.
        return _from_list(sent.data, shape, tensor.datatype) if sent.data else sent.as_numpy()
    except TypeError as error:
        raise InvalidInput(f"'{sent.name}' holds {error}; send {tensor.datatype} {wanted}.") from error
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"The data of '{sent.name}' do not fill its shape {list(shape)}: {error}.") from error


def _from_list(data: list[Any], shape: Sequence[int], datatype: str) -> NDArray[Any]:
    """An array of a list, flat or nested as V2 allows.

    NumPy is only given numbers, and as many as fit: a list of texts, one of them long, would fill all memory.
    """
    types = set(map(type, data))
    if types == {list} and len(shape) == 2:
        if len(data) != shape[0] or any(len(row) != shape[1] for row in data):
            raise ValueError("its rows are not all as long as that")
        data = list(chain.from_iterable(data))
        types = set(map(type, data))
    if len(data) != math.prod(shape):
        raise ValueError(f"there are {len(data)}")
    if not types <= {int, float}:
        raise TypeError("null, text, booleans or lists")
    if datatype == "INT64" and types != {int}:
        raise TypeError("something else than whole numbers")
    return np.array(data, dtype=np.int64 if datatype == "INT64" else np.float64).reshape(shape)


def _what_to_send(manifest: Manifest) -> str:
    return (
        f"Send '{CLOSE}' FP64 [rows] and either '{FEATURES}' FP64 [rows, {len(manifest.features)}], in the order that"
        f" /v2/models/<name>/bundle tells, or '{manifest.scale_feature}' FP64 [rows]; or bars as '{BAR_TIMESTAMP}'"
        f" INT64 [bars] and {', '.join(repr(tensor.name) for tensor in BAR_TENSORS[1:])} FP64 [bars]."
    )
