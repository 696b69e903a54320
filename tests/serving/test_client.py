from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from cryptosentinel.config import ServingSettings
from cryptosentinel.errors import ServingError, SpecMismatchError
from cryptosentinel.predicting import BundlePredictor, Rows
from serving import ServedPredictor, predictor_for
from tests.serving.builders import DATA_END, make_rows


@contextmanager
def stub(*answers: tuple[int, str]) -> Iterator[str]:
    """A server that gives these answers one after the other, the last one for ever."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


INFO = json.dumps(
    dict.fromkeys(("model_name", "champion", "asset", "currency", "market", "interval", "spec_hash"), "x")
    | {"bundle_version": 3, "simulated": False, "horizon_bars": 6, "features": ["a"], "scale_feature": "a"}
    | {
        "candidates": ["x"],
        "probabilities": [0.5],
        "data_end": None,
        "created_at": "2025-01-01T00:00:00Z",
        "max_rows": 10,
        "what a later release adds": 1,
    }
)


@pytest.mark.parametrize("warm", [True, False])
def test_it_answers_as_the_bundle_in_this_process_does(running, warm):
    bundle = running.serve(1)
    rows = make_rows(5, warm=warm)
    served, local = running.client.infer(rows), BundlePredictor(bundle, 1).infer(rows)
    assert (served.bundle_version, served.data_end) == (local.bundle_version, local.data_end)
    for name, values in vars(local.inference).items():
        if name != "by_model":
            np.testing.assert_array_equal(getattr(served.inference, name), values, err_msg=name)
    assert served.inference.by_model.keys() == local.inference.by_model.keys()


def test_features_of_another_spec_are_a_mismatch(running):
    rows = make_rows(1)
    with pytest.raises(SpecMismatchError, match="built for features"):
        running.client.infer(Rows(rows.close, rows.volatility, rows.features, "0" * 64))


def test_a_refusal_says_what_was_wrong(running):
    rows = make_rows(1)
    with pytest.raises(ServingError, match=r"refused \(400\).*positive price"):
        running.client.infer(Rows(-rows.close, rows.volatility, rows.features, rows.spec_hash))


def test_it_knows_what_is_served(running):
    bundle = running.serve(2)
    info = running.client.info()
    assert info.bundle_version == 2
    assert (info.champion, info.asset, info.interval, info.horizon_bars) == ("blend", "bitcoin", "5m", 6)
    assert info.candidates == bundle.manifest.candidates
    assert (info.data_end, len(info.probabilities)) == (DATA_END, 9)
    assert running.client.ready()


def test_waiting_for_a_version_that_does_not_come_ends(running):
    running.serve(1)
    with pytest.raises(ServingError, match=r"still serves bundle version 1 after 0\.3 s, not 99"):
        running.client.wait_ready(0.3, version=99)


def test_a_wrong_model_name_is_told(running):
    with ServedPredictor(running.process.url, "nobody") as client:
        assert not client.ready()
        with pytest.raises(ServingError, match="no model 'nobody'"):
            client.infer(make_rows(1))


def test_nobody_there_is_told_after_the_timeout():
    with stub((200, "{}")) as url:
        pass
    with ServedPredictor(url, "m", timeout_s=0.2) as client:
        assert not client.ready()
        with pytest.raises(ServingError, match=r"no answer within 0\.2 s") as raised:
            client.infer(make_rows(1))
    assert "cryptosentinel up" in raised.value.remedy


def test_a_server_that_is_not_ready_is_asked_again():
    with stub((503, '{"error": "not yet"}'), (503, ""), (200, INFO)) as url, ServedPredictor(url, "m") as client:
        assert client.wait_ready(10).bundle_version == 3


def test_a_server_that_stays_unready_is_told():
    busy = (503, '{"error": "It has no bundle yet."}')
    with stub(busy) as url, ServedPredictor(url, "m", timeout_s=0.2) as client, pytest.raises(ServingError) as raised:
        client.info()
    assert "It has no bundle yet" in raised.value.message


@pytest.mark.parametrize("body", ["<html>", "{}", "[]", '{"outputs": []}', '{"model_name": "m", "outputs": []}'])
def test_what_is_no_predictor_is_told(body):
    with stub((200, body)) as url, ServedPredictor(url, "m", timeout_s=1) as client:
        for ask in (client.info, lambda: client.infer(make_rows(1))):
            with pytest.raises(ServingError, match=r"no predictor of this project|not a forecast"):
                ask()


def test_a_fault_of_the_server_is_told_once():
    with (
        stub((500, '{"error": "it broke"}'), (200, INFO)) as url,
        ServedPredictor(url, "m") as client,
        pytest.raises(ServingError, match="it broke"),
    ):
        client.info()


def test_threads_may_share_one(running):
    rows, answers = make_rows(2), []
    threads = [threading.Thread(target=lambda: answers.append(running.client.infer(rows))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8


def test_without_an_address_there_is_nobody_to_ask():
    with pytest.raises(ServingError, match=r"serving\.url"):
        predictor_for(ServingSettings())
    with pytest.raises(ServingError, match="no predictor's address"):
        predictor_for(ServingSettings(url="127.0.0.1:8085"))
