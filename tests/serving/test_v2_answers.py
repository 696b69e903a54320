"""Answers written from arrays are those that KServe's own classes write, value by value."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cryptosentinel.predicting import answer_with
from serving._kserve import InferOutput, InferResponse, RequestedOutput
from serving.tensors import request_of
from serving.v2 import V2Form
from serving.v2_answers import ArrayResponse
from tests.serving.builders import make_reply, make_rows, make_trained

WANTED = {"all": None, "some, in another order": ["price_ridge", "regime", "quantiles", "stale"], "texts": ["champion"]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_trained(tmp_path_factory.mktemp("bundle") / "trained")


def response(form: V2Form, bundle: Any, rows: int, wanted: list[str] | None, *, raw: bool = False) -> ArrayResponse:
    request = request_of(make_rows(rows, seed=rows), "m")
    request.request_outputs = [RequestedOutput(name) for name in wanted] if wanted else None
    if raw:
        request.from_grpc = request._use_raw_outputs = True
    return form.response(request, make_reply(answer_with(bundle, 7, make_rows(rows, seed=rows))))


def as_kserve_writes(answered: ArrayResponse) -> InferResponse:
    outputs = [
        InferOutput(told.name, list(told.data.shape), told.datatype, told.data.ravel().tolist())
        for told in answered.outputs
    ]
    return InferResponse(
        answered.id, answered.model_name, outputs, answered.model_version, parameters=answered.parameters
    )


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
def test_a_grpc_answer_is_kserve_s(bundle, wanted):
    form = V2Form(bundle.manifest)
    for rows in (1, 3, 1):  # what answers have in common is remembered
        answered = response(form, bundle, rows, wanted)
        assert answered.to_grpc() == as_kserve_writes(answered).to_grpc()


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
def test_a_raw_grpc_answer_holds_the_same(bundle, wanted):
    answered = response(V2Form(bundle.manifest), bundle, 3, wanted, raw=True)
    arrived = InferResponse.from_grpc(answered.to_grpc())
    assert answered.to_grpc().raw_output_contents
    assert [(o.name, o.shape, o.datatype) for o in arrived.outputs] == [
        (o.name, o.shape, o.datatype) for o in answered.outputs
    ]
    for output, sent in zip(arrived.outputs, answered.outputs, strict=True):
        np.testing.assert_array_equal(output.as_numpy().astype(sent.data.dtype), sent.data)


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
def test_a_json_answer_is_kserve_s(bundle, wanted):
    answered = response(V2Form(bundle.manifest), bundle, 2, wanted)
    ours, theirs = (json.loads(json.dumps(each.to_rest()[0])) for each in (answered, as_kserve_writes(answered)))
    for output in ours["outputs"]:
        output["data"] = np.ravel(output["data"]).tolist()
    for output in theirs["outputs"]:
        output.pop("parameters", None)
    assert ours == theirs


def test_answers_of_two_bundles_and_of_two_moments_do_not_mix(bundle):
    form = V2Form(bundle.manifest)
    answers = [answer_with(bundle, version, make_rows(1)) for version in (7, 8)]
    replies = [replace(make_reply(answer), abstention=why) for answer in answers for why in ("", "too old")]
    for reply in (*replies, *replies):
        message = form.response(request_of(make_rows(1), "m"), reply).to_grpc()
        assert message.parameters["abstention"].string_param == reply.abstention
        assert message.parameters["bundle_version"].int64_param == reply.answer.bundle_version
        assert message.model_version == str(reply.answer.bundle_version)
