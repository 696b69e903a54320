"""Most gRPC requests take a lane of their own, and get the answer that the way of all requests gives."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from serving._kserve import ModelInferRequest, ModelInferResponse
from serving.predictor import ForecastModel
from serving.tensors import request_of
from serving.v2_requests import request_of_message
from tests.serving.asking import MODEL, make_model
from tests.serving.builders import NOW, SCALE_COLUMN, make_rows

LATE = NOW + timedelta(days=400)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[datetime, ForecastModel]:
    folder = tmp_path_factory.mktemp("bundles")
    return {now: make_model(folder / str(number), now=now) for number, now in enumerate((NOW, LATE))}


@pytest.fixture
def model(models) -> ForecastModel:
    return models[NOW]


def make_message(seed: int = 0, count: int = 1, factor: float = 1.0, *, warm: bool = True) -> ModelInferRequest:
    rows = make_rows(count, seed=seed, warm=warm)
    if rows.features is not None:
        rows.features[:, :SCALE_COLUMN] *= factor
    request = request_of(rows, MODEL)
    request.id = f"request {seed}"
    return request.to_grpc()


def on_the_way_of_all(model: ForecastModel, message: ModelInferRequest) -> ModelInferResponse:
    return asyncio.run(model.predict(request_of_message(message))).to_grpc()


@pytest.mark.parametrize("now", [NOW, LATE], ids=["in time", "expired"])
@pytest.mark.parametrize("factor", [1.0, 40.0], ids=["ordinary", "outlying"])
def test_a_row_gets_the_answer_of_the_way_of_all_to_the_last_bit(models, now, factor):
    for seed in range(20):
        message = make_message(seed, factor=factor)
        answer = ModelInferResponse.FromString(asyncio.run(models[now].answer_row(message)))
        assert answer == on_the_way_of_all(models[now], message)
        flags = {
            output.name: output.contents.bool_contents[0] for output in answer.outputs if output.datatype == "BOOL"
        }
        assert flags == {"outlying": factor > 1, "abstained": now == LATE, "stale": False}


def test_rows_of_one_moment_are_answered_together_and_each_gets_its_own(model, monkeypatch):
    monkeypatch.setattr("serving.batching.TRIED_EVERY", 1)  # the first waits for others
    messages = [make_message(seed) for seed in range(5)]

    async def ask() -> list[bytes | None]:
        return await asyncio.gather(*map(model.answer_row, messages))

    answers = [ModelInferResponse.FromString(answer) for answer in asyncio.run(ask())]
    monkeypatch.undo()
    assert answers == [on_the_way_of_all(model, message) for message in messages]


def test_without_the_spec_s_hash_or_an_id_a_row_is_answered_as_well(model):
    message = make_message()
    message.ClearField("parameters")
    message.ClearField("id")
    answer = ModelInferResponse.FromString(asyncio.run(model.answer_row(message)))
    assert len(answer.id) == 36
    assert answer.outputs == on_the_way_of_all(model, make_message()).outputs


def _of(message: ModelInferRequest, name: str) -> Any:
    return next(tensor for tensor in message.inputs if tensor.name == name)


def _value(name: str, value: float, at: int = 0) -> Any:
    def change(message: ModelInferRequest) -> None:
        _of(message, name).contents.fp64_contents[at] = value

    return change


def _raw(message: ModelInferRequest) -> None:
    for tensor in message.inputs:
        message.raw_input_contents.append(np.array(tensor.contents.fp64_contents).tobytes())
        tensor.ClearField("contents")


CHANGES = {
    "another spec": lambda message: setattr(message.parameters["spec_hash"], "string_param", "other"),
    "more parameters": lambda message: setattr(message.parameters["more"], "int64_param", 1),
    "some outputs": lambda message: message.outputs.add(name="p_up"),
    "raw tensors": _raw,
    "a tensor twice": lambda message: message.inputs.append(_of(message, "close")),
    "another name": lambda message: setattr(_of(message, "close"), "name", "closes"),
    "another datatype": lambda message: setattr(_of(message, "features"), "datatype", "FP32"),
    "another shape": lambda message: _of(message, "features").shape.append(1),
    "a value more": lambda message: _of(message, "features").contents.fp64_contents.append(1.0),
    "no price": _value("close", 0.0),
    "an endless price": _value("close", np.inf),
    "a NaN": _value("features", np.nan, 7),
    "an infinity": _value("features", -np.inf, 7),
    "more than single precision holds": _value("features", 1e39, 7),
    "a negative scale": _value("features", -0.001, SCALE_COLUMN),
    "no finite forecast": _value("features", 1e38, SCALE_COLUMN),
}


@pytest.mark.filterwarnings("ignore:overflow")  # a server says it once for all requests
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_of_another_form_or_wrong_goes_the_way_of_all(model, change):
    message = make_message()
    change(message)
    assert asyncio.run(model.answer_row(message)) is None


@pytest.mark.parametrize("asked", [{"count": 2}, {"warm": False}], ids=["two rows", "a row without features"])
def test_so_do_other_rows(model, asked):
    assert asyncio.run(model.answer_row(make_message(**asked))) is None
