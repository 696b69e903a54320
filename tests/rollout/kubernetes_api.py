"""The part of the Kubernetes API that promotions use, with KServe's and the Deployment controller's part behind it.

Real enough to be driven by the real client: resource versions, server-side apply with field managers, optimistic
locking of Leases, watches, and rights: it refuses what the Role in docs/rollout.md does not allow.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from tests.rollout.http_side import Fault, RefusalError, handler_of
from tests.rollout.objects import BUNDLE, NAME, NAMESPACE, Json, bundle, counts, deployment, is_ready, pod
from tests.rollout.rights import Asked, allows, rules

_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$")


@dataclass
class Api:
    """The server's state, and what it was asked.

    Attributes:
        never_ready: bundles whose pods never become ready.
        dies_after: bundles whose pods become ready and then are not, after so many seconds.
        asleep: whether KServe's controller does nothing.
        knows_canary: whether the CRD has `spec.canary`.
        on_serving: called with a Deployment's name and bundle once all its pods have it.
    """

    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    watch_fault: str = ""
    never_ready: set[str] = field(default_factory=set)
    dies_after: dict[str, float] = field(default_factory=dict)
    given_up: bool = False
    asleep: bool = False
    knows_canary: bool = True
    on_serving: Callable[[str, str | None], None] = lambda _name, _bundle: None
    replicas: int = 2

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        self.rules = rules()
        self.version = 100
        self.applied: list[Json] = []
        self.service: Json | None = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "uid": "uid-1",
                "generation": 1,
                "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
            },
            "spec": {"predictor": {"model": {"modelFormat": {"name": "cryptosentinel"}, "runtime": "cs"}}},
            "status": {"conditions": []},
        }
        self.owners: dict[str, set[str]] = {"storageUri": set(), "canary": set()}
        self.deployments: dict[str, Json] = {}
        self.history: list[Json] = []
        self.leases: dict[str, Json] = {}
        self.pods: dict[str, list[Json]] = {}
        self.events: list[Json] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self.server.daemon_threads = True
        self._stop = threading.Event()
        self.threads = [
            threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
            threading.Thread(target=self._control, daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def storage_uri(self) -> str | None:
        assert self.service is not None
        return self.service["spec"]["predictor"]["model"].get("storageUri")

    @property
    def canary(self) -> list[Json]:
        assert self.service is not None
        return self.service["spec"].get("canary", [])

    def writes(self, *resources: str) -> list[str]:
        """The writes, as `verb resource`; of these resources, where some are named."""
        return [
            f"{each.verb} {each.resource}"
            for each in self.asked
            if each.verb in {"create", "update", "patch"}
            and not each.dry_run
            and (not resources or each.resource in resources)
        ]

    def point_at(self, storage_uri: str | None, manager: str = "cryptosentinel-promoter") -> None:
        """The service as it is after a finished rollout, or as somebody else's manager made it."""
        with self.changed:
            assert self.service is not None
            model = self.service["spec"]["predictor"]["model"]
            model.pop("storageUri", None)
            if storage_uri is not None:
                model["storageUri"] = storage_uri
                self.owners["storageUri"] = {manager}
        self._reconcile(at_once=True)

    def restart(self) -> None:
        """The predictor's pods are about to be made anew, with the same bundle."""
        with self.changed:
            del self.pods[f"{NAME}-predictor"], self.deployments[f"{NAME}-predictor"]["rev"]
            for _ in range(2):
                self._step(f"{NAME}-predictor", self.storage_uri)

    def close(self) -> None:
        self._stop.set()
        self.server.shutdown()
        self.server.server_close()
        for thread in self.threads:
            thread.join()

    # KServe's controller and the Deployment controller, a step of which takes a tick.

    def _control(self) -> None:
        while not self._stop.wait(0.02):
            self._reconcile()

    def _reconcile(self, *, at_once: bool = False) -> None:
        serving: list[tuple[str, str | None]] = []
        with self.changed:
            if self.service is None or self.asleep:
                return
            wanted = {f"{NAME}-predictor": self.storage_uri}
            for entry in self.canary:
                predictor = entry["predictor"]
                wanted[f"{NAME}-{predictor['name']}-predictor"] = predictor["model"]["storageUri"]
            for name in self.deployments.keys() - wanted.keys():
                self._touch(self.deployments.pop(name), "DELETED")
                self.pods.pop(name, None)
            for name, uri in wanted.items():
                arrived = [self._step(name, uri) for _ in range(4 if at_once else 1)]
                serving += [(name, uri)] * sum(arrived)
            for name, uri in serving:  # before anybody can ask and see it
                self.on_serving(name, uri)

    def _step(self, name: str, uri: str | None) -> bool:
        """One step of a Deployment towards a bundle; whether it has just arrived."""
        count = self.replicas if name == f"{NAME}-predictor" else 1
        if name not in self.deployments:
            self.deployments[name] = deployment(name, count)
        found = self.deployments[name]
        status, template = found["status"], found["spec"]["template"]["metadata"]
        if template["annotations"].get(BUNDLE) != uri or "rev" not in found:
            template["annotations"] = {} if uri is None else {BUNDLE: uri}
            found["metadata"]["generation"] += 1
            found["rev"] = time.monotonic()
        elif status["observedGeneration"] < found["metadata"]["generation"]:
            # Going back finds the old pods: a template that has ready pods is not made anew.
            ready = any(bundle(each) == uri and is_ready(each) for each in self.pods.get(name, []))
            status |= {"observedGeneration": found["metadata"]["generation"], "conditions": []}
            if ready:
                self.pods[name] = [each for each in self.pods[name] if bundle(each) == uri]
                status |= counts(count, count)
                self._touch(found)
                return True
            self.pods.setdefault(name, []).append(pod(name, len(self.pods[name]), uri))
            status |= {
                "replicas": count + 1,
                "updatedReplicas": 1,
                "availableReplicas": count,
                "unavailableReplicas": 1,
            }
        elif status.get("unavailableReplicas") and uri not in self.never_ready and not status.get("dead"):
            self.pods[name] = [pod(name, 9, uri, ready=True)]
            status |= counts(count, count)
            self._touch(found)
            return True
        elif status.get("unavailableReplicas") and self.given_up and not status["conditions"]:
            status["conditions"] = [
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}
            ]
        elif (
            uri in self.dies_after and not status.get("dead") and time.monotonic() - found["rev"] > self.dies_after[uri]
        ):
            self.pods[name] = [pod(name, 9, uri)]
            status |= {"availableReplicas": 0, "unavailableReplicas": count, "dead": True}
        else:
            return False
        self._touch(found)
        return False

    def _touch(self, found: Json, kind: str = "MODIFIED") -> None:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        if found["kind"] == "Deployment":
            self.history.append({"version": self.version, "type": kind, "object": copy.deepcopy(found)})
        self.changed.notify_all()

    # Requests.

    def answer(self, asked: Asked, query: dict[str, str], content_type: str, body: str) -> Json:
        if not any(allows(rule, asked) for rule in self.rules):
            raise RefusalError(403, f'{asked.resource} "{asked.name}" is forbidden: cannot {asked.verb} resource')
        if asked.namespace != NAMESPACE:
            raise RefusalError(404, f'namespace "{asked.namespace}" not found')
        with self.changed:
            match asked.resource:
                case "inferenceservices" if asked.verb == "patch":
                    return self._apply(query, content_type, json.loads(body))
                case "inferenceservices":
                    return copy.deepcopy(_found(self.service if asked.name == NAME else None, asked))
                case "deployments":
                    return copy.deepcopy(_found(self.deployments.get(asked.name), asked))
                case "leases":
                    return self._lease(asked, json.loads(body) if body else {})
                case "pods":
                    name = query["labelSelector"].removeprefix("app=isvc.")
                    return {"kind": "PodList", "apiVersion": "v1", "items": copy.deepcopy(self.pods.get(name, []))}
                case "events":
                    return {"kind": "EventList", "apiVersion": "v1", "items": self._events(query["fieldSelector"])}
        raise RefusalError(404, "not found")

    def _events(self, selector: str) -> list[Json]:
        wanted = dict(part.split("=") for part in selector.split(","))
        assert wanted.keys() == {"involvedObject.name", "type"}
        return [
            event
            for event in self.events
            if event["involvedObject"]["name"] == wanted["involvedObject.name"] and event["type"] == wanted["type"]
        ]

    def _apply(self, query: dict[str, str], content_type: str, said: Json) -> Json:
        if content_type != "application/apply-patch+yaml":
            raise RefusalError(415, f"the body of the request was in an unknown format: {content_type}")
        manager, force = query.get("fieldManager"), query.get("force", "").lower() == "true"
        if not manager:
            raise RefusalError(400, "fieldManager is required for apply patch")
        if self.service is None:
            raise RefusalError(
                409, f"uid mismatch: the provided object specified uid {said['metadata'].get('uid')}, and no"
            )
        if said["metadata"].get("uid") != self.service["metadata"]["uid"]:
            raise RefusalError(422, "metadata.uid: Invalid value: field is immutable")
        service = copy.deepcopy(self.service)
        owners = copy.deepcopy(self.owners)
        live = _fields(service)
        wanted = {name: value for name, value in _fields(said).items() if value is not None}
        causes = [
            {"reason": "FieldManagerConflict", "message": f'conflict with "{other}"', "field": f".spec.{name}"}
            for name, value in wanted.items()
            if value != live[name]
            for other in owners[name] - {manager}
        ]
        if causes and not force:
            raise RefusalError(409, f"Apply failed with {len(causes)} conflict", causes)
        for name in live:
            if name in wanted:
                owners[name] = {manager} if live[name] != wanted[name] else owners[name] | {manager}
                live[name] = wanted[name]
            elif manager in owners[name]:
                owners[name] -= {manager}
                live[name] = None if not owners[name] else live[name]
        model = service["spec"]["predictor"]["model"]
        for place, key, value in (
            (model, "storageUri", live["storageUri"]),
            (service["spec"], "canary", live["canary"]),
        ):
            place.pop(key, None)
            if value is not None and (key != "canary" or self.knows_canary):
                place[key] = value
        if query.get("dryRun") == "All":
            return service
        if service["spec"] != self.service["spec"]:
            service["metadata"]["generation"] += 1
        self.service, self.owners = service, owners
        self.applied.append(said)
        self._touch(service)
        return copy.deepcopy(service)

    def _lease(self, asked: Asked, said: Json) -> Json:
        if asked.verb == "get":
            return copy.deepcopy(_found(self.leases.get(asked.name), asked))
        name, spec = said["metadata"]["name"], said["spec"]
        for key in ("acquireTime", "renewTime"):
            if not _MICRO_TIME.match(spec[key]):
                raise RefusalError(400, f"parsing time {spec[key]!r}")
        if spec["leaseDurationSeconds"] <= 0:
            raise RefusalError(422, "spec.leaseDurationSeconds: must be greater than 0")
        held = self.leases.get(name)
        if asked.verb == "create" and held is not None:
            raise RefusalError(409, f'leases "{name}" already exists')
        if asked.verb == "update" and (
            held is None or held["metadata"]["resourceVersion"] != said["metadata"]["resourceVersion"]
        ):
            raise RefusalError(409, "the object has been modified")
        lease = {**said, "metadata": {"name": name, "namespace": NAMESPACE}}
        self.leases[name] = lease
        self._touch(lease)
        return copy.deepcopy(lease)


def _found(found: Json | None, asked: Asked) -> Json:
    if found is None:
        raise RefusalError(404, f'{asked.resource} "{asked.name}" not found')
    return found


def _fields(service: Json) -> dict[str, Any]:
    """The fields of an InferenceService that somebody manages here."""
    spec = service.get("spec", {})
    return {
        "storageUri": spec.get("predictor", {}).get("model", {}).get("storageUri"),
        "canary": copy.deepcopy(spec.get("canary")),
    }
