from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from cryptosentinel.config import ServingSettings
from cryptosentinel.errors import ServingError, SpecMismatchError, UserInputError
from cryptosentinel.explaining import Explanation, sentence
from cryptosentinel.features import SCALE_FEATURE, compute_features
from cryptosentinel.predicting import BundlePredictor, Rows
from serving import ServedPredictor, predictor_for
from serving.bars import MAX_BARS
from tests.builders import T0, at, make_explanation, make_random_bars
from tests.serving.builders import DATA_END, SPEC, make_rows


@contextmanager
def stub(*answers: tuple[int, str] | tuple[int, str, dict[str, str]]) -> Iterator[str]:
    """A server that gives these answers (status, body, headers) one after the other, the last one for ever."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, body, *headers = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in dict(*headers).items():
                self.send_header(name, value)
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


INFO_FIELDS = (
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
INFO = json.dumps(INFO_FIELDS)
OWN_INFO = json.dumps(INFO_FIELDS | {"features": SPEC.model_names})


def explained_as(*explanations: Explanation) -> str:
    """The body of an answer to `:explain`."""
    told = [explanation.model_dump(mode="json") for explanation in explanations]
    sentences = [sentence(explanation) for explanation in explanations]
    return json.dumps({"explanations": told, "sentence": sentences, "bundle_version": 7, "later": 1})


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    """How long a client has waited before it asked again; the time does not pass."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("serving.client.anyio.sleep", sleep)
    return waits


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
    with stub(busy) as url, ServedPredictor(url, "m", timeout_s=2) as client, pytest.raises(ServingError) as raised:
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


class TestBars:
    def test_bars_are_answered_as_their_features_are(self, running):
        running.serve(1)
        bars = make_random_bars(SPEC.warm_up_bars + 3)
        found = running.client.forecast_bars(bars, "5m")
        last = compute_features(bars, SPEC).iloc[[-1]]
        features = last[SPEC.model_names].to_numpy()
        rows = Rows(bars["close"].to_numpy()[-1:], last[SCALE_FEATURE].to_numpy(), features, SPEC.hash)
        expected = running.client.infer(rows).inference
        np.testing.assert_array_equal(found.answer.inference.quantiles, expected.quantiles)
        assert found.made_at == at(SPEC.warm_up_bars + 3)
        assert "data end" in found.abstention
        assert found.answer.bundle_version == 1

    def test_more_bars_than_a_request_may_hold_are_cut_to_the_newest(self, running):
        running.serve(1)
        bars = make_random_bars(MAX_BARS + 5)
        assert running.client.forecast_bars(bars).made_at == at(MAX_BARS + 5)

    @pytest.mark.parametrize(
        ("count", "interval", "said"), [(10, "5m", "send at least 463"), (500, "1h", "send bars of '5m'")]
    )
    def test_what_cannot_be_forecast_from_is_told(self, running, count, interval, said):
        with pytest.raises(ServingError, match=rf"refused \(400\).*{said}"):
            running.client.forecast_bars(make_random_bars(count), interval)

    def test_a_bar_that_opens_before_1970_does_not_pass(self, running):
        bars = make_random_bars(500, start=T0.replace(year=1960))
        with pytest.raises(ServingError, match="before 1970"):
            running.client.forecast_bars(bars)


class TestExplain:
    def test_explanations_come_typed_with_their_sentences(self):
        expected = [make_explanation(600.0), make_explanation(700.0)]
        with stub((200, OWN_INFO), (200, explained_as(*expected))) as url, ServedPredictor(url, "m") as client:
            explained = client.explain(make_rows(2))
        assert explained.explanations == expected
        assert explained.sentence == [sentence(each) for each in expected]
        assert explained.bundle_version == 7

    def test_rows_go_by_their_names_with_their_spec_and_lime(self, monkeypatch):
        sent = {}

        async def explain(url, name, question, **_):
            sent.update(question, path=(url, name))
            return json.loads(explained_as(make_explanation()))

        rows = make_rows(1)
        with stub((200, OWN_INFO)) as url, ServedPredictor(url, "m") as client:
            monkeypatch.setattr(client._kserve_v1, "explain", explain)
            client.explain(rows, lime=True)
            assert (sent["path"], sent["lime"], sent["spec_hash"]) == ((url, "m"), True, SPEC.hash)
        (instance,) = sent["instances"]
        assert instance["close"] == rows.close[0]
        assert instance["features"] == dict(zip(SPEC.model_names, rows.features[0].tolist(), strict=True))

    def test_rows_that_are_not_warm_have_none(self):
        with ServedPredictor("http://nobody", "m") as client, pytest.raises(UserInputError, match="too few bars"):
            client.explain(make_rows(1, warm=False))

    def test_rows_of_as_many_features_as_others_have_are_a_mismatch(self):
        with (
            stub((200, INFO)) as url,
            ServedPredictor(url, "m") as client,
            pytest.raises(SpecMismatchError, match=r"have 48 features.* built for 1\."),
        ):
            client.explain(make_rows(1))

    def test_features_of_another_spec_are_a_mismatch(self, running):
        rows = make_rows(1)
        with pytest.raises(SpecMismatchError, match="built for features"):
            running.client.explain(Rows(rows.close, rows.volatility, rows.features, "0" * 64))

    def test_an_explainer_that_loads_is_waited_for(self, slept):
        loads = (503, '{"error": "The explainer loads the bundle that is served."}', {"retry-after": "1"})
        good = (200, explained_as(make_explanation()))
        with stub((200, OWN_INFO), loads, good) as url, ServedPredictor(url, "m") as client:
            assert client.explain(make_rows(1)).bundle_version == 7
        assert slept == [1]

    def test_one_that_stays_away_is_told_with_what_to_do(self):
        away = (503, '{"error": "The explainer is away: it starts, or starts again."}', {"retry-after": "2"})
        with (
            stub((200, OWN_INFO), away) as url,
            ServedPredictor(url, "m", explain_timeout_s=0.5) as client,
            pytest.raises(ServingError, match=r"cannot answer now: The explainer is away") as raised,
        ):
            client.explain(make_rows(1))
        assert "start an explainer" in raised.value.remedy

    def test_explanations_that_are_off_are_not_waited_for(self, running, slept):
        with pytest.raises(ServingError, match=r"Explanations are off.*`serving\.explainer_url`"):
            running.client.explain(make_rows(1))
        assert slept == []

    @pytest.mark.parametrize("body", ["{}", "[]", explained_as(), explained_as(make_explanation(), make_explanation())])
    def test_what_is_no_explanation_of_the_rows_is_told(self, body):
        with (
            stub((200, OWN_INFO), (200, body)) as url,
            ServedPredictor(url, "m") as client,
            pytest.raises(ServingError, match="no predictor of this project"),
        ):
            client.explain(make_rows(1))


class TestRetryAfter:
    def test_it_is_not_asked_before_the_server_said(self, slept):
        busy = (503, "{}", {"retry-after": "3"})
        with stub(busy, busy, (200, INFO)) as url, ServedPredictor(url, "m") as client:
            assert client.info().bundle_version == 3
        assert slept == [3, 3]

    def test_a_server_that_starts_is_asked_often_at_first_and_then_as_it_said(self, slept, monkeypatch):
        starts = (503, "{}", {"retry-after": "30"})
        for eager_s, waits in ((60.0, [0.05, 0.1, 0.2, 0.2]), (0.0, [30] * 4)):
            monkeypatch.setattr("serving.client.EAGER_S", eager_s)
            with stub(*[starts] * 4, (200, INFO)) as url, ServedPredictor(url, "m") as client:
                assert client.wait_ready(600).bundle_version == 3
            assert slept == waits
            slept.clear()

    def test_what_would_come_too_late_is_not_waited_for(self, slept):
        busy = (503, '{"error": "Busy."}', {"retry-after": "3600"})
        with (
            stub(busy) as url,
            ServedPredictor(url, "m", timeout_s=600) as client,
            pytest.raises(ServingError, match="cannot answer now: Busy"),
        ):
            client.info()
        assert slept == []

    @pytest.mark.parametrize("told", ["Wed, 21 Oct 2026 07:28:00 GMT", "-3", "²", ""])
    def test_what_is_no_number_of_seconds_is_passed_over(self, told):
        told = told.encode().decode("latin-1")
        with stub((503, "{}", {"retry-after": told}), (200, INFO)) as url, ServedPredictor(url, "m") as client:
            assert client.info().bundle_version == 3
