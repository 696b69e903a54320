"""Several processes that answer as one."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import grpc
import httpx
import psutil
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from cryptosentinel.config import StorageSettings
from serving import PredictorProcess, start_predictor
from tests.serving.builders import instances, make_rows
from tests.serving.conftest import MARKET
from tests.serving.processes import serve_folder, settings_for
from tests.serving.test_operations import MODEL, PREDICT, requests, scraped


@pytest.fixture(scope="module")
def pair(running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PredictorProcess]:
    """Two workers that follow the registry of `running`, but from a home of their own; they begin with version 1."""
    running.serve(1)
    home = tmp_path_factory.mktemp("pair")
    settings = settings_for(home, workers=2).model_copy(
        update={"storage": StorageSettings(uri=str(running.home / "store"))}
    )
    with start_predictor(settings, store_root=home, market=MARKET, log_path=home / "log") as process:
        yield process


def test_connections_opened_at_once_are_shared_out(pair):
    address = urlsplit(pair.url)
    workers = [psutil.Process(pid) for pid in workers_of(pair.process.pid)]
    before = [worker.num_fds() for worker in workers]
    taken = [0, 0]
    with ExitStack() as opened:
        for _ in range(40):
            opened.enter_context(socket.create_connection((address.hostname, address.port)))
        while sum(taken) < 40:
            taken = [worker.num_fds() - had for worker, had in zip(workers, before, strict=True)]
    assert min(taken) > 5


def test_every_worker_follows_the_champion_and_no_answer_mixes_two(running, pair):
    rows = make_rows(3)
    expected = {n: running.bundles[n].infer(rows.features, rows.close).predicted_price.tolist() for n in (1, 2)}
    assert expected[1] != expected[2]
    assert pair.state.pid == pair.process.pid
    workers = workers_of(pair.process.pid)
    assert len(workers) == 2
    for version in (2, 1):
        running.promote(version)
        seen: list[int] = []
        while seen[-20:] != [version] * 20:  # each on a connection of its own, so that both are asked
            answer = httpx.post(pair.url + PREDICT, json={"instances": instances(3)}, trust_env=False).json()
            seen.append(answer["bundle_version"])
            assert [row["predicted_price"] for row in answer["predictions"]] == expected[seen[-1]]
            assert len(seen) < 5000
    assert scraped(pair.url)["cryptosentinel_bundle_swaps_total", "ok"] == 2 * len(workers)
    running.client.wait_ready(20, 1)


def test_workers_count_together_and_one_that_dies_is_replaced(running, pair):
    ask = {"json": {"instances": instances(1)}, "trust_env": False, "timeout": 30}
    counts = [requests("v1", "ok"), ("cryptosentinel_forecast_rows_total",), ("request_predict_seconds_count", MODEL)]
    workers, before = workers_of(pair.process.pid), scraped(pair.url)
    assert {httpx.post(pair.url + PREDICT, **ask).status_code for _ in range(40)} == {200}
    for _ in range(5):  # whoever is asked
        samples = scraped(pair.url)
        assert [samples[count] - before.get(count, 0) for count in counts] == [40, 40, 40]
        assert samples["cryptosentinel_bundle_version",] == 1
        assert samples["cryptosentinel_requests_in_flight", "v1"] == 0
    os.kill(workers[0], signal.SIGKILL)
    wait_for_log(pair, "exit_code=-9")
    assert {httpx.post(pair.url + PREDICT, **ask).status_code for _ in range(10)} == {200}  # of the other
    wait_for_log(pair, "worker_ready", behind="exit_code=-9")
    assert len(set(workers_of(pair.process.pid)) - set(workers)) == 1
    assert scraped(pair.url)[requests("v1", "ok")] - before.get(requests("v1", "ok"), 0) == 50
    with grpc.insecure_channel(pair.grpc) as channel:
        assert (
            GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest(), wait_for_ready=True, timeout=30).live
        )
    pair.process.terminate()
    assert pair.process.wait(30) == 0


def wait_for_log(process: PredictorProcess, word: str, behind: str = "bundle") -> None:
    """Waits until its log says a word behind another one."""
    while word not in process.log_path.read_text().partition(behind)[2]:
        assert process.running
        time.sleep(0.05)


def test_workers_that_cannot_start_end_their_parent(bundle, tmp_path):
    child = serve_folder(tmp_path / "nowhere", tmp_path / "state.json", workers=2)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "is no bundle" in said
    assert not (tmp_path / "state.json").exists()


def workers_of(pid: int) -> list[int]:
    return sorted(process.pid for process in psutil.Process(pid).children())
