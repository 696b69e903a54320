"""What is installed: Kubeflow Pipelines, cert-manager, KServe, and the chart."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from manifests.kind.cluster import AGAIN
from manifests.kind.commands import RefusedError, ask, helm, kubectl, say, work
from manifests.kind.pins import CHART, IMAGES, KSERVE, KUBEFLOW, MANIFESTS, NAME, WORK, Prerequisite
from manifests.kind.watching import wait_for_deployments, waiting_in

_APPLY = ("apply", "--server-side", "--force-conflicts", "--field-manager", "cryptosentinel-kind", "--filename")
READY_WITHIN_S = 600.0
_PENDING = ("pending-install", "pending-upgrade", "pending-rollback")
_NETWORK = "The network must let github.com, ghcr.io, quay.io, gcr.io and docker.io through (HTTPS_PROXY)."


def kubeflow_pipelines() -> None:
    """Applies Kubeflow Pipelines; its pods come up while other things go on."""
    for name in ("cluster-scoped", "."):
        rendered = _rendered(MANIFESTS / "kfp" / name)
        work(f"kfp-apply-{rendered.stem}", kubectl(*_APPLY, str(rendered)), f"See the lines above. {AGAIN}")
        if name == "cluster-scoped":
            established = ("wait", "--for", "condition=Established", "--timeout", "120s", "crd", "--all")
            ask(kubectl(*established), AGAIN, timeout_s=150.0)


def _rendered(folder: Path) -> Path:
    """What kustomize makes of a folder. Fetched once: the file's name follows from the folder's content."""
    sources = sorted(folder.glob("*.yaml"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    rendered = WORK / f"{folder.resolve().name}-{digest}.yaml"
    if not rendered.exists():
        unfinished = rendered.with_suffix(".unfinished")
        command = ("kubectl", "kustomize", str(folder), "--output", str(unfinished))
        work(f"kustomize-{folder.resolve().name}", command, f"It is fetched with git. {_NETWORK} {AGAIN}")
        unfinished.rename(rendered)
    return rendered


def kserve() -> None:
    """Its CRDs, then the rest of it."""
    for chart in KSERVE:
        prerequisite(chart)


def prerequisite(wanted: Prerequisite) -> None:
    """Installs a chart that ours needs, unless it is there as it should be."""
    values = wanted.values.read_bytes() if wanted.values else b""
    mark = f"{wanted.version}, values {hashlib.sha256(values).hexdigest()[:12]}"
    if _state(wanted.name, wanted.namespace) == ("deployed", mark):
        say(f"      {wanted.name} {wanted.version} is there.")
        return
    command = ["upgrade", "--install", wanted.name, wanted.chart, "--version", wanted.version, "--description", mark]
    command += ["--namespace", wanted.namespace, "--create-namespace", "--wait", "--timeout", "10m"]
    if wanted.values:
        command += ["--values", str(wanted.values)]
    work(
        f"helm-{wanted.name}",
        helm(*command),
        f"{_NETWORK} {AGAIN}",
        waits_for=lambda: waiting_in(wanted.namespace),
    )


def release(tags: dict[str, str], more_values: list[Path]) -> None:
    """Installs our chart, or upgrades it. Its setup Job runs in any case, and writes only what differs."""
    _apply_namespace()
    _state(NAME, NAME)
    # Without --wait: Helm 4 would wait for the InferenceService to observe a generation that KServe takes from its
    # Deployment, which may never be the same. The setup Job is waited for in any case.
    command = ["upgrade", "--install", NAME, str(CHART), "--namespace", NAME, "--timeout", "20m"]
    for path in (CHART / "ci" / "kind-values.yaml", *more_values):
        command += ["--values", str(path)]
    for image, tag in tags.items():
        command += ["--set-string", f"{IMAGES[image]}.image.tag={tag}"]
    work(
        "helm-cryptosentinel",
        helm(*command),
        f"docs/kubernetes.md says what each failure means; make kind-logs collects the logs. {AGAIN}",
        waits_for=lambda: waiting_in(NAME, KUBEFLOW),
    )
    wait_for_deployments(NAME, READY_WITHIN_S)


def _apply_namespace() -> None:
    ask(kubectl(*_APPLY, str(MANIFESTS / "kind" / "namespace.yaml")), AGAIN)


def _state(name: str, namespace: str) -> tuple[str, str]:
    """A release's status and description; "" where there is none.

    Who was interrupted left a record that Helm takes for somebody at work, for good: it is removed. What was installed
    stays, and Helm goes on with it.
    """
    try:
        answer = json.loads(ask(helm("status", name, "--namespace", namespace, "--output", "json")))
    except RefusedError as refused:
        if "not found" in refused.said:
            return "", ""
        raise
    status, description = answer["info"]["status"], answer["info"].get("description", "")
    if status in _PENDING:
        say(f"      An earlier installation of {name} was interrupted: going on with it.")
        records = f"owner=helm,name={name},status in ({','.join(_PENDING)})"
        ask(kubectl("delete", "secret", "--namespace", namespace, "--selector", records), AGAIN)
    elif status == "uninstalling":
        ask(helm("uninstall", name, "--namespace", namespace, "--no-hooks", "--wait"), AGAIN, timeout_s=300.0)
    return status, description
