"""What a rollout reads and writes in the cluster: one InferenceService, its Deployments, and a Lease.

`docs/rollout.md` lists the rights that this takes; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from cryptosentinel.errors import RolloutError
from serving.rollout.calls import CONFLICT, NoAnswer, call, field_conflicts, sentence

MANAGER = "cryptosentinel-promoter"
# The entry of `spec.canary` that is ours; its Deployment and Service are `<service>-candidate-predictor`.
CANDIDATE = "candidate"
_GROUP, _VERSION, _PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
_MODE = "serving.kserve.io/deploymentMode"
_STANDARD = {"Standard", "RawDeployment"}
_NOT_FOUND, _REFUSED = 404, (401, 403)


class RefusedError(RolloutError):
    """The API server refused: nothing was changed."""


@dataclass(frozen=True)
class Service:
    """What an InferenceService is told to serve.

    Attributes:
        uid: of the object; one that was deleted and made again is another.
        storage_uri: of the bundle; None: what its image brings.
        candidate_uri: of the bundle that a canary of ours tries; None where there is none.
        model_format: as its spec names it.
        mode: KServe's deployment mode; empty where it does not say.
        condition: what KServe says is wrong with it, if anything.
    """

    uid: str
    storage_uri: str | None
    candidate_uri: str | None
    model_format: dict[str, Any]
    mode: str
    condition: str

    @classmethod
    def of(cls, found: dict[str, Any]) -> Service:
        """Reads the object."""
        spec, status, metadata = found.get("spec", {}), found.get("status", {}), found["metadata"]
        model = spec.get("predictor", {}).get("model") or {}
        ours = [
            entry["predictor"]
            for entry in spec.get("canary") or []
            if entry.get("predictor", {}).get("name") == CANDIDATE
        ]
        wrong = [
            each.get("message") or each.get("reason", "")
            for each in status.get("conditions", [])
            if each.get("status") == "False"
        ]
        return cls(
            uid=metadata["uid"],
            storage_uri=model.get("storageUri"),
            candidate_uri=(ours[0].get("model") or {}).get("storageUri") if ours else None,
            model_format=model.get("modelFormat") or {},
            mode=(metadata.get("annotations") or {}).get(_MODE) or status.get("deploymentMode", ""),
            condition=next((text for text in wrong if text), ""),
        )


class Cluster:
    """One InferenceService and what belongs to it, through the Kubernetes API.

    Attributes:
        name: of the InferenceService.
        namespace: where it is.
    """

    def __init__(self, api: client.ApiClient, namespace: str, name: str) -> None:
        self.namespace = namespace
        self.name = name
        self._custom, self._apps = client.CustomObjectsApi(api), client.AppsV1Api(api)
        self._core, self._leases = client.CoreV1Api(api), client.CoordinationV1Api(api)
        applying = client.ApiClient(api.configuration)
        applying.set_default_header("Content-Type", "application/apply-patch+yaml")
        self._applying = client.CustomObjectsApi(applying)

    def deployment_name(self, candidate: bool = False) -> str:
        """Of the predictor's Deployment, which is also that of its Service."""
        return f"{self.name}-{CANDIDATE}-predictor" if candidate else f"{self.name}-predictor"

    def url(self, candidate: bool = False) -> str:
        """The predictor's address, for pods."""
        return f"http://{self.deployment_name(candidate)}.{self.namespace}.svc.cluster.local"

    def service(self) -> Service:
        """The InferenceService as it is now.

        Raises:
            RolloutError: there is none, or it may not be read, or KServe runs it in a mode that has no Deployments.
        """
        with _explained(f"InferenceService {self.namespace}/{self.name}", "read"):
            found = call(
                self._custom.get_namespaced_custom_object, _GROUP, _VERSION, self.namespace, _PLURAL, self.name
            )
        service = Service.of(found)
        if service.mode and service.mode not in _STANDARD:
            raise RolloutError(
                f"InferenceService {self.namespace}/{self.name} runs in KServe's mode {service.mode}.",
                remedy=f"Promotions need the mode Standard: annotate it with {_MODE}: Standard.",
            )
        return service

    def apply(
        self,
        service: Service,
        storage_uri: str | None,
        candidate: dict[str, Any] | None = None,
        *,
        force: bool = False,
        dry_run: bool = False,
    ) -> Service:
        """Makes `storage_uri` and `candidate` all that the manager says of the service; what it said else is removed.

        Args:
            service: as it was read; one that was deleted meanwhile is not made anew.
            storage_uri: of the bundle to serve; None: what the image brings.
            candidate: an entry of `spec.canary`.
            force: take the fields from another manager.
            dry_run: ask the server whether it would do it.

        Raises:
            RefusedError: another manager holds the fields, or the server refuses for another reason.
            RolloutError: it is not known whether it was done.
        """
        spec: dict[str, Any] = {} if storage_uri is None else {"predictor": {"model": {"storageUri": storage_uri}}}
        if candidate is not None:
            spec["canary"] = [candidate]
        said = {
            "apiVersion": f"{_GROUP}/{_VERSION}",
            "kind": "InferenceService",
            "metadata": {"name": self.name, "namespace": self.namespace, "uid": service.uid},
            "spec": spec,
        }
        options: dict[str, Any] = {"field_manager": MANAGER, "force": force} | ({"dry_run": "All"} if dry_run else {})
        with _explained(f"InferenceService {self.namespace}/{self.name}", "changed"):
            answer = call(
                self._applying.patch_namespaced_custom_object,
                *(_GROUP, _VERSION, self.namespace, _PLURAL, self.name),
                said,
                races=True,
                **options,
            )
        return Service.of(answer)

    def deployment(self, name: str) -> client.V1Deployment | None:
        """A Deployment as it is now; None where there is none."""
        with _explained(f"Deployment {self.namespace}/{name}", "read"):
            return _or_none(self._apps.read_namespaced_deployment, name, self.namespace)

    def changes(self, name: str, since: str, seconds: float) -> Iterator[client.V1Deployment]:
        """A Deployment each time it changes, for about `seconds`; ends sooner where the watch breaks or it is gone.

        Whoever follows it reads it anew then: so a watch may vanish, expire, or hear nothing any more.

        Args:
            name: of the Deployment.
            since: the resource version that is known.
            seconds: how long.
        """
        wait_s = max(1, math.ceil(seconds))
        with suppress(ApiException, NoAnswer, ValueError):
            for event in watch.Watch().stream(
                self._apps.list_namespaced_deployment,
                self.namespace,
                field_selector=f"metadata.name={name}",
                resource_version=since,
                timeout_seconds=wait_s,
                _request_timeout=(3.0, wait_s + 1.0),
            ):
                if event["type"] not in {"ADDED", "MODIFIED"}:
                    return
                yield event["object"]

    def pods(self, deployment: str) -> list[client.V1Pod]:
        """The Deployment's pods."""
        with _explained(f"pods of {self.namespace}/{deployment}", "listed"):
            found = call(self._core.list_namespaced_pod, self.namespace, label_selector=f"app=isvc.{deployment}")
        return list(found.items)

    def warnings(self, pod: str) -> list[client.CoreV1Event]:
        """What the cluster warned of about a pod, the newest last."""
        selector = f"involvedObject.name={pod},type=Warning"
        with _explained(f"events of {self.namespace}/{pod}", "listed"):
            found = call(self._core.list_namespaced_event, self.namespace, field_selector=selector)
        return sorted(found.items, key=lambda event: str(event.last_timestamp or event.event_time or ""))

    def lease(self, name: str) -> client.V1Lease | None:
        """A Lease as it is now; None where there is none."""
        with _explained(f"Lease {self.namespace}/{name}", "read"):
            return _or_none(self._leases.read_namespaced_lease, name, self.namespace)

    def write_lease(self, name: str, spec: dict[str, Any], version: str | None) -> client.V1Lease | None:
        """Writes a Lease, or makes it where `version` is None; None where somebody else was faster.

        Args:
            name: of the Lease.
            spec: all of it, times as text: the API wants six digits behind the second, which the client leaves out
                where they are zeros.
            version: the resource version that it must still have.
        """
        metadata = {"name": name} | ({} if version is None else {"resourceVersion": version})
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        with _explained(f"Lease {self.namespace}/{name}", "written"):
            try:
                if version is None:
                    return call(self._leases.create_namespaced_lease, self.namespace, body)
                return call(self._leases.replace_namespaced_lease, name, self.namespace, body)
            except ApiException as error:
                if error.status in {CONFLICT, _NOT_FOUND}:
                    return None
                raise


def _or_none(read: Any, *names: str) -> Any:
    try:
        return call(read, *names)
    except ApiException as error:
        if error.status == _NOT_FOUND:
            return None
        raise


@contextmanager
def _explained(what: str, done: str) -> Iterator[None]:
    """Turns the server's refusal of the block into ours."""
    try:
        yield
    except ApiException as error:
        _explain(error, what, done)


def _explain(error: ApiException, what: str, done: str) -> NoReturn:
    said = sentence(error)
    if held := field_conflicts(error):
        raise RefusedError(
            f"{what} was not changed, since somebody else manages what it serves ({'; '.join(held)}).",
            remedy="`cryptosentinel rollout --force` takes it over; or undo that change.",
        ) from error
    if error.status == _NOT_FOUND:
        raise RefusedError(
            f"There is no {what}, or KServe is not installed: {said}.",
            remedy="Check `rollout.inference_service` and `rollout.namespace`.",
        ) from error
    if error.status in _REFUSED:
        raise RefusedError(
            f"{what} may not be {done}: {said}.", remedy="docs/rollout.md lists the rights that a promotion needs."
        ) from error
    raise RefusedError(f"{what} was not {done} ({error.status}): {said}.") from error
