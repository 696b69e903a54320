"""The answer to a V2 request, written from arrays: as JSON, as JSON and binary tensors, or as a gRPC message."""

from __future__ import annotations

import math
import struct
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from serving._kserve import InferOutput, InferRequest, InferResponse, ModelInferResponse
from serving.tensors import MADE_AT, TARGET_AT, Tensor

NUMBER, TEXT, FLAG = "FP64", "BYTES", "BOOL"
_FIELDS = {NUMBER: ("fp64_contents", 8), FLAG: ("bool_contents", 1)}  # and how many bytes a value takes there


class Frame(NamedTuple):
    """What gRPC answers with as many rows of the same tensors have in common, as bytes.

    A message's bytes may be put together from those of its fields (https://protobuf.dev/programming-guides/encoding),
    and a tensor's end with its values. To set them field by field would take longer than to forecast.

    Attributes:
        head: all but the tensors.
        tensors: each up to its values; of no use for texts, whose length differs.
    """

    head: bytes
    tensors: list[bytes]

    @classmethod
    def of(cls, tensors: Sequence[Tensor], rows: int, version: str, told: Mapping[str, Any], *, raw: bool) -> Frame:
        """Of answers with these parameters; `raw` values lie apart from their tensors."""
        head = ModelInferResponse(model_version=version)
        for name, value in told.items():
            _set_parameter(head, name, value)
        return cls(head.SerializeToString(), [_before_values(tensor, rows, raw=raw) for tensor in tensors])


class ArrayResponse(InferResponse):
    """KServe's, written from arrays: from which each form is cut.

    Args:
        request: that it answers.
        tensors: what each output is, its values, and whether REST sends it in binary.
        numbers: all numbers of the tensors, in their order.
        version: of the model.
        parameters: of the answer.
        frame: gives the frame of a gRPC answer, told whether its values are raw.
    """

    def __init__(
        self,
        request: InferRequest,
        tensors: list[tuple[Tensor, NDArray[Any], bool]],
        numbers: NDArray[np.float64],
        version: str,
        parameters: dict[str, Any],
        frame: Callable[[bool], Frame],
    ) -> None:
        super().__init__(
            request.id or str(uuid.uuid4()), request.model_name, [], version, None, request.from_grpc, parameters
        )
        del self.outputs  # made when asked for
        self._raw = request.use_binary_outputs
        self._tensors = tensors
        self._numbers = numbers
        self._frame = frame

    @cached_property
    def outputs(self) -> list[InferOutput]:
        """As KServe's, for whoever wants to look at them."""
        return [InferOutput(tensor.name, list(a.shape), tensor.datatype, a) for tensor, a, _ in self._tensors]

    def to_rest(self) -> tuple[bytes | dict[str, Any], int | None]:
        """As KServe's: a dictionary for JSON, or JSON followed by binary tensors and the JSON's length."""
        outputs, raw = [], []
        forms = {binary for *_, binary in self._tensors}
        lists = self._lists() if False in forms else repeat([])
        blocks = self._blocks() if True in forms else repeat(b"")
        for ((name, datatype, _), values, binary), listed, block in zip(self._tensors, lists, blocks, strict=False):
            told: dict[str, Any] = {"name": name, "shape": values.shape, "datatype": datatype}
            if binary:
                raw.append(block)
                told["parameters"] = {"binary_data_size": len(block)}
            else:
                told["data"] = listed
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
        """As KServe's: values apart from the tensors where the request's were, else in them."""
        head, tensors = self._frame(self._raw)
        if self._raw:
            message = ModelInferResponse.FromString(b"".join((head, *tensors)))
            message.raw_output_contents.extend(self._blocks())
        else:
            pieces = [head]
            for ((name, datatype, _), values, _), before, block in zip(
                self._tensors, tensors, self._blocks(), strict=True
            ):
                if datatype == TEXT:
                    written = _one_text if len(values) == 1 else text_tensor
                    pieces.append(written(name, tuple(values.tolist())))
                else:
                    pieces += (before, block)
            message = ModelInferResponse.FromString(b"".join(pieces))
        message.id, message.model_name = self.id, self.model_name
        for name in (MADE_AT, TARGET_AT):
            if name in self.parameters:
                _set_parameter(message, name, self.parameters[name])
        return message

    def _lists(self) -> Iterator[list[Any]]:
        """Each tensor's values, in C order."""
        numbers, end = self._numbers.tolist(), 0
        for (_, datatype, _), values, _ in self._tensors:
            if datatype == NUMBER:
                start, end = end, end + values.size
                yield numbers[start:end]
            else:
                yield values.tolist()

    def _blocks(self) -> Iterator[bytes]:
        """Each tensor's bytes: numbers in C order, texts each behind its length."""
        numbers, end = self._numbers.tobytes(), 0
        for (_, datatype, _), values, _ in self._tensors:
            if datatype == NUMBER:
                start, end = end, end + values.nbytes
                yield numbers[start:end]
            elif datatype == TEXT:
                texts = [text.encode() for text in values.tolist()]
                yield b"".join(struct.pack("<I", len(text)) + text for text in texts)
            else:
                yield values.tobytes()


def _before_values(tensor: Tensor, rows: int, *, raw: bool) -> bytes:
    message = ModelInferResponse()
    shape = (rows, *tensor.shape[1:])
    told = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
    if raw or tensor.datatype == TEXT:
        return bytes(message.SerializeToString())
    field, size = _FIELDS[tensor.datatype]
    count = math.prod(shape)
    getattr(told.contents, field).extend([0] * count)
    return bytes(message.SerializeToString()[: -count * size])


def text_tensor(name: str, texts: tuple[str, ...]) -> bytes:
    """A tensor of texts as a field of an answer."""
    message = ModelInferResponse()
    told = message.outputs.add(name=name, datatype=TEXT, shape=(len(texts),))
    told.contents.bytes_contents.extend(text.encode() for text in texts)
    return bytes(message.SerializeToString())


_one_text = lru_cache(maxsize=64)(text_tensor)  # one row has few regimes, directions and champions


def _set_parameter(message: ModelInferResponse, name: str, value: str | int | bool) -> None:
    field = {str: "string_param", int: "int64_param", bool: "bool_param"}[type(value)]
    setattr(message.parameters[name], field, value)
