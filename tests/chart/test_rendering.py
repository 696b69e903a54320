"""What every scenario becomes is valid, whichever Kubernetes it is for."""

from __future__ import annotations

from pathlib import PurePath

import helm_python as helm
import pytest
import yaml

from cryptosentinel import __version__
from cryptosentinel.config import load_settings
from tests.chart.rendered import (
    CHART,
    FULLNAME,
    LEAST,
    NAMESPACE,
    ROOT,
    SCENARIOS,
    manifests,
    merged,
    of_kind,
    only,
    predictor_spec,
    scenario,
    setting,
    settings_file,
    texts,
)
from tests.chart.schemas import KSERVE, VERSIONS, check_kubernetes, kserve_faults

OPERATORS = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
@pytest.mark.parametrize("name", [*SCENARIOS, None])
def test_helm_lint_has_nothing_to_say(name: str | None, version: str) -> None:
    values = {} if name is None else scenario(name)
    report = helm.lint(CHART, values, strict=True, kube_version=f"v{version}.0")
    assert report["errors"] == []
    assert [said for said in report["messages"] if said["severity"] > 1] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_objects_are_what_kubernetes_says_they_are(name: str, version: str) -> None:
    values = scenario(name)
    for each in manifests(values):
        if each["kind"] not in OPERATORS | KSERVE.keys():
            check_kubernetes(each, version)
    metadata = {"name": "predictor", "labels": {"app": "predictor"}}
    template = {"metadata": metadata, "spec": predictor_spec(values)}
    made = {"selector": {"matchLabels": metadata["labels"]}, "template": template}
    check_kubernetes({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": made}, version)


@pytest.mark.parametrize("name", SCENARIOS)
def test_objects_are_what_kserve_says_they_are(name: str) -> None:
    found = [each for each in manifests(scenario(name)) if each["kind"] in KSERVE]
    assert {each["kind"] for each in found} == KSERVE.keys()
    assert [fault for each in found for fault in kserve_faults(each)] == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_settings_of_a_release_are_settings_of_the_library(name: str, tmp_path) -> None:
    values = scenario(name)
    path = tmp_path / "settings.yaml"
    path.write_text(settings_file(values))
    settings = load_settings(config=path, environ={})
    assert settings.storage.uri == values["storage"]["uri"]
    assert settings.serving.model_name == FULLNAME
    promoted = values.get("serving", {}).get("deploymentMode", "Standard") == "Standard"
    rollout = (settings.rollout.inference_service, settings.rollout.namespace)
    assert rollout == ((FULLNAME, NAMESPACE) if promoted else (None, None))
    assert (settings.kubeflow.url is not None) == values.get("kfp", {}).get("enabled", True)


def test_one_token_authenticates_with_kubeflow() -> None:
    own = yaml.safe_load(settings_file(scenario("hopsworks")))["kubeflow"]
    assert own["token_file"] == "/var/run/secrets/kubeflow/pipelines/token"
    keys = setting("secret.keys", ["CRYPTOSENTINEL_KUBEFLOW__TOKEN"])
    given = yaml.safe_load(settings_file(merged(scenario("hopsworks"), keys)))["kubeflow"]
    assert "token_file" not in given
    assert given["secret_env"] == {"CRYPTOSENTINEL_KUBEFLOW__TOKEN": "CRYPTOSENTINEL_KUBEFLOW__TOKEN"}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_name_is_given_once(name: str) -> None:
    names = [
        (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])
        for each in manifests(scenario(name) | {"extraManifests": []})
    ]
    assert len(names) == len(set(names))
    assert all(len(name) <= 63 for _, _, name in names)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_file_holds_one_kind_and_is_named_after_it(name: str) -> None:
    for path, text in texts(scenario(name)).items():
        found = [each["kind"] for each in yaml.safe_load_all(text) if each] if path.endswith(".yaml") else []
        if path == "extra-manifests.yaml" or not found:
            continue
        assert len(set(found)) == 1
        words = PurePath(path).stem.split("-")
        assert found[0].lower() in (words[-1], f"{words[-1]}", words[-1].removesuffix("s")) or path in {
            "metrics/grafana-dashboard.yaml"
        }


@pytest.mark.parametrize("name", SCENARIOS)
def test_selectors_hold_nothing_that_an_upgrade_changes(name: str) -> None:
    for each in of_kind(scenario(name), "Deployment"):
        selector = each["spec"]["selector"]["matchLabels"]
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= labels.items()
        assert set(selector) == {f"app.kubernetes.io/{part}" for part in ("name", "instance", "component")}


@pytest.mark.parametrize("name", SCENARIOS)
def test_all_objects_carry_the_usual_labels(name: str) -> None:
    for each in manifests(scenario(name) | {"extraManifests": []}):
        labels = each["metadata"]["labels"]
        assert {"helm.sh/chart", *(f"app.kubernetes.io/{part}" for part in ("name", "instance", "managed-by"))} <= (
            labels.keys()
        )


def test_labels_and_annotations_of_ones_own_are_on_everything() -> None:
    own = {"commonLabels": {"team": "research"}, "commonAnnotations": {"cost": "42"}}
    for each in manifests(merged(scenario("cloud"), own)):
        assert each["metadata"]["labels"]["team"] == "research"
        assert each["metadata"]["annotations"]["cost"] == "42"


def test_a_name_that_is_long_or_dotted_still_installs() -> None:
    for name in ("a" * 53, "market.btc"):
        found = manifests(LEAST, name)
        assert all(len(each["metadata"]["name"]) <= 63 for each in found)
        (service,) = (each for each in found if each["kind"] == "InferenceService")
        assert "." not in service["metadata"]["name"]


def test_what_autoscales_has_no_number_of_replicas_to_fall_back_to() -> None:
    assert "replicas" in only(LEAST, "Deployment")["spec"]
    scaled = merged(LEAST, setting("dashboard.autoscaling.enabled", True))
    assert "replicas" not in only(scaled, "Deployment")["spec"]
    assert only(scaled, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == f"{FULLNAME}-dashboard"


def test_more_objects_may_hold_templates() -> None:
    more = ["apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n  namespace: forecasts\n"]
    assert only(merged(LEAST, {"extraManifests": more}), "ConfigMap", "-text")["metadata"]["name"] == "btc-text"
    assert only(scenario("airgapped"), "ConfigMap", "authorities")["data"]["note"] == "of btc"


def test_the_chart_has_the_version_of_the_code() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == __version__
    images = yaml.safe_load(about["annotations"]["artifacthub.io/images"])
    assert {image["image"].rpartition(":")[2] for image in images} == {f"{__version__}-python3.11"}
    assert (ROOT / "docs" / "kubernetes.md").exists()


@pytest.mark.parametrize("name", SCENARIOS)
def test_notes_say_what_to_do_next(name: str) -> None:
    said = texts(scenario(name))["NOTES.txt"]
    assert f"kubectl get inferenceservice {FULLNAME} -n {NAMESPACE}" in said
    assert "docs/kubernetes.md" in said
    assert "<no value>" not in said
