"""A Kubeflow whose pipelines are scheduled."""

from __future__ import annotations

import json

from tests.kubeflow.double import Double

PARAMETERS = {
    "settings": json.dumps({"market": {"asset": "bitcoin"}, "leases": {"interval_s": 300, "lost_after_s": 9}})
}


def scheduled(double: Double, *pipelines: str) -> None:
    """What `cryptosentinel pipelines schedule` leaves there."""
    double.experiments["e"] = {"experiment_id": "e", "display_name": "cryptosentinel", "created_at": double.now}
    for name in pipelines:
        whole = f"cryptosentinel-{name}"
        double.pipelines[name] = {
            "pipeline_id": name,
            "display_name": whole,
            "namespace": None,
            "created_at": double.now,
        }
        double._add_version(name, "1")
        version = list(double.versions)[-1]
        for hash_, mode in (("a" * 12, "DISABLE"), ("b" * 12, "ENABLE")):
            double.make_recurring(
                {},
                {
                    "experiment_id": "e",
                    "display_name": f"{whole}-{hash_}",
                    "mode": mode,
                    "max_concurrency": "1",
                    "pipeline_version_reference": {"pipeline_id": name, "pipeline_version_id": version},
                    "runtime_config": {"parameters": PARAMETERS},
                    "service_account": "steps",
                    "trigger": {"cron_schedule": {"cron": "0 */5 * * * *"}},
                },
            )
