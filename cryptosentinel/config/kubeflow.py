"""The settings of the pipelines on Kubeflow: where its API is, and what the steps' pods are like."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from cryptosentinel.config.group import Group, OrNone

# What Kubernetes takes, in the spelling that Kubeflow's compiler takes too.
Cpu = Annotated[str, Field(pattern=r"^([0-9]+m|[0-9]+(\.[0-9]+)?)$")]
Memory = Annotated[str, Field(pattern=r"^[0-9]+(Ei?|Pi?|Ti?|Gi?|Mi?|Ki?)?$")]
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class StepSettings(Group):
    """What one step's pod may use."""

    cpu_request: Cpu = "100m"
    cpu_limit: Annotated[Cpu | None, OrNone] = Field(None, description="empty: what the node has to spare")
    memory_request: Memory = "384Mi"
    memory_limit: Annotated[Memory | None, OrNone] = "1Gi"
    timeout_s: int = Field(600, ge=30, description="of the pod, its image's download included")


# A step's own defaults are a class's, so that they hold beside what is set of it.
class _Ingest(StepSettings):
    timeout_s: int = Field(1200, ge=30, description="the first one fetches the whole history")


class _Drift(StepSettings):
    timeout_s: int = Field(1200, ge=30)


class _Train(StepSettings):
    cpu_request: Cpu = "500m"
    memory_request: Memory = "512Mi"
    memory_limit: Annotated[Memory | None, OrNone] = "2Gi"
    timeout_s: int = Field(3600, ge=30)


class _Evaluate(StepSettings):
    cpu_request: Cpu = "250m"
    memory_request: Memory = "512Mi"
    memory_limit: Annotated[Memory | None, OrNone] = "2Gi"
    timeout_s: int = Field(1800, ge=30)


class _Register(StepSettings):
    memory_request: Memory = "512Mi"
    timeout_s: int = Field(2400, ge=30, description="it waits for the rollout")


class _Prune(StepSettings):
    cpu_request: Cpu = "50m"
    memory_request: Memory = "256Mi"
    memory_limit: Annotated[Memory | None, OrNone] = "512Mi"


with warnings.catch_warnings():
    # Abstract classes have a method of this name on their metaclass, where a field cannot hide it.
    warnings.filterwarnings("ignore", 'Field name "register"', UserWarning)

    class StepsSettings(Group):
        """Every step's pod."""

        ingest: _Ingest = _Ingest()
        featurize: StepSettings = StepSettings()
        drift: _Drift = _Drift()
        train: _Train = _Train()
        evaluate: _Evaluate = _Evaluate()
        register: _Register = _Register()
        predict: StepSettings = StepSettings()
        prune: _Prune = _Prune()


class TolerationSettings(Group):
    """A taint of nodes that steps put up with, in Kubernetes' own names."""

    key: Annotated[str | None, OrNone] = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: Annotated[str | None, OrNone] = None
    effect: Annotated[Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, OrNone] = None
    toleration_seconds: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _can_be(self) -> TolerationSettings:
        if self.operator == "Equal" and self.key is None:
            raise ValueError("needs a key, or the operator Exists")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("takes no value with the operator Exists")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("takes toleration_seconds only with the effect NoExecute")
        return self


class KubeflowSettings(Group):
    """Kubeflow Pipelines: its API, and how the pipelines run there."""

    url: Annotated[str | None, OrNone] = Field(
        None, pattern=r"^https?://", description="of its API, e.g. http://ml-pipeline.kubeflow:8888"
    )
    ui_url: Annotated[str | None, OrNone] = Field(
        None, pattern=r"^https?://", description="of its pages, for links; by default `url`"
    )
    namespace: Annotated[Label | None, OrNone] = Field(
        None, description="the profile's, where Kubeflow has several users; else empty"
    )
    token: Annotated[SecretStr | None, OrNone] = Field(None, description="a bearer token for its API")
    token_file: Annotated[Path | None, OrNone] = Field(
        None, description="a file with one that is renewed, e.g. a pod's service account token"
    )
    ca_file: Annotated[Path | None, OrNone] = Field(None, description="certificates (PEM) that its API is checked with")
    timeout_s: float = Field(30.0, gt=0, description="of one request")
    budget_s: float = Field(180.0, gt=0, description="time for one request with all its retries")
    name: Label = Field(
        "cryptosentinel", description="begins the names of pipelines and schedules, and is the experiment's"
    )
    service_account: Annotated[str | None, OrNone] = Field(
        None, description="of the steps, in the namespace they run in; by default Kubeflow's"
    )
    image: Annotated[str | None, OrNone] = Field(None, description="of the steps; by default this release's")
    drift_image: Annotated[str | None, OrNone] = Field(
        None, description="of the drift step, with alibi-detect beside the rest; by default `image`, or this release's"
    )
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    secret: Annotated[str | None, OrNone] = Field(
        None, description="a Secret in the namespace the steps run in, whose keys `secret_env` gives to them"
    )
    secret_env: dict[str, str] = Field({}, description="the steps' environment: variable to key of `secret`")
    env: dict[str, str] = Field({}, description="more of the steps' environment, e.g. HTTPS_PROXY")
    node_selector: dict[str, str] = Field({}, description="labels of the nodes that steps may run on")
    tolerations: tuple[TolerationSettings, ...] = ()
    run_as_user: int = Field(10001, gt=0, description="user of the steps: any but root")
    run_as_group: int = Field(10001, ge=0)
    tmp_size: Memory = Field("2Gi", description="of /tmp, which is all that a step writes to")
    steps: StepsSettings = StepsSettings()
    parallel_fits: int = Field(2, ge=1, le=16, description="training steps at a time")
    retries: int = Field(2, ge=0, le=10, description="of a step that failed")
    backoff_s: int = Field(15, ge=0, description="before the first retry; doubles with each")
    pods_kept_s: int = Field(3600, ge=60, description="how long a finished run's pods, with their logs, stay")
    runs_kept_days: float = Field(2.0, gt=0, description="how long a run that ended well stays listed")
    failed_runs_kept_days: float = Field(7.0, gt=0, description="how long others do")

    @field_validator("token_file")
    @classmethod
    def _one_token(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("token") is not None:
            raise ValueError("must be empty where kubeflow.token is set: one of the two authenticates")
        return value

    @field_validator("secret_env", "env", mode="before")
    @classmethod
    def _as_variables(cls, value: Any) -> Any:
        # Names of environment variables; ours come in lower case from there.
        return {str(name).upper(): given for name, given in value.items()} if isinstance(value, dict) else value

    @field_validator("secret_env")
    @classmethod
    def _has_a_secret(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if value and info.data.get("secret") is None:
            raise ValueError("needs kubeflow.secret: the Secret that holds these keys")
        return value
