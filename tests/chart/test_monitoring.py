"""Alerts and dashboards ask for what the predictor and the steps tell, in words that Prometheus understands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from cryptosentinel.config import load_settings
from cryptosentinel.market import source_slug
from cryptosentinel.monitoring import METRICS
from cryptosentinel.storage import STEPS
from cryptosentinel.workspace import market_name
from pipelines.kubeflow.wanted import parameters
from serving import metrics
from tests.chart.rendered import (
    FULLNAME,
    LEAST,
    NAMESPACE,
    ROOT,
    merged,
    of_kind,
    only,
    scenario,
    setting,
    settings_file,
)

RULES = setting("metrics.prometheusRule.enabled", True)
PUSHED = setting("metrics.pushgateway.url", "http://pushgateway.monitoring:9091")
# All that is watched.
WATCHED = merged(LEAST, RULES, PUSHED, setting("metrics.grafanaDashboard.enabled", True))
SELECTED = {"namespace": NAMESPACE, "service": f"{FULLNAME}-predictor"}
STEPS_OF = {"namespace": NAMESPACE, "job": FULLNAME, "market": "coingecko-bitcoin-usd-5m"}
MANUAL = ROOT / "docs" / "operations.md"


def told() -> dict[str, set[str]]:
    """Every series that `/metrics` of the predictor has of ours, and the labels it has there."""
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


def sent() -> dict[str, set[str]]:
    """Every series that the pipelines' steps send, and its labels beside those of all."""
    return {metric.name: {"step", "part", *metric.labels} for metric in METRICS}


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
    groups = (group for rule in of_kind(values, "PrometheusRule") for group in rule["spec"]["groups"])
    return [rule for group in groups for rule in group["rules"]]


def dashboards(values: dict = WATCHED) -> dict[str, Any]:
    data = only(values, "ConfigMap", "-grafana-dashboard")["data"]
    return {name: json.loads(text) for name, text in data.items()}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def asked(expression: str) -> list[tuple[str, dict[str, str]]]:
    plain = expression.replace("$__rate_interval", "5m")
    return [(each.name, {m.name: m.value for m in each.matchers.matchers}) for each in selectors(plain)]


def test_alerts_ask_for_what_there_is_of_this_release() -> None:
    of_predictor, of_steps, rules = told(), sent(), alerts(WATCHED)
    assert {"CryptoSentinelPredictorAbsent", "CryptoSentinelPipelinesSilent"} <= {rule["alert"] for rule in rules}
    for alert in rules:
        found = asked(alert["expr"])
        assert found, alert["alert"]
        for name, labels in found:
            known, selected = (of_predictor, SELECTED) if name in of_predictor else (of_steps, STEPS_OF)
            assert name in known, f"{alert['alert']} asks for {name}"
            assert selected.items() <= labels.items(), alert
            assert labels.keys() - selected.keys() <= known[name], alert


def test_panels_ask_for_what_there_is() -> None:
    of_predictor, of_steps = told(), sent()
    for dashboard in dashboards().values():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                found = asked(target["expr"])
                assert found, target["expr"]
                for name, labels in found:
                    known, selected = (of_predictor, SELECTED) if name in of_predictor else (of_steps, STEPS_OF)
                    assert name in known, f"{panel['title']} asks for {name}"
                    assert labels["namespace"] == "$namespace"
                    assert selected.keys() <= labels.keys()
                    assert labels.keys() - selected.keys() <= known[name]
                    shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                    assert shown <= known[name] | {"pod"}


def test_every_metric_of_ours_is_on_a_dashboard() -> None:
    shown = {
        name
        for dashboard in dashboards().values()
        for panel in panels(dashboard)
        for target in panel["targets"]
        for name, _ in asked(target["expr"])
    }
    families = {name for name in told() | sent() if not name.endswith(("_bucket", "_sum"))}
    assert families - shown == set()


def test_a_dashboard_can_be_read_without_asking_who_made_it() -> None:
    for dashboard in dashboards().values():
        variables = [variable["name"] for variable in dashboard["templating"]["list"]]
        assert variables[:2] == ["datasource", "namespace"]
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard)))
        assert used - {"__rate_interval"} == set(variables)
        for panel in panels(dashboard):
            assert panel["description"].endswith("."), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit" if panel["type"] != "state-timeline" else "mappings"]
            assert panel["datasource"]["uid"] == "${datasource}"
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)
        titles = [panel["title"] for panel in dashboard["panels"]]
        assert len(set(titles)) == len(titles)


def test_panels_lie_beside_each_other() -> None:
    for dashboard in dashboards().values():
        taken: set[tuple[int, int]] = set()
        for place in (panel["gridPos"] for panel in dashboard["panels"]):
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not cells & taken
            assert place["x"] + place["w"] <= 24
            taken |= cells


def test_what_ages_is_never_sent_as_an_age() -> None:
    """A gateway would show the last age for ever: so each moment is taken from the time."""
    expressions = [t["expr"] for one in dashboards().values() for panel in panels(one) for t in panel["targets"]]
    for expression in expressions + [alert["expr"] for alert in alerts(WATCHED)]:
        for name, _ in asked(expression):
            if name.endswith("_timestamp_seconds"):
                assert re.search(r"time\(\)|- max|absent", expression), expression


def test_values_of_labels_are_those_that_the_predictor_gives() -> None:
    outcomes, protocols = (set(kind.__args__) for kind in (metrics.Outcome, metrics.Protocol))
    steps, levels = {step for each in STEPS.values() for step in each}, {"80", "95"}
    given = {"protocol": protocols, "outcome": outcomes | {"failed"}, "step": steps, "level": levels}
    expressions = [alert["expr"] for alert in alerts(WATCHED)]
    expressions += [t["expr"] for one in dashboards().values() for panel in panels(one) for t in panel["targets"]]
    for expression in expressions:
        for _, labels in asked(expression):
            for name, values in given.items():
                assert set(labels.get(name, next(iter(values))).split("|")) <= values


def test_an_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    for alert in alerts(WATCHED):
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert FULLNAME in alert["annotations"]["description"]


def test_an_alert_links_to_its_heading_in_the_manual() -> None:
    headings = re.findall(r"^### (CryptoSentinel\w+)$", MANUAL.read_text(encoding="utf-8"), re.MULTILINE)
    links = {alert["annotations"]["runbook_url"].partition("#")[2]: alert["alert"] for alert in alerts(WATCHED)}
    assert {heading.lower(): heading for heading in headings} == links
    elsewhere = merged(WATCHED, setting("metrics.prometheusRule.runbookUrl", "https://wiki.example/runbook"))
    assert alerts(elsewhere)[0]["annotations"]["runbook_url"].startswith("https://wiki.example/runbook#")
    without = merged(WATCHED, setting("metrics.prometheusRule.runbookUrl", ""))
    assert "runbook_url" not in alerts(without)[0]["annotations"]


def test_limits_of_alerts_are_those_of_the_settings() -> None:
    def limits(values: dict) -> dict[str, set[float]]:
        return {each["alert"]: set(map(float, re.findall(r"[<>] ([\d.]+)", each["expr"]))) for each in alerts(values)}

    defaults, by_default = load_settings(environ={}), limits(WATCHED)
    for alert, limit in {
        "BarsOld": defaults.alerts.stale_bars_s,
        "FeaturesOld": defaults.alerts.feature_lag_s,
        "ForecastsOverdue": defaults.alerts.forecast_late_s,
        "TrainingOverdue": defaults.alerts.training_late_s,
        "StepFailing": defaults.alerts.failed_runs,
        "CoverageLost": round(0.8 - defaults.alerts.coverage_loss, 4),
        "FeaturesDrifted": defaults.drift.threshold,
        "HopsworksBehind": defaults.alerts.feature_store_lag_s,
    }.items():
        assert limit in by_default[f"CryptoSentinel{alert}"], alert
    given = {"stale_bars_s": 77, "coverage_loss": 0.25, "failed_runs": 9}
    chosen = limits(merged(WATCHED, setting("settings.alerts", given), setting("settings.drift.threshold", 0.5)))
    for alert, limit in {"BarsOld": 77, "CoverageLost": 0.55, "StepFailing": 9, "FeaturesDrifted": 0.5}.items():
        assert limit in chosen[f"CryptoSentinel{alert}"], alert


@pytest.mark.parametrize(
    "market",
    [
        {"source": "coingecko"},
        {"source": "exchange:kraken", "asset": "ethereum", "currency": "eur", "interval": "15m"},
        {"source": "simulated"},
        {"source": "simulated:7"},
        {"source": "simulated:007"},
        {"source": "simulated:0"},
    ],
)
def test_the_market_is_called_as_the_library_calls_it(market: dict[str, str]) -> None:
    values = merged(WATCHED, setting("settings.market", market))
    given = load_settings(environ={}, overrides={f"market.{name}": value for name, value in market.items()}).market
    (silent,) = (alert for alert in alerts(values) if alert["alert"] == "CryptoSentinelPipelinesSilent")
    assert asked(silent["expr"])[0][1]["market"] == market_name(source_slug(given.source), given)


def test_steps_are_told_where_their_metrics_go_and_whose_they_are() -> None:
    values = merged(LEAST, PUSHED, setting("metrics.otlp.url", "http://collector.monitoring:4318"))
    given = yaml.safe_load(settings_file(values))["monitoring"]
    assert given == {
        "pushgateway_url": "http://pushgateway.monitoring:9091",
        "otlp_url": "http://collector.monitoring:4318",
        "job": FULLNAME,
        "labels": {"namespace": NAMESPACE},
    }
    assert "monitoring" not in yaml.safe_load(settings_file(LEAST))
    assert "pushgateway" in json.dumps(
        parameters("inference", load_settings(environ={}, overrides={"monitoring": given}))
    )


def test_without_metrics_of_steps_nothing_asks_for_them() -> None:
    without = merged(LEAST, RULES, setting("metrics.grafanaDashboard.enabled", True))
    assert list(dashboards(without)) == ["cryptosentinel.json"]
    assert {name for alert in alerts(without) for name, _ in asked(alert["expr"])} <= told().keys()
    elsewhere = {"serving": {"enabled": False}, "settings": {"serving": {"url": "http://elsewhere"}}}
    steps_alone = merged(WATCHED, elsewhere)
    assert list(dashboards(steps_alone)) == ["cryptosentinel-platform.json"]
    assert {name for alert in alerts(steps_alone) for name, _ in asked(alert["expr"])} <= sent().keys()


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
