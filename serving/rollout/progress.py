"""How far a rollout is, and why it gets no further.

`Ready` of the InferenceService is true all through a rollout, on the strength of the old pods; so the Deployment is
asked: whether it was told of the bundle, has taken that in, and has only such pods, all of them available.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from kubernetes import client

from cryptosentinel.errors import RolloutError
from serving.rollout.cluster import Cluster

# KServe's storage initializer reads it from the pod; Deployment and pod carry it alike.
BUNDLE = "internal.serving.kserve.io/storage-initializer-sourceuri"
# A watch that hears nothing is not believed for longer.
WATCH_S = 10.0
PAUSE_S = 1.0
_TOLD = 3  # warnings of one pod
_LONGEST = 300  # of what one of them says


def follow(cluster: Cluster, name: str, deadline: float) -> Iterator[client.V1Deployment | None]:
    """A Deployment now, each time it changes, and every `WATCH_S` seconds; None while there is none.

    Args:
        cluster: where it is.
        name: of the Deployment.
        deadline: when to end, by `time.monotonic`; it is read once more then.
    """
    while True:
        began = time.monotonic()
        found = cluster.deployment(name)
        yield found
        left = deadline - time.monotonic()
        if left <= 0:
            return
        if found is not None:
            yield from cluster.changes(name, found.metadata.resource_version, min(WATCH_S, left))
        # Where the watch is refused or breaks at once, the API is not asked without pause.
        time.sleep(max(0.0, min(PAUSE_S - (time.monotonic() - began), deadline - time.monotonic())))


def unfinished(deployment: client.V1Deployment | None, storage_uri: str | None) -> str:
    """What a rollout still lacks; empty once only pods with that bundle serve, and all of them do."""
    if deployment is None:
        return "KServe has not made its Deployment"
    if _bundle_of(deployment) != storage_uri:
        return "KServe has not told its Deployment of the bundle: is its controller running?"
    status, wanted = deployment.status, deployment.spec.replicas
    wanted = 1 if wanted is None else wanted
    if (status.observed_generation or 0) < deployment.metadata.generation:
        return "Kubernetes has not taken in the changed Deployment"
    updated, available = status.updated_replicas or 0, status.available_replicas or 0
    old = (status.replicas or 0) - updated
    lacking = {
        f"{updated} of {wanted} pods were made anew": updated < wanted,
        f"{old} old pods have not ended": old > 0,
        f"{available} of {wanted} new pods are ready": available < wanted or bool(status.unavailable_replicas),
    }
    return next((text for text, lacks in lacking.items() if lacks), "")


def given_up(deployment: client.V1Deployment | None, storage_uri: str | None) -> bool:
    """Whether Kubernetes itself has given the rollout up (`spec.progressDeadlineSeconds`)."""
    if deployment is None or _bundle_of(deployment) != storage_uri:
        return False
    if (deployment.status.observed_generation or 0) < deployment.metadata.generation:
        return False
    return any(
        each.type == "Progressing" and each.status == "False" and each.reason == "ProgressDeadlineExceeded"
        for each in deployment.status.conditions or []
    )


def why(cluster: Cluster, name: str, deployment: client.V1Deployment | None, storage_uri: str | None) -> str:
    """What pods, events, the Deployment and KServe say of a rollout that gets no further; empty where nothing does."""
    said: list[str] = []
    if deployment is not None and _bundle_of(deployment) == storage_uri:
        said += _of_pods(cluster, name, storage_uri)
        said += [
            each.message or each.reason
            for each in deployment.status.conditions or []
            if each.type == "ReplicaFailure" and each.status == "True"
        ]
    else:
        try:
            said.append(cluster.service().condition)
        except RolloutError as error:
            said.append(error.message)
    return "; ".join(dict.fromkeys(_short(text) for text in said if text))


def _of_pods(cluster: Cluster, name: str, storage_uri: str | None) -> list[str]:
    try:
        pods = cluster.pods(name)
    except RolloutError as error:
        return [error.message]
    said = []
    for pod in pods:
        if (pod.metadata.annotations or {}).get(BUNDLE) != storage_uri or _is_ready(pod):
            continue
        words = [*_of_containers(pod), *_unscheduled(pod)]
        try:
            words += [event.message or event.reason for event in cluster.warnings(pod.metadata.name)[-_TOLD:]]
        except RolloutError as error:
            words.append(error.message)
        said.append(f"pod {pod.metadata.name}: {', '.join(dict.fromkeys(_short(word) for word in words if word))}")
    return said


def _of_containers(pod: client.V1Pod) -> Iterator[str]:
    for each in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        waiting, ended = each.state and each.state.waiting, each.state and each.state.terminated
        before = each.last_state and each.last_state.terminated
        if waiting and waiting.reason not in {"PodInitializing", "ContainerCreating"}:
            yield f"container {each.name} waits ({_told(waiting)})"
        for end in (ended, before):
            if end and end.exit_code:
                yield f"container {each.name} ended with {end.exit_code} ({_told(end)})"
        if each.state and each.state.running and each.name in _main_containers(pod) and not each.ready:
            yield f"container {each.name} runs and is not ready"


def _main_containers(pod: client.V1Pod) -> set[str]:
    return {each.name for each in pod.status.container_statuses or []}


def _unscheduled(pod: client.V1Pod) -> Iterator[str]:
    for each in pod.status.conditions or []:
        if each.type == "PodScheduled" and each.status == "False":
            yield f"not scheduled: {each.message or each.reason}"


def _told(state: client.V1ContainerStateWaiting | client.V1ContainerStateTerminated) -> str:
    return ": ".join(text for text in (state.reason, _short(state.message or "")) if text)


def _is_ready(pod: client.V1Pod) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or [])


def _bundle_of(deployment: client.V1Deployment) -> str | None:
    return (deployment.spec.template.metadata.annotations or {}).get(BUNDLE)


def _short(text: str) -> str:
    """One line; of a log, the end says what went wrong."""
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _LONGEST else f"...{line[-_LONGEST:]}"
