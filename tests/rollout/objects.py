"""Objects of the cluster as its controllers write them."""

from __future__ import annotations

from typing import Any

NAME, NAMESPACE = "cs", "release"
BUNDLE = "internal.serving.kserve.io/storage-initializer-sourceuri"

Json = dict[str, Any]


def counts(count: int, available: int) -> Json:
    return {
        "replicas": count,
        "updatedReplicas": count,
        "availableReplicas": available,
        "unavailableReplicas": count - available,
    }


def deployment(name: str, count: int) -> Json:
    labels = {"app": f"isvc.{name}"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "generation": 0},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {}},
                "spec": {"containers": [{"name": "kserve-container"}]},
            },
        },
        "status": {"observedGeneration": 0, "conditions": []},
    }


def pod(name: str, number: int, uri: str | None, *, ready: bool = False) -> Json:
    word = "True" if ready else "False"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-{number}", "annotations": {} if uri is None else {BUNDLE: uri}},
        "status": {
            "conditions": [{"type": "Ready", "status": word}],
            "initContainerStatuses": [
                container("storage-initializer", terminated={"exitCode": 0, "reason": "Completed"})
                if ready
                else container(
                    "storage-initializer",
                    waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"},
                    before={"exitCode": 1, "reason": "Error", "message": "Traceback ...\nAccess Denied\n"},
                )
            ],
            "containerStatuses": [
                container("kserve-container", running={})
                if ready
                else container("kserve-container", waiting={"reason": "PodInitializing"})
            ],
        },
    }


def container(name: str, *, before: Json | None = None, **state: Json) -> Json:
    last = {"terminated": before} if before else {}
    known = {"name": name, "image": "serving", "imageID": "", "restartCount": 0, "ready": "running" in state}
    return {**known, "state": state, "lastState": last}


def bundle(found: Json) -> str | None:
    return found["metadata"]["annotations"].get(BUNDLE)


def is_ready(found: Json) -> bool:
    return bool(found["status"]["conditions"][0]["status"] == "True")
