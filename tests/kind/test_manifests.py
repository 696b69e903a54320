"""What the manifests say to one another."""

from __future__ import annotations

import re
from importlib.metadata import version

import yaml

from manifests.kind import machine, reporting
from manifests.kind.pins import CERT_MANAGER, KSERVE, KUBERNETES, MANIFESTS, NAME, NODE_IMAGES, ROOT, TOOLS
from tests.chart.rendered import merged, only, scenario


def kustomization(folder: str) -> dict:
    return yaml.safe_load((MANIFESTS / "kfp" / folder / "kustomization.yaml").read_text())


def node_ports() -> set[int]:
    """Of the Services that are reached from this machine."""
    ui = yaml.safe_load((MANIFESTS / "kfp" / "ui-nodeport.yaml").read_text())
    values = merged(scenario("kind"), {"fullnameOverride": NAME})
    ports = [port["nodePort"] for port in only(values, "Service", "-nodeport")["spec"]["ports"]]
    return {
        *(step["value"] for step in ui if step["path"].endswith("nodePort")),
        *ports,
        scenario("kind")["dashboard"]["service"]["nodePort"],
    }


def test_every_address_that_is_told_leads_to_a_service() -> None:
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    (node,) = config["nodes"]
    opened = {each["containerPort"]: each["hostPort"] for each in node["extraPortMappings"]}
    assert machine.ports() == opened
    assert set(opened) == node_ports()
    assert set(opened) == {reporting.DASHBOARD, reporting.KUBEFLOW_PAGES, reporting.REST, reporting.GRPC}
    assert {each["listenAddress"] for each in node["extraPortMappings"]} == {"127.0.0.1"}
    assert config["name"] == NAME
    assert scenario("kind")["settings"]["kubeflow"]["ui_url"] == reporting.addresses()["Kubeflow Pipelines"]


def test_nodes_are_pinned_by_digest_and_the_default_one_is_the_config_s() -> None:
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    assert config["nodes"][0]["image"] == NODE_IMAGES[KUBERNETES]
    for kubernetes, image in NODE_IMAGES.items():
        assert re.fullmatch(rf"kindest/node:v{re.escape(kubernetes)}\.\d+@sha256:[0-9a-f]{{64}}", image)


def test_kubeflow_is_pinned_to_the_version_that_the_client_is_of() -> None:
    urls = [url for folder in (".", "cluster-scoped") for url in kustomization(folder)["resources"]]
    assert len(urls) == 2
    assert all(f"ref={version('kfp')}&" in url for url in urls)


def test_every_patch_is_used_and_every_document_is_one_kind_of_patch() -> None:
    used = {patch["path"] for patch in kustomization(".")["patches"] if "path" in patch}
    assert used == {path.name for path in (MANIFESTS / "kfp").glob("*.yaml")} - {"kustomization.yaml"}
    for patch in kustomization(".")["patches"]:
        if "path" in patch:
            text = (MANIFESTS / "kfp" / patch["path"]).read_text()
            steps = [isinstance(document, list) for document in yaml.safe_load_all(text)]
            assert set(steps) == {"target" in patch}  # steps (JSON 6902) need a target, parts of an object name theirs


def test_the_object_store_is_opened_to_the_release_s_namespace_alone() -> None:
    (step,) = yaml.safe_load((MANIFESTS / "kfp" / "seaweedfs-networkpolicy.yaml").read_text())
    namespace = yaml.safe_load((MANIFESTS / "kind" / "namespace.yaml").read_text())["metadata"]["name"]
    assert namespace == NAME
    assert step["value"]["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAME}}}]


def test_the_readme_names_the_versions() -> None:
    readme = (MANIFESTS / "README.md").read_text()
    for chart in (CERT_MANAGER, *KSERVE):
        assert re.fullmatch(r"v\d+\.\d+\.\d+", chart.version)
        assert f"{chart.chart.removeprefix('oci://')}`, {chart.version}" in readme
    for image in NODE_IMAGES.values():
        assert image.split("@")[0].removeprefix("kindest/node:v") in readme


def test_kind_is_tried_on_the_oldest_and_the_newest_kubernetes_with_the_kind_that_its_nodes_are_for() -> None:
    text = (ROOT / ".github" / "workflows" / "e2e.yml").read_text()
    tried = yaml.safe_load(text)["jobs"]["kind"]["strategy"]["matrix"]["kubernetes"]
    assert tried == [min(NODE_IMAGES), max(NODE_IMAGES)]
    (kind,) = [tool for tool in TOOLS if tool.name == "kind"]
    assert f"kind@v{kind.lowest}.0" in text
    assert f"kind@v{kind.lowest}.0" in kind.get


def test_workflows_use_actions_that_cannot_change_and_ask_for_no_more_than_they_need() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for used in re.findall(r"uses: (\S+)(.*)", path.read_text()):
            assert used[0].startswith("./") or re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", used[0]), used
            assert used[0].startswith("./") or re.fullmatch(r" # v\d+\.\d+\.\d+", used[1]), used
        assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
