"""What the manifests say to one another."""

from __future__ import annotations

import re

import yaml

from manifests.kind import machine, reporting
from manifests.kind.pins import CERT_MANAGER, KSERVE, KUBERNETES, MANIFESTS, NAME, NODE_IMAGES, ROOT
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


def test_nodes_are_pinned_by_digest_and_the_default_one_is_the_config_s() -> None:
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    assert config["nodes"][0]["image"] == NODE_IMAGES[KUBERNETES]
    for version, image in NODE_IMAGES.items():
        assert re.fullmatch(rf"kindest/node:v{re.escape(version)}\.\d+@sha256:[0-9a-f]{{64}}", image)


def test_kubeflow_is_pinned_to_the_version_that_the_client_is_of() -> None:
    from importlib.metadata import version

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
    for version in NODE_IMAGES.values():
        assert version.split("@")[0].removeprefix("kindest/node:v") in readme
