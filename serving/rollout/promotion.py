"""A version of the registry comes to serve in the cluster, and what served before serves again where it does not.

The champion alias says what should serve. It moves last, once the service answers with the version: whatever a process
is killed at, the alias is right, and whoever comes next leads the service to it.

    take the Lease -> apply storageUri -> wait for the Deployment -> ask and compare -> move the alias -> give it back
                      (with a canary: that, and its wait and trial, come first, in a Deployment of its own)
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from cryptosentinel.errors import (
    CryptoSentinelError,
    RolledBackError,
    RolloutError,
    SettingsError,
    StoreConflictError,
)
from cryptosentinel.storage import RegisteredModel
from cryptosentinel.workspace import Workspace
from serving.rollout.calls import connect
from serving.rollout.cluster import CANDIDATE, Cluster, RefusedError, Service
from serving.rollout.lease import PromotionLease
from serving.rollout.progress import follow, given_up, unfinished, why
from serving.rollout.trial import Trial

log = logging.getLogger("rollout")

# What KServe reads into the volume that both containers of a pod see; pvc:// and oci:// go past it.
_READABLE = ("s3://", "gs://", "hdfs://", "webhdfs://", "https://", "http://")

Outcome = Literal["unchanged", "rolled out", "would be rolled out"]


@dataclass(frozen=True)
class RolledOut:
    """What came of a rollout.

    Attributes:
        inference_service: `namespace/name`.
        outcome: what was done.
        version: that serves.
        before: the version that served before; None where that is none of the registry's.
        storage_uri: where KServe reads the bundle.
    """

    inference_service: str
    outcome: Outcome
    version: int
    before: int | None
    storage_uri: str


def roll_out(
    workspace: Workspace,
    version: int | None = None,
    *,
    expected: int | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> RolledOut:
    """Brings a version to serve, and makes it champion; where it is served and champion, nothing is written.

    New pods that do so are waited for even then: somebody may have changed their image or settings.

    Args:
        workspace: whose registry, and whose settings name the InferenceService.
        version: by default the champion.
        expected: the champion that it takes the place of; by default whichever it is.
        force: take `storageUri` from another manager of the InferenceService's fields.
        dry_run: say what would be done; the API server is asked whether it would do it.

    Raises:
        SettingsError: no InferenceService is named, or KServe cannot read bundles where the store is.
        StoreConflictError: the champion is another than expected, or became so meanwhile; it stays, and serves.
        RolledBackError: the version did not serve; what served before serves again, and is champion.
        RolloutError: it could not be tried, or what came of it is not known.
        StorageError: there is no such version.
        BundleError: its bundle cannot answer.
    """
    rules = workspace.settings.rollout
    if rules.inference_service is None:
        raise SettingsError(
            "No InferenceService is named that could serve a version.", remedy="Set `rollout.inference_service`."
        )
    api, namespace = connect()
    cluster = Cluster(api, rules.namespace or namespace, rules.inference_service)
    looker = _Promotion(workspace, cluster, None, force)
    looked = looker.would(version, ask=dry_run)
    if not dry_run and looked.outcome == "unchanged":
        looker.wait(looked.storage_uri)
    if dry_run or looked.outcome == "unchanged":
        return looked
    with PromotionLease(cluster, rules.lease_s, wait_s=rules.timeout_s) as lease:
        return _Promotion(workspace, cluster, lease, force).run(version, expected)


def served(workspace: Workspace) -> dict[int, str]:
    """The versions that the InferenceService of the settings serves or tries, and where.

    Raises:
        RolloutError: it cannot be asked.
        SettingsError: KServe cannot read bundles where the store is.
    """
    api, namespace = connect()
    rules = workspace.settings.rollout
    assert rules.inference_service is not None
    return _Promotion(
        workspace, Cluster(api, rules.namespace or namespace, rules.inference_service), None, False
    ).served()


class _Promotion:
    """One promotion, under the Lease; without one it only looks."""

    def __init__(self, workspace: Workspace, cluster: Cluster, lease: PromotionLease | None, force: bool) -> None:
        self._workspace, self._cluster, self._lease, self._force = workspace, cluster, lease, force
        self._rules, self._registry = workspace.settings.rollout, workspace.storage.registry
        self._name = f"{cluster.namespace}/{cluster.name}"
        self._changed = False  # the service, or it is not known that it is not

    def would(self, version: int | None, *, ask: bool) -> RolledOut:
        champion, target, service = self._look(version)
        done = self._serves(service, target)
        if ask and not done:
            self._cluster.apply(service, self._uri(target), force=self._force, dry_run=True)
        outcome: Outcome = "unchanged" if done and target.version == champion.version else "would be rolled out"
        return self._told(outcome, target, service)

    def served(self) -> dict[int, str]:
        service = self._cluster.service()
        found = [(service.storage_uri, "serves"), (service.candidate_uri, "is tried")]
        versions = [(self._version_at(uri), does) for uri, does in found if uri is not None]
        return {model.version: f"{does} in {self._name}" for model, does in versions if model is not None}

    def run(self, version: int | None, expected: int | None) -> RolledOut:
        champion, target, before = self._look(version)
        if expected is not None and champion.version != expected:
            raise StoreConflictError(f"The champion is version {champion.version} by now, not {expected}.")
        if self._serves(before, target) and champion.version == target.version:
            return self._told("unchanged", target, before)
        trial = Trial(target, self._registry.fetch(target.version, self._workspace.root / "bundles"))
        log.info("rolling out version %d to %s", target.version, self._name)
        try:
            self._bring(target, before, trial)
            if champion.version != target.version:
                self._check()
                self._registry.promote(target.version, expected=champion.version)
        except StoreConflictError:
            # Somebody moved the alias without the Lease, from outside the cluster.
            self._lead_back(target, before, "another version became champion meanwhile")
            raise
        except CryptoSentinelError as error:
            if not self._changed and before.storage_uri != self._uri(target):
                raise
            raise self._rolled_back(target, before, error) from error
        except BaseException:
            with suppress(CryptoSentinelError):
                self._lead_back(target, before, "it was interrupted", wait=False)
            raise
        return self._told("rolled out", target, before)

    def _look(self, version: int | None) -> tuple[RegisteredModel, RegisteredModel, Service]:
        champion = self._workspace.champion()
        target = champion if version is None else self._registry.get(version)
        self._uri(target)
        return champion, target, self._cluster.service()

    def _bring(self, target: RegisteredModel, before: Service, trial: Trial) -> None:
        uri, serving = self._uri(target), self._workspace.settings.serving
        if self._rules.canary_percent is not None and before.storage_uri != uri:
            url = self._cluster.url(candidate=True)
            self._write(before.storage_uri, self._candidate(before, uri))
            self.wait(uri, candidate=True)
            trial.hold(url, serving)
            self._watch_candidate(uri)
            trial.hold(url, serving)
        self._write(uri)
        self.wait(uri)
        trial.hold(self._rules.url or self._cluster.url(), serving)

    def _candidate(self, before: Service, uri: str) -> dict[str, Any]:
        """An entry of `spec.canary`; KServe takes all else from the predictor.

        Without `minReplicas` a share of 0% would be no pod at all.
        """
        model = {"modelFormat": before.model_format, "storageUri": uri}
        return {
            "predictor": {"name": CANDIDATE, "minReplicas": 1, "model": model},
            "trafficPercent": self._rules.canary_percent,
        }

    def _watch_candidate(self, uri: str) -> None:
        name = self._cluster.deployment_name(candidate=True)
        for deployment in follow(self._cluster, name, time.monotonic() + self._rules.canary_s):
            if lacks := unfinished(deployment, uri):
                reason = why(self._cluster, name, deployment, uri)
                raise RolloutError(f"The canary served and does so no longer: {_all_of(lacks, reason)}.")

    def _write(self, uri: str | None, candidate: dict[str, Any] | None = None) -> None:
        """Applies what is not there yet."""
        self._check()
        service = self._cluster.service()
        candidate_uri = candidate["predictor"]["model"]["storageUri"] if candidate else None
        if (service.storage_uri, service.candidate_uri) == (uri, candidate_uri):
            return
        before, self._changed = self._changed, True
        try:
            after = self._cluster.apply(service, uri, candidate, force=self._force)
        except RefusedError:
            self._changed = before
            raise
        if (after.storage_uri, after.candidate_uri) != (uri, candidate_uri):
            raise RolloutError(
                f"InferenceService {self._name} does not have what was applied: storageUri {after.storage_uri}, canary"
                f" {after.candidate_uri}.",
                remedy="`spec.canary` is new in KServe 0.20; a field that another manager holds as well stays.",
            )

    def wait(self, uri: str | None, candidate: bool = False) -> None:
        """Until only pods with that bundle serve.

        Raises:
            RolloutError: they do not, in time; with what the cluster says of it.
        """
        name = self._cluster.deployment_name(candidate)
        deadline = time.monotonic() + self._rules.timeout_s
        deployment, lacks = None, ""
        for deployment in follow(self._cluster, name, deadline):
            before, lacks = lacks, unfinished(deployment, uri)
            if not lacks:
                return
            if lacks != before:
                log.info("waiting for %s: %s", name, lacks)
            if given_up(deployment, uri) or time.monotonic() > deadline:
                break
        reason = why(self._cluster, name, deployment, uri)
        raise RolloutError(
            f"Deployment {self._cluster.namespace}/{name} does not serve it after {self._rules.timeout_s:g} s at most:"
            f" {_all_of(lacks, reason)}."
        )

    def _rolled_back(self, target: RegisteredModel, before: Service, error: CryptoSentinelError) -> RolloutError:
        try:
            now = self._lead_back(target, before, error.message)
        except CryptoSentinelError as trouble:
            return RolloutError(
                f"Version {target.version} did not come to serve in {self._name}: {error.message} And the service could"
                f" not be led back: {trouble.message}",
                remedy="Once the cluster answers, `cryptosentinel rollout` leads the service to the champion.",
            )
        return RolledBackError(
            f"Version {target.version} did not come to serve in {self._name}: {error.message} {now}",
            remedy=error.remedy,
        )

    def _lead_back(self, target: RegisteredModel, before: Service, reason: str, *, wait: bool = True) -> str:
        """The service to the champion, or where that is what failed, to what it served before, and the alias with it.

        Returns:
            A sentence on what serves now.
        """
        champion = self._registry.champion()
        if champion is not None and champion.version != target.version:
            uri: str | None = self._uri(champion)
            to: RegisteredModel | None = champion
        else:
            uri, to = before.storage_uri, self._version_at(before.storage_uri)
        if uri == self._uri(target):
            raise RolloutError("nothing else is known that it served before.")
        self._write(uri)
        if champion is not None and to is not None and to.version != champion.version:
            with suppress(StoreConflictError):  # somebody else moved it: theirs stays
                self._registry.promote(to.version, expected=champion.version)
                self._registry.amend(target.version, verdict=f"rolled back: {reason.rstrip('.')}; {target.verdict}")
        serves = f"version {to.version}" if to is not None else uri or "the bundle of its image"
        if wait:
            self.wait(uri)
            return f"It serves {serves} again."
        return f"It was told to serve {serves} again."

    def _check(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _serves(self, service: Service, target: RegisteredModel) -> bool:
        return (service.storage_uri, service.candidate_uri) == (self._uri(target), None)

    def _version_at(self, uri: str | None) -> RegisteredModel | None:
        return next((model for model in self._registry.versions() if self._uri(model) == uri), None)

    def _uri(self, model: RegisteredModel) -> str:
        """Where KServe reads a version's bundle."""
        uri = model.uri
        if self._rules.store_uri is not None:
            uri = self._rules.store_uri.rstrip("/") + uri.removeprefix(self._workspace.storage.uri.rstrip("/"))
        if not uri.startswith(_READABLE):
            raise SettingsError(
                f"KServe cannot read the bundle of version {model.version} at {uri}.",
                remedy="Point `storage.uri` at an object store (s3://, gs://), or say in `rollout.store_uri` how KServe"
                " writes its address.",
            )
        return uri

    def _told(self, outcome: Outcome, target: RegisteredModel, before: Service) -> RolledOut:
        version = self._version_at(before.storage_uri)
        return RolledOut(self._name, outcome, target.version, version.version if version else None, self._uri(target))


def _all_of(*texts: str) -> str:
    return "; ".join(text.rstrip(".") for text in texts if text)
