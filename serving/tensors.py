"""The V2 tensors of a forecast, for server and client alike.

A request is `close` and either `features` or, for rows that are not warm yet, the scale feature alone; then the random
walk answers. An answer has one tensor for each field of `bundle.Inference`, the bounds of the 80% and 95% intervals by
name beside all `quantiles`, and `price_<name>` for each of the bundle's candidates and their blend.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle import BLEND, PROBABILITIES, Inference, Manifest
from cryptosentinel.errors import ServingError
from cryptosentinel.features import SCALE_FEATURE
from cryptosentinel.predicting import Answer, Rows
from serving._kserve import InferInput, InferOutput, InferRequest, InferResponse, InvalidInput, to_http_parameters

Array = NDArray[np.float64]

CLOSE, FEATURES = "close", "features"
# Parameters: the first of a request, the others of an answer.
SPEC_HASH, BUNDLE_VERSION, DATA_END = "spec_hash", "bundle_version", "data_end"
CANDIDATE_PRICE = "price_"
NUMBERS = ("predicted_price", "log_return", "sigma", "p_up", "confidence", "dissimilarity")
QUANTILES, OUTLYING = "quantiles", "outlying"
INTERVALS = ("lower_80", "upper_80", "lower_95", "upper_95")
NAMES = ("direction", "regime", "champion")
MAX_ROWS = 10_000


class Tensor(NamedTuple):
    """A tensor as V2 metadata describes it; -1 stands for the number of rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def described(self) -> dict[str, Any]:
        """As KServe wants it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


class SpecMismatch(InvalidInput):
    """The request's features were computed by another spec than the bundle's."""


def input_tensors(manifest: Manifest) -> list[Tensor]:
    """What a request may hold: the first, and one of the other two."""
    return [
        Tensor(CLOSE, "FP64", (-1,)),
        Tensor(FEATURES, "FP64", (-1, len(manifest.features))),
        Tensor(manifest.scale_feature, "FP64", (-1,)),
    ]


def output_tensors(manifest: Manifest) -> list[Tensor]:
    """What an answer holds."""
    return [
        *(Tensor(name, "FP64", (-1,)) for name in (*NUMBERS, *INTERVALS)),
        Tensor(QUANTILES, "FP64", (-1, len(PROBABILITIES))),
        Tensor(OUTLYING, "BOOL", (-1,)),
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


def rows_of(request: InferRequest, manifest: Manifest) -> Rows:
    """The rows that a request asks for.

    Raises:
        InvalidInput: the request cannot be answered; the message says what to send.
    """
    tensors = {tensor.name: tensor for tensor in input_tensors(manifest)}
    given: dict[str, Array] = {}
    for sent in request.inputs:
        if sent.name not in tensors:
            raise InvalidInput(f"There is no input {shown(sent.name)}. {_what_to_send(manifest)}")
        if sent.name in given:
            raise InvalidInput(f"The input '{sent.name}' came twice. {_what_to_send(manifest)}")
        given[sent.name] = _values(sent, tensors[sent.name])
    if CLOSE not in given or len(given) != 2:
        raise InvalidInput(f"The inputs are {sorted(given)}. {_what_to_send(manifest)}")
    spec_hash = to_http_parameters(request.parameters or {}).get(SPEC_HASH, manifest.spec_hash)
    return checked_rows(
        given[CLOSE], given.get(FEATURES), given.get(manifest.scale_feature), manifest, spec_hash=spec_hash
    )


def checked_rows(
    close: Array, features: Array | None, volatility: Array | None, manifest: Manifest, *, spec_hash: object
) -> Rows:
    """Rows whose values a bundle can answer for, from either `features` or `volatility`.

    Raises:
        InvalidInput: their number, their values or their spec are wrong; the message says what to send.
    """
    if spec_hash != manifest.spec_hash:
        raise SpecMismatch(
            f"The bundle was built for features {manifest.spec_hash}, and the request's are {shown(spec_hash)}. Compute"
            " them by the bundle's spec, or serve a bundle trained on yours."
        )
    counts = {CLOSE: len(close)}
    if features is not None:
        counts[FEATURES] = len(features)
    if volatility is not None:
        counts[manifest.scale_feature] = len(volatility)
    if len(set(counts.values())) != 1:
        raise InvalidInput(f"Rows differ: {counts}. Send as many of each.")
    _refuse(~np.isfinite(close) | (close <= 0), "close", "must be a positive price")
    if features is not None:
        limit = np.finfo(np.float32).max  # models compute in single precision
        bad = ~(np.abs(features) <= limit)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise InvalidInput(
                f"Row {row} of features: '{manifest.features[column]}' must be a finite number. For rows that are not"
                f" warm yet send '{manifest.scale_feature}' in place of 'features'."
            )
        volatility = features[:, manifest.features.index(manifest.scale_feature)]
    assert volatility is not None
    _refuse(~np.isfinite(volatility) | (volatility < 0), manifest.scale_feature, "must be a finite number from 0 on")
    return Rows(close=close, volatility=volatility, features=features, spec_hash=manifest.spec_hash)


def response_to(request: InferRequest, answer: Answer, manifest: Manifest) -> InferResponse:
    """The response that carries an answer.

    Raises:
        InvalidInput: the request wants an output that does not exist.
    """
    arrays = {
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
        },
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )


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


def _values(sent: InferInput, tensor: Tensor) -> Array:
    """A tensor's values as an array of the shape it claims.

    Raises:
        InvalidInput: it has another datatype or shape, too many rows, or something else than numbers.
    """
    wanted = "[rows" + "".join(f", {size}" for size in tensor.shape[1:]) + "]"
    if sent.datatype != tensor.datatype:
        raise InvalidInput(f"'{sent.name}' is {shown(sent.datatype)}; send {tensor.datatype} {wanted}.")
    shape = tuple(sent.shape)
    if len(shape) != len(tensor.shape) or shape[1:] != tensor.shape[1:] or shape[0] < 1:
        raise InvalidInput(f"'{sent.name}' has shape {shown(list(shape))}; send {wanted}, with at least one row.")
    if shape[0] > MAX_ROWS:
        raise InvalidInput(f"'{sent.name}' has {shape[0]:,} rows; send at most {MAX_ROWS:,} a request.")
    try:
        # Without a datatype: NumPy would take text for numbers. There is no list where the data came in binary.
        values = np.asarray(sent.data) if sent.data else sent.as_numpy()
        values = values.reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"The data of '{sent.name}' do not fill its shape {list(shape)}: {error}.") from error
    if values.dtype.kind not in "fiu":
        raise InvalidInput(f"'{sent.name}' holds null, text or booleans; send {tensor.datatype} {wanted}.")
    return values.astype(np.float64)


def _refuse(bad: NDArray[np.bool_], name: str, rule: str) -> None:
    if bad.any():
        raise InvalidInput(f"Row {int(np.argmax(bad))}: '{name}' {rule}.")


def _what_to_send(manifest: Manifest) -> str:
    close, features, scale = input_tensors(manifest)
    return (
        f"Send '{close.name}' FP64 [rows] and either '{features.name}' FP64 [rows, {features.shape[1]}], in the order"
        f" that /v2/models/<name>/bundle tells, or '{scale.name}' FP64 [rows]."
    )


def shown(value: object) -> str:
    """Something from a request, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
