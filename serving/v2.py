"""The server's side of KServe's V2 protocol: a request's tensors as checked rows, a reply as an answer's bytes.

The classes are KServe's, and so are the forms. KServe's own conversions pass each tensor through lists and NumPy
several times, which takes longer than the forecast; here each is converted once.
"""

from __future__ import annotations

import math
import struct
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property, lru_cache, partial
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from cryptosentinel.bundle import Manifest
from serving._kserve import (
    InferInput,
    InferOutput,
    InferRequest,
    InferResponse,
    InvalidInput,
    ModelInferResponse,
    to_http_parameters,
)
from serving.asked import CLOSE, FEATURES, MAX_ROWS, Asked, Reply, check_text, checked_rows, shown
from serving.bars import MAX_BARS, VALUES, Series, rows_of_bars
from serving.tensors import (
    ABSTENTION,
    BAR_TENSORS,
    BAR_TIMESTAMP,
    BUNDLE_VERSION,
    CANDIDATE_PRICE,
    DATA_END,
    FLAGS,
    INTERVAL,
    INTERVALS,
    MADE_AT,
    NAMES,
    NUMBERS,
    OUTLYING,
    QUANTILES,
    SPEC_HASH,
    TARGET_AT,
    Tensor,
    input_tensors,
    output_tensors,
)

_BARS = {tensor.name for tensor in BAR_TENSORS}
_DTYPES = {"FP64": np.dtype(np.float64), "INT64": np.dtype(np.int64)}
_GRPC_FIELDS = {"FP64": "fp64_contents", "BOOL": "bool_contents", "BYTES": "bytes_contents"}


class V2Form:
    """What V2 requests to one bundle and its answers hold.

    Attributes:
        inputs: the tensors of a request, by name.
        outputs: the tensors of an answer.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.inputs = {tensor.name: tensor for tensor in input_tensors(manifest)}
        self.outputs = output_tensors(manifest)
        self._named = {tensor.name: tensor for tensor in self.outputs}
        self._manifest = manifest
        self._message = lru_cache(maxsize=8)(self._new_message)
        self._pairs = ({CLOSE, FEATURES}, {CLOSE, manifest.scale_feature})
        self._told = {name: getattr(manifest, name) for name in ("champion", "asset", "currency", "interval")} | {
            "horizon_bars": manifest.horizon_bars,
            "simulated": manifest.simulated,
        }

    def asked(self, request: InferRequest, *, now: datetime) -> Asked:
        """What a request asks.

        Raises:
            InvalidInput: the request cannot be answered; the message says what to send.
        """
        check_text("id", request.id)
        given: dict[str, NDArray[Any]] = {}
        for sent in request.inputs:
            tensor = self.inputs.get(sent.name)
            if tensor is None:
                raise InvalidInput(f"There is no input {shown(sent.name)}. {self._what_to_send()}")
            if sent.name in given:
                raise InvalidInput(f"The input '{sent.name}' came twice. {self._what_to_send()}")
            given[sent.name] = _values(sent, tensor)
        parameters = to_http_parameters(request.parameters) if request.parameters else {}
        if given.keys() == _BARS:
            return self._asked_of_bars(given, parameters.get(INTERVAL), now=now)
        if given.keys() not in self._pairs:
            raise InvalidInput(f"The inputs are {sorted(given)}. {self._what_to_send()}")
        manifest = self._manifest
        spec_hash = parameters.get(SPEC_HASH, manifest.spec_hash)
        features, volatility = given.get(FEATURES), given.get(manifest.scale_feature)
        return Asked(checked_rows(given[CLOSE], features, volatility, manifest, spec_hash=spec_hash))

    def response(self, request: InferRequest, reply: Reply) -> ArrayResponse:
        """The response that carries a reply.

        Raises:
            InvalidInput: the request wants an output that does not exist.
        """
        answer, inference = reply.answer, reply.answer.inference
        arrays: dict[str, NDArray[Any]] = {
            **{name: getattr(inference, name) for name in (*NUMBERS, *INTERVALS, QUANTILES, OUTLYING)},
            **{name: getattr(reply, name) for name in FLAGS},
            **{name: getattr(inference, name) for name in NAMES},
            **{CANDIDATE_PRICE + name: price for name, price in inference.by_model.items()},
        }
        wanted = request.request_outputs
        if wanted and (unknown := {output.name for output in wanted} - arrays.keys()):
            raise InvalidInput(f"There is no output {shown(min(unknown))}. There are: {', '.join(arrays)}.")
        parameters = {
            BUNDLE_VERSION: answer.bundle_version,
            DATA_END: answer.data_end.isoformat() if answer.data_end else "",
            **self._told,
            ABSTENTION: reply.abstention,
        }
        if reply.made_at is not None:  # of the one row that bars are
            parameters[MADE_AT] = reply.made_at[0].isoformat()
            parameters[TARGET_AT] = reply.target_at(self._manifest)[0].isoformat()
        if wanted:  # None: all, and none of them by itself as binary or not
            arrays = {output.name: arrays[output.name] for output in wanted}
        binary = {output.name: bool(output.binary_data) for output in wanted or ()}
        tensors = [
            (self._named[name], values, binary.get(name, request.use_binary_outputs)) for name, values in arrays.items()
        ]
        message = partial(self._message, len(reply.stale), tuple(arrays), answer.bundle_version)
        return ArrayResponse(request, tensors, str(answer.bundle_version), parameters, message)

    def _new_message(self, rows: int, names: tuple[str, ...], version: int) -> ModelInferResponse:
        """What gRPC answers for so many rows of these tensors have in common: a copy is made faster than a new one."""
        message = ModelInferResponse(model_version=str(version))
        for name in names:
            tensor = self._named[name]
            message.outputs.add(name=name, datatype=tensor.datatype, shape=(rows, *tensor.shape[1:]))
        for name, value in {BUNDLE_VERSION: version, **self._told}.items():
            _set_parameter(message, name, value)
        return message

    def _asked_of_bars(self, given: dict[str, NDArray[Any]], interval: object, *, now: datetime) -> Asked:
        counts = {name: len(values) for name, values in given.items()}
        if len(set(counts.values())) != 1:
            raise InvalidInput(f"Bars differ: {counts}. Send as many of each.")
        values = np.column_stack([given[f"bar_{name}"] for name in VALUES])
        return rows_of_bars([Series(given[BAR_TIMESTAMP], values)], interval, self._manifest, now=now)

    def _what_to_send(self) -> str:
        return (
            f"Send '{CLOSE}' FP64 [rows] and either '{FEATURES}' FP64 [rows, {len(self._manifest.features)}], in the"
            f" order that /v2/models/<name>/bundle tells, or '{self._manifest.scale_feature}' FP64 [rows]; or bars as"
            f" '{BAR_TIMESTAMP}' INT64 [bars] and {', '.join(repr(tensor.name) for tensor in BAR_TENSORS[1:])} FP64"
            " [bars]."
        )


class ArrayResponse(InferResponse):
    """KServe's, written from arrays.

    Args:
        request: that it answers.
        tensors: what each output is, its values, and whether REST sends it in binary.
        version: of the model.
        parameters: of the answer.
        message: makes a gRPC answer that lacks only what is this one's own.
    """

    def __init__(
        self,
        request: InferRequest,
        tensors: list[tuple[Tensor, NDArray[Any], bool]],
        version: str,
        parameters: dict[str, Any],
        message: Callable[[], ModelInferResponse],
    ) -> None:
        super().__init__(
            request.id or str(uuid.uuid4()), request.model_name, [], version, None, request.from_grpc, parameters
        )
        del self.outputs  # made when asked for
        self._raw = request.use_binary_outputs
        self._tensors = tensors
        self._message = message

    @cached_property
    def outputs(self) -> list[InferOutput]:
        """As KServe's, for whoever wants to look at them."""
        return [InferOutput(tensor.name, list(a.shape), tensor.datatype, a) for tensor, a, _ in self._tensors]

    def to_rest(self) -> tuple[bytes | dict[str, Any], int | None]:
        """As KServe's: a dictionary for JSON, or JSON followed by binary tensors and the JSON's length."""
        outputs, raw = [], []
        for (name, datatype, _), values, binary in self._tensors:
            told: dict[str, Any] = {"name": name, "shape": values.shape, "datatype": datatype}
            if binary:
                raw.append(_raw(values))
                told["parameters"] = {"binary_data_size": len(raw[-1])}
            else:
                told["data"] = values.ravel().tolist()
            outputs.append(told)
        answer = {
            "id": self.id,
            "model_name": self.model_name,
            "model_version": self.model_version,
            "outputs": outputs,
            "parameters": self.parameters,
        }
        if not raw:
            return answer, None
        head = orjson.dumps(answer)
        return b"".join((head, *raw)), len(head)

    def to_grpc(self) -> ModelInferResponse:
        """As KServe's: binary tensors where the request's were, else one list a tensor."""
        message = ModelInferResponse()
        message.CopyFrom(self._message())
        message.id, message.model_name = self.id, self.model_name
        if self._raw:
            message.raw_output_contents.extend([_raw(values) for _, values, _ in self._tensors])
        else:
            for told, ((_, datatype, _), values, _) in zip(message.outputs, self._tensors, strict=True):
                flat = values.ravel().tolist()
                if datatype == "BYTES":
                    flat = [text.encode() for text in flat]
                getattr(told.contents, _GRPC_FIELDS[datatype]).extend(flat)
        for name in (DATA_END, ABSTENTION, MADE_AT, TARGET_AT):
            if name in self.parameters:
                _set_parameter(message, name, self.parameters[name])
        return message


def _values(sent: InferInput, tensor: Tensor) -> NDArray[Any]:
    """A tensor's values as an array of the shape it claims.

    Raises:
        InvalidInput: it has another datatype or shape, too many rows, or something else than numbers.
    """
    name, datatype, sizes = tensor
    shape = tuple(sent.shape)
    what, most = ("bars", MAX_BARS) if name in _BARS else ("rows", MAX_ROWS)
    if sent.datatype != datatype:
        raise InvalidInput(f"'{name}' is {shown(sent.datatype)}; send {datatype} {_wanted(tensor)}.")
    if len(shape) != len(sizes) or shape[1:] != sizes[1:] or shape[0] < 1:
        raise InvalidInput(
            f"'{name}' has shape {shown(list(shape))}; send {_wanted(tensor)}, with at least one {what[:-1]}."
        )
    if shape[0] > most:
        raise InvalidInput(f"'{name}' has {shape[0]:,} {what}; send at most {most:,} a request.")
    try:
        if sent._raw_data is not None:
            return np.frombuffer(sent._raw_data, _DTYPES[datatype]).reshape(shape)
        return _from_list(sent.data, shape, datatype)
    except TypeError as error:
        raise InvalidInput(f"'{name}' holds {error}; send {datatype} {_wanted(tensor)}.") from error
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"The data of '{name}' do not fill its shape {list(shape)}: {error}.") from error


def _wanted(tensor: Tensor) -> str:
    what = "bars" if tensor.name in _BARS else "rows"
    return f"[{what}" + "".join(f", {size}" for size in tensor.shape[1:]) + "]"


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
    return np.array(data, dtype=_DTYPES[datatype]).reshape(shape)


def _set_parameter(message: ModelInferResponse, name: str, value: str | int | bool) -> None:
    field = {str: "string_param", int: "int64_param", bool: "bool_param"}[type(value)]
    setattr(message.parameters[name], field, value)


def _raw(values: NDArray[Any]) -> bytes:
    """A tensor's bytes: numbers in C order, texts each behind its length."""
    if values.dtype.kind != "U":
        return values.tobytes()
    texts = [text.encode() for text in values.ravel().tolist()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
