"""What the settings want of Kubeflow, and what each change of them changes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cryptosentinel.config import KubeflowSettings, Settings, load_settings
from cryptosentinel.errors import UserInputError
from pipelines.kubeflow import wanted as wanting
from pipelines.kubeflow.compiling import PIPELINE_NAMES, compile_pipelines
from pipelines.kubeflow.wanted import Wanted, compiled, is_ours
from tests.kubeflow.builders import cluster_settings

TOLERATION = {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoExecute", "toleration_seconds": 30}
DRESSED = KubeflowSettings(
    image="mirror.example/pipeline@sha256:abc",
    drift_image="mirror.example/drift:1",
    image_pull_policy="Always",
    image_pull_secrets=("pull",),
    secret="store",
    secret_env={"CRYPTOSENTINEL_STORAGE__OPTIONS__AWS_ACCESS_KEY_ID": "accesskey", "OTHER": "accesskey"},
    env={"HTTPS_PROXY": "http://proxy:3128"},
    node_selector={"kubernetes.io/arch": "amd64"},
    tolerations=(TOLERATION,),
    run_as_user=4711,
    run_as_group=42,
    tmp_size="1Gi",
    retries=4,
    backoff_s=7,
    parallel_fits=1,
    pods_kept_s=120,
    steps={"train": {"cpu_request": "750m", "cpu_limit": "2", "memory_limit": "3Gi", "timeout_s": 77}},
)


@pytest.fixture(scope="module")
def dressed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Each pipeline's specification, and what it asks of Kubernetes."""
    folder = tmp_path_factory.mktemp("dressed")
    compile_pipelines(folder, DRESSED)
    files = {name: yaml.load_all((folder / f"{name}.yaml").read_text(), yaml.CSafeLoader) for name in PIPELINE_NAMES}
    return {name: (next(file), next(file)["platforms"]["kubernetes"]) for name, file in files.items()}


def steps(dressed: dict[str, Any]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    return [
        (name.removeprefix("exec-"), executor["container"], platform["deploymentSpec"]["executors"][name])
        for spec, platform in dressed.values()
        for name, executor in spec["deploymentSpec"]["executors"].items()
    ]


def test_every_step_is_dressed(dressed: dict[str, Any]) -> None:
    assert {name for name, *_ in steps(dressed)} == {
        *("ingest", "featurize", "drift", "train", "evaluate", "register", "predict", "prune")
    }
    for name, container, pod in steps(dressed):
        image = "mirror.example/drift:1" if name == "drift" else "mirror.example/pipeline@sha256:abc"
        assert container["image"] == image, name
        env = {one["name"]: one["value"] for one in container["env"]}
        assert env.pop("CRYPTOSENTINEL_KUBEFLOW", "") == "" or name == "prune"
        assert env == {"HOME": "/tmp", "HTTPS_PROXY": "http://proxy:3128"}
        assert pod["securityContext"] == {"runAsUser": "4711", "runAsGroup": "42", "runAsNonRoot": True}
        assert pod["emptyDirMounts"] == [{"volumeName": "tmp", "mountPath": "/tmp", "sizeLimit": "1Gi"}]
        assert pod["imagePullPolicy"] == "Always"
        assert [secret["secretName"] for secret in pod["imagePullSecret"]] == ["pull"]
        assert pod["nodeSelector"] == {"labels": {"kubernetes.io/arch": "amd64"}}
        assert pod["tolerations"] == [
            {
                "key": "spot",
                "operator": "Equal",
                "value": "yes",
                "effect": "NoExecute",
                "tolerationSeconds": "30",
            }
        ]
        given = {one["keyToEnv"][0]["envVar"]: (one["secretName"], one["keyToEnv"]) for one in pod["secretAsEnv"]}
        assert set(given) == set(DRESSED.secret_env)
        assert all(secret == "store" and keys[0]["secretKey"] == "accesskey" for secret, keys in given.values())


def test_a_steps_pod_may_use_what_the_settings_say(dressed: dict[str, Any]) -> None:
    for name, container, pod in steps(dressed):
        step = getattr(DRESSED.steps, name)
        resources = container["resources"]
        assert resources["resourceCpuRequest"] == step.cpu_request
        assert resources.get("resourceCpuLimit") == step.cpu_limit
        assert resources["resourceMemoryRequest"] == step.memory_request
        assert resources["resourceMemoryLimit"] == step.memory_limit
        assert pod["activeDeadlineSeconds"] == str(step.timeout_s)
    train = next(container for name, container, _ in steps(dressed) if name == "train")
    assert train["resources"]["resourceCpuLimit"] == "2"


def test_a_step_that_fails_is_tried_again_with_longer_and_longer_pauses(dressed: dict[str, Any]) -> None:
    policies = {
        name: task["retryPolicy"]
        for spec, _ in dressed.values()
        for dag in (spec["root"], *spec["components"].values())
        for name, task in dag.get("dag", {}).get("tasks", {}).items()
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]
    }
    assert len(policies) == 8
    for name, policy in policies.items():
        # Argo counts it from the first attempt's start: the last one, too, has all of its time.
        most_s = int(policy.pop("backoffMaxDuration").removesuffix("s"))
        assert most_s >= 5 * getattr(DRESSED.steps, name).timeout_s + 7 * (1 + 2 + 4 + 8)
        assert policy == {"maxRetryCount": 4, "backoffDuration": "7s", "backoffFactor": 2.0}


def test_finished_pods_do_not_stay(dressed: dict[str, Any]) -> None:
    assert {platform["pipelineConfig"]["resourceTtlOnCompletion"] for _, platform in dressed.values()} == {120}


def test_training_steps_run_as_many_at_a_time_as_the_settings_say(dressed: dict[str, Any]) -> None:
    loop = dressed["training"][0]["components"]["comp-condition-1"]["dag"]["tasks"]["for-loop-2"]
    assert loop["iteratorPolicy"]["parallelismLimit"] == 1


def test_no_step_is_given_a_secret_in_plain_text(tmp_path: Path) -> None:
    settings = KubeflowSettings(url="http://kfp", token="top-secret")
    compile_pipelines(tmp_path, settings)
    assert not [path for path in tmp_path.iterdir() if "top-secret" in path.read_text()]


def test_pruning_is_told_where_and_what(tmp_path: Path) -> None:
    compile_pipelines(tmp_path, KubeflowSettings(url="http://kfp:8888", namespace="team-a", runs_kept_days=3))
    spec = next(yaml.safe_load_all((tmp_path / "upkeep.yaml").read_text()))
    container = spec["deploymentSpec"]["executors"]["exec-prune"]["container"]
    assert container["command"] == ["cryptosentinel", "pipelines", "prune"]
    environ = {one["name"]: one["value"] for one in container["env"]}
    told = load_settings(environ={k: v for k, v in environ.items() if k != "HOME"}).kubeflow
    assert (told.url, told.namespace, told.runs_kept_days) == ("http://kfp:8888", "team-a", 3)
    # Beside it a secret from the environment.
    more = load_settings(environ=environ | {"CRYPTOSENTINEL_KUBEFLOW__TOKEN": "t"}).kubeflow
    assert more.token is not None
    assert more.url == "http://kfp:8888"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiles to the settings that pods see, which takes no time."""

    def compile_(folder: Path, settings: KubeflowSettings) -> list[Any]:
        one = type("Compiled", (), {})
        made = []
        for name in PIPELINE_NAMES:
            made.append(one())
            made[-1].name, made[-1].path = name, folder / f"{name}.yaml"
            made[-1].path.write_text(settings.model_dump_json())
        return made

    monkeypatch.setattr(wanting, "compile_pipelines", compile_)


def want(settings: Settings) -> dict[str, Wanted]:
    with compiled(settings) as wanted:
        return {one.pipeline: one for one in wanted}


def changed(**settings: Any) -> set[str]:
    """The pipelines whose schedule another setting changes."""
    before, after = want(cluster_settings()), want(cluster_settings(**settings))
    return {name for name in PIPELINE_NAMES if before[name].schedule != after[name].schedule}


def test_the_same_settings_want_the_same() -> None:
    first, second = want(cluster_settings()), want(cluster_settings())
    assert [(one.version, one.schedule) for one in first.values()] == [
        (one.version, one.schedule) for one in second.values()
    ]
    for name, one in first.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+-[0-9a-f]{12}", one.version)
        assert is_ours(one.schedule, "cryptosentinel", name)


@pytest.mark.usefixtures("quick")
def test_what_changes_a_run_changes_its_schedule_and_no_other() -> None:
    steps = {"feature", "training", "inference"}
    assert changed() == set()
    assert changed(**{"schedules.training": "0 0 * * * *"}) == {"training", "inference"}  # which watches it
    assert changed(**{"schedules.upkeep": "0 0 3 * * *"}) == {"upkeep"}
    assert changed(**{"alerts.drawdown": 0.2}) == steps
    assert changed(**{"training.candidates": "random_walk,ridge"}) == steps
    assert changed(**{"kubeflow.service_account": "steps"}) == steps | {"upkeep"}
    assert changed(**{"kubeflow.image": "mirror.example/pipeline:1"}) == steps | {"upkeep"}
    assert changed(**{"dashboard.port": 1, "home": "elsewhere"}) == set()


@pytest.mark.usefixtures("quick")
def test_steps_are_given_the_settings_without_secrets() -> None:
    settings = cluster_settings(**{"market.coingecko.api_key": "top-secret", "storage.options.KEY": "top-secret"})
    given = want(settings)["feature"].parameters
    assert "top-secret" not in json.dumps(given)
    again = load_settings(environ={}, overrides=json.loads(given["settings"]))
    assert again.storage.uri == settings.storage.uri
    assert again.market.source == "simulated:7"
    assert str(again.home).startswith("/tmp/")
    assert again.kubeflow == KubeflowSettings()
    assert want(settings)["training"].parameters["parts"]
    assert want(settings)["upkeep"].parameters == want(settings)["upkeep"].scheduled_parameters == {}


@pytest.mark.usefixtures("quick")
def test_what_schedules_start_has_leases_of_their_intervals_and_what_is_asked_for_has_none() -> None:
    wanted = want(cluster_settings(**{"schedules.training": "0 10,30 * * * *"}))
    lengths = {
        name: [
            json.loads(given["settings"])["leases"]["interval_s"]
            for given in (wanted[name].scheduled_parameters, wanted[name].parameters)
        ]
        for name in ("feature", "inference", "training")
    }
    assert lengths == {"feature": [300, 0], "inference": [300, 0], "training": [1200, 0]}
    assert wanted["training"].scheduled_parameters["parts"] == wanted["training"].parameters["parts"]


@pytest.mark.parametrize(
    ("setting", "value", "complaint"),
    [
        ("market.source", "auto", "market.source must name a market that every pod reaches"),
        ("market.source", "file:bars.parquet", "market.source must name a market that every pod reaches"),
        ("storage.uri", "", "storage.uri must be an object store"),
        ("storage.uri", "/data", "storage.uri must be an object store"),
        ("serving.url", "", "serving.url must name the predictor"),
    ],
)
def test_what_does_for_one_machine_only_is_refused(setting: str, value: str, complaint: str) -> None:
    with (
        pytest.raises(UserInputError, match=f"For a cluster, {complaint}"),
        compiled(cluster_settings(**{setting: value})),
    ):
        pass


def test_names_of_ours() -> None:
    assert is_ours("cryptosentinel-feature-0123456789ab", "cryptosentinel")
    assert not is_ours("cryptosentinel-feature-0123456789ab", "cryptosentinel", "training")
    assert not is_ours("cryptosentinel-feature-0123456789ab", "crypto")
    assert not is_ours("cryptosentinel-b-feature-0123456789ab", "cryptosentinel")
