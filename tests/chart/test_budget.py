"""Whether it fits on a laptop."""

from __future__ import annotations

import yaml

from cryptosentinel.config import Settings
from tests.chart.rendered import Pod, pods, scenario, settings_file

CPU, MEMORY = 1.5, 3 * 2**30
# What Argo's container beside each step requests, as Kubeflow Pipelines installs it.
EXECUTOR = {"cpu": 0.01, "memory": 32 * 2**20}
_UNITS = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def amount(text: str) -> float:
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    return float(text.removesuffix(unit)) * _UNITS.get(unit, 1)


def requested(pod: Pod, resource: str) -> float:
    """What the scheduler counts: containers together, or the largest of those that run before them."""
    before = [amount(each["resources"]["requests"][resource]) for each in pod.spec.get("initContainers", [])]
    together = sum(amount(each["resources"]["requests"][resource]) for each in pod.spec["containers"])
    return max([together, *before])


def peak(resource: str) -> float:
    """All at once: every pod of the release, one more predictor for a rollout, a run of each pipeline."""
    values = scenario("kind")
    settings = Settings.model_validate(yaml.safe_load(settings_file(values)))
    steps = {name: amount(getattr(step, f"{resource}_request")) for name, step in vars(settings.kubeflow.steps).items()}
    training = max(
        steps["drift"], settings.kubeflow.parallel_fits * steps["train"], steps["evaluate"], steps["register"]
    )
    runs = training + max(steps["ingest"], steps["featurize"]) + steps["predict"] + steps["prune"]
    runs += 4 * EXECUTOR[resource]
    # `helm test` and the removal at the end come when nothing else does.
    release = {
        pod.name: requested(pod, resource) for pod in pods(values) if not pod.name.endswith(("-test", "-remove"))
    }
    extra = next(size for name, size in release.items() if name.endswith("-predictor"))
    return sum(release.values()) + extra + runs


def test_a_laptop_s_cluster_has_room_for_everything_at_its_peak() -> None:
    assert peak("cpu") <= CPU
    assert peak("memory") <= MEMORY


def test_a_laptop_trains_one_candidate_at_a_time_and_has_no_autoscaler() -> None:
    values = scenario("kind")
    assert yaml.safe_load(settings_file(values))["kubeflow"]["parallel_fits"] == 1
    assert not values["serving"].get("autoscaling", {}).get("enabled", False)
