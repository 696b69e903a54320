"""As much of a Kubernetes API server as Helm asks before it installs: its version, and which kinds there are."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import helm_python as helm

from tests.chart.rendered import CHART, NAME, NAMESPACE

KSERVE = ("serving.kserve.io/v1beta1/InferenceService", "serving.kserve.io/v1alpha1/ServingRuntime")
PROMETHEUS = ("monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PrometheusRule")
GATEWAY = ("gateway.networking.k8s.io/v1/HTTPRoute",)
BUILT_IN = (
    *(f"v1/{kind}" for kind in ("ConfigMap", "Secret", "Service", "ServiceAccount", "Pod", "Namespace")),
    *("apps/v1/Deployment", "batch/v1/Job", "policy/v1/PodDisruptionBudget"),
    *("autoscaling/v2/HorizontalPodAutoscaler", "networking.k8s.io/v1/NetworkPolicy", "networking.k8s.io/v1/Ingress"),
    *("rbac.authorization.k8s.io/v1/Role", "rbac.authorization.k8s.io/v1/RoleBinding"),
)


@contextmanager
def cluster(version: str, kinds: Sequence[str], secrets: Sequence[Any] = ()) -> Iterator[helm.Config]:
    """Helm's connection to a cluster of this version (`1.33`) with these kinds, and these Secrets in the namespace."""
    answers = _answers(version, kinds)
    for secret in secrets:
        answers[f"/api/v1/namespaces/{NAMESPACE}/secrets/{secret['metadata']['name']}"] = secret

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: Helm would wait 40 ms between them

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(missing if found is None else found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    try:
        with helm.Config(
            kubeconfig_content=json.dumps(kubeconfig),
            namespace=NAMESPACE,
            storage_driver="memory",
            qps=1000,
            burst_limit=1000,
        ) as config:
            yield config
    finally:
        server.shutdown()
        server.server_close()


def try_install(config: helm.Config, values: dict[str, Any]) -> str:
    """The manifest of an installation that stops short of creating anything.

    Raises:
        helm.HelmError: Helm, the chart or the cluster refuses it.
    """
    return str(config.install(CHART, NAME, values, dry_run="server")["manifest"])


def _answers(version: str, kinds: Sequence[str]) -> dict[str, Any]:
    major, minor = version.split(".")
    by_group: dict[str, list[str]] = {}
    for kind in kinds:
        group_version, _, name = kind.rpartition("/")
        by_group.setdefault(group_version, []).append(name)
    groups: dict[str, list[str]] = {}
    for group_version in by_group:
        if "/" in group_version:
            groups.setdefault(group_version.partition("/")[0], []).append(group_version)

    def named(group_version: str) -> dict[str, str]:
        return {"groupVersion": group_version, "version": group_version.rpartition("/")[2]}

    def path(group_version: str) -> str:
        return f"{'apis' if '/' in group_version else 'api'}/{group_version}"

    def resources(group_version: str, names: list[str]) -> dict[str, Any]:
        listed = [
            {"name": f"{name.lower()}s", "kind": name, "namespaced": name != "Namespace", "verbs": ["get", "create"]}
            for name in names
        ]
        return {"kind": "APIResourceList", "groupVersion": group_version, "resources": listed}

    def openapi(group_version: str, names: list[str]) -> dict[str, Any]:
        group, _, number = group_version.rpartition("/")
        # That it validates fields itself, so that Helm does not ask for the schemas.
        patch = {"parameters": [{"name": "fieldValidation", "in": "query"}]}
        kinds = {name: {"group": group, "version": number, "kind": name} for name in names}
        paths = {
            f"/{path(group_version)}/{name}": {"patch": patch | {"x-kubernetes-group-version-kind": kind}}
            for name, kind in kinds.items()
        }
        return {"openapi": "3.0.0", "info": {"title": "test", "version": "1"}, "paths": paths}

    index = {path(each): {"serverRelativeURL": f"/openapi/v3/{path(each)}"} for each in by_group}
    return {
        "/version": {"major": major, "minor": minor, "gitVersion": f"v{version}.2"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {"name": group, "versions": [named(each) for each in versions], "preferredVersion": named(versions[0])}
                for group, versions in groups.items()
            ],
        },
        "/openapi/v3": {"paths": index},
        **{f"/{path(each)}": resources(each, names) for each, names in by_group.items()},
        **{f"/openapi/v3/{path(each)}": openapi(each, names) for each, names in by_group.items()},
    }
