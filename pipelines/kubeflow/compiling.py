"""Compiles the pipelines into the YAML that Kubeflow Pipelines takes, for the pods that the settings ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptosentinel.config import KubeflowSettings
from cryptosentinel.errors import UserInputError

if TYPE_CHECKING:
    from kfp.dsl import PipelineTask, graph_component

# By name: the three of `pipelines.definitions`, and the one that deletes what is no longer needed.
PIPELINE_NAMES = ("feature", "training", "inference", "upkeep")
BACKOFF_FACTOR = 2.0
# For a pod to be given a node, which its time-out does not count.
PLACING_S = 600


@dataclass(frozen=True)
class Compiled:
    """One compiled pipeline, and whether its file changed."""

    name: str
    path: Path
    changed: bool


def compile_pipelines(folder: Path, settings: KubeflowSettings | None = None) -> list[Compiled]:
    """Compiles every pipeline into `<folder>/<name>.yaml`; the same definition and settings give the same bytes.

    Raises:
        UserInputError: the folder cannot be written.
    """
    from kfp import compiler

    compiled = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, pipeline in _for_cluster(settings or KubeflowSettings()).items():
            path = folder / f"{name}.yaml"
            before = path.read_bytes() if path.exists() else None
            compiler.Compiler().compile(pipeline, str(path))
            compiled.append(Compiled(name, path, before != path.read_bytes()))
    except OSError as error:
        raise UserInputError(
            f"The pipelines cannot be written to {folder}: {error.strerror or error}.",
            remedy="Name a folder that can be written with --output.",
        ) from error
    return compiled


def _for_cluster(settings: KubeflowSettings) -> dict[str, graph_component.GraphComponent]:
    from kfp import dsl

    from pipelines.definitions import define
    from pipelines.kubeflow.retraining import way_to
    from pipelines.kubeflow.upkeep import define_upkeep

    def dress(task: PipelineTask) -> PipelineTask:
        return dress_for_pod(task, settings)

    # Kubeflow's own default keeps finished pods for a day: 3,000 of them, at our cadence.
    config = dsl.PipelineConfig(ttl_seconds_after_finished=settings.pods_kept_s)
    pipelines = define(dress, parallel_fits=settings.parallel_fits, config=config, kubeflow=way_to(settings))
    return pipelines | {"upkeep": define_upkeep(dress, settings, config=config)}


def dress_for_pod(task: PipelineTask, settings: KubeflowSettings) -> PipelineTask:
    """Gives a task's pod what the settings ask for; the task's name is its step's."""
    from kfp import kubernetes

    step = getattr(settings.steps, task.name)
    # An image of the steps that is set has no alibi-detect, unless another is set for the drift step: SciPy answers.
    image = (task.name == "drift" and settings.drift_image) or settings.image
    if image:
        task.set_container_image(image)
    task.set_cpu_request(step.cpu_request).set_memory_request(step.memory_request)
    if step.cpu_limit is not None:
        task.set_cpu_limit(step.cpu_limit)
    if step.memory_limit is not None:
        task.set_memory_limit(step.memory_limit)
    # Every step of ours is safe to repeat. The maximum is of all attempts with their pauses, from the first one's
    # start: what fails later is not tried again, and an attempt under way then is killed (Argo's `maxDuration`).
    attempts_s = (settings.retries + 1) * (step.timeout_s + PLACING_S)
    pauses_s = settings.backoff_s * sum(BACKOFF_FACTOR**retry for retry in range(settings.retries))
    task.set_retry(settings.retries, f"{settings.backoff_s}s", BACKOFF_FACTOR, f"{attempts_s + pauses_s:.0f}s")
    # Not root, and nothing written but in /tmp. Capabilities, privilege escalation and seccomp are seen to by
    # Kubeflow; a read-only root file system it cannot give, since its own driver writes to /tmp/outputs.
    kubernetes.set_security_context(task, settings.run_as_user, settings.run_as_group, run_as_non_root=True)
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit=settings.tmp_size)  # noqa: S108 - the pod's own
    for name, value in sorted({"HOME": "/tmp", **settings.env}.items()):  # noqa: S108 - the pod's own
        task.set_env_variable(name, value)
    kubernetes.set_timeout(task, step.timeout_s)
    kubernetes.set_image_pull_policy(task, settings.image_pull_policy)
    if settings.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(settings.image_pull_secrets))
    for variable, key in sorted(settings.secret_env.items()):
        # One at a time: two variables may take one key.
        kubernetes.use_secret_as_env(task, settings.secret, {key: variable})
    for label, value in sorted(settings.node_selector.items()):
        kubernetes.add_node_selector(task, label, value)
    for toleration in settings.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump())
    return task
