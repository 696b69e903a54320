"""The pipeline that deletes what Kubeflow Pipelines no longer needs: at our cadence it gathers 600 runs a day."""

import json

from kfp import dsl
from kfp.dsl import graph_component

from components.image import PIPELINE_IMAGE
from cryptosentinel.config import ENV_PREFIX, KubeflowSettings
from pipelines.definitions import Dress

# What the command reads of the settings; a token comes with the steps' secrets.
_READ = {"url", "namespace", "ca_file", "timeout_s", "budget_s", "name", "runs_kept_days", "failed_runs_kept_days"}


# The command line itself, and no Python of its own: what it needs is above the components.
@dsl.container_component
def prune():
    """Deletes old runs, schedules that were replaced, and versions that nothing refers to."""
    return dsl.ContainerSpec(image=PIPELINE_IMAGE, command=["cryptosentinel", "pipelines", "prune"])


def define_upkeep(
    dress: Dress, settings: KubeflowSettings, *, config: dsl.PipelineConfig
) -> graph_component.GraphComponent:
    """The pipeline; `dress` and `config` are as in `pipelines.definitions.define`."""
    read = settings.model_dump(mode="json", include=_READ, exclude_none=True)

    @dsl.pipeline(
        name="cryptosentinel-upkeep", description="Old runs, schedules and versions are deleted", pipeline_config=config
    )
    def upkeep():
        """Prune."""
        task = dress(prune().set_caching_options(False))
        task.set_env_variable(f"{ENV_PREFIX}KUBEFLOW", json.dumps(read, sort_keys=True))

    return upkeep
