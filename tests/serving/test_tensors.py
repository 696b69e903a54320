from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.bundle import Manifest
from cryptosentinel.errors import ServingError
from cryptosentinel.features import SCALE_FEATURE
from cryptosentinel.predicting import Rows, answer_with
from serving._kserve import InferInput, InferRequest, InferResponse, InvalidInput
from serving.asked import MAX_ROWS, SpecMismatch
from serving.instances import asked_of_payload, predictions_of
from serving.tensors import (
    FLAGS,
    INTERVALS,
    answer_of,
    input_tensors,
    output_tensors,
    request_of,
)
from serving.v2 import V2Form
from tests.serving.builders import (
    COUNT,
    DATA_END,
    NOW,
    SCALE_COLUMN,
    SPEC,
    instances,
    make_random_walk,
    make_reply,
    make_rows,
    make_trained,
)


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return make_random_walk(tmp_path_factory.mktemp("bundle") / "rw")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_trained(tmp_path_factory.mktemp("bundle") / "trained")


def far_off(rows: Rows) -> Rows:
    """The same rows, the first of them unlike any trained on."""
    if rows.features is not None:
        rows.features[0, :SCALE_COLUMN] = 4.0
    return rows


def over_json(request: InferRequest) -> InferRequest:
    body, _ = request.to_rest()
    content = json.dumps(body).encode()
    return InferRequest.from_bytes(content, len(content), request.model_name)


def over_grpc(request: InferRequest) -> InferRequest:
    return InferRequest.from_grpc(request.to_grpc())


def answered_over_json(response: InferResponse) -> InferResponse:
    return InferResponse.from_rest(json.loads(json.dumps(response.to_rest()[0])))


def answered_over_grpc(response: InferResponse) -> InferResponse:
    return InferResponse.from_grpc(response.to_grpc())


def request_with(**changed: Any) -> InferRequest:
    """A good request of two rows, but for the tensors named; None leaves one out."""
    rows = make_rows(2)
    inputs = {
        "close": InferInput("close", [2], "FP64", rows.close.tolist()),
        "features": InferInput("features", [2, COUNT], "FP64", rows.features.tolist()),
        **changed,
    }
    return InferRequest("m", [tensor for tensor in inputs.values() if tensor is not None])


def rows_of(request: InferRequest, manifest: Manifest) -> Rows:
    return V2Form(manifest).asked(request, now=NOW).rows


def rows_of_instances(payload: Any, manifest: Manifest) -> Rows:
    return asked_of_payload(payload, manifest, now=NOW).rows


def features_but(row: int, column: int, value: float) -> InferInput:
    features = make_rows(2).features
    features[row, column] = value
    return InferInput("features", [2, COUNT], "FP64", features.tolist())


@pytest.mark.parametrize("carry", [over_json, over_grpc])
@given(count=st.integers(1, 20), warm=st.booleans(), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_rows_arrive_as_they_were_sent(bundle, carry, count, warm, seed):
    rows = make_rows(count, warm=warm, seed=seed)
    arrived = rows_of(carry(request_of(rows, "m")), bundle.manifest)
    np.testing.assert_array_equal(arrived.close, rows.close)
    np.testing.assert_array_equal(arrived.volatility, rows.volatility)
    assert arrived.spec_hash == rows.spec_hash
    if warm:
        np.testing.assert_array_equal(arrived.features, rows.features)
    else:
        assert arrived.features is None


@pytest.mark.parametrize("carry", [answered_over_json, answered_over_grpc])
@given(count=st.integers(1, 20), warm=st.booleans(), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_an_answer_arrives_as_it_was_given(bundle, carry, count, warm, seed):
    rows = far_off(make_rows(count, warm=warm, seed=seed))
    answer = answer_with(bundle, 7, rows)
    assert answer.inference.outlying.any() == warm
    response = V2Form(bundle.manifest).response(request_of(rows, "m"), make_reply(answer))
    arrived = answer_of(carry(response), count)
    assert (arrived.bundle_version, arrived.horizon_bars, arrived.data_end) == (7, 6, DATA_END)
    for name, values in vars(answer.inference).items():
        if name == "by_model":
            assert arrived.inference.by_model.keys() == values.keys()
            for candidate, prices in values.items():
                np.testing.assert_array_equal(arrived.inference.by_model[candidate], prices)
        else:
            np.testing.assert_array_equal(getattr(arrived.inference, name), values)
            assert getattr(arrived.inference, name).dtype.kind == values.dtype.kind


def test_a_bundle_that_has_seen_no_data_says_so(walk):
    rows = make_rows(1)
    response = V2Form(walk.manifest).response(request_of(rows, "m"), make_reply(answer_with(walk, 0, rows)))
    assert response.parameters["data_end"] == ""
    for carry in (answered_over_json, answered_over_grpc):
        assert answer_of(carry(response), 1).data_end is None
    assert predictions_of(make_reply(answer_with(walk, 0, rows)), walk.manifest)["data_end"] == ""


@pytest.mark.parametrize("name", ["bundle", "walk"])
def test_metadata_names_every_field_of_an_inference(name, request):
    bundle = request.getfixturevalue(name)
    names = {tensor.name for tensor in output_tensors(bundle.manifest)}
    answer = answer_with(bundle, 0, make_rows(1))
    prices = {f"price_{name}" for name in answer.inference.by_model}
    assert names == (vars(answer.inference).keys() - {"by_model"}) | prices | set(INTERVALS) | set(FLAGS)
    assert input_tensors(bundle.manifest)[1].shape == (-1, len(bundle.manifest.features))


FAULTS = {
    "no close": ({"close": None}, "Send 'close'"),
    "no features": ({"features": None}, "either 'features'"),
    "both": ({SCALE_FEATURE: InferInput(SCALE_FEATURE, [2], "FP64", [0.1, 0.1])}, "either 'features'"),
    "an unknown name": ({"volume": InferInput("volume", [2], "FP64", [1.0, 1.0])}, "no input 'volume'"),
    "close twice": ({"again": InferInput("close", [2], "FP64", [1.0, 1.0])}, "twice"),
    "another datatype": ({"close": InferInput("close", [2], "FP32", [1.0, 1.0])}, "send FP64"),
    "text": ({"close": InferInput("close", [2], "FP64", ["1.0", "2.0"])}, "null, text, booleans or lists"),
    "booleans": ({"close": InferInput("close", [2], "FP64", [True, True])}, "null, text, booleans or lists"),
    "null": ({"close": InferInput("close", [2], "FP64", [1.0, None])}, "null, text, booleans or lists"),
    "two dimensions": ({"close": InferInput("close", [2, 1], "FP64", [1.0, 2.0])}, "[rows]"),
    "one dimension": ({"features": InferInput("features", [2 * COUNT], "FP64", [0.0])}, f"[rows, {COUNT}]"),
    "a feature too few": (
        {"features": InferInput("features", [2, COUNT - 1], "FP64", [0.0] * 2 * (COUNT - 1))},
        f"[rows, {COUNT}]",
    ),
    "no rows": ({"close": InferInput("close", [0], "FP64", [])}, "at least one row"),
    "minus one row": ({"close": InferInput("close", [-1], "FP64", [1.0, 2.0])}, "at least one row"),
    "fewer values than its shape": ({"close": InferInput("close", [3], "FP64", [1.0, 2.0])}, "do not fill its shape"),
    "ragged": ({"close": InferInput("close", [2], "FP64", [[1.0], [2.0, 3.0]])}, "booleans or lists"),
    "rows that differ": ({"close": InferInput("close", [1], "FP64", [1.0])}, "as many of each"),
    "a shape beyond all": ({"close": InferInput("close", [10**30], "FP64", [1.0])}, "at most 10,000"),
    "too many rows": (
        {"close": InferInput("close", [MAX_ROWS + 1], "FP64", [1.0] * (MAX_ROWS + 1))},
        "at most 10,000",
    ),
    "close of zero": ({"close": InferInput("close", [2], "FP64", [1.0, 0.0])}, "Row 1: 'close'"),
    "negative close": ({"close": InferInput("close", [2], "FP64", [-1.0, 1.0])}, "Row 0: 'close'"),
    "NaN close": ({"close": InferInput("close", [2], "FP64", [1.0, float("nan")])}, "Row 1: 'close'"),
    "infinite close": ({"close": InferInput("close", [2], "FP64", [float("inf"), 1.0])}, "Row 0: 'close'"),
    "NaN feature": ({"features": features_but(1, 6, float("nan"))}, "Row 1 of features: 'rsi_14'"),
    "infinite feature": ({"features": features_but(0, 6, float("-inf"))}, "Row 0 of features: 'rsi_14'"),
    "feature beyond single precision": ({"features": features_but(0, 6, 1e39)}, "'rsi_14' must be a finite number"),
    "negative volatility": (
        {"features": None, SCALE_FEATURE: InferInput(SCALE_FEATURE, [2], "FP64", [0.1, -0.1])},
        f"Row 1: '{SCALE_FEATURE}'",
    ),
}


@pytest.mark.parametrize(("changed", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_request_is_told_what_to_send(bundle, changed, sentence):
    with pytest.raises(InvalidInput) as raised:
        rows_of(request_with(**changed), bundle.manifest)
    assert sentence in str(raised.value)


def test_features_of_another_spec_are_refused(bundle):
    request = request_with()
    request.parameters = {"spec_hash": "0" * 64}
    with pytest.raises(SpecMismatch, match=SPEC.hash):
        rows_of(request, bundle.manifest)


def test_a_request_need_not_name_its_spec(bundle):
    assert rows_of(request_with(), bundle.manifest).spec_hash == SPEC.hash


@pytest.mark.parametrize("spoil", ["version", "date", "output", "shape", "length", "nan"])
def test_what_is_no_forecast_is_not_taken_for_one(bundle, spoil):
    rows = make_rows(2)
    response = V2Form(bundle.manifest).response(request_of(rows, "m"), make_reply(answer_with(bundle, 0, rows)))
    if spoil == "version":
        del response.parameters["bundle_version"]
    elif spoil == "date":
        response.parameters["data_end"] = "yesterday"
    elif spoil == "output":
        response.outputs = [output for output in response.outputs if output.name != "sigma"]
    elif spoil == "shape":
        (quantiles,) = (output for output in response.outputs if output.name == "quantiles")
        quantiles.data = quantiles.data[:-2]
    elif spoil == "length":
        response.outputs[0].data = [1.0]
    else:
        response.outputs[0].data = [1.0, None]
    with pytest.raises(ServingError, match="not a forecast"):
        answer_of(response, 2)


def test_v1_features_are_found_by_name_in_any_order(bundle):
    shuffled = [
        {"features": dict(reversed(instance["features"].items())), "close": instance["close"]}
        for instance in instances(3)
    ]
    rows = rows_of_instances({"instances": shuffled}, bundle.manifest)
    np.testing.assert_array_equal(rows.features, make_rows(3).features)
    np.testing.assert_array_equal(rows.close, make_rows(3).close)


def test_v1_predictions_hold_the_whole_inference(bundle):
    answer = answer_with(bundle, 4, make_rows(2))
    answered = predictions_of(make_reply(answer), bundle.manifest)
    assert (answered["bundle_version"], answered["data_end"]) == (4, DATA_END.isoformat())
    assert answered["predictions"][1].keys() == vars(answer.inference).keys() | {*INTERVALS, *FLAGS}
    assert answered["predictions"][1]["upper_80"] == answer.inference.upper_80[1]
    assert answered["predictions"][1]["quantiles"] == answer.inference.quantiles[1].tolist()
    assert answered["predictions"][1]["outlying"] is False
    by_model = {name: prices[1] for name, prices in answer.inference.by_model.items()}
    assert answered["predictions"][1]["by_model"] == by_model
    assert by_model.keys() == {"random_walk", "ridge", "random_forest", "blend"}
    json.dumps(answered)


good = instances(1)[0]
V1_FAULTS: dict[str, tuple[Any, str]] = {
    "a list": ([good], "V1 form"),
    "no instances": ({}, "V1 form"),
    "something else beside them": ({"instances": [good], "more": 1}, "V1 form"),
    "not JSON": (b"abc", "application/json"),
    "empty": ({"instances": []}, "empty"),
    "too many": ({"instances": [good] * (MAX_ROWS + 1)}, "at most 10,000"),
    "no object": ({"instances": [3]}, "Instance 0 is not an object"),
    "no close": ({"instances": [good, {"features": good["features"]}]}, "Instance 1 is not an object"),
    "features as a list": ({"instances": [good | {"features": [1.0]}]}, "Instance 0 is not an object"),
    "an unknown feature": ({"instances": [{**good, "features": {**good["features"], "luck": 1}}]}, "'luck'"),
    "a feature missing": ({"instances": [{**good, "features": {"rsi_14": 1.0}}]}, f"lacks {COUNT - 1} features"),
    "text": ({"instances": [good | {"close": "1"}]}, "must be numbers"),
    "null": ({"instances": [good | {"close": None}]}, "must be numbers"),
    "a boolean": ({"instances": [good | {"close": True}]}, "must be numbers"),
    "a negative price": ({"instances": [good | {"close": -1}]}, "positive price"),
    "a number beyond all": ({"instances": [good | {"close": 10**400}]}, "must be numbers"),
    "another spec": ({"instances": [good], "spec_hash": "x"}, "built for features"),
}


@pytest.mark.parametrize(("payload", "sentence"), V1_FAULTS.values(), ids=V1_FAULTS)
def test_a_faulty_v1_request_is_told_what_to_send(bundle, payload, sentence):
    with pytest.raises(InvalidInput) as raised:
        rows_of_instances(payload, bundle.manifest)
    assert sentence in str(raised.value)


def test_a_long_text_among_many_is_refused_before_memory_is_taken_for_it(bundle):
    texts = ["x" * 4_000_000] + ["y"] * (MAX_ROWS - 1)  # as an array of texts this would be 160 GB
    with pytest.raises(InvalidInput, match="null, text, booleans or lists"):
        rows_of(request_with(close=InferInput("close", [MAX_ROWS], "FP64", texts)), bundle.manifest)
