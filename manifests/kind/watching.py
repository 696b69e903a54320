"""What runs in the cluster, what does not yet, and why."""

from __future__ import annotations

import json
import time
from typing import Any

from manifests.kind.commands import RefusedError, StoppedError, ask, duration, kubectl, say

POLL_S = 3.0


def objects(kind: str, namespace: str | None = None) -> list[dict[str, Any]]:
    """All objects of a kind, in one namespace or in all."""
    where = ["--namespace", namespace] if namespace else ["--all-namespaces"]
    answer = json.loads(ask(kubectl("get", kind, *where, "--output", "json")))
    return list(answer["items"])


def unready_pods(namespace: str | None = None) -> list[str]:
    """Each pod that should serve and does not, with its reason."""
    told = []
    for pod in objects("pods", namespace):
        status = pod.get("status", {})
        if status.get("phase") == "Succeeded":
            continue
        conditions = {each["type"]: each for each in status.get("conditions", [])}
        if conditions.get("Ready", {}).get("status") == "True":
            continue
        told.append(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}: {_reason(status, conditions)}")
    return told


def _reason(status: dict[str, Any], conditions: dict[str, Any]) -> str:
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        for state in (container.get("state", {}).get("waiting"), container.get("state", {}).get("terminated")):
            if state and state.get("reason") not in (None, "PodInitializing", "Completed"):
                return " ".join(part for part in (state["reason"], state.get("message", "")) if part)
    unscheduled = conditions.get("PodScheduled", {})
    if unscheduled.get("status") == "False":
        return str(unscheduled.get("message", "not scheduled"))
    return "not ready yet" if status.get("phase") == "Running" else str(status.get("phase", "unknown"))


def waiting_in(*namespaces: str) -> str:
    """One line on what is waited for."""
    try:
        told = [pod for namespace in namespaces for pod in unready_pods(namespace)]
    except RefusedError:
        return "the cluster does not answer just now"
    return f"{len(told)} pods not ready; {told[0]}" if told else "all pods are ready"


def wait_for_deployments(namespace: str, timeout_s: float) -> None:
    """Waits until all of a namespace's Deployments have what they ask for, and says what is still awaited.

    Raises:
        StoppedError: not in time.
    """
    began, last = time.monotonic(), -1
    while True:
        deployments = objects("deployments", namespace)
        late = [each["metadata"]["name"] for each in deployments if not _available(each)]
        if deployments and not late:
            return
        waited = time.monotonic() - began
        # A line where something has changed, and now and then where nothing has.
        if len(late) != last or int(waited) % 15 < POLL_S:
            ready = f"{len(deployments) - len(late)} of {len(deployments)} ready"
            say(f"      {duration(waited)}: {ready}; {waiting_in(namespace)}")
        if waited > timeout_s:
            raise StoppedError(
                f"Not ready in {namespace} after {duration(waited)}: {', '.join(late)}.\n"
                + "\n".join(unready_pods(namespace)),
                f"Images that are slow to come: make kind-up again waits on. Else: kubectl --namespace {namespace}"
                " describe pods, or make kind-logs.",
            )
        last = len(late)
        time.sleep(POLL_S)


def _available(deployment: dict[str, Any]) -> bool:
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
    )
