"""Loading and unloading over the network, where it is switched on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from cryptosentinel.config import load_settings
from cryptosentinel.errors import SettingsError
from serving.state import PredictorState
from tests.serving.asking import MODEL, as_forecast, as_series, ask_grpc, bars_of
from tests.serving.builders import instances
from tests.serving.faults import CLOSE, SCALE, in_v2
from tests.serving.processes import serve_folder, wait_for_line

BODIES = {
    f"/v1/models/{MODEL}:predict": {"instances": instances(1)},
    f"/v2/models/{MODEL}/infer": in_v2(CLOSE, SCALE).v2.to_rest()[0],
    "/v1/timeseries/forecast": as_forecast(as_series(bars_of())),
}
GRPC = in_v2(CLOSE, SCALE).grpc


class Server(NamedTuple):
    url: str
    grpc: str
    bundle: Path

    def ask(self, verb: str, path: str, body: object = None) -> httpx.Response:
        return httpx.request(verb, self.url + path, json=body, trust_env=False, timeout=20)

    def repository(self, verb: str, name: str = MODEL) -> httpx.Response:
        return self.ask("POST", f"/v2/repository/models/{name}/{verb}")

    def statuses(self) -> list[int]:
        answers = [self.ask("POST", path, body) for path, body in BODIES.items()]
        answers += [self.ask("GET", f"/v2/models/{MODEL}/{path}") for path in ("ready", "bundle")]
        return [answer.status_code for answer in answers]


@pytest.fixture(scope="module")
def server(bundle, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("repository")
    copy, file = shutil.copytree(bundle, folder / "bundle"), folder / "state.json"
    child = serve_folder(copy, file, repository_api=True)
    wait_for_line(child, "grpc")
    state = PredictorState.model_validate_json(file.read_text())
    yield Server(state.url, state.grpc, copy)
    child.terminate()
    child.communicate()


def test_what_is_unloaded_answers_nothing_until_it_is_loaded_again(server):
    assert server.statuses() == [200] * 5
    answer = server.repository("unload")
    assert (answer.status_code, answer.json()) == (200, {"name": MODEL, "unload": True})
    assert server.statuses() == [503] * 5
    with pytest.raises(grpc.RpcError) as raised:
        ask_grpc(server.grpc, GRPC)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert server.ask("GET", "/v2/health/live").status_code == 200
    assert server.ask("GET", "/metrics").status_code == 200
    answer = server.repository("load")
    assert (answer.status_code, answer.json()) == (200, {"name": MODEL, "load": True})
    assert server.statuses() == [200] * 5


def test_it_is_the_same_over_grpc(server):
    with grpc.insecure_channel(server.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        unloaded = stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=MODEL))
        assert (unloaded.model_name, unloaded.isUnloaded) == (MODEL, True)
        assert not stub.ModelReady(pb.ModelReadyRequest(name=MODEL)).ready
        loaded = stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=MODEL))
        assert (loaded.model_name, loaded.isLoaded) == (MODEL, True)
        assert stub.ModelReady(pb.ModelReadyRequest(name=MODEL)).ready
        with pytest.raises(grpc.RpcError) as raised:
            stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="nobody"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_another_model_is_not_found(server, verb):
    assert server.repository(verb, "nobody").status_code == 404
    assert server.statuses() == [200] * 5


def test_several_workers_cannot_be_told_together():
    with pytest.raises(SettingsError, match=r"serving\.repository_api.*several workers"):
        load_settings(environ={}, overrides={"serving.workers": 2, "serving.repository_api": True})


def test_a_damaged_bundle_is_not_loaded_and_the_one_before_stays(server):
    table = server.bundle / "quantiles.json"
    good = table.read_bytes()
    table.write_text("{}")
    answer = server.repository("load")
    assert answer.status_code == 503
    assert "cannot be loaded" in answer.json()["error"]
    assert str(server.bundle) not in answer.text
    assert server.statuses() == [200] * 5
    table.write_bytes(good)
    assert server.repository("load").status_code == 200
