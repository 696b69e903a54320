"""What KServe is asked to run."""

from __future__ import annotations

import itertools

import pytest
import yaml

from cryptosentinel import cli
from cryptosentinel.config import load_settings
from tests.chart.rendered import (
    FULLNAME,
    LEAST,
    NAMESPACE,
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


def containers(values: dict) -> dict[str, dict]:
    return {each["name"]: each for each in predictor_spec(values)["containers"]}


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_served_is_left_to_promotions(name: str) -> None:
    for each in manifests(scenario(name)):
        assert "storageUri:" not in str(each).replace("'", "")
    predictor = only(scenario(name), "InferenceService")["spec"]["predictor"]
    assert predictor["model"] == {
        "modelFormat": {"name": "cryptosentinel"},
        "runtime": FULLNAME,
        "protocolVersion": "v2",
    }


def test_the_bundle_in_the_image_serves_until_one_is_rolled_out() -> None:
    found = containers(LEAST)
    bundles = ["--bundle", "/mnt/models", "--bundle", "/opt/random-walk"]
    assert found["kserve-container"]["args"] == bundles
    assert found["explainer"]["args"][: len(bundles)] == bundles


def test_predictor_and_explainer_share_the_volume_that_kserve_fetches_into() -> None:
    spec = predictor_spec(LEAST)
    assert {"name": "kserve-provision-location", "emptyDir": {"sizeLimit": "1Gi"}} in spec["volumes"]
    mounts = {
        name: {mount["name"]: mount for mount in each["volumeMounts"]} for name, each in containers(LEAST).items()
    }
    assert mounts["explainer"]["kserve-provision-location"] == {
        "name": "kserve-provision-location",
        "mountPath": "/mnt/models",
        "readOnly": True,
    }
    # KServe's injector mounts it there itself, and would do so twice.
    assert "kserve-provision-location" not in mounts["kserve-container"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_mount_has_its_volume(name: str) -> None:
    spec = predictor_spec(scenario(name))
    volumes = [volume["name"] for volume in spec["volumes"]]
    assert len(volumes) == len(set(volumes))
    mounted = {mount["name"] for each in spec["containers"] for mount in each["volumeMounts"]}
    assert mounted <= set(volumes)


def test_an_explainer_never_takes_forecasts_out_of_the_service() -> None:
    explainer = containers(LEAST)["explainer"]
    assert not {"readinessProbe", "livenessProbe", "startupProbe", "ports"} & explainer.keys()


def test_a_pod_is_ready_once_its_model_is() -> None:
    predictor = containers(LEAST)["kserve-container"]
    assert predictor["readinessProbe"]["httpGet"]["path"] == f"/v2/models/{FULLNAME}/ready"
    assert predictor["startupProbe"]["httpGet"]["path"] == f"/v2/models/{FULLNAME}/ready"
    assert predictor["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"


def test_http_comes_first_and_both_ports_have_names() -> None:
    ports = [(each["name"], each["containerPort"]) for each in containers(LEAST)["kserve-container"]["ports"]]
    assert ports == [("http1", 8080), ("grpc", 8081)]


def test_knative_gets_one_port_and_nothing_that_it_refuses() -> None:
    values = scenario("hopsworks")
    assert [each["name"] for each in containers(values)["kserve-container"]["ports"]] == ["http1"]
    spec = predictor_spec(values)
    assert not {"securityContext", "terminationGracePeriodSeconds", "topologySpreadConstraints"} & spec.keys()
    annotations = only(values, "InferenceService")["metadata"]["annotations"]
    assert annotations["serving.kserve.io/deploymentMode"] == "Knative"
    assert "serving.kserve.io/autoscalerClass" not in annotations


def test_nothing_is_promoted_where_there_is_no_deployment_to_wait_for() -> None:
    values = scenario("hopsworks")
    assert [each["args"] for each in only(values, "Job", "-setup")["spec"]["template"]["spec"]["containers"]] == [
        ["pipelines", "schedule"]
    ]
    assert of_kind(values, "Role") == []
    assert "you set its storageUri" in texts(values)["NOTES.txt"]


def test_what_the_jobs_run_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    for job in of_kind(LEAST, "Job"):
        spec = job["spec"]["template"]["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            monkeypatch.setattr("sys.argv", [*container["command"], *container["args"], "--help"])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert not ended.value.code, container["args"]


def test_a_job_ends() -> None:
    for job in of_kind(LEAST, "Job"):
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
        assert job["spec"]["backoffLimit"] >= 1
        assert job["spec"]["activeDeadlineSeconds"]
    rules = load_settings(environ={}).rollout
    # For the Lease, for the pods, for those before to come back, with the trial and the schedules (docs/rollout.md).
    (setup,) = (job for job in of_kind(LEAST, "Job") if job["metadata"]["name"].endswith("-setup"))
    assert setup["spec"]["activeDeadlineSeconds"] >= 3 * rules.timeout_s + 30 + 300


def test_a_trial_finds_the_service_in_a_cluster_of_another_name() -> None:
    assert "url" not in yaml.safe_load(settings_file(LEAST))["rollout"]
    other = yaml.safe_load(settings_file(merged(LEAST, {"clusterDomain": "corp.internal"})))
    assert other["rollout"]["url"] == f"http://{FULLNAME}-predictor.{NAMESPACE}.svc.corp.internal"


def test_kserve_scales_only_where_it_is_asked_to() -> None:
    off, on = only(LEAST, "InferenceService"), only(scenario("cloud"), "InferenceService")
    assert off["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "none"
    assert on["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"
    assert (on["spec"]["predictor"]["minReplicas"], on["spec"]["predictor"]["maxReplicas"]) == (3, 12)
    assert all(each["resources"]["requests"]["cpu"] for each in containers(scenario("cloud")).values())


def test_a_rollout_takes_no_pod_away_before_its_successor_is_ready() -> None:
    strategy = only(LEAST, "InferenceService")["spec"]["predictor"]["deploymentStrategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_scraping_is_left_to_the_operator_or_told_by_annotations() -> None:
    annotations = only(LEAST, "ServingRuntime")["spec"]["annotations"]
    assert annotations["prometheus.io/port"] == "8080"
    assert "annotations" not in only(scenario("cloud"), "ServingRuntime")["spec"]
    # KServe's own annotation would name the port of Knative's queue-proxy.
    for name in SCENARIOS:
        assert "enable-prometheus-scraping" not in str(manifests(scenario(name)))


def test_another_schedule_is_no_reason_for_new_predictors() -> None:
    def checksum(values: dict) -> str:
        return only(values, "InferenceService")["spec"]["predictor"]["annotations"]["checksum/settings"]

    schedule = merged(LEAST, setting("settings.schedules.training", "0 0 * * * *"))
    assert checksum(schedule) == checksum(LEAST)
    assert checksum(merged(LEAST, setting("settings.forecast.max_data_age_s", 60))) != checksum(LEAST)
    assert checksum(merged(LEAST, setting("settings.serving.workers", 2))) != checksum(LEAST)


def test_the_store_s_address_goes_with_its_keys_as_kserve_wants_it() -> None:
    (secret,) = (each for each in of_kind(scenario("kind"), "Secret") if each["metadata"]["namespace"] == NAMESPACE)
    annotations = secret["metadata"]["annotations"]
    assert annotations["serving.kserve.io/s3-endpoint"] == "seaweedfs.kubeflow:9000"
    assert annotations["serving.kserve.io/s3-usehttps"] == "0"
    assert only(scenario("kind"), "ServiceAccount", "-serving")["secrets"] == [{"name": FULLNAME}]


def test_the_service_account_of_an_identity_has_no_keys() -> None:
    account = only(scenario("cloud"), "ServiceAccount", "-serving")
    assert "secrets" not in account
    assert "eks.amazonaws.com/role-arn" in account["metadata"]["annotations"]
    assert of_kind(scenario("cloud"), "Secret") == []


@pytest.mark.parametrize(("kfp", "serving"), list(itertools.product([True, False], repeat=2)))
def test_the_job_does_what_there_is_to_do(kfp: bool, serving: bool) -> None:
    elsewhere = {} if serving else setting("settings.serving.url", "http://elsewhere")
    values = merged(LEAST, setting("kfp.enabled", kfp), setting("serving.enabled", serving), elsewhere)
    jobs = {each["metadata"]["name"].rpartition("-")[2]: each for each in of_kind(values, "Job")}
    spec = jobs["setup"]["spec"]["template"]["spec"] if "setup" in jobs else {"containers": []}
    done = [each["args"] for each in [*spec.get("initContainers", []), *spec["containers"]]]
    assert done == [["pipelines", "schedule"]] * kfp + [["rollout"]] * serving
    assert ("remove" in jobs) == kfp


def test_hooks_run_when_they_should() -> None:
    hooks = {
        each["metadata"]["name"].removeprefix(f"{FULLNAME}-"): each["metadata"]["annotations"]["helm.sh/hook"]
        for each in manifests(LEAST)
        if "helm.sh/hook" in each["metadata"].get("annotations", {})
    }
    assert hooks == {
        "setup": "post-install,post-upgrade,post-rollback",
        "remove": "pre-delete",
        "test": "test",
    }


def test_schedules_can_be_switched_off() -> None:
    values = merged(LEAST, setting("kfp.schedules", False))
    (job,) = (each for each in of_kind(values, "Job") if each["metadata"]["name"].endswith("-setup"))
    assert job["spec"]["template"]["spec"]["initContainers"][0]["args"] == ["pipelines", "schedule", "--remove"]


def test_notes_tell_that_a_kubeflow_store_wants_a_label() -> None:
    assert "app.kubernetes.io/part-of=kubeflow-profile" in texts(scenario("kind"))["NOTES.txt"]
    assert "part-of=kubeflow-profile" not in texts(scenario("cloud"))["NOTES.txt"]
