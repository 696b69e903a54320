"""Versions, names and sizes of the local cluster. Kubeflow Pipelines' version stands in `manifests/kfp`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
CHART = ROOT / "charts" / "cryptosentinel"
CLUSTER_CONFIG = ROOT / "kind-config.yaml"
WORK = ROOT / "build" / "kind"

NAME = "cryptosentinel"  # of the cluster, the release, its namespace and the InferenceService
CONTEXT = f"kind-{NAME}"
NODE = f"{NAME}-control-plane"
KUBEFLOW = "kubeflow"

# Built for kind 0.33: an image of another release of kind need not start.
NODE_IMAGES = {
    "1.34": "kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d",
    "1.35": "kindest/node:v1.35.8@sha256:07b2536e30b803ed61d1677a79df6115f798ce64c80f9e22f6ed45afd09323c0",
    "1.36": "kindest/node:v1.36.4@sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed",
}
KUBERNETES = "1.35"

# Our images, and the chart's values for them.
IMAGES = {"serving": "serving", "dashboard": "dashboard", "pipeline": "kfp.steps", "drift": "kfp.steps.drift"}
REPOSITORY = "cryptosentinel"


@dataclass(frozen=True)
class Tool:
    """A command that is needed, its lowest version, and how to get it."""

    name: str
    lowest: str
    get: str


TOOLS = (
    Tool("docker", "20.10", "https://docs.docker.com/engine/install, or brew install --cask docker"),
    Tool(
        "kind",
        "0.33",
        "https://kind.sigs.k8s.io/docs/user/quick-start, brew install kind, or go install sigs.k8s.io/kind@v0.33.0",
    ),
    Tool("kubectl", "1.33", "https://kubernetes.io/docs/tasks/tools, or brew install kubectl"),
    Tool("helm", "3.18", "https://helm.sh/docs/intro/install, or brew install helm"),
    Tool("git", "2.20", "https://git-scm.com/downloads; kubectl fetches Kubeflow's manifests with it"),
    Tool("make", "3.81", "the package make or build-essential, or xcode-select --install"),
)

# Docker Desktop's 8 GiB are 7.7 for what runs in it.
LEAST_CPUS, LEAST_MEMORY_GIB = 4, 7.5
# Where everything is still to come, and where the cluster is there already.
LEAST_DISK_GB, LEAST_DISK_LATER_GB = 30, 5


@dataclass(frozen=True)
class Prerequisite:
    """A Helm chart that must be there before ours."""

    name: str
    chart: str
    version: str
    namespace: str
    values: Path | None = None


CERT_MANAGER = Prerequisite(
    "cert-manager",
    "oci://quay.io/jetstack/charts/cert-manager",
    "v1.21.1",
    "cert-manager",
    MANIFESTS / "cert-manager" / "values.yaml",
)
KSERVE = (
    Prerequisite("kserve-crd", "oci://ghcr.io/kserve/charts/kserve-crd", "v0.20.0", "kserve"),
    Prerequisite(
        "kserve",
        "oci://ghcr.io/kserve/charts/kserve-resources",
        "v0.20.0",
        "kserve",
        MANIFESTS / "kserve" / "values.yaml",
    ),
)
