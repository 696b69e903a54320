"""The explainer's HTTP, within this process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from cryptosentinel.bundle import MANIFEST, file_digest
from cryptosentinel.errors import UserInputError
from serving.explainer.app import ExplainerApp
from serving.explainer.explainers import Explainers, one_folder
from tests.serving.builders import COUNT, make_random_walk, make_rows
from tests.serving.explaining import use_stand_ins

PLENTY_MB = 2**20


class Explaining:
    """An application, its one bundle, and a client."""

    def __init__(self, folder, *, max_memory_mb: int = PLENTY_MB, max_waiting: int = 8) -> None:
        self.bundle = make_random_walk(folder)
        self.digest = file_digest(folder / MANIFEST)
        self.explainers = Explainers(one_folder([folder], 3))
        self.ended = 0
        self.app = ExplainerApp(
            self.explainers,
            max_waiting=max_waiting,
            max_memory_mb=max_memory_mb,
            grown=self.end,
            registry=CollectorRegistry(),
        ).build()

    def end(self) -> None:
        self.ended += 1

    def load(self) -> Explaining:
        self.explainers.refresh()
        return self

    @property
    def explainer(self) -> Any:
        return self.explainers.newest.explainer

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://explainer")

    def run(self, ask: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]) -> Any:
        async def asked() -> Any:
            async with self.client() as client:
                return await ask(client)

        return asyncio.run(asked())

    def get(self, path: str) -> httpx.Response:
        return self.run(lambda client: client.get(path))

    def post(self, question: Any) -> httpx.Response:
        content = question if isinstance(question, bytes) else json.dumps(question).encode()
        headers = {"content-type": "application/json"}
        return self.run(lambda client: client.post("/explain", content=content, headers=headers))

    def question(self, rows: int = 1, **changed: Any) -> dict[str, Any]:
        made = make_rows(rows)
        body = {"close": made.close.tolist(), "features": made.features.tolist()}
        return {"rows": body, "bundle": self.digest, "lime": False} | changed

    def counted(self) -> dict[str, float]:
        lines = self.get("/metrics").text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("cryptosentinel_explainer"))
        return {name.removeprefix("cryptosentinel_explainer_"): float(value) for name, value in pairs}


@pytest.fixture
def explaining(tmp_path, monkeypatch):
    use_stand_ins(monkeypatch)
    return Explaining(tmp_path / "bundle")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def test_it_is_up_at_once_and_ready_once_it_has_a_bundle(explaining):
    assert explaining.get("/healthz").status_code == 200
    for path in ("/readyz", "/importances"):
        answer = explaining.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "loads" in answer.json()["error"]
    explaining.load()
    assert explaining.get("/readyz").json() == {"ready": True, "bundle_version": 3, "digest": explaining.digest}
    assert explaining.get("/importances").json() == {"importances": {"rsi_14": 1.0}, "bundle_version": 3}


@pytest.mark.parametrize("lime", [False, True])
def test_rows_are_explained_with_a_sentence_each(explaining, lime):
    rows = 1 if lime else 16
    answer = explaining.load().post(explaining.question(rows, lime=lime))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    made = make_rows(rows)
    sums = [float(row.sum()) for row in made.features]
    assert answer.json() == {
        "explanations": [
            {"close": close, "value": value, "lime": lime} for close, value in zip(made.close, sums, strict=True)
        ],
        "sentence": [f"At {close:g}." for close in made.close],
        "bundle_version": 3,
    }


def test_a_bundle_that_is_not_loaded_is_sought_and_refused_meanwhile(explaining):
    async def ask(client: httpx.AsyncClient) -> None:
        answer = await client.post("/explain", json=explaining.question())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        await until(lambda: explaining.explainers.newest)
        answer = await client.post("/explain", json=explaining.question())
        assert answer.status_code == 200

    explaining.run(ask)


def test_another_bundle_than_the_one_that_is_asked_for_is_not_explained(explaining):
    answer = explaining.load().post(explaining.question(bundle="0" * 64))
    assert answer.status_code == 503
    assert explaining.explainer.begun == []


def change(question: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return question | {"rows": question["rows"] | changed}


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no JSON": (lambda _: b"{", "JSON"),
    "nothing": (lambda _: {}, "rows"),
    "something more": (lambda good: good | {"more": 1}, "more"),
    "no rows": (lambda good: change(good, close=[], features=[]), "at least 1"),
    "a close too many": (lambda good: change(good, close=[1.0, 2.0]), "as many rows"),
    "text": (lambda good: change(good, close=["1"]), "valid number"),
    "NaN": (lambda good: change(good, features=[[float("nan")] * COUNT]), "finite"),
    "a feature too few": (lambda good: change(good, features=[[0.0] * (COUNT - 1)]), f"{COUNT} features"),
    "too many rows": (lambda good: change(good, close=[1.0] * 17, features=[[0.0] * COUNT] * 17), "at most 16"),
    "too many with lime": (
        lambda good: change(good, close=[1.0] * 2, features=[[0.0] * COUNT] * 2) | {"lime": True},
        "at most 1 row",
    ),
}


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_question_is_told_so_and_not_begun(explaining, spoil, sentence):
    answer = explaining.load().post(spoil(explaining.question()))
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]
    assert explaining.explainer.begun == []


def test_more_than_may_wait_are_refused_at_once(tmp_path, monkeypatch):
    use_stand_ins(monkeypatch)
    explaining = Explaining(tmp_path / "bundle", max_waiting=2).load()
    explaining.explainer.may_go.clear()

    async def ask(client: httpx.AsyncClient) -> None:
        waiting = [asyncio.create_task(client.post("/explain", json=explaining.question())) for _ in range(2)]
        await until(lambda: explaining.explainer.begun)
        await asyncio.sleep(0.01)
        refused = await client.post("/explain", json=explaining.question())
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        metrics = (await client.get("/metrics")).text
        assert "cryptosentinel_explainer_queue 2.0" in metrics
        explaining.explainer.may_go.set()
        assert [(await task).status_code for task in waiting] == [200, 200]
        assert (await client.post("/explain", json=explaining.question())).status_code == 200

    explaining.run(ask)
    counted = explaining.counted()
    assert counted['requests_total{method="shap",outcome="ok"}'] == 3
    assert counted['requests_total{method="shap",outcome="refused"}'] == 1
    assert counted["queue"] == 0
    assert counted["bundle_version"] == 3


def test_what_nobody_waits_for_any_more_is_not_computed(explaining):
    explainer = explaining.load().explainer
    explainer.may_go.clear()

    async def ask(client: httpx.AsyncClient) -> None:
        first = asyncio.create_task(client.post("/explain", json=explaining.question(1)))
        await until(lambda: explainer.begun)
        left, gone = asyncio.Event(), explaining.question(2)
        second = asyncio.create_task(ask_and_leave(explaining.app, gone, left))
        await asyncio.sleep(0.01)
        left.set()
        await second
        third = asyncio.create_task(client.post("/explain", json=explaining.question(3)))
        await asyncio.sleep(0.01)
        explainer.may_go.set()
        assert [(await task).status_code for task in (first, third)] == [200, 200]

    explaining.run(ask)
    assert explainer.begun == [*make_rows(1).close, *make_rows(3).close]
    assert explaining.counted()['requests_total{method="shap",outcome="gone"}'] == 1


async def ask_and_leave(app: Any, question: Any, left: asyncio.Event) -> None:
    """A request whose client disconnects once `left` is set."""
    body = json.dumps(question).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/explain",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    sent = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        for message in sent:
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    await app(scope, receive, send)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_explanation_that_is_no_number_is_a_failure(explaining, value):
    explaining.load().explainer.shift = value
    assert explaining.post(explaining.question()).status_code == 500


def test_a_row_that_cannot_be_explained_is_the_clients_fault(explaining, caplog):
    explaining.load().explainer.fails_with = UserInputError("It is far from any market.", remedy="Check it.")
    answer = explaining.post(explaining.question())
    assert (answer.status_code, answer.json()["error"]) == (400, "It is far from any market. Check it.")
    assert caplog.text == ""


def test_a_failure_is_logged_and_the_next_request_answered(explaining, caplog):
    explaining.load().explainer.fails_with = IndexError("a secret of the inside")
    answer = explaining.post(explaining.question())
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "explain_failed" in caplog.text
    explaining.explainer.fails_with = None
    assert explaining.post(explaining.question()).status_code == 200


def test_it_ends_after_an_answer_where_it_has_grown_too_large(tmp_path, monkeypatch):
    use_stand_ins(monkeypatch)
    small = Explaining(tmp_path / "small", max_memory_mb=1).load()
    assert small.get("/readyz").status_code == 200
    assert small.ended == 0
    assert small.post(small.question()).status_code == 200
    assert small.ended == 1
    large = Explaining(tmp_path / "large").load()
    assert large.post(large.question()).status_code == 200
    assert large.ended == 0


def test_a_computation_that_never_ends_ends_the_process():
    script = (
        "import serving.explainer.app as app, time; app.STUCK_S = 0.3; app._or_end(len, []); time.sleep(0.6);"
        "print('up', flush=True); app._or_end(time.sleep, 60)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "up\n")
    assert "in _or_end" in done.stderr
