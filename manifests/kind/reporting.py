"""What people ask about the cluster: its state, its addresses, its logs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

from manifests.kind.commands import RefusedError, ask, helm, kubectl, say, work
from manifests.kind.machine import ports
from manifests.kind.pins import NAME, NODE, WORK
from manifests.kind.watching import objects, unready_pods

# Node ports, as the chart's kind values and manifests/kfp have them.
DASHBOARD, KUBEFLOW_PAGES, REST, GRPC = 30501, 30880, 30808, 30809


def addresses() -> dict[str, str]:
    """What to open, by what it is."""
    at = {node: f"localhost:{host}" for node, host in ports().items()}
    return {
        "Dashboard": f"http://{at[DASHBOARD]}",
        "Kubeflow Pipelines": f"http://{at[KUBEFLOW_PAGES]}",
        "Forecasts (V2)": f"http://{at[REST]}/v2/models/{NAME}",
        "Forecasts (gRPC)": at[GRPC],
    }


def show_addresses() -> None:
    """Prints them."""
    for name, address in addresses().items():
        say(f"  {name + ':':<20}{address}")


def status() -> bool:
    """Prints how it is with the cluster. False: something is not as it should be."""
    say(f"Cluster {NAME}: Kubernetes {_kubernetes()}")
    for release in json.loads(ask(helm("list", "--all-namespaces", "--output", "json"))):
        say(f"  {release['name']:<16}{release['chart']:<28}{release['status']}")
    model = next(iter(objects("inferenceservices.serving.kserve.io", NAME)), None)
    uri = model["spec"]["predictor"].get("model", {}).get("storageUri") if model else None
    if model:
        say(f"  The model: {uri or 'the random walk in the image; no version has been promoted yet'}")
    late = unready_pods()
    say(f"Pods that are not ready: {len(late)}")
    for pod in late:
        say(f"  {pod}")
    checks = {"Dashboard": "/_stcore/health", "Kubeflow Pipelines": "/apis/v2beta1/healthz", "Forecasts (V2)": "/ready"}
    silent = [name for name, path in checks.items() if not answers(addresses()[name] + path)]
    show_addresses()
    for name in silent:
        say(f"{name} does not answer.")
    return bool(model) and not late and not silent


def answers(address: str) -> bool:
    """Whether an address answers with 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def logs() -> Path:
    """Collects what helps to find a fault, as far as the cluster still gives it."""
    folder = WORK / "logs"
    work("kind-logs", ("kind", "export", "logs", str(folder), "--name", NAME), f"docker logs {NODE} may say more.")
    for name, command in {
        "events.txt": kubectl("get", "events", "--all-namespaces", "--sort-by", ".lastTimestamp"),
        "pods.txt": kubectl("describe", "pods", "--all-namespaces"),
        "kserve.yaml": kubectl("get", "inferenceservices.serving.kserve.io", "--all-namespaces", "--output", "yaml"),
        # Helm's own list leaves out what is unfinished.
        "releases.txt": kubectl("get", "secrets", "--all-namespaces", "-l", "owner=helm", "-L", "name,version,status"),
    }.items():
        try:
            said = ask(command)
        except RefusedError as refused:  # the rest is worth having without it
            said = str(refused)
        (folder / name).write_text(said)
    return folder


def _kubernetes() -> str:
    return str(json.loads(ask(kubectl("version", "--output", "json")))["serverVersion"]["gitVersion"]).lstrip("v")
