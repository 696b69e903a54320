"""Values: all explained, and those that cannot work refused before anything reaches a cluster."""

from __future__ import annotations

import json
from typing import Any

import helm_python as helm
import jsonschema
import pytest

from charts import make
from cryptosentinel.config import Settings, load_settings, setting_names
from cryptosentinel.config.layers import is_secret
from cryptosentinel.errors import SettingsError
from tests.chart.rendered import CHART, LEAST, manifests, merged, setting, texts

LONG = "a" * 64
PROXY = {"enabled": True, "existingSecret": "login"}

# A value, what is wrong with it, and words that the refusal must hold: where, and what.
# They belong into `secret`: what is under `settings` is in a ConfigMap.
SECRETS = [
    name for name in setting_names() if is_secret(Settings, tuple(name.split("."))) and name != "storage.options"
]
WRONG: list[tuple[str, Any, tuple[str, ...]]] = [
    ("sevring.replicas", 2, ("additional properties 'sevring' not allowed",)),
    ("serving.replica", 2, ("/serving", "additional properties 'replica' not allowed")),
    ("serving.replicas", 0, ("/serving/replicas", "minimum: got 0, want 1")),
    ("serving.replicas", "two", ("/serving/replicas", "got string, want integer")),
    ("serving.deploymentMode", "Serverless", ("/serving/deploymentMode", "'Standard', 'Knative'")),
    ("serving.image.digest", "sha256:abc", ("/serving/image/digest", "does not match pattern")),
    ("serving.image.repository", "Registry/Serving:1", ("/serving/image/repository", "does not match pattern")),
    ("serving.image.tag", "latest", ("serving.image", "the tag latest is another image tomorrow")),
    ("image.tag", "latest", ("dashboard.image", "the tag latest is another image tomorrow")),
    ("image.pullPolicy", "Sometimes", ("/image/pullPolicy", "'IfNotPresent', 'Always', 'Never'")),
    ("serving.resources.requests.memory", "512 MB", ("/serving/resources/requests/memory", "does not match pattern")),
    ("serving.resources.request.memory", "1Gi", ("/serving/resources", "additional properties 'request' not allowed")),
    ("serving.podDisruptionBudget.maxUnavailable", 0, ("maxUnavailable", "minimum: got 0, want 1")),
    ("serving.terminationGracePeriodSeconds", 5, ("terminationGracePeriodSeconds", "minimum: got 5, want 20")),
    ("serving.extraEnv", {"A": "b"}, ("/serving/extraEnv", "got object, want array")),
    ("serving.extraEnv", [{"name": "A", "value": 1}], ("/serving/extraEnv/0/value", "got number, want string")),
    ("serving.extraVolumes", [{"name": "settings", "emptyDir": {}}], ("serving.extraVolumes", "taken by the chart")),
    (
        "serving.annotations",
        {"serving.kserve.io/enable-prometheus-scraping": "true"},
        ("enable-prometheus-scraping is the chart's to set",),
    ),
    ("serving.autoscaling", {"enabled": True, "maxReplicas": 0}, ("maxReplicas", "minimum: got 0, want 1")),
    (
        "serving",
        {"replicas": 5, "autoscaling": {"enabled": True, "maxReplicas": 2}},
        ("serving.autoscaling.maxReplicas (2) is below serving.replicas (5)",),
    ),
    (
        "serving",
        {"resources": {"requests": {"cpu": None}}, "autoscaling": {"enabled": True}},
        ("serving.resources.requests.cpu is empty",),
    ),
    ("storage.uri", "", ("storage.uri is empty", "--set storage.uri=s3://BUCKET/PREFIX")),
    ("storage.uri", "/data", ("/storage/uri", "does not match pattern")),
    ("storage.uri", "pvc://claim/models", ("/storage/uri", "does not match pattern")),
    ("storage.uri", "oci://registry/models", ("/storage/uri", "does not match pattern")),
    ("storage.endpoint", "seaweedfs:9000", ("/storage/endpoint", "does not match pattern")),
    ("storage.options.AWS_SECRET_ACCESS_KEY", "x", ("looks like a secret", "secret.data")),
    ("storage.options.AWS_S3_ALLOW_UNSAFE_RENAME", "true", ("two writers lose each other's rows",)),
    ("storage.accessKeyId", "x", ("/storage", "additional properties 'accessKeyId' not allowed")),
    ("secret.data.aws-key", "x", ("/secret/data", "additional properties 'aws-key' not allowed")),
    ("secret.data.AWS_ACCESS_KEY_ID", "", ("/secret/data/AWS_ACCESS_KEY_ID", "minLength: got 0, want 1")),
    ("secret.data.AWS_ACCESS_KEY_ID", "x", ("no AWS_SECRET_ACCESS_KEY",)),
    ("secret", {"existingSecret": "a", "data": {"A": "b"}}, ("existingSecret and secret.data are both set",)),
    ("settings.training.window_days", 0, ("/settings/training/window_days", "exclusiveMinimum: got 0, want 0")),
    ("settings.training.windows", 30, ("/settings/training", "additional properties 'windows' not allowed")),
    ("settings.training.preset", "fast", ("/settings/training/preset", "'default', 'classic'")),
    ("settings.market.source", "auto", ("/settings/market/source", "does not match pattern")),
    ("settings.market.source", "file:/data/bars.parquet", ("/settings/market/source", "does not match pattern")),
    *(
        (f"settings.{name}", "https://hooks/x", (f"additional properties '{name.rpartition('.')[2]}' not allowed",))
        for name in SECRETS
    ),
    ("settings.schedules.training", "16,46 * * * *", ("/settings/schedules/training", "does not match pattern")),
    ("settings.storage.uri", "s3://other/place", ("/settings/storage", "additional properties 'uri' not allowed")),
    ("settings.serving.url", "http://elsewhere", ("with serving.enabled they are the chart's to set",)),
    ("serving.enabled", False, ("settings.serving.url is empty", "which predictor to ask")),
    ("storage.uri", "az://container/btc", ("settings.rollout.store_uri is empty", "blob.core.windows.net")),
    ("settings.serving.http_port", 80, ("/settings/serving", "additional properties 'http_port' not allowed")),
    ("settings.kubeflow.steps.train.cpu_request", "half", ("/train/cpu_request", "does not match pattern")),
    ("settings.rollout.canary_percent", 100, ("/settings/rollout/canary_percent", "maximum: got 100, want 99")),
    ("dashboard.ingress.enabled", True, ("/dashboard/ingress/hosts", "minItems: got 0, want 1")),
    ("dashboard.httpRoute.enabled", True, ("/dashboard/httpRoute/parentRefs", "minItems: got 0, want 1")),
    ("dashboard.authProxy.enabled", True, ("/dashboard/authProxy/existingSecret", "minLength: got 0, want 1")),
    ("dashboard.authProxy", PROXY | {"args": ["provider=x"]}, ("/authProxy/args/0", "does not match pattern")),
    ("dashboard.actions", True, ("dashboard.actions: only users who are known may act",)),
    ("dashboard.service.type", "Public", ("/dashboard/service/type", "'ClusterIP', 'NodePort', 'LoadBalancer'")),
    ("dashboard.service.nodePort", 80, ("/dashboard/service/nodePort", "minimum: got 80, want 30,000")),
    ("dashboard.basePath", "/forecasts/", ("/dashboard/basePath", "does not match pattern")),
    ("dashboard.autoscaling", {"enabled": True, "minReplicas": 5}, ("maxReplicas (3) is below minReplicas (5)",)),
    ("kfp.endpoint", "ml-pipeline.kubeflow:8888", ("/kfp/endpoint", "does not match pattern")),
    ("kfp.runNamespace", "Kube_Flow", ("/kfp/runNamespace", "does not match pattern")),
    ("kfp.runNamespace", LONG, ("/kfp/runNamespace", "maxLength: got 64, want 63")),
    ("kfp.multiUser", True, ("runs belong to a profile's namespace",)),
    ("kfp.steps.serviceAccount.create", False, ("kfp.steps.serviceAccount", "name of one that exists")),
    ("setup.serviceAccount.create", False, ("setup.serviceAccount", "name of one that exists")),
    ("metrics.prometheusRule.disabled", ["Nonsense"], ("/metrics/prometheusRule/disabled/0", "value must be one of")),
    ("metrics.pushgateway.url", "pushgateway:9091", ("/metrics/pushgateway/url", "does not match pattern")),
    ("metrics.otlp.url", "http://ann:secret@collector:4318", ("/metrics/otlp/url", "does not match pattern")),
    ("metrics.prometheusRule.runbookUrl", "docs/a.md", ("/prometheusRule/runbookUrl", "does not match pattern")),
    ("settings.monitoring.job", "mine", ("/settings/monitoring", "additional properties 'job' not allowed")),
    ("metrics.serviceMonitor.interval", "30", ("/metrics/serviceMonitor/interval", "does not match pattern")),
    (
        "",
        {"serving": {"deploymentMode": "Knative"}, "metrics": {"serviceMonitor": {"enabled": True}}},
        ("metrics.serviceMonitor", "Knative"),
    ),
    ("serving.deploymentMode", "Knative", ("networkPolicy.serving.from is empty", "ci/hopsworks-values.yaml")),
    ("networkPolicy.metrics.from", [], ("/networkPolicy/metrics/from", "minItems: got 0, want 1")),
    ("networkPolicy.serving.from", [{}], ("/networkPolicy/serving/from/0", "minProperties: got 0, want 1")),
    ("networkPolicy.egress.cidrs", ["anywhere"], ("/networkPolicy/egress/cidrs/0", "does not match pattern")),
    ("serving.preStopSleepSeconds", 31, ("preStopSleepSeconds (31) is beyond terminationGracePeriodSeconds (30)",)),
    (
        "commonLabels",
        {"app.kubernetes.io/component": "x"},
        ("commonLabels", "select pods by app.kubernetes.io/component"),
    ),
    ("dashboard.podLabels", {"app.kubernetes.io/name": "x"}, ("dashboard.podLabels", "Choose another label")),
    ("commonLabels.team", "a b", ("/commonLabels/team", "does not match pattern")),
    ("fullnameOverride", "1-forecast", ("none that KServe takes: it must begin with a letter",)),
    (
        "",
        {"serving": {"enabled": False}, "dashboard": {"enabled": False}, "kfp": {"enabled": False}},
        ("there is nothing to install",),
    ),
]


@pytest.mark.parametrize(("path", "value", "words"), WRONG, ids=[f"{path}={value}"[:60] for path, value, _ in WRONG])
def test_a_value_that_cannot_work_is_refused_with_its_place_and_reason(
    path: str, value: Any, words: tuple[str, ...]
) -> None:
    values = merged(LEAST, setting(path, value) if path else value)
    with pytest.raises(helm.HelmError) as refused:
        texts(values)
    said = str(refused.value)
    assert [word for word in words if word not in said] == [], said


def test_the_least_that_installs_is_an_address_of_a_store() -> None:
    assert manifests(LEAST)


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/a/b", "gs://bucket/a"])
def test_a_store_is_an_object_store(uri: str) -> None:
    assert manifests(setting("storage.uri", uri))


def test_every_value_is_explained_and_the_readme_lists_them() -> None:
    readme = (CHART / "README.md").read_text()
    assert readme == make.readme(readme), "make chart-docs"
    listed = [value.path for value in make.values()]
    assert len(listed) == len(set(listed))
    assert all(value.text for value in make.values())


def test_the_schema_has_the_settings_of_the_library() -> None:
    schema = (CHART / "values.schema.json").read_text()
    assert schema == make.schema(schema), "make chart-docs"


def test_the_schema_is_one_that_every_helm_reads() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)  # Helm 3 before 3.18 knows no later one

    def lonely(node: Any) -> bool:
        """Whether nothing stands beside a reference: draft 7 would ignore it."""
        if isinstance(node, list):
            return all(map(lonely, node))
        return not isinstance(node, dict) or (
            (len(node) == 1 or "$ref" not in node) and all(map(lonely, node.values()))
        )

    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert lonely(schema)


def test_every_value_is_in_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def known(path: str) -> bool:
        below = schema
        for name in path.split("."):
            if "$ref" in below:
                below = schema["definitions"][below["$ref"].rpartition("/")[2]]
            if name not in below.get("properties", {}):
                return bool(below.get("additionalProperties")) or "type" not in below
            below = below["properties"][name]
        return True

    assert [value.path for value in make.values() if not known(value.path)] == []


def test_what_is_reserved_is_a_setting() -> None:
    names = set(setting_names())
    assert [
        name for name in make.RESERVED if not any(each == name or each.startswith(f"{name}.") for each in names)
    ] == []


OF_THE_LIBRARY = [
    (path.removeprefix("settings."), value)
    for path, value, _ in WRONG
    if path.startswith("settings.")
    and path != "settings.serving.url"
    and path.removeprefix("settings.") not in make.RESERVED | make.PATTERNS.keys() | set(SECRETS)
]


@pytest.mark.parametrize(("name", "value"), OF_THE_LIBRARY)
def test_helm_is_no_stricter_than_the_library(name: str, value: Any) -> None:
    with pytest.raises(SettingsError):
        load_settings(environ={}, overrides={name: value})
