"""The chart as Helm renders it, and the pods that come of it."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "cryptosentinel"
NAME, NAMESPACE = "btc", "forecasts"
FULLNAME = "btc-cryptosentinel"
SCENARIOS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))

Manifest = dict[str, Any]


def scenario(name: str) -> dict[str, Any]:
    """The values of a scenario, to be changed at will."""
    return dict(yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text()))


def merged(*values: dict[str, Any]) -> dict[str, Any]:
    """Values over values, as Helm merges several files."""
    whole: dict[str, Any] = {}
    for some in values:
        for key, value in some.items():
            both = isinstance(value, dict) and isinstance(whole.get(key), dict)
            whole[key] = merged(whole[key], value) if both else copy.deepcopy(value)
    return whole


def setting(path: str, value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` of `a.b`."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


# The least that installs.
LEAST = setting("storage.uri", "s3://bucket/btc")


@functools.cache
def _chart() -> helm.Chart:
    return helm.Chart.load(CHART)


@functools.cache
def _texts(values: str, name: str) -> dict[str, str]:
    rendered = _chart().render(json.loads(values), name=name, namespace=NAMESPACE)
    return {path.removeprefix("cryptosentinel/templates/"): text for path, text in rendered.items()}


@functools.cache
def _manifests(values: str, name: str) -> str:
    found = (text for path, text in _texts(values, name).items() if path.endswith(".yaml"))
    return json.dumps([each for text in found for each in yaml.load_all(text, yaml.CSafeLoader) if each])


def texts(values: dict[str, Any], name: str = NAME) -> dict[str, str]:
    """What each template becomes; raises `helm.HelmError` where the values are refused."""
    return _texts(json.dumps(values, sort_keys=True), name)


def manifests(values: dict[str, Any], name: str = NAME) -> list[Manifest]:
    """Every object, hooks too."""
    return list(json.loads(_manifests(json.dumps(values, sort_keys=True), name)))


def of_kind(values: dict[str, Any], kind: str) -> list[Manifest]:
    return [each for each in manifests(values) if each["kind"] == kind]


def only(values: dict[str, Any], kind: str, suffix: str = "") -> Manifest:
    """The one object of a kind whose name ends so."""
    (found,) = (each for each in of_kind(values, kind) if each["metadata"]["name"].endswith(suffix))
    return found


@dataclass(frozen=True)
class Pod:
    """A pod that a release brings about."""

    name: str
    spec: dict[str, Any]
    labels: dict[str, str]
    namespace: str

    def containers(self) -> Iterator[dict[str, Any]]:
        yield from self.spec.get("initContainers", [])
        yield from self.spec["containers"]


def predictor_spec(values: dict[str, Any]) -> dict[str, Any]:
    """The pod that KServe makes of the ServingRuntime and the InferenceService (its `MergePodSpec`, `buildPodSpec`)."""
    predictor = copy.deepcopy(only(values, "InferenceService")["spec"]["predictor"])
    runtime = copy.deepcopy(only(values, "ServingRuntime")["spec"])
    own = {"model", "minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "deploymentStrategy", "labels"}
    spec = {key: value for key, value in predictor.items() if key not in own | {"annotations"}}
    spec["containers"] = runtime["containers"] + predictor["containers"]
    for field in ("volumes", "imagePullSecrets"):
        if field in runtime:
            spec[field] = runtime[field]
    return spec


def pods(values: dict[str, Any]) -> list[Pod]:
    """All pods of a release, that of KServe too; steps of pipelines are not among them."""
    found = []
    for each in manifests(values):
        name, namespace = each["metadata"]["name"], each["metadata"]["namespace"]
        match each["kind"]:
            case "Deployment" | "Job":
                template = each["spec"]["template"]
                found.append(Pod(name, template["spec"], template["metadata"]["labels"], namespace))
            case "Pod":
                found.append(Pod(name, each["spec"], each["metadata"]["labels"], namespace))
            case "InferenceService":
                labels = each["metadata"]["labels"] | {"serving.kserve.io/inferenceservice": name}
                found.append(Pod(f"{name}-predictor", predictor_spec(values), labels, namespace))
    return found


def settings_file(values: dict[str, Any]) -> str:
    """What the containers read as their settings."""
    return str(only(values, "ConfigMap", "-settings")["data"]["settings.yaml"])
