"""Whether objects are what Kubernetes, and KServe, say they are."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import kserve
import kubernetes.client
import kubernetes_validate
from kubernetes_validate import utils

# Read and parsed anew for each object otherwise: a megabyte.
utils.schema_contents = functools.cache(utils.schema_contents)

OLDEST = (1, 31)
VERSIONS = sorted(
    {utils.major_minor(each) for each in utils.all_versions()}, key=lambda each: [int(part) for part in each.split(".")]
)
VERSIONS = [each for each in VERSIONS if tuple(int(part) for part in each.split(".")) >= OLDEST]
_SIMPLE: dict[str, Any] = {"str": str, "int": int, "bool": bool, "float": (int, float)}
KSERVE = {"InferenceService": "V1beta1InferenceService", "ServingRuntime": "V1alpha1ServingRuntime"}


@functools.cache
def _valid(manifest: str, version: str) -> None:
    kubernetes_validate.validate(json.loads(manifest), version, strict=True)


def check_kubernetes(manifest: dict[str, Any], version: str) -> None:
    """Raises `kubernetes_validate.ValidationError` where an object is not of its kind's schema, or has more fields."""
    _valid(json.dumps(manifest, sort_keys=True), version)


def kserve_faults(manifest: dict[str, Any]) -> list[str]:
    """What KServe's own models, and Kubernetes' where those refer to them, do not know or want otherwise."""
    return list(_faults(manifest, KSERVE[manifest["kind"]], manifest["kind"]))


def _faults(value: Any, kind: str, where: str) -> Iterator[str]:
    model = getattr(kserve, kind, None) or getattr(kubernetes.client, kind, None)
    wanted = _SIMPLE.get(kind) or (list if kind.startswith("list[") else dict)
    if kind == "object" or (model is None and kind not in _SIMPLE and not kind.startswith(("list[", "dict("))):
        return  # anything
    if not isinstance(value, wanted):
        yield f"{where} is {type(value).__name__}, not {kind}"
    elif wanted is list:
        for index, each in enumerate(value):
            yield from _faults(each, kind[5:-1], f"{where}[{index}]")
    elif model is not None:
        types = {model.attribute_map[name]: of for name, of in model.openapi_types.items()}
        yield from (f"{where}.{key} is unknown to {kind}" for key in value if key not in types)
        for key in value.keys() & types.keys():
            yield from _faults(value[key], types[key], f"{where}.{key}")
    elif wanted is dict:
        for key, each in value.items():
            yield from _faults(each, kind[5:-1].partition(", ")[2], f"{where}.{key}")
