"""From a V2 request as it came, JSON, JSON and binary tensors, or a gRPC message, to KServe's `InferRequest`."""

from __future__ import annotations

import json
from typing import Any

import orjson
from pydantic import ValidationError

from serving._kserve import (
    InferenceRequest,
    InferenceServicer,
    InferInput,
    InferRequest,
    InvalidInput,
    ModelInferRequest,
    RequestedOutput,
)
from serving.asked import shown
from serving.dataplane import first_of

# Where a message has the numbers of those datatypes that we take; of others none are read.
_FIELDS, _NO_FIELD = {"FP64": "fp64_contents", "INT64": "int64_contents"}, "bytes_contents"


def request_of_json(body: bytes, model_name: str) -> InferRequest:
    """A request that is JSON.

    Raises:
        InvalidInput: it is none, or not of the V2 form.
    """
    try:
        sent = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise _not_v2(f"no JSON ({error})") from error
        sent = _with_odd_numbers(body)
    return _request_of(sent, model_name)


def request_of_binary(body: bytes, json_length: str, model_name: str) -> InferRequest:
    """A request that is JSON followed by binary tensors.

    Args:
        body: all of it.
        json_length: how many bytes are JSON, as the header says.
        model_name: that is asked.

    Raises:
        InvalidInput: it is not of the V2 form, or holds fewer bytes than it says.
    """
    if not (json_length.isascii() and json_length.isdigit()):
        raise _not_v2(f"its header's JSON length is {shown(json_length)}")
    at = int(json_length)
    try:
        sent = orjson.loads(body[:at])
    except orjson.JSONDecodeError as error:
        raise _not_v2(f"its first {at:,} bytes are no JSON ({error})") from error
    told = sent.get("inputs") if isinstance(sent, dict) else None
    if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
        raise _not_v2("inputs: a list of objects is required")
    request = _request_of(sent | {"inputs": [{"data": [], **each} for each in told]}, model_name)
    for tensor, each in zip(request.inputs, told, strict=True):
        if "data" in each:
            continue
        size = (tensor.parameters or {}).get("binary_data_size")
        if type(size) is not int or not 0 <= size <= len(body) - at:
            raise _not_v2(f"{shown(tensor.name)} has no data, nor a binary_data_size of bytes that came")
        tensor.data, tensor._raw_data = None, body[at : at + size]  # as KServe's own `from_bytes` does
        at += size
    return request


def request_of_message(message: ModelInferRequest) -> InferRequest:
    """A gRPC request, whose numbers stay in the message until they are read.

    Raises:
        InvalidInput: its tensors hold values both in themselves and apart from them, or not as many as it has.
    """
    InferenceServicer.validate_grpc_request(message)
    inputs = [
        InferInput(sent.name, sent.shape, sent.datatype, getattr(sent.contents, _FIELDS.get(sent.datatype, _NO_FIELD)))
        for sent in message.inputs
    ]
    wanted = [RequestedOutput(output.name) for output in message.outputs]
    return InferRequest(
        message.model_name, inputs, message.id, message.raw_input_contents, True, message.parameters, wanted or None
    )


def _request_of(sent: Any, model_name: str) -> InferRequest:
    try:
        request = InferenceRequest.model_validate(sent)
    except ValidationError as error:
        raise _not_v2(first_of(error.errors())) from error
    return InferRequest.from_inference_request(request, model_name)


def _with_odd_numbers(body: bytes) -> Any:
    """With NaN and infinities, which are no JSON: a sentence can name them. That takes longer than `orjson`."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _not_v2(f"no JSON ({error!a})") from error


def _not_v2(fault: str) -> InvalidInput:
    form = '{"inputs": [{"name", "shape", "datatype", "data"}, ...]}'
    return InvalidInput(f"The request is not of the V2 form: {fault}. Send {form} as application/json.")
