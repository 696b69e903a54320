"""What a release on a cluster does in its first hour, in the order in which it does so."""

from __future__ import annotations

import math

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as v2
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from manifests.kind.commands import ask, helm
from manifests.kind.pins import NAME
from manifests.kind.reporting import status
from manifests.kind.watching import objects
from tests.cluster.conftest import ADDRESSES, Kubeflow, wait_until
from tests.cluster.viewer import Page, look

pytestmark = pytest.mark.timeout(2 * 60 * 60)

# As docs/kubeflow.md has them.
SCHEDULES = {
    f"{NAME}-feature": "0 */5 * * * *",
    f"{NAME}-inference": "0 2-59/5 * * * *",
    f"{NAME}-training": "0 16,46 * * * *",
    f"{NAME}-upkeep": "0 34 * * * *",
}


def test_the_predictor_forecasts_from_minute_zero(predictor: httpx.Client) -> None:
    close = 50_000.0
    tensors = {"close": close, "realised_volatility_36": 0.001}
    body = {"inputs": [{"name": n, "shape": [1], "datatype": "FP64", "data": [v]} for n, v in tensors.items()]}
    answer = predictor.post("/infer", json=body).raise_for_status().json()
    outputs = {each["name"]: each["data"][0] for each in answer["outputs"]}
    assert 0 < outputs["lower_95"] < outputs["lower_80"] < outputs["predicted_price"] < outputs["upper_80"]
    assert math.isclose(outputs["predicted_price"], close, rel_tol=0.05)


def test_it_is_ready_over_grpc_too() -> None:
    with grpc.insecure_channel(ADDRESSES["Forecasts (gRPC)"]) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelReady(v2.ModelReadyRequest(name=NAME), timeout=30)
    assert answer.ready


def test_a_forecast_is_explained_inside_the_cluster() -> None:
    said = ask(helm("test", NAME, "--namespace", NAME, "--logs", "--timeout", "5m"), timeout_s=330)
    assert "ok: V2 forecast" in said
    assert "ok: explanation by bundle" in said


def test_kubeflow_has_each_schedule_once(kubeflow: Kubeflow) -> None:
    names = kubeflow.pipelines()
    enabled = [
        (names.get(each["pipeline_version_reference"]["pipeline_id"]), each["trigger"]["cron_schedule"]["cron"])
        for each in kubeflow.ours("recurringruns", "recurringRuns")
        if each["status"] == "ENABLED"
    ]
    assert sorted(enabled) == sorted(SCHEDULES.items())


@pytest.mark.parametrize(
    ("pipeline", "minutes"), [("feature", 20), ("inference", 25), ("training", 90), ("upkeep", 70)]
)
def test_a_scheduled_run_of_each_pipeline_succeeds(kubeflow: Kubeflow, pipeline: str, minutes: float) -> None:
    def succeeded() -> str | None:
        states = {name: state for of, state, name in kubeflow.runs() if of == f"{NAME}-{pipeline}"}
        return next((name for name, state in states.items() if state == "SUCCEEDED"), None)

    wait_until(f"a run of the {pipeline} pipeline", succeeded, minutes=minutes)


def test_what_serves_comes_from_the_registry(predictor: httpx.Client) -> None:
    (service,) = objects("inferenceservices.serving.kserve.io", NAME)
    assert service["spec"]["predictor"]["model"]["storageUri"].startswith("s3://mlpipeline/cryptosentinel-e2e/")
    assert predictor.get("/bundle").raise_for_status().json()["simulated"]  # the bundle in the image is not


def test_the_first_forecast_is_settled_and_the_dashboard_shows_it() -> None:
    def settled() -> Page | None:
        page = look(ADDRESSES["Dashboard"])
        return page if int(page.figures.get("Settled", "0").replace(",", "")) else None

    page = wait_until("the first settled forecast", settled, minutes=75)
    assert any("SIMULATED" in badge for badge in page.badges)
    assert page.wrong == []
    assert any(label.startswith("Price, ") for label in page.figures)


def test_no_run_has_failed_meanwhile(kubeflow: Kubeflow) -> None:
    assert [name for _, state, name in kubeflow.runs() if state == "FAILED"] == []


def test_all_is_well_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    well = status()
    assert well, capsys.readouterr().out
