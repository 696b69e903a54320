"""What a reviewer of a cluster's security asks of every pod, role and secret."""

from __future__ import annotations

import re

import pytest
import yaml

from cryptosentinel.config import load_settings
from tests.chart.rendered import (
    FULLNAME,
    LEAST,
    NAMESPACE,
    ROOT,
    SCENARIOS,
    Pod,
    manifests,
    merged,
    of_kind,
    only,
    pods,
    scenario,
    setting,
    settings_file,
)

PODS = [
    pytest.param(pod, id=f"{name}-{pod.name.removeprefix(f'{FULLNAME}-')}")
    for name in SCENARIOS
    for pod in pods(scenario(name))
]


@pytest.mark.parametrize("pod", PODS)
def test_no_container_is_root_or_may_become_it(pod: Pod) -> None:
    for container in pod.containers():
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == 10001
        assert context["allowPrivilegeEscalation"] is False
        assert context["privileged"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["readOnlyRootFilesystem"] is True


# Knative refuses a pod's security context, and secures what it injects itself.
@pytest.mark.parametrize("pod", [param for param in PODS if param.id != "hopsworks-predictor"])
def test_what_others_inject_into_a_pod_is_restricted_too(pod: Pod) -> None:
    context = pod.spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("pod", PODS)
def test_nothing_of_the_host_is_shared_or_mounted(pod: Pod) -> None:
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & pod.spec.keys()
    for volume in pod.spec["volumes"]:
        assert not {"hostPath", "nfs", "gcePersistentDisk"} & volume.keys()
    for container in pod.containers():
        assert all("hostPort" not in port for port in container.get("ports", []))


@pytest.mark.parametrize("pod", PODS)
def test_only_who_asks_the_api_has_a_token(pod: Pod) -> None:
    asks = any(container["name"] == "rollout" for container in pod.containers())
    assert pod.spec["automountServiceAccountToken"] is asks
    assert pod.spec["enableServiceLinks"] is False


@pytest.mark.parametrize("pod", PODS)
def test_an_image_is_a_version_or_a_digest(pod: Pod) -> None:
    for container in pod.containers():
        assert re.search(r"@sha256:[0-9a-f]{64}$|:(?!latest$)[\w.-]+$", container["image"])
        assert container["imagePullPolicy"] in {"IfNotPresent", "Always"}


@pytest.mark.parametrize("pod", PODS)
def test_a_container_says_what_it_needs_and_at_most(pod: Pod) -> None:
    for container in pod.containers():
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("pod", PODS)
def test_secrets_come_by_reference(pod: Pod) -> None:
    for container in pod.containers():
        for variable in container.get("env", []):
            secret = re.search("SECRET|PASSWORD|API_KEY|ACCESS_KEY|TOKEN", variable["name"])
            assert not (secret and "value" in variable), variable["name"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_settings_file_holds_no_secret(name: str) -> None:
    told = merged(scenario(name), {"secret": {"existingSecret": "", "data": {"AWS_SECRET_ACCESS_KEY": "wonderful"}}})
    for each in manifests(told):
        assert ("wonderful" in str(each)) == (each["kind"] == "Secret")


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "kind"])
def test_nobody_gets_a_password_that_all_know(name: str) -> None:
    assert of_kind(scenario(name), "Secret") == []
    assert of_kind(LEAST, "Secret") == []


def test_a_digest_counts_before_a_tag() -> None:
    digest = f"sha256:{'a' * 64}"
    values = merged(
        LEAST, setting("dashboard.image", {"digest": digest, "tag": "2"}), setting("image.registry", "r.io")
    )
    (container,) = only(values, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"r.io/cryptosentinel/dashboard@{digest}"


@pytest.mark.parametrize("name", SCENARIOS)
def test_roles_name_what_they_need(name: str) -> None:
    assert of_kind(scenario(name), "ClusterRole") == of_kind(scenario(name), "ClusterRoleBinding") == []
    for role in of_kind(scenario(name), "Role"):
        assert role["metadata"]["namespace"] == NAMESPACE
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert "secrets" not in rule["resources"]
            if {"patch", "update", "delete"} & set(rule["verbs"]):
                assert rule["resourceNames"]


def test_a_promotion_may_do_what_its_page_says_and_no_more() -> None:
    page = (ROOT / "docs" / "rollout.md").read_text()
    (written,) = re.findall(r"```yaml\n(apiVersion: rbac.*?)```", page, re.DOTALL)
    assert only(LEAST, "Role")["rules"] == yaml.safe_load(written.replace("NAME", FULLNAME))["rules"]


def test_promotions_are_for_the_job_and_the_steps() -> None:
    subjects = only(LEAST, "RoleBinding", "-promoter")["subjects"]
    assert [(each["name"], each["namespace"]) for each in subjects] == [
        (f"{FULLNAME}-setup", NAMESPACE),
        (f"{FULLNAME}-steps", "kubeflow"),
    ]


def test_steps_have_an_account_of_their_own_where_they_run() -> None:
    account = only(LEAST, "ServiceAccount", "-steps")
    assert account["metadata"]["namespace"] == "kubeflow"
    binding = only(LEAST, "RoleBinding", "-pipeline-runner")
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pipeline-runner"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": f"{FULLNAME}-steps", "namespace": "kubeflow"}]


def test_steps_find_their_secret_where_they_run() -> None:
    copies = of_kind(scenario("kind"), "Secret")
    assert {each["metadata"]["namespace"] for each in copies} == {NAMESPACE, "kubeflow"}
    assert len({str(each["stringData"]) for each in copies}) == 1
    at_home = merged(scenario("kind"), setting("kfp.runNamespace", NAMESPACE))
    assert len(of_kind(at_home, "Secret")) == 1


def policy(values: dict, suffix: str) -> dict:
    return only(values, "NetworkPolicy", suffix)["spec"]


def test_every_pod_of_ours_is_behind_a_policy() -> None:
    def selects(selector: dict, labels: dict) -> bool:
        among = all(labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", []))
        return among and selector["matchLabels"].items() <= labels.items()

    selectors = [each["spec"]["podSelector"] for each in of_kind(LEAST, "NetworkPolicy")]
    for pod in pods(LEAST):
        assert [selects(selector, pod.labels) for selector in selectors].count(True) == 1, pod.name


def test_forecasts_are_for_the_release_the_steps_and_whom_one_names() -> None:
    rule, metrics = policy(scenario("cloud"), "-predictor")["ingress"]
    assert [port["port"] for port in rule["ports"]] == [8080, 8081]
    named = [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in rule["from"][1:]]
    assert rule["from"][0] == {"podSelector": {}}
    assert named == ["kubeflow", "trading"]
    assert [port["port"] for port in metrics["ports"]] == [8080]
    assert "from" not in policy(scenario("kind"), "-predictor")["ingress"][0]


def test_a_dashboard_that_is_not_exposed_is_for_the_release_alone() -> None:
    assert policy(LEAST, "-dashboard")["ingress"][0]["from"] == [{"podSelector": {}}]
    exposed = merged(LEAST, setting("dashboard.ingress", {"enabled": True, "hosts": ["a.example.com"]}))
    assert "from" not in policy(exposed, "-dashboard")["ingress"][0]


def test_the_dashboard_reaches_the_predictor_that_its_settings_name() -> None:
    values = scenario("airgapped")
    assert (
        yaml.safe_load(settings_file(values))["serving"]["url"]
        == f"http://{FULLNAME}-predictor.{NAMESPACE}.svc.cluster.local"
    )
    assert {"to": [{"podSelector": {}}]} in policy(values, "-dashboard")["egress"]
    admitted = policy(values, "-predictor")["ingress"][0]
    assert {"podSelector": {}} in admitted["from"]
    assert 8080 in [port["port"] for port in admitted["ports"]]


def test_behind_a_login_nobody_reaches_the_dashboard_itself() -> None:
    values = scenario("cloud")
    dashboard, proxy = only(values, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"name": "STREAMLIT_SERVER_ADDRESS", "value": "127.0.0.1"} in dashboard["env"]
    assert "ports" not in dashboard
    assert proxy["name"] == "auth-proxy"
    assert proxy["envFrom"] == [{"secretRef": {"name": "forecasts-login"}}]
    assert [port["port"] for port in policy(values, "-dashboard")["ingress"][0]["ports"]] == [4180]


def variables(values: dict) -> dict[str, str]:
    """The dashboard's own, by name."""
    dashboard = only(values, "Deployment", "-dashboard")["spec"]["template"]["spec"]["containers"][0]
    return {each["name"]: each.get("value", "") for each in dashboard["env"] if "_DASHBOARD__" in each["name"]}


def test_only_users_whom_the_login_names_act_and_only_where_a_release_lets_them() -> None:
    header = {"CRYPTOSENTINEL_DASHBOARD__USER_HEADER": "X-Forwarded-User"}
    assert variables(LEAST) == {}
    assert variables(scenario("cloud")) == header
    acting = merged(scenario("cloud"), setting("dashboard.actions", True))
    assert variables(acting) == header | {"CRYPTOSENTINEL_DASHBOARD__ACTIONS": "true"}
    settings = load_settings(environ=variables(acting)).dashboard
    assert (settings.actions, settings.user_header) == (True, "X-Forwarded-User")


@pytest.mark.parametrize(("actions", "role"), [(False, "view"), (True, "edit")])
def test_a_dashboard_sees_the_runs_of_a_profile_and_starts_some_only_where_it_may_act(actions: bool, role: str) -> None:
    proxy = {"enabled": True, "existingSecret": "login"}
    values = merged(scenario("hopsworks"), setting("dashboard", {"actions": actions, "authProxy": proxy}))
    binding = only(values, "RoleBinding", "-dashboard")
    assert binding["roleRef"]["name"] == f"kubeflow-pipelines-{role}"
    assert binding["metadata"]["namespace"] == values["kfp"]["runNamespace"]
    pod = only(values, "Deployment", "-dashboard")["spec"]["template"]["spec"]
    assert binding["subjects"][0]["name"] == pod["serviceAccountName"]
    token = only(values, "Job", "-setup")["spec"]["template"]["spec"]["volumes"][-1]
    assert token["name"] == "kubeflow-token"
    assert token in pod["volumes"]
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "kubeflow-token"]
    assert yaml.safe_load(settings_file(values))["kubeflow"]["token_file"] == f"{mount['mountPath']}/token"
    assert not [each for each in of_kind(LEAST, "RoleBinding") if each["metadata"]["name"].endswith("-dashboard")]


def test_egress_is_names_each_other_the_store_the_api_and_kubeflow() -> None:
    values = scenario("airgapped")
    names, _, outside = policy(values, "-predictor")["egress"]
    assert {(port["port"], port["protocol"]) for port in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert [port["port"] for port in outside["ports"]] == [443, 6443, 9443]
    assert outside["to"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    for asking in ("-setup", "-dashboard"):
        assert policy(values, asking)["egress"][-1]["ports"] == [{"port": 8888, "protocol": "TCP"}]
    assert "egress" not in policy(LEAST, "-predictor")
