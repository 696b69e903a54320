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
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

NAME, NAMESPACE = "cs", "release"
BUNDLE = "internal.serving.kserve.io/storage-initializer-sourceuri"
DOCS = Path(__file__).parents[2] / "docs" / "rollout.md"
_PATH = re.compile(r"/(?:api/v1|apis/([^/]+)/[^/]+)/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?$")
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$")

Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request, in the words of RBAC."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    dry_run: bool = False


@dataclass
class Fault:
    """What happens to the next `times` requests of a verb and resource, in place of an answer.

    `status` 0 cuts the connection, -1 lets it hang. `served` does what was asked all the same, and then fails.
    """

    verb: str
    resource: str
    status: int
    times: int = 1
    retry_after: str = ""
    served: bool = False


class RefusalError(Exception):
    def __init__(self, status: int, message: str, causes: list[Json] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"kind": "Status", "status": "Failure", "code": status, "message": message}
        self.body |= {"details": {"causes": causes}} if causes else {}


def rules() -> list[Json]:
    """The Role of docs/rollout.md, with the InferenceService's name in it."""
    (text,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return list(yaml.safe_load(text.replace("NAME", NAME))["rules"])


def allows(rule: Json, asked: Asked) -> bool:
    names = rule.get("resourceNames")
    return (
        asked.verb in rule["verbs"]
        and asked.group in rule["apiGroups"]
        and asked.resource in rule["resources"]
        and (names is None or asked.name in names)
    )


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
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
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
        for name, uri in serving:
            self.on_serving(name, uri)

    def _step(self, name: str, uri: str | None) -> bool:
        """One step of a Deployment towards a bundle; whether it has just arrived."""
        count = self.replicas if name == f"{NAME}-predictor" else 1
        if name not in self.deployments:
            self.deployments[name] = _deployment(name, count)
        found = self.deployments[name]
        status, template = found["status"], found["spec"]["template"]["metadata"]
        if template["annotations"].get(BUNDLE) != uri or "rev" not in found:
            template["annotations"] = {} if uri is None else {BUNDLE: uri}
            found["metadata"]["generation"] += 1
            found["rev"] = time.monotonic()
        elif status["observedGeneration"] < found["metadata"]["generation"]:
            # Going back finds the old pods: a template that has ready pods is not made anew.
            ready = any(_bundle(pod) == uri and _is_ready(pod) for pod in self.pods.get(name, []))
            status |= {"observedGeneration": found["metadata"]["generation"], "conditions": []}
            if ready:
                self.pods[name] = [pod for pod in self.pods[name] if _bundle(pod) == uri]
                status |= _counts(count, count)
                self._touch(found)
                return True
            self.pods.setdefault(name, []).append(_pod(name, len(self.pods[name]), uri))
            status |= {
                "replicas": count + 1,
                "updatedReplicas": 1,
                "availableReplicas": count,
                "unavailableReplicas": 1,
            }
        elif status.get("unavailableReplicas") and uri not in self.never_ready and not status.get("dead"):
            self.pods[name] = [_pod(name, 9, uri, ready=True)]
            status |= _counts(count, count)
            self._touch(found)
            return True
        elif status.get("unavailableReplicas") and self.given_up and not status["conditions"]:
            status["conditions"] = [
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}
            ]
        elif (
            uri in self.dies_after and not status.get("dead") and time.monotonic() - found["rev"] > self.dies_after[uri]
        ):
            self.pods[name] = [_pod(name, 9, uri)]
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

    def _handler(api: Api) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                asked = _asked(self.command, url.path, query)
                with api.changed:
                    api.asked.append(asked)
                    fault = next(
                        (f for f in api.faults if f.times and (f.verb, f.resource) == (asked.verb, asked.resource)),
                        None,
                    )
                    if fault:
                        fault.times -= 1
                try:
                    if fault and not fault.served:
                        return self.fail(fault)
                    if asked.verb == "watch":
                        return self.watch(asked, query)
                    found = api.answer(asked, query, self.headers.get("content-type", ""), body)
                except RefusalError as refusal:
                    return self.send(refusal.status, refusal.body)
                if fault:
                    return self.fail(fault)
                return self.send(200, found)

            do_GET = do_POST = do_PUT = do_PATCH = do  # noqa: N815

            def fail(self, fault: Fault) -> None:
                if fault.status > 0:
                    more = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                    text = {"kind": "Status", "code": fault.status, "message": "the server is not well"}
                    return self.send(fault.status, text, more)
                if fault.status < 0:
                    api._stop.wait(2)
                self.close_connection = True
                return None

            def send(self, status: int, found: Json, headers: dict[str, str] | None = None) -> None:
                content = json.dumps(found).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def watch(self, asked: Asked, query: dict[str, str]) -> None:
                if not any(allows(rule, asked) for rule in api.rules):
                    raise RefusalError(403, "cannot watch resource")
                if api.watch_fault == "refused":
                    raise RefusalError(403, "cannot watch resource")
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.close_connection = True
                deadline, since = time.monotonic() + float(query["timeoutSeconds"]), int(query["resourceVersion"])
                if api.watch_fault == "vanishes":
                    return
                if api.watch_fault == "expired":
                    self.event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
                    return
                while (left := deadline - time.monotonic()) > 0 and not api._stop.is_set():
                    if api.watch_fault == "stale":
                        api._stop.wait(left)
                        continue
                    with api.changed:
                        api.changed.wait(min(left, 0.02))
                        news = [each for each in api.history if each["version"] > since]
                        since = api.version
                    for each in news:
                        if each["object"]["metadata"]["name"] == asked.name:
                            self.event(each["type"], each["object"])
                self.chunk(b"")

            def event(self, kind: str, found: Json) -> None:
                self.chunk(json.dumps({"type": kind, "object": found}).encode() + b"\n")

            def chunk(self, content: bytes) -> None:
                with suppress(OSError):  # the client has seen enough
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

            def log_message(self, *_: object) -> None: ...

        return Handler


def _asked(method: str, path: str, query: dict[str, str]) -> Asked:
    match = _PATH.match(path)
    assert match, path
    group, namespace, resource, name = (part or "" for part in match.groups())
    if method == "GET" and not name:
        verb = "watch" if query.get("watch", "").lower() == "true" else "list"
        # The API server takes the name from the selector, where that is all it selects.
        selected = query.get("fieldSelector", "")
        name = selected.removeprefix("metadata.name=") if selected.startswith("metadata.name=") else ""
    else:
        verb = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}[method]
    return Asked(verb, group, resource, namespace, name, dry_run="dryRun" in query)


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


def _counts(count: int, available: int) -> Json:
    return {
        "replicas": count,
        "updatedReplicas": count,
        "availableReplicas": available,
        "unavailableReplicas": count - available,
    }


def _deployment(name: str, count: int) -> Json:
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


def _pod(name: str, number: int, uri: str | None, *, ready: bool = False) -> Json:
    word = "True" if ready else "False"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-{number}", "annotations": {} if uri is None else {BUNDLE: uri}},
        "status": {
            "conditions": [{"type": "Ready", "status": word}],
            "initContainerStatuses": [
                _container("storage-initializer", terminated={"exitCode": 0, "reason": "Completed"})
                if ready
                else _container(
                    "storage-initializer",
                    waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"},
                    before={"exitCode": 1, "reason": "Error", "message": "Traceback ...\nAccess Denied\n"},
                )
            ],
            "containerStatuses": [
                _container("kserve-container", running={})
                if ready
                else _container("kserve-container", waiting={"reason": "PodInitializing"})
            ],
        },
    }


def _container(name: str, *, before: Json | None = None, **state: Json) -> Json:
    last = {"terminated": before} if before else {}
    known = {"name": name, "image": "serving", "imageID": "", "restartCount": 0, "ready": "running" in state}
    return {**known, "state": state, "lastState": last}


def _bundle(pod: Json) -> str | None:
    return pod["metadata"]["annotations"].get(BUNDLE)


def _is_ready(pod: Json) -> bool:
    return bool(pod["status"]["conditions"][0]["status"] == "True")
