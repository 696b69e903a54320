"""Questions of every kind and protocol, and whether an answer is right: all that the version it names says, no more.

What a version says is asked of its bundle in this process, and read from answers with KServe's own classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any

import numpy as np

from cryptosentinel.bundle import Bundle
from cryptosentinel.features import SCALE_FEATURE, compute_features
from cryptosentinel.predicting import Rows, answer_with
from serving._kserve import InferInput, InferRequest, InferResponse, to_http_parameters
from side_by_side.asking import MODEL
from tests.serving.asking import as_bars, as_tensors, bars_of
from tests.serving.builders import NOW, SPEC, make_rows

Columns = dict[str, np.ndarray]
BOUNDS = ("lower_80", "upper_80", "lower_95", "upper_95")
# A model answers in single precision, and a row in a batch may be rounded otherwise than alone.
TOLERANCE, NEAR_ZERO = 1e-6, 1e-9
TOLD_APART = 10 * TOLERANCE
LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        rows: what it comes to.
        inputs: as V2's tensors.
        v1: as a V1 body; None where V1 cannot ask it.
        weight: how often it is asked, in proportion.
        made_at: when the last bar closed; None where no bars are sent.
    """

    rows: Rows
    inputs: list[InferInput]
    v1: dict[str, Any] | None
    weight: int
    made_at: datetime | None = None

    def wire(self, protocol: str) -> tuple[dict[str, str], bytes]:
        """The headers and the body; for gRPC the message."""
        if protocol == "v1":
            return {}, json.dumps(self.v1).encode()
        request = InferRequest(MODEL, self.inputs, request_id="soak")
        if protocol == "grpc":
            return {}, request.to_grpc().SerializeToString()
        if protocol == "v2":
            return {}, json.dumps(request.to_rest()[0]).encode()
        inputs = [InferInput(sent.name, sent.shape, sent.datatype) for sent in self.inputs]
        for entry, sent in zip(inputs, self.inputs, strict=True):
            entry.set_data_from_numpy(sent.as_numpy(), binary_data=True)
        request = InferRequest(MODEL, inputs, request_id="soak", parameters={"binary_data_output": True})
        body, json_length = request.to_rest()
        return {LENGTH: str(json_length), "Content-Type": "application/octet-stream"}, body


def questions() -> list[Question]:
    """Single rows mostly; a few, and so many that a thread computes them; rows that are not warm; raw bars."""
    asked = [_features(make_rows(count, seed=seed), weight) for seed, (count, weight) in enumerate(_COUNTED)]
    cold = make_rows(2, warm=False)
    asked.append(Question(cold, [_tensor("close", cold.close), _tensor(SCALE_FEATURE, cold.volatility)], None, 5))
    bars = bars_of()
    features = compute_features(bars, SPEC)[SPEC.model_names].to_numpy(np.float64)[-1:]
    volatility = features[:, SPEC.model_names.index(SCALE_FEATURE)]
    rows = Rows(bars["close"].to_numpy(np.float64)[-1:], volatility, features, SPEC.hash)
    return [*asked, Question(rows, as_tensors(bars), {"bars": as_bars(bars), "interval": "5m"}, 2, NOW)]


_COUNTED = ((1, 20), (1, 20), (1, 20), (1, 20), (3, 10), (250, 1))  # rows and weight


def _features(rows: Rows, weight: int) -> Question:
    assert rows.features is not None
    instances = [
        {"close": close, "features": dict(zip(SPEC.model_names, row, strict=True))}
        for close, row in zip(rows.close.tolist(), rows.features.tolist(), strict=True)
    ]
    inputs = [_tensor("close", rows.close), _tensor("features", rows.features)]
    return Question(rows, inputs, {"instances": instances}, weight)


def _tensor(name: str, values: np.ndarray) -> InferInput:
    return InferInput(name, list(values.shape), "FP64", values.ravel().tolist())


class Judge:
    """Knows what each version says to each question.

    Raises:
        ValueError: two versions say the same to a question, so that an answer of both could not be told.
    """

    def __init__(self, bundles: Mapping[int, Bundle], asked: list[Question]) -> None:
        self._bundles = bundles
        self._asked = asked
        self._right = {(v, n): _columns(b, v, q) for v, b in bundles.items() for n, q in enumerate(asked)}
        for number, question in enumerate(asked):
            if question.rows.features is not None:
                self._tell_apart(number)

    def _tell_apart(self, number: int) -> None:
        for one, other in combinations(self._bundles, 2):
            here, there = (self._right[version, number]["quantiles"] for version in (one, other))
            if np.isclose(here, there, rtol=TOLD_APART, atol=0).all(axis=1).any():
                raise ValueError(f"versions {one} and {other} say the same to question {number}")

    def fault(self, protocol: str, number: int, head: Mapping[str, str], body: bytes) -> tuple[int, str]:
        """The version that an answer names, and what is wrong with it, or nothing.

        Raises:
            ValueError: it cannot be read; likewise KeyError and TypeError.
        """
        columns, said = _read_v1(body) if protocol == "v1" else _read_v2(protocol, head, body)
        version = int(said["bundle_version"])
        right = self._right[version, number]
        wrong = sorted(columns.keys() ^ right.keys())
        wrong += [name for name, values in right.items() if name in columns and not _same(columns[name], values)]
        expected = self._told(protocol, version, number)
        wrong += [f"{name} {said.get(name)!r}" for name, value in expected.items() if said.get(name) != value]
        if bool(said["abstention"]) != bool(right["abstained"].any()):
            wrong.append(f"abstention {said['abstention']!r}")
        return version, f"of version {version} differ: {', '.join(wrong)}" if wrong else ""

    def _told(self, protocol: str, version: int, number: int) -> dict[str, Any]:
        """What an answer says beside its numbers."""
        manifest = self._bundles[version].manifest
        told: dict[str, Any] = {"data_end": manifest.data_end.isoformat() if manifest.data_end else ""}
        if protocol == "v1":
            return told
        fields = ("champion", "asset", "currency", "interval", "horizon_bars", "simulated")
        told |= {"model_version": str(version), **{name: getattr(manifest, name) for name in fields}}
        if (made_at := self._asked[number].made_at) is not None:
            target_at = made_at + manifest.horizon_bars * SPEC.interval.delta
            told |= {"made_at": made_at.isoformat(), "target_at": target_at.isoformat()}
        return told


def _columns(bundle: Bundle, version: int, question: Question) -> Columns:
    """What a version says to a question: by output, an array with a row for each."""
    inference = answer_with(bundle, version, question.rows).inference
    count, stale = len(question.rows.close), question.made_at is not None  # our bars are long past
    return {
        **{name: np.asarray(values) for name, values in vars(inference).items() if name != "by_model"},
        **{name: getattr(inference, name) for name in BOUNDS},
        **{f"price_{name}": prices for name, prices in inference.by_model.items()},
        "stale": np.full(count, stale),
        "abstained": np.full(count, stale or bundle.manifest.data_end is not None),  # so are our bundles' data
    }


def _read_v1(body: bytes) -> tuple[Columns, dict[str, Any]]:
    said = json.loads(body)
    rows = [row | {f"price_{k}": v for k, v in row.pop("by_model").items()} for row in said.pop("predictions")]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for name in ("made_at", "target_at"):
        columns.pop(name, None)
    return columns, said


def _read_v2(protocol: str, head: Mapping[str, str], body: bytes) -> tuple[Columns, dict[str, Any]]:
    if protocol == "grpc":
        from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferResponse

        response = InferResponse.from_grpc(ModelInferResponse.FromString(body))
    elif protocol == "v2_binary":
        response = InferResponse.from_bytes(body, length := int(head[LENGTH]))
        response.model_version = json.loads(body[:length])["model_version"]  # KServe leaves it out
    else:
        response = InferResponse.from_rest(json.loads(body))
    columns = {output.name: output.as_numpy() for output in response.outputs}
    return columns, to_http_parameters(response.parameters) | {"model_version": response.model_version}


def _same(answered: np.ndarray, right: np.ndarray) -> bool:
    if right.dtype.kind == "U":
        return [v.decode() if isinstance(v, bytes) else v for v in answered.tolist()] == right.tolist()
    if right.dtype.kind == "b":
        return answered.dtype.kind == "b" and np.array_equal(answered, right)
    return answered.shape == right.shape and np.allclose(answered, right, rtol=TOLERANCE, atol=NEAR_ZERO)
