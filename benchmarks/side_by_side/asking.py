"""One row as a request of every protocol, as the bytes that go over the wire."""

from __future__ import annotations

import json

import numpy as np

MODEL = "cryptosentinel"
PROTOCOLS = {"v1": "REST V1", "v2": "REST V2", "v2_binary": "binary V2", "grpc": "gRPC"}


def wire(protocol: str, names: list[str], features: np.ndarray, close: float) -> tuple[str, dict[str, str], bytes]:
    """The path, the headers and the body; for gRPC the message alone."""
    from serving._kserve import InferInput, InferRequest

    if protocol == "v1":
        instance = {"close": close, "features": dict(zip(names, features.tolist(), strict=True))}
        return f"/v1/models/{MODEL}:predict", {}, json.dumps({"instances": [instance]}).encode()
    path = f"/v2/models/{MODEL}/infer"
    arrays = {"close": np.array([close]), "features": features[None]}
    if protocol == "v2_binary":
        inputs = [InferInput(name, list(array.shape), "FP64") for name, array in arrays.items()]
        for entry, array in zip(inputs, arrays.values(), strict=True):
            entry.set_data_from_numpy(array, binary_data=True)
        request = InferRequest(MODEL, inputs, request_id="bench", parameters={"binary_data_output": True})
        body, json_length = request.to_rest()
        headers = {"Inference-Header-Content-Length": str(json_length), "Content-Type": "application/octet-stream"}
        return path, headers, body
    inputs = [InferInput(name, list(array.shape), "FP64", array.ravel().tolist()) for name, array in arrays.items()]
    request = InferRequest(MODEL, inputs, request_id="bench")
    if protocol == "grpc":
        return "", {}, request.to_grpc().SerializeToString()
    return path, {}, json.dumps(request.to_rest()[0]).encode()


def http_request(host: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """A whole HTTP/1.1 request."""
    fields = {"Host": host, "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body
