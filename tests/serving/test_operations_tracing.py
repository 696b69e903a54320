"""Spans of the predictor, in this process and over the wire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from serving import tracing
from serving.admission import Admission
from serving.bundles import load_served
from serving.middleware import Operations
from serving.predictor import ForecastModel
from tests.serving.builders import instances, make_random_walk
from tests.serving.processes import REPOSITORY, run_python, settings_for, wait_for_line
from tests.serving.test_operations import PREDICT, ask, echo

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    monkeypatch.setattr(tracing, "_tracer", None)
    exporter = InMemorySpanExporter()
    provider = tracing.start(SimpleSpanProcessor(exporter))
    yield exporter
    provider.shutdown()


def traced(app: Any) -> Operations:
    return Operations(tracing.TracedApp(app), Admission(1000))


def test_a_request_continues_its_callers_trace(spans):
    ask(traced(echo), traceparent=f"00-{TRACE}-{PARENT}-01")
    (span,) = spans.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.kind is SpanKind.SERVER
    assert span.attributes["http.response.status_code"] == 200
    assert span.status.status_code is StatusCode.UNSET


def test_a_traceparent_that_is_none_begins_a_new_trace(spans):
    ask(traced(echo), traceparent="nonsense")
    (span,) = spans.get_finished_spans()
    assert span.parent is None


def test_what_fails_is_told_in_the_span_and_no_header_is(spans):
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("inner")

    ask(traced(broken), authorization="secret")
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.events[0].attributes["exception.type"] == "ZeroDivisionError"
    assert "secret" not in span.to_json()


def test_what_is_asked_on_behalf_of_a_request_belongs_to_its_trace(spans):
    sent: dict[str, str] = {}

    async def hand_over(scope: Any, receive: Any, send: Any) -> None:
        with tracing.span("explain"):
            sent.update(tracing.outgoing_headers())
        await echo(scope, receive, send)

    ask(traced(hand_over), traceparent=f"00-{TRACE}-{PARENT}-01", **{"x-request-id": "mine"})
    inner, outer = spans.get_finished_spans()
    assert inner.parent.span_id == outer.context.span_id
    assert sent == {"x-request-id": "mine", "traceparent": f"00-{TRACE}-{inner.context.span_id:016x}-01"}


def test_inference_is_a_span_of_its_own(spans, tmp_path):
    make_random_walk(tmp_path / "bundle")
    model = ForecastModel("m")
    model.serve(load_served(tmp_path / "bundle"))
    for count in (1, 300):  # in the event loop, and beside it

        async def predict(scope: Any, receive: Any, send: Any, count: int = count) -> None:
            await model.predict({"instances": instances(count)})
            await echo(scope, receive, send)

        ask(traced(predict))
        inner, outer = spans.get_finished_spans()
        assert inner.name == "infer"
        assert inner.parent.span_id == outer.context.span_id
        spans.clear()


def test_without_tracing_opentelemetry_is_not_imported():
    script = (
        "import sys, serving.model_server, serving.server, serving.tracing as t\n"
        "with t.span('x'), t.call('/a/b', {}): pass\n"
        "print(t.outgoing_headers(), [n for n in sys.modules if n.startswith('opentelemetry.sdk')])"
    )
    done = run_python("-c", script)
    assert done.stdout.strip() == "{} []", done.stderr


class Collector(BaseHTTPRequestHandler):
    """Takes what OTLP posts."""

    posts: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        self.posts.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_spans_are_sent_to_the_collector_that_the_environment_names(tmp_path):
    make_random_walk(tmp_path / "bundle")
    handler = type("Here", (Collector,), {"posts": []})
    with HTTPServer(("127.0.0.1", 0), handler) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        settings = settings_for(tmp_path, tracing=True).public_json()
        state = tmp_path / "state.json"
        command = [sys.executable, "-m", "serving.server", "--settings", settings, "--bundle", str(tmp_path / "bundle")]
        address = f"http://127.0.0.1:{collector.server_port}"
        environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "NO_PROXY": "127.0.0.1"}
        with subprocess.Popen(
            [*command, "--state", str(state)], env=environment, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
        ) as child:
            wait_for_line(child, " ready ")
            told = json.loads(state.read_text())
            httpx.post(told["url"] + PREDICT, json={"instances": instances(1)}, trust_env=False)
            with grpc.insecure_channel(told["grpc"]) as channel, pytest.raises(grpc.RpcError):
                GRPCInferenceServiceStub(channel).ModelInfer(pb.ModelInferRequest(model_name="nobody"))
            child.terminate()
            assert child.wait(30) == 0
        collector.shutdown()
    assert {path for path, _ in handler.posts} == {"/v1/traces"}
    sent = b"".join(body for _, body in handler.posts)
    for said in (b"POST /v1/models/{model_name}:predict", b"infer", b"NOT_FOUND", tracing.SERVICE.encode()):
        assert said in sent, said
