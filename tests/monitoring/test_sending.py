"""Metrics reach a push gateway and a collector, in their formats; where those are away, that is a line in the log."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from cryptosentinel.monitoring import METRICS, Sample, send
from tests.builders import settings_of
from tests.monitoring.builders import collector, gateway, nobody, silent

GROUP = {"market": "simulated-3-bitcoin-usd-5m", "step": "predict"}
SCORE, COVERAGE = "cryptosentinel_drift_score", "cryptosentinel_forecast_coverage_ratio"
AGE = "cryptosentinel_newest_bar_timestamp_seconds"
SAMPLES = [Sample(COVERAGE, 0.8, {"level": "80"}), Sample(SCORE, 0.25), Sample(COVERAGE, math.nan, {"level": "95"})]


def sent(samples: Iterable[Sample], group: dict[str, str] = GROUP, **monitoring: object) -> None:
    send(samples, group, settings_of(**{f"monitoring__{name}": value for name, value in monitoring.items()}).monitoring)


def test_a_gateway_has_each_series_under_the_labels_that_say_whose_it_is() -> None:
    with gateway() as there:
        sent(SAMPLES, pushgateway_url=there.url, job="btc", labels={"namespace": "forecasts"})
        whose = {"job": "btc", "namespace": "forecasts", **GROUP}
        assert there.value(SCORE, **whose) == 0.25
        assert there.value(COVERAGE, **whose, level="80") == 0.8
        assert math.isnan(there.value(COVERAGE, **whose, level="95"))


def test_what_is_sent_later_replaces_what_has_its_name_and_nothing_else() -> None:
    with gateway() as there:
        sent([Sample(COVERAGE, 0.5, {"level": "80"}), Sample(AGE, 7.0)], pushgateway_url=there.url)
        sent(SAMPLES[:2], pushgateway_url=there.url)
        sent([Sample(SCORE, 1.0)], {**GROUP, "step": "drift"}, pushgateway_url=there.url)
        assert there.value(COVERAGE, level="80") == 0.8
        assert there.value(AGE) == 7.0
        assert there.value(SCORE, step="predict") == 0.25
        assert len(there.groups) == 2


def test_labels_with_slashes_blanks_and_nothing_in_them_arrive() -> None:
    with gateway() as there:
        odd = {"team": "a/b c", "unit": "50%", "none": ""}
        sent(SAMPLES[1:2], pushgateway_url=f"{there.url}/", labels=odd)
        assert there.value(SCORE, **odd) == 0.25


def test_a_gateway_that_asks_for_a_password_gets_it() -> None:
    with gateway() as there:
        sent(SAMPLES, pushgateway_url=there.url, pushgateway_user="ann", pushgateway_password="s3cret")
        assert there.authorized == {"Basic YW5uOnMzY3JldA=="}


def test_a_collector_gets_gauges_whose_names_and_labels_are_those_of_prometheus() -> None:
    with collector() as there:
        sent([*SAMPLES, Sample(AGE, 7.0)], otlp_url=there.url, job="btc", labels={"namespace": "forecasts"})
        request = ExportMetricsServiceRequest.FromString(there.bodies[0])
        assert there.paths == ["/v1/metrics"]
        assert there.headers[0]["content-type"] == "application/x-protobuf"
    (resource,) = request.resource_metrics
    about = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (about["service.name"], about["service.instance.id"]) == ("btc", GROUP["market"])
    metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    # Prometheus appends a unit that a name does not end in: there must be none but seconds.
    assert {name: metric.unit for name, metric in metrics.items()} == {SCORE: "", COVERAGE: "", AGE: "s"}
    assert all(metric.WhichOneof("data") == "gauge" for metric in metrics.values())
    assert metrics[SCORE].description == next(metric.help for metric in METRICS if metric.name == SCORE)
    points = {
        frozenset((each.key, each.value.string_value) for each in point.attributes): point.as_double
        for point in metrics[COVERAGE].gauge.data_points
    }
    whose = {"namespace": "forecasts", **GROUP}
    assert points[frozenset({**whose, "level": "80"}.items())] == 0.8
    assert math.isnan(points[frozenset({**whose, "level": "95"}.items())])
    stamped = metrics[SCORE].gauge.data_points[0].time_unix_nano / 1e9
    assert abs(stamped - time.time()) < 300


def test_series_of_a_collector_are_not_new_ones_with_each_run() -> None:
    with collector() as there:
        for _ in range(2):
            sent(SAMPLES, otlp_url=there.url)
        first, second = (ExportMetricsServiceRequest.FromString(body) for body in there.bodies)
    assert first.resource_metrics[0].resource == second.resource_metrics[0].resource


def test_a_collectors_headers_are_opentelemetrys_own_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret")
    with collector() as there:
        sent(SAMPLES, otlp_url=there.url)
        assert there.headers[0]["authorization"] == "Bearer s3cret"


@contextmanager
def refusing() -> Iterator[str]:
    with gateway() as there:
        there.answer = 500
        yield there.url


@pytest.mark.parametrize("name", ["pushgateway_url", "otlp_url"])
@pytest.mark.parametrize(
    ("place", "said"),
    [
        (lambda: nullcontext(nobody()), {"refused", "max retries"}),
        (refusing, {"500", "Internal"}),
        (silent, {"timed out", "no answer within", "max retries"}),
    ],
    ids=["nobody", "refusing", "hanging"],
)
def test_one_that_is_away_refuses_or_hangs_is_one_line_in_the_log(
    name: str, place: Callable[[], AbstractContextManager[str]], said: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), place() as url:
        sent(SAMPLES, **{name: url}, timeout_s=0.3)
    (line,) = caplog.messages
    assert line.startswith("metrics were not sent to=http://127.0.0.1:")
    assert any(words in line for words in said), line


def test_one_that_hangs_does_not_keep_the_other_from_its_metrics() -> None:
    with gateway() as there, silent() as url:
        sent(SAMPLES, pushgateway_url=there.url, otlp_url=url, timeout_s=0.3)
        assert there.value(SCORE) == 0.25


def test_nothing_is_sent_unless_it_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    sent(SAMPLES)
    assert caplog.messages == []
