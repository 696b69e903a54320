"""What a real server process answers, asked by KServe's own clients."""

from __future__ import annotations

import json
import shutil
import threading
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from kserve.protocol.infer_type import RequestedOutput, to_http_parameters

from cryptosentinel.bundle import PROBABILITIES, Inference
from cryptosentinel.features import SCALE_FEATURE, compute_features
from serving.bars import VALUES
from serving.tensors import INTERVALS, request_of
from tests.serving import asking
from tests.serving.asking import NEED, as_bars, as_forecast, as_request, as_series, bars_of
from tests.serving.builders import COUNT, DATA_END, SPEC, instances, make_rows

MODEL = "cryptosentinel"


def ask_rest(running, request: InferRequest) -> Any:
    return asking.ask_rest(running.process.url, request)


def ask_grpc(running, request: InferRequest) -> Any:
    return asking.ask_grpc(running.process.grpc, request)


def get(running, path: str) -> httpx.Response:
    return httpx.get(running.process.url + path, trust_env=False)


def post(running, path: str, content: Any, **headers: str) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    sent = {"content-type": "application/json"} | headers
    return httpx.post(running.process.url + path, content=body, headers=sent, trust_env=False, timeout=20)


def assert_is(response: Any, inference: Inference, *, trained: bool = True) -> None:
    """Every field of the inference is in the response, and the flags: trained bundles of ours are too old."""
    outputs = {output.name: output.as_numpy() for output in response.outputs}
    expected = vars(inference) | {f"price_{name}": prices for name, prices in inference.by_model.items()}
    expected |= {name: getattr(inference, name) for name in INTERVALS}
    expected["stale"] = np.zeros(len(inference.log_return), dtype=np.bool_)
    expected["abstained"] = np.full(len(inference.log_return), trained)
    del expected["by_model"]
    assert outputs.keys() == expected.keys()
    for name, values in expected.items():
        if values.dtype.kind == "U":
            answered = [v.decode() if isinstance(v, bytes) else v for v in outputs[name]]
            assert answered == values.tolist(), name
        else:
            np.testing.assert_allclose(outputs[name], values, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("ask", [ask_rest, ask_grpc])
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("count", [1, 300])
def test_it_answers_what_the_bundle_infers(running, ask, version, count):
    bundle = running.serve(version)
    rows = make_rows(count)
    response = ask(running, request_of(rows, MODEL))
    assert_is(response, bundle.infer(rows.features, rows.close), trained=version > 0)
    parameters = to_http_parameters(response.parameters)
    assert ("forecast.max_model_age_days" in parameters.pop("abstention")) == (version > 0)
    assert parameters == {
        "bundle_version": version,
        "data_end": DATA_END.isoformat() if version else "",
        "champion": bundle.manifest.champion,
        "asset": "bitcoin",
        "currency": "usd",
        "interval": "5m",
        "horizon_bars": 6,
        "simulated": version == 0,
    }


@pytest.mark.parametrize("ask", [ask_rest, ask_grpc])
def test_binary_tensors_are_read_and_answered(running, ask):
    bundle = running.serve(1)
    rows = make_rows(3)
    request = request_of(rows, MODEL)
    for tensor, values in zip(request.inputs, (rows.close, rows.features), strict=True):
        tensor.set_data_from_numpy(values, binary_data=True)
    if ask is ask_rest:
        request.parameters |= {"binary_data_output": True}
    assert_is(ask(running, request), bundle.infer(rows.features, rows.close))


@pytest.mark.parametrize("ask", [ask_rest, ask_grpc])
def test_rows_that_are_not_warm_get_the_random_walk(running, ask):
    running.serve(1)
    rows = make_rows(3, warm=False)
    outputs = {output.name: output.as_numpy() for output in ask(running, request_of(rows, MODEL)).outputs}
    np.testing.assert_array_equal(outputs["predicted_price"], rows.close)
    assert {str(name, "utf-8") if isinstance(name, bytes) else name for name in outputs["champion"]} == {"random_walk"}
    assert (outputs["lower_95"] < outputs["lower_80"]).all()


@pytest.mark.parametrize("ask", [ask_rest, ask_grpc])
def test_outputs_may_be_chosen(running, ask):
    request = request_of(make_rows(1), MODEL)
    request.request_outputs = [RequestedOutput("direction"), RequestedOutput("p_up")]
    assert {output.name for output in ask(running, request).outputs} == {"direction", "p_up"}


def test_metadata_names_every_tensor(running):
    running.serve(1)
    metadata = get(running, f"/v2/models/{MODEL}").json()
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"] == [
        {"name": "close", "datatype": "FP64", "shape": [-1]},
        {"name": "features", "datatype": "FP64", "shape": [-1, COUNT]},
        {"name": SCALE_FEATURE, "datatype": "FP64", "shape": [-1]},
        {"name": "bar_timestamp", "datatype": "INT64", "shape": [-1]},
        *({"name": f"bar_{name}", "datatype": "FP64", "shape": [-1]} for name in VALUES),
    ]
    answered = ask_rest(running, request_of(make_rows(2), MODEL)).outputs
    assert [(t["name"], t["datatype"]) for t in metadata["outputs"]] == [(o.name, o.datatype) for o in answered]
    assert [[2, *t["shape"][1:]] for t in metadata["outputs"]] == [o.shape for o in answered]
    with grpc.insecure_channel(running.process.grpc) as channel:
        over_grpc = GRPCInferenceServiceStub(channel).ModelMetadata(pb.ModelMetadataRequest(name=MODEL))
    assert [t.name for t in over_grpc.outputs] == [t["name"] for t in metadata["outputs"]]
    assert list(over_grpc.inputs[1].shape) == [-1, COUNT]


def test_v1_answers_the_same(running):
    bundle = running.serve(1)
    rows = make_rows(2)
    answered = post(running, f"/v1/models/{MODEL}:predict", {"instances": instances(2)}).json()
    assert answered["bundle_version"] == 1
    inference = bundle.infer(rows.features, rows.close)
    assert [row["predicted_price"] for row in answered["predictions"]] == inference.predicted_price.tolist()
    assert [row["regime"] for row in answered["predictions"]] == inference.regime.tolist()
    assert [row["quantiles"] for row in answered["predictions"]] == inference.quantiles.tolist()
    assert answered["data_end"] == DATA_END.isoformat()


def test_bars_have_the_same_answer_over_every_protocol(running):
    bundle = running.serve(1)
    bars = bars_of(NEED + 20)
    expected = bundle.infer(
        compute_features(bars, SPEC)[SPEC.model_names].to_numpy()[-1:], bars["close"].to_numpy()[-1:]
    )
    binary = as_request(bars, binary_data_output=True)
    for tensor in binary.inputs:
        tensor.set_data_from_numpy(tensor.as_numpy(), binary_data=True)
    v2 = [ask_rest(running, as_request(bars)), ask_rest(running, binary), ask_grpc(running, as_request(bars))]
    raw = as_request(bars)
    for tensor in raw.inputs:
        tensor.set_data_from_numpy(tensor.as_numpy(), binary_data=True)
    v2.append(ask_grpc(running, raw))
    v1 = asking.ask_v1(running.process.url, {"bars": as_bars(bars), "interval": "5m"})
    body = as_forecast(as_series(bars), options={"horizon": 1, "quantiles": list(PROBABILITIES)})
    series = post(running, "/v1/timeseries/forecast", body).json()
    prediction, content = v1["predictions"][0], series["outputs"][0]["content"][0]
    assert list(content["quantiles"].values()) == [[value] for value in prediction["quantiles"]]
    for name, told in prediction.items():
        if name != "quantiles":
            assert content[name] == told, name
    for response in v2:
        parameters = to_http_parameters(response.parameters)
        assert parameters["made_at"] == prediction["made_at"] == "2025-01-08T00:00:00+00:00"
        assert parameters["target_at"] == prediction["target_at"] == "2025-01-08T00:30:00+00:00"
        assert parameters["abstention"] == v1["abstention"] == series["abstention"]
        for output in response.outputs:
            values = output.as_numpy().tolist()
            values = [value.decode() if isinstance(value, bytes) else value for value in values]
            told = prediction["by_model"] if output.name.startswith("price_") else prediction
            assert values == [told[output.name.removeprefix("price_")]], output.name
    assert prediction["predicted_price"] == pytest.approx(expected.predicted_price[0], rel=1e-9)
    assert (prediction["stale"], prediction["abstained"]) == (True, True)  # they are of 2025


def tensor(name: str, shape: list[int], data: Any, datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


CLOSE, SCALE = tensor("close", [1], [600.0]), tensor(SCALE_FEATURE, [1], [0.001])
REST_FAULTS: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"{", 400, "not of the V2 form"),
    "a NaN for the body": (b"NaN", 400, "not of the V2 form"),
    "no inputs": ({}, 400, "inputs"),
    "inputs are text": ({"inputs": "abc"}, 400, "inputs"),
    "an input without data": ({"inputs": [{"name": "close", "shape": [1], "datatype": "FP64"}]}, 400, "data"),
    "empty inputs": ({"inputs": []}, 400, "Send 'close'"),
    "NaN": ({"inputs": [tensor("close", [1], [float("nan")]), SCALE]}, 400, "positive price"),
    "an infinity": ({"inputs": [tensor("close", [1], [float("inf")]), SCALE]}, 400, "positive price"),
    "a negative price": ({"inputs": [tensor("close", [1], [-1.0]), SCALE]}, 400, "positive price"),
    "another datatype": ({"inputs": [tensor("close", [1], [1], "INT64"), SCALE]}, 400, "send FP64"),
    "a datatype that is none": ({"inputs": [tensor("close", [1], [1], "X"), SCALE]}, 400, "send FP64"),
    "a wrong shape": ({"inputs": [CLOSE, tensor("features", [1, 2], [0, 0])]}, 400, f"[rows, {COUNT}]"),
    "an unknown tensor": ({"inputs": [CLOSE, tensor("luck", [1], [7])]}, 400, "no input 'luck'"),
    "rows that differ": ({"inputs": [tensor("close", [2], [1, 1]), SCALE]}, 400, "as many of each"),
    "too many rows": ({"inputs": [tensor("close", [10_001], [1] * 10_001), SCALE]}, 400, "at most 10,000"),
    "an unknown output": ({"inputs": [CLOSE, SCALE], "outputs": [{"name": "moon"}]}, 400, "no output 'moon'"),
    "another spec": ({"inputs": [CLOSE, SCALE], "parameters": {"spec_hash": "abc"}}, 409, "built for features"),
    "no market's values": ({"inputs": [CLOSE, tensor(SCALE_FEATURE, [1], [1e6])]}, 400, "no finite forecast"),
}


@pytest.mark.parametrize(("body", "status", "sentence"), REST_FAULTS.values(), ids=REST_FAULTS)
def test_a_faulty_rest_request_is_told_what_to_send(running, body, status, sentence):
    answered = post(running, f"/v2/models/{MODEL}/infer", body, authorization="Bearer secret")
    assert answered.status_code == status
    assert sentence in answered.json()["error"]
    assert "Traceback" not in answered.text
    assert "secret" not in answered.text + str(answered.headers)


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"abc", {}),
        (b"abc", {"inference-header-content-length": "x"}),
        (b"{}", {"inference-header-content-length": "2"}),
        (
            b'{"inputs":[{"name":"close","shape":[2],"datatype":"FP64","parameters":{"binary_data_size":9}}]}123456789',
            {"inference-header-content-length": "95"},
        ),
    ],
    ids=["no header", "a header that is no number", "no inputs", "half a number"],
)
def test_faulty_binary_requests_are_the_clients_fault(running, content, headers):
    path = f"/v2/models/{MODEL}/infer"
    answered = post(running, path, content, **headers | {"content-type": "application/octet-stream"})
    assert answered.status_code == 400
    assert answered.json()["error"]


def test_an_unknown_model_is_not_found(running):
    assert post(running, "/v2/models/nobody/infer", {"inputs": [CLOSE, SCALE]}).status_code == 404
    assert get(running, "/v2/models/nobody/bundle").status_code == 404


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ([InferInput("close", [1], "FP64", [float("nan")]), InferInput(SCALE_FEATURE, [1], "FP64", [0.1])], "positive"),
        ([InferInput("close", [1], "FP64", [1.0])], "Send 'close'"),
        ([InferInput("close", [2], "FP64", [1.0]), InferInput(SCALE_FEATURE, [1], "FP64", [0.1])], "do not fill"),
    ],
    ids=["NaN", "an input missing", "fewer values than its shape"],
)
def test_a_faulty_grpc_request_is_told_what_to_send(running, inputs, sentence):
    with pytest.raises(grpc.RpcError) as raised:
        ask_grpc(running, InferRequest(MODEL, inputs))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert sentence in raised.value.details()


def test_nobody_can_unload_the_model_over_the_network(running):
    for verb in ("load", "unload"):
        assert post(running, f"/v2/repository/models/{MODEL}/{verb}", {}).status_code == 400
    with grpc.insecure_channel(running.process.grpc) as channel, pytest.raises(grpc.RpcError):
        GRPCInferenceServiceStub(channel).RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=MODEL))
    assert running.client.ready()


def test_a_champion_may_change_while_requests_run(running):
    running.serve(1)
    rows = make_rows(4)
    expected = {v: running.bundles[v].infer(rows.features, rows.close).predicted_price for v in (1, 2)}
    assert not np.array_equal(expected[1], expected[2])
    stop, failures, seen = threading.Event(), [], {1: 0, 2: 0}

    def ask() -> None:
        while not stop.is_set():
            try:
                answer = running.client.infer(rows)
                np.testing.assert_array_equal(answer.inference.predicted_price, expected[answer.bundle_version])
                seen[answer.bundle_version] += 1
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in (2, 1, 2, 1):
        running.serve(version)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(count > 10 for count in seen.values()), seen


def test_a_corrupt_champion_leaves_the_one_before_serving(running):
    running.serve(1)
    log = running.process.log_path
    begin = log.stat().st_size
    folder = shutil.copytree(running.bundles[2].path, running.home / "made" / "corrupt")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"horizon_bars": 6', '"horizon_bars": 7'))
    (folder / "quantiles.json").write_text("{}")
    corrupt = running.registry.register(folder, metrics={}, verdict="corrupt")
    running.promote(corrupt.version)
    for _ in range(100):
        said = log.read_text()[begin:]
        if "swap_failed" in said:
            break
        threading.Event().wait(0.1)
    assert "still_serving=1" in said
    assert "quantiles.json differs" in said
    assert running.client.info().bundle_version == 1
    running.serve(2)


def test_the_log_is_quiet_about_clients_faults(running):
    begin = running.process.log_path.stat().st_size
    post(running, f"/v2/models/{MODEL}/infer", {"inputs": []})
    with pytest.raises(grpc.RpcError):
        ask_grpc(running, InferRequest(MODEL, []))
    get(running, "/v2/models/nobody")
    assert running.process.log_path.read_text()[begin:] == ""


def test_features_of_the_spec_are_named_in_order(running):
    assert get(running, f"/v2/models/{MODEL}/bundle").json()["features"] == SPEC.model_names
