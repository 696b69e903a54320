"""A predictor and its explainer as real processes, with a bundle that was trained as the pipelines train."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import pytest

from cryptosentinel.bundle import BLEND, Bundle
from cryptosentinel.config import ServingSettings, StorageSettings
from cryptosentinel.forecasting import part_names
from cryptosentinel.predicting import Rows
from cryptosentinel.storage import ModelRegistry, open_storage
from dashboard.explaining import Explained, Unexplained, explain
from serving import ServedPredictor, commands, start_predictor
from serving.explainer.process import ExplainerProcess, start_explainer, with_explainer
from tests.forecasting.builders import evaluate_parts, make_bundle, make_dataset, make_settings
from tests.serving.builders import SCALE_COLUMN, SPEC, make_random_walk
from tests.serving.conftest import MARKET, settings_for

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 120.0


@dataclass
class Both:
    """A predictor that follows a registry, and the explainer beside it; version 0 is the random walk, 1 is trained."""

    url: str
    explainer_url: str
    explainer: ExplainerProcess
    registry: ModelRegistry
    body: dict[str, Any]
    http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=30))

    def ask(self, verb: str, body: object = None, **headers: str) -> httpx.Response:
        path = f"{self.url}/v1/models/cryptosentinel:{verb}"
        return self.http.post(path, json=self.body if body is None else body, headers=headers)

    def explained(self, **more: Any) -> dict[str, Any]:
        """The answer, once there is one; until then it is refused as it should be."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            answer = self.ask("explain", self.body | more)
            if answer.status_code == 200:
                return answer.json()
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            time.sleep(0.1)
        raise AssertionError(f"never explained: {answer.text}")

    def worker(self) -> psutil.Process:
        (worker,) = psutil.Process(self.explainer.process.pid).children()
        return worker


def make_loud(folder: Path, parts: list[Path]) -> Bundle:
    """A bundle whose forecast is half of its blend, though it has learnt from noise; of candidates soon explained."""
    settings = make_settings(candidates="random_walk,ridge,xgboost")
    parts = [part for part in parts if part.name in part_names(settings.training)]
    bundle = make_bundle(folder, parts, evaluate_parts(parts, make_dataset(), settings), settings)
    manifest = bundle.manifest.model_copy(update={"champion": BLEND, "shrinkage": 0.5})
    (bundle.path / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return Bundle.load(bundle.path)


@pytest.fixture(scope="module")
def both(noise_parts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    home = tmp_path_factory.mktemp("home")
    registry = open_storage(StorageSettings(), root=home, market=MARKET).registry
    for bundle in (make_random_walk(home / "walk"), make_loud(home / "trained", noise_parts)):
        registry.register(bundle.path, metrics={}, verdict="for a test")
    rows = make_dataset()
    row = dict(zip(SPEC.model_names, rows.X[-1].tolist(), strict=True))
    settings = with_explainer(settings_for(home, explainer_port=0, explain_timeout_s=5))
    explainer_url = settings.serving.explainer_url
    assert explainer_url is not None
    with (
        start_explainer(settings, store_root=home, log_path=home / "logs" / "explainer.log") as explainer,
        start_predictor(settings, store_root=home, market=MARKET, log_path=home / "logs" / "predictor.log") as process,
    ):
        body = {"instances": [{"close": 50_000.0, "features": row}]}
        yield Both(process.url, explainer_url, explainer, registry, body)


def test_a_forecast_does_not_wait_for_the_explainer(both):
    assert both.ask("predict").status_code == 200


def test_the_random_walk_is_explained_too(both):
    answer = both.explained()
    assert answer["bundle_version"] == 0
    assert answer["explanations"][0]["targets"]["forecast"]["value"] == 0
    assert "stays at" in answer["sentence"][0]


def test_the_champion_is_explained_once_it_is_served(both):
    both.explained()
    both.registry.promote(1, expected=0)
    while both.ask("predict").json()["bundle_version"] != 1:
        time.sleep(0.05)
    assert both.explained()["bundle_version"] == 1
    ready = httpx.get(f"{both.explainer_url}/readyz", trust_env=False)
    assert (ready.status_code, ready.json()["bundle_version"]) == (200, 1)


def helm_test(url: str, model: str) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "charts" / "cryptosentinel" / "files" / "smoke.py"
    return subprocess.run(
        [sys.executable, str(script), url, model, str(PATIENCE_S)], capture_output=True, text=True, check=False
    )


def test_the_chart_s_helm_test_is_content_with_it(both):
    done = helm_test(both.url, "cryptosentinel")
    assert done.returncode == 0, done.stderr
    assert [line.partition(" by")[0].partition(" forecast")[0] for line in done.stdout.splitlines()] == [
        "ok: V2",
        "ok: explanation",
    ]


def test_the_chart_s_helm_test_fails_where_the_model_is_not_there(both):
    done = helm_test(both.url, "another")
    assert (done.returncode, done.stdout) == (1, "")
    assert "FAILED" in done.stderr


@pytest.mark.parametrize("lime", [False, True])
def test_an_explanation_adds_up_to_the_forecast_and_is_the_same_twice(both, lime):
    first = both.explained(lime=lime)
    assert both.explained(lime=lime) == first
    forecast = both.ask("predict").json()["predictions"][0]
    explanation = first["explanations"][0]
    target = explanation["targets"]["forecast"]
    total = target["base"] + sum(target["contributions"].values())
    assert abs(total - forecast["log_return"]) < 1e-6
    in_price = target["price_base"] + sum(target["price_contributions"].values())
    assert in_price == pytest.approx(forecast["predicted_price"] - 50_000, abs=1e-6)
    assert (explanation["lime"] is None) is not lime


def test_several_rows_are_explained_in_order(both):
    closes = [50_000.0 + row for row in range(16)]
    instances = [both.body["instances"][0] | {"close": close} for close in closes]
    answer = both.explained(instances=instances)
    assert [explanation["close"] for explanation in answer["explanations"]] == closes
    assert len(answer["sentence"]) == 16


def test_the_client_has_the_same_explanation(both):
    told = both.explained(lime=True)
    (instance,) = both.body["instances"]
    features = np.array([list(instance["features"].values())])
    rows = Rows(np.array([instance["close"]]), features[:, SCALE_COLUMN], features, SPEC.hash)
    with ServedPredictor(both.url, "cryptosentinel", explain_timeout_s=PATIENCE_S) as client:
        explained = client.explain(rows, lime=True)
    assert [each.model_dump(mode="json") for each in explained.explanations] == told["explanations"]
    assert (explained.sentence, explained.bundle_version) == (told["sentence"], told["bundle_version"])


def test_the_dashboard_has_the_same_explanation(both):
    both.explained()
    instances = both.body["instances"]
    answer = explain(ServingSettings(url=both.url), instances, SPEC.hash)
    assert isinstance(answer, Explained)
    assert answer.model_dump(mode="json") == both.explained()
    refused = explain(ServingSettings(url=both.url), instances, "0" * 64)
    assert isinstance(refused, Unexplained)
    assert refused.why == "other_bundle"


def test_no_header_of_a_request_is_answered(both):
    both.explained()
    answer = both.ask("explain", **{"authorization": "Bearer secret", "x-mine": "secret", "cookie": "a=secret"})
    assert answer.status_code == 200
    assert "secret" not in str(answer.headers)
    assert not {"authorization", "x-mine", "cookie", "user-agent", "host"} & answer.headers.keys()


@pytest.mark.parametrize(
    "body",
    [{}, {"instances": []}, {"instances": [1]}, {"bars": []}, {"instances": [{"close": 1.0, "features": {}}]}],
    ids=str,
)
def test_a_bad_request_is_refused_as_one_for_a_forecast(both, body):
    explain, predict = both.ask("explain", body), both.ask("predict", body)
    assert (explain.status_code, explain.json()) == (predict.status_code, predict.json())
    assert 400 <= explain.status_code < 500


@contextmanager
def asking(ask: Callable[[], httpx.Response]) -> Iterator[list[httpx.Response]]:
    """Keeps asking in a thread; gives what was answered."""
    answers, stop = [], threading.Event()

    def loop() -> None:
        while not stop.wait(0.02):  # without a pause it would take from whoever is to start
            answers.append(ask())

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def test_forecasts_go_on_while_the_worker_is_killed_and_started_again(both):
    both.explained()
    with (
        asking(lambda: both.ask("predict")) as forecasts,
        asking(lambda: both.ask("explain", both.body | {"lime": True})) as explanations,
    ):
        before = len(explanations)
        killed = both.worker()
        killed.kill()
        while not any(answer.status_code == 503 for answer in explanations[before:]):
            time.sleep(0.02)
        forecasts_before = len(forecasts)
        while explanations[-1].status_code != 200:
            time.sleep(0.02)
        assert len(forecasts) > forecasts_before
        assert both.worker().pid != killed.pid
    assert {answer.status_code for answer in forecasts} == {200}
    assert {answer.status_code for answer in explanations} == {200, 503}
    assert both.explainer.running


def test_it_ends_when_the_process_that_started_it_is_gone(tmp_path):
    make_random_walk(tmp_path / "bundle")
    script = (
        "import sys; from pathlib import Path; from cryptosentinel.config import load_settings;"
        "from serving.explainer.process import start_explainer, with_explainer;"
        "settings = with_explainer(load_settings(environ={}, overrides={'serving.explainer_port': 0}));"
        "folder = Path(sys.argv[1]); started = start_explainer(settings, bundle=folder, log_path=folder / 'log');"
        "print(started.process.pid)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "bundle")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    deadline = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(done.stdout))


def port_of(settings) -> int | None:
    return urlsplit(settings.serving.explainer_url).port


def test_its_port_is_the_one_that_was_named_or_else_one_that_is_free(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        assert port_of(with_explainer(settings_for(tmp_path, explainer_port=number))) == number
        usual = settings_for(tmp_path)
        unnamed = usual.serving.model_construct(usual.serving.model_fields_set, explainer_port=number)
        assert port_of(with_explainer(usual.model_copy(update={"serving": unnamed}))) not in {number, 0}
    assert port_of(with_explainer(settings_for(tmp_path, explainer_port=0))) not in {None, 0}


@pytest.mark.parametrize("named", [None, "http://elsewhere:1"])
@pytest.mark.parametrize("wanted", [True, False])
def test_serve_starts_one_where_it_is_wanted_and_none_is_named(tmp_path, monkeypatch, named, wanted):
    seen = {}

    class Started:
        def __enter__(self):
            seen["up"] = True

        def __exit__(self, *_):
            seen["up"] = False

    def start(settings, **bundles):
        seen.update(bundles, url=settings.serving.explainer_url)
        return Started()

    def run(settings, **_):
        seen.update(served=settings.serving.explainer_url, was_up=seen.get("up", False))

    monkeypatch.setattr("serving.explainer.process.start_explainer", start)
    monkeypatch.setattr("serving.server.run_predictor", run)
    assignments = [f"serving.explainer_url={named}"] if named else []
    commands.serve(bundle=tmp_path, bundle_version=4, explainer=wanted, assignments=assignments, home=tmp_path)
    if wanted and not named:
        assert (seen["bundle"], seen["bundle_version"]) == (tmp_path, 4)
        assert seen["served"] == seen["url"] != named
        assert (seen["was_up"], seen["up"]) == (True, False)
    else:
        assert (seen["served"], seen["was_up"]) == (named, False)


def test_its_log_is_for_machines_where_they_are_to_read_it(tmp_path):
    make_random_walk(tmp_path / "bundle")
    settings = with_explainer(settings_for(tmp_path, explainer_port=0, log_format="json"))
    with start_explainer(settings, bundle=tmp_path / "bundle", log_path=tmp_path / "log") as started:
        deadline = time.monotonic() + PATIENCE_S
        while "loaded" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        started.stop()
        assert started.process.returncode == 0
    said = [json.loads(line)["message"] for line in (tmp_path / "log").read_text().splitlines()]
    assert said == ["loaded", "stopping"]
