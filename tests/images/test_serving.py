"""Predictor and explainer as two containers of a pod: one network, one bundle, nothing to write to but /tmp."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np
import pytest

from cryptosentinel.bundle import BLEND, Bundle
from tests.forecasting.builders import evaluate_parts, make_bundle, make_dataset, make_settings, train_all
from tests.images.containers import PATIENCE_S, Container, asking, docker, receive, running, send, wait_for
from tests.serving.builders import SPEC

CLOSE = 50_000.0
PREDICT, EXPLAIN = (f"/v1/models/cryptosentinel:{verb}" for verb in ("predict", "explain"))
EXPLAIN_TIMEOUT_S = 10.0  # serving.explain_timeout_s
BUNDLES = ("--bundle", "/mnt/models", "--bundle", "/opt/random-walk")


@dataclass
class Pod:
    image: str
    predictor: Container
    explainer: Container

    def ask(self, path: str, body: object = None) -> dict[str, Any]:
        with asking(self.image, self.predictor) as asker:
            send(asker, path, body)
            answer = receive(asker)
        assert answer["status"] == 200, answer
        return json.loads(answer["body"])


@contextmanager
def pod_of(image: str, bundle: Path) -> Iterator[Pod]:
    for path in (bundle, *bundle.rglob("*")):  # as the storage initialiser leaves them: for everybody to read
        path.chmod(0o755 if path.is_dir() else 0o644)
    volume = ("--volume", f"{bundle}:/mnt/models:ro")
    with running(image, options=("--network", "none", *volume)) as predictor:
        network = ("--network", f"container:{predictor.id}")
        command = ("python", "-m", "serving.explainer", *BUNDLES, "--log-format", "json")
        with running(image, *command, options=(*network, *volume)) as explainer:
            predictor.line("ready")
            explainer.line("loaded")
            yield Pod(image, predictor, explainer)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """Trained on noise as the pipelines train, with every candidate; its forecast is half of its blend all the same."""
    rows, settings, folder = make_dataset(), make_settings(), tmp_path_factory.mktemp("trained")
    parts = train_all(rows, folder / "parts", settings)
    bundle = make_bundle(folder / "bundle", parts, evaluate_parts(parts, rows, settings), settings)
    manifest = bundle.manifest.model_copy(update={"champion": BLEND, "shrinkage": 0.5})
    (bundle.path / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return Bundle.load(bundle.path)


@pytest.fixture(scope="module")
def pod(image, bundle) -> Iterator[Pod]:
    with pod_of(image("serving"), bundle.path) as pod:
        yield pod


@pytest.fixture(scope="module")
def row() -> np.ndarray:
    return make_dataset().X[-1].astype(np.float64)


@pytest.fixture
def body(row) -> dict[str, Any]:
    return {"instances": [{"close": CLOSE, "features": dict(zip(SPEC.model_names, row.tolist(), strict=True))}]}


def test_the_predictor_is_ready_soon_after_its_container_starts(pod, bundle):
    """The best of three starts: what else the machine does, and an image that is not in memory yet, only add."""
    seconds = []
    for _ in range(3):
        with running(
            pod.image, options=("--network", "none", "--volume", f"{bundle.path}:/mnt/models:ro")
        ) as predictor:
            ready = datetime.fromisoformat(predictor.line("ready")["time"])
            seconds.append((ready - predictor.began).total_seconds())
    print("ready after " + ", ".join(f"{each:.1f} s" for each in seconds))
    assert min(seconds) < 10


def test_it_answers_what_the_bundle_answers_over_v1_and_v2(pod, bundle, row, body):
    expected = bundle.infer(row[None, :], np.array([CLOSE])).predicted_price[0]
    (prediction,) = pod.ask(PREDICT, body)["predictions"]
    tensors = [
        {"name": "close", "shape": [1], "datatype": "FP64", "data": [CLOSE]},
        {"name": "features", "shape": [1, len(row)], "datatype": "FP64", "data": row.tolist()},
    ]
    answer = pod.ask("/v2/models/cryptosentinel/infer", {"inputs": tensors})
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert [prediction["predicted_price"], *outputs["predicted_price"]] == pytest.approx([expected] * 2, abs=1e-6)


def test_it_answers_over_grpc(pod):
    code = (
        "import asyncio; from kserve import InferenceGRPCClient\n"
        "async def ask():\n"
        "    client = InferenceGRPCClient('127.0.0.1:8081')\n"
        "    print(await client.is_model_ready('cryptosentinel'))\n"
        "asyncio.run(ask())"
    )
    assert pod.predictor.python(code).splitlines()[-1] == "True"


@pytest.mark.parametrize("lime", [False, True])
def test_an_explanation_adds_up_to_the_forecast(pod, body, lime):
    (prediction,) = pod.ask(PREDICT, body)["predictions"]
    (explanation,) = pod.ask(EXPLAIN, body | {"lime": lime})["explanations"]
    target = explanation["targets"]["forecast"]
    assert abs(target["base"] + sum(target["contributions"].values()) - prediction["log_return"]) < 1e-6
    assert (explanation["lime"] is None) is not lime


def workers(explainer: Container) -> list[int]:
    return json.loads(explainer.python("import psutil; print([p.pid for p in psutil.Process(1).children()])"))


def test_forecasts_go_on_while_the_explainers_worker_is_killed_and_the_container_never_exits(pod, body):
    began = pod.explainer.state
    answers: list[dict[str, Any]] = []

    def until(what: str, path: str, status: int) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            answers.append(receive(load))
            if (answers[-1]["path"], answers[-1]["status"]) == (path, status):
                return answers[-1]
        raise AssertionError(f"never {what}")

    with asking(pod.image, pod.predictor, "load") as load:
        send(load, PREDICT, body)
        for _ in range(2):
            send(load, EXPLAIN, body | {"lime": True})
        away = []
        for _ in range(2):
            until("explained", EXPLAIN, 200)
            (worker,) = workers(pod.explainer)
            killed_at = time.time()
            pod.explainer.python(f"import os, signal; os.kill({worker}, signal.SIGKILL)")
            until("refused", EXPLAIN, 503)
            away.append(until("explained again", EXPLAIN, 200)["began"] - killed_at)
            (started,) = wait_for("started again", lambda: workers(pod.explainer))
            assert started != worker
    forecasts = [answer for answer in answers if answer["path"] == PREDICT]
    explanations = [answer for answer in answers if answer["path"] == EXPLAIN]
    assert {answer["status"] for answer in forecasts} == {200}
    assert {answer["status"] for answer in explanations} == {200, 503}
    assert max(answer["seconds"] for answer in explanations) < EXPLAIN_TIMEOUT_S + 1
    ended = pod.explainer.state
    assert (ended["Running"], ended["Pid"], ended["StartedAt"]) == (True, began["Pid"], began["StartedAt"])
    times = [answer["seconds"] * 1e3 for answer in forecasts]
    refused = [answer["seconds"] for answer in explanations if answer["status"] == 503]
    print(
        f"{len(times)} forecasts, p99 {quantiles(times, n=100)[-1]:.0f} ms, slowest {max(times):.0f} ms; "
        f"{len(refused)} refusals, slowest {max(refused):.2f} s; explained again after "
        + ", ".join(f"{seconds:.1f} s" for seconds in away)
    )


def test_without_a_bundle_both_have_the_random_walk_of_the_image(image, tmp_path, body):
    with pod_of(image("serving"), tmp_path) as pod:
        (prediction,) = pod.ask(PREDICT, body)["predictions"]
        answer = pod.ask(EXPLAIN, body)
    assert prediction["predicted_price"] == CLOSE
    assert (answer["bundle_version"], answer["explanations"][0]["champion"]) == (0, "random_walk")


def test_told_to_end_under_load_both_end_in_time_and_every_request_is_answered(image, bundle, body):
    with pod_of(image("serving"), bundle.path) as pod, asking(pod.image, pod.predictor, "load") as load:
        send(load, PREDICT, body)
        answers = [receive(load) for _ in range(50)]
        assert pod.explainer.end()[0] == 0
        code, seconds = pod.predictor.end()
        assert (code, seconds < 15) == (0, True)
        answers += [json.loads(line) for line in load.communicate()[0].splitlines()]
    statuses = [answer["status"] for answer in answers]
    # Once it has gone there is nobody to connect to; the first may have been left in the queue of those to be accepted.
    gone = statuses.index(0)
    assert set(statuses[:gone]) == {200}
    errors = [answer["body"].partition("(")[0] for answer in answers[gone:]]
    assert errors[0] in {"ConnectError", "ReadError"}
    assert set(errors[1:]) <= {"ConnectError"}


def status_of(container: Container) -> dict[str, str]:
    return dict(line.split(":", 1) for line in docker("exec", container.id, "cat", "/proc/1/status").splitlines())


def test_told_to_end_while_it_starts_it_ends(image):
    with running(image("serving")) as predictor:
        # As every container's first process it does not notice before it has asked to: in its first tenths of a second.
        wait_for("asked", lambda: int(status_of(predictor)["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)
        assert not any(said["message"] == "ready" for said in predictor.said())
        code, seconds = predictor.end()
    assert (code, seconds < 10) == (0, True)


def test_what_is_no_bundle_is_refused_with_a_sentence(image, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    tmp_path.chmod(0o755)
    with running(
        image("serving"), options=("--network", "none", "--volume", f"{tmp_path}:/mnt/models:ro")
    ) as predictor:
        wait_for("ended", lambda: not predictor.state["Running"])
        (said,) = predictor.said()
    assert (said["level"], "manifest" in said["error"]) == ("error", True)
