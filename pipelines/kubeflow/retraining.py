"""A training on Kubeflow that a step asks for; `components.following` finds it by an entry point."""

from __future__ import annotations

import json

from cryptosentinel.config import KubeflowSettings, Settings, load_settings
from cryptosentinel.errors import KubeflowError
from pipelines.kubeflow.wanted import is_ours, parameters

# What a step is told of how Kubeflow is reached; a token comes with its secrets.
_READ = {"url", "namespace", "ca_file", "timeout_s", "budget_s", "name", "service_account"}


def way_to(settings: KubeflowSettings) -> str:
    """How Kubeflow is reached, as JSON for steps; empty where no address is set."""
    return settings.model_dump_json(include=_READ, exclude_none=True) if settings.url is not None else ""


def start_training(settings: Settings, kubeflow: str, label: str) -> None:
    """Starts a run of what the training's schedule runs; where there is one of that label, nothing.

    Args:
        settings: of the run.
        kubeflow: how it is reached, as `way_to` says it.
        label: ends the run's name.

    Raises:
        KubeflowError: it is away or refuses, or has no schedule of trainings.
    """
    from pipelines.kubeflow.connecting import connect

    reached = load_settings(overrides={"kubeflow": json.loads(kubeflow)}).kubeflow
    api, name = connect(reached), f"{reached.name}-training"
    experiment, pipeline = api.make_experiment(), api.pipeline(name)
    scheduled = [
        one for one in api.schedules(experiment) if one.enabled and is_ours(one.name, reached.name, "training")
    ]
    versions = {one.id: one for one in api.versions(pipeline)} if pipeline is not None else {}
    version = next((versions[one.version_id] for one in reversed(scheduled) if one.version_id in versions), None)
    if version is None:
        raise KubeflowError(
            f"The training that is to follow cannot be started: Kubeflow has no schedule of {name}.",
            remedy="`cryptosentinel pipelines schedule` makes it.",
        )
    api.start_run(
        experiment,
        f"{name}-{label}",
        version,
        parameters=parameters("training", settings),
        service_account=reached.service_account,
    )
