"""The server's side of KServe's V2 protocol: a request's tensors as checked rows, a reply as an answer's bytes.

The classes are KServe's, and so are the forms. KServe's own conversions pass each tensor through lists and NumPy
several times, which takes longer than the forecast; here each is converted once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle import Manifest
from serving._kserve import (
    InferInput,
    InferRequest,
    InvalidInput,
    RequestedOutput,
    to_http_parameters,
)
from serving.asked import CLOSE, FEATURES, MAX_ROWS, Asked, Reply, check_text, checked_rows, refuse_not_finite, shown
from serving.bars import MAX_BARS, VALUES, Series, rows_of_bars
from serving.tensors import (
    ABSTENTION,
    BAR_TENSORS,
    BAR_TIMESTAMP,
    BUNDLE_VERSION,
    DATA_END,
    INTERVAL,
    INTERVALS,
    MADE_AT,
    NAMES,
    NUMBERS,
    QUANTILES,
    SPEC_HASH,
    TARGET_AT,
    Tensor,
    input_tensors,
    output_tensors,
)
from serving.v2_answers import NUMBER, ArrayResponse, Frame

_BARS = {tensor.name for tensor in BAR_TENSORS}
_DTYPES = {"FP64": np.dtype(np.float64), "INT64": np.dtype(np.int64)}


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
        self._frame = lru_cache(maxsize=8)(self._new_frame)
        self._pairs = ({CLOSE, FEATURES}, {CLOSE, manifest.scale_feature})
        self._told = (
            {DATA_END: manifest.data_end.isoformat() if manifest.data_end else ""}
            | {name: getattr(manifest, name) for name in ("champion", "asset", "currency", "interval")}
            | {
                "horizon_bars": manifest.horizon_bars,
                "simulated": manifest.simulated,
            }
        )

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
            InvalidInput: the request wants an output that does not exist, or a number is not finite.
        """
        answer, inference, binary = reply.answer, reply.answer.inference, request.use_binary_outputs
        numbers = [getattr(inference, name) for name in (*NUMBERS, *INTERVALS, QUANTILES)]
        prices = inference.by_model.values()
        flat = np.concatenate([*numbers, *prices], axis=None)  # each form of an answer is cut from it
        if not np.logical_and.reduce(np.isfinite(flat)):
            refuse_not_finite(inference)
        flags = (inference.outlying, reply.abstained, reply.stale)
        arrays = (*numbers, *flags, *(getattr(inference, name) for name in NAMES), *prices)
        tensors = [(tensor, values, binary) for tensor, values in zip(self.outputs, arrays, strict=True)]
        if wanted := request.request_outputs:
            tensors = _only(wanted, tensors)
            flat = np.concatenate([np.empty(0), *(a for t, a, _ in tensors if t.datatype == NUMBER)], axis=None)
        parameters = self._parameters(answer.bundle_version, reply.abstention)
        if reply.made_at is not None:  # of the one row that bars are
            parameters[MADE_AT] = reply.made_at[0].isoformat()
            parameters[TARGET_AT] = reply.target_at(self._manifest)[0].isoformat()
        names = tuple(tensor.name for tensor, *_ in tensors) if wanted else ()
        frame = partial(self._frame, names, len(reply.stale), answer.bundle_version, reply.abstention)
        return ArrayResponse(request, tensors, flat, str(answer.bundle_version), parameters, frame)

    def frame(self, rows: int, version: int, abstention: str) -> Frame:
        """What gRPC answers with all tensors of so many rows have in common, where values lie in their tensors."""
        return self._frame((), rows, version, abstention, False)

    def _parameters(self, version: int, abstention: str) -> dict[str, Any]:
        return {BUNDLE_VERSION: version, **self._told, ABSTENTION: abstention}

    def _new_frame(self, names: tuple[str, ...], rows: int, version: int, abstention: str, raw: bool) -> Frame:
        """Of answers with these tensors; of all where none is named."""
        tensors = [self._named[name] for name in names] if names else self.outputs
        return Frame.of(tensors, rows, str(version), self._parameters(version, abstention), raw=raw)

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


def _only(
    wanted: list[RequestedOutput], tensors: list[tuple[Tensor, NDArray[Any], bool]]
) -> list[tuple[Tensor, NDArray[Any], bool]]:
    """The tensors that a request wants, in its order and form.

    Raises:
        InvalidInput: one of them does not exist.
    """
    named = {tensor.name: (tensor, values) for tensor, values, _ in tensors}
    if unknown := {output.name for output in wanted} - named.keys():
        raise InvalidInput(f"There is no output {shown(min(unknown))}. There are: {', '.join(named)}.")
    return [(*named[output.name], bool(output.binary_data)) for output in {o.name: o for o in wanted}.values()]


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


def _from_list(data: Sequence[Any], shape: Sequence[int], datatype: str) -> NDArray[Any]:
    """An array of a list, flat or nested as V2 allows, or of gRPC's numbers, which are of the datatype already.

    NumPy is only given numbers, and as many as fit: a list of texts, one of them long, would fill all memory.
    """
    if not isinstance(data, list):
        return np.fromiter(data, _DTYPES[datatype]).reshape(_filled(shape, len(data)))
    types = set(map(type, data))
    if types == {list} and len(shape) == 2:
        if len(data) != shape[0] or any(len(row) != shape[1] for row in data):
            raise ValueError("its rows are not all as long as that")
        data = list(chain.from_iterable(data))
        types = set(map(type, data))
    _filled(shape, len(data))
    if not types <= {int, float}:
        raise TypeError("null, text, booleans or lists")
    if datatype == "INT64" and types != {int}:
        raise TypeError("something else than whole numbers")
    return np.array(data, dtype=_DTYPES[datatype]).reshape(shape)


def _filled(shape: Sequence[int], count: int) -> Sequence[int]:
    if count != math.prod(shape):
        raise ValueError(f"there are {count}")
    return shape
