"""Alerts and the Grafana dashboard ask for what the predictor tells, in words that Prometheus understands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client import REGISTRY

from serving import metrics
from tests.chart.rendered import FULLNAME, LEAST, NAMESPACE, merged, of_kind, only, scenario, setting

RULES = setting("metrics.prometheusRule.enabled", True)
SELECTED = {"namespace": NAMESPACE, "service": f"{FULLNAME}-predictor"}


def told() -> dict[str, set[str]]:
    """Every series that `/metrics` has of ours, and the labels it has there."""
    found: dict[str, set[str]] = {"up": set()}
    for metric in REGISTRY.collect():
        if not metric.name.startswith("cryptosentinel_"):
            continue
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(metric.type, ("",))
        labels = {label for sample in metric.samples for label in sample.labels}
        for suffix in suffixes:
            found[metric.name + suffix] = labels
    source = Path(metrics.__file__).read_text()  # gauges that are made when they are asked for
    for name in re.findall(r'GaugeMetricFamily\(\s*"(\w+)"', source):
        found[name] = set()
    return found


@pytest.fixture(autouse=True, scope="module")
def _something_was_answered() -> None:
    """So that every metric has a series, and its labels show."""
    metrics.began("v2")
    metrics.ended("v2", "ok", 0.001)
    metrics.SWAPS.labels("ok")


def selectors(expression: str) -> Iterator[Any]:
    """The vector selectors of a PromQL expression; raises `ValueError` where it is none."""

    def walk(node: Any) -> Iterator[Any]:
        if isinstance(node, promql_parser.VectorSelector):
            yield node
        for name in ("expr", "lhs", "rhs", "args", "vector_selector", "param"):
            below = getattr(node, name, None)
            for each in below if isinstance(below, list) else [below]:
                if each is not None and not isinstance(each, (str, int, float)):
                    yield from walk(each)

    yield from walk(promql_parser.parse(expression))


def alerts(values: dict) -> list[dict[str, Any]]:
    return only(values, "PrometheusRule")["spec"]["groups"][0]["rules"]


def panels() -> list[dict[str, Any]]:
    values = merged(LEAST, setting("metrics.grafanaDashboard.enabled", True))
    return json.loads(only(values, "ConfigMap", "-grafana-dashboard")["data"]["cryptosentinel.json"])["panels"]


def asked(expression: str) -> list[tuple[str, dict[str, str]]]:
    return [(each.name, {m.name: m.value for m in each.matchers.matchers}) for each in selectors(expression)]


def test_alerts_ask_for_what_there_is_of_this_release() -> None:
    known = told()
    found = [(alert["alert"], *each) for alert in alerts(merged(LEAST, RULES)) for each in asked(alert["expr"])]
    assert len(found) > len(alerts(merged(LEAST, RULES)))
    for alert, name, labels in found:
        assert name in known, f"{alert} asks for {name}"
        assert SELECTED.items() <= labels.items(), alert
        assert labels.keys() - SELECTED.keys() <= known[name], alert


def test_panels_ask_for_what_there_is() -> None:
    known = told()
    for panel in panels():
        for target in panel["targets"]:
            found = asked(target["expr"].replace("$__rate_interval", "5m"))
            assert found, target["expr"]
            for name, labels in found:
                assert name in known, f"{panel['title']} asks for {name}"
                assert labels["namespace"] == "$namespace"
                assert labels.keys() - SELECTED.keys() <= known[name]


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = {
        name
        for panel in panels()
        for t in panel["targets"]
        for name, _ in asked(t["expr"].replace("$__rate_interval", "5m"))
    }
    families = {name for name in told() if not name.endswith(("_bucket", "_sum"))}
    assert families - shown == set()


def test_values_of_labels_are_those_that_the_predictor_gives() -> None:
    outcomes, protocols = (set(kind.__args__) for kind in (metrics.Outcome, metrics.Protocol))
    for expression in (alert["expr"] for alert in alerts(merged(LEAST, RULES))):
        for _, labels in asked(expression):
            assert set(labels.get("protocol", "v2").split("|")) <= protocols
            assert set(labels.get("outcome", "ok").split("|")) <= outcomes | {"failed"}


def test_an_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    for alert in alerts(merged(LEAST, RULES)):
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["annotations"].keys() == {"summary", "description"}
        assert FULLNAME in alert["annotations"]["description"]


def test_alerts_can_be_left_out_and_labelled() -> None:
    every = {alert["alert"] for alert in alerts(merged(LEAST, RULES))}
    kept = alerts(scenario("cloud"))
    assert every - {alert["alert"] for alert in kept} == {"CryptoSentinelExplanationsRefused"}
    assert all(alert["labels"]["team"] == "forecasting" for alert in kept)


def test_a_model_is_called_expired_when_the_settings_say_so() -> None:
    values = merged(LEAST, RULES, setting("settings.forecast.max_model_age_days", 10))
    (expired,) = (alert for alert in alerts(values) if alert["alert"] == "CryptoSentinelModelExpired")
    assert expired["expr"].endswith(f"> {10 * 86400}")


def test_the_operator_scrapes_the_service_that_kserve_makes() -> None:
    monitor = only(scenario("cloud"), "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"] == {
        "serving.kserve.io/inferenceservice": FULLNAME,
        "component": "predictor",
    }
    port = monitor["spec"]["endpoints"][0]["port"]
    (predictor,) = only(scenario("cloud"), "ServingRuntime")["spec"]["containers"]
    assert port in {each["name"] for each in predictor["ports"]}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_nothing_of_it_is_there_unless_asked_for() -> None:
    assert of_kind(LEAST, "ServiceMonitor") == of_kind(LEAST, "PrometheusRule") == []
