"""Writes what every scenario becomes, for a scanner: `python -m tests.chart.written FOLDER`.

KServe's pods are there as the Deployments that it makes of ours, since no scanner knows its kinds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from tests.chart.rendered import FULLNAME, NAMESPACE, SCENARIOS, manifests, pods, scenario
from tests.chart.schemas import KSERVE

# What is as it is on purpose, by the end of an object's name.
_EXPLAINER = "the explainer has none: it must never take forecasts out of the Service, and its first process watches it"
_LIVES_SHORTLY = "it runs once, and ends"
ON_PURPOSE = {
    "-setup": {"CKV_K8S_38": "promotions ask the Kubernetes API"},
    "-test": {"CKV_K8S_8": _LIVES_SHORTLY, "CKV_K8S_9": _LIVES_SHORTLY},
    "-predictor": {
        "CKV_K8S_8": _EXPLAINER,
        "CKV_K8S_9": _EXPLAINER,
        "CKV_K8S_29": "Knative refuses a pod's security context; each container has its own (test_security.py)",
    },
}


def main() -> None:
    for name in SCENARIOS:
        values = scenario(name)
        written = [each for each in manifests(values) if each["kind"] not in KSERVE]
        (predictor,) = (pod for pod in pods(values) if pod.name.endswith("-predictor"))
        metadata = {"name": f"{FULLNAME}-predictor", "namespace": NAMESPACE, "labels": predictor.labels}
        spec = {
            "selector": {"matchLabels": predictor.labels},
            "template": {"metadata": metadata, "spec": predictor.spec},
        }
        written.append({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
        for each in written:
            reasons = next((ON_PURPOSE[end] for end in ON_PURPOSE if each["metadata"]["name"].endswith(end)), {})
            skips = {f"checkov.io/skip{i}": f"{check}={why}" for i, (check, why) in enumerate(reasons.items(), 1)}
            each["metadata"]["annotations"] = each["metadata"].get("annotations", {}) | skips
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "all.yaml").write_text(yaml.safe_dump_all(written))


if __name__ == "__main__":
    main()
