"""What Kubeflow Pipelines is given."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cryptosentinel.config import TrainingSettings
from cryptosentinel.errors import UserInputError
from cryptosentinel.forecasting import part_names
from pipelines.definitions import PARTS
from pipelines.kubeflow.compiling import compile_pipelines

ROOT = Path(__file__).resolve().parents[2]
STEPS = {
    "feature": {"ingest", "featurize"},
    "training": {"drift", "train", "evaluate", "register"},
    "inference": {"predict"},
    "upkeep": {"prune"},
}
PYTHON = ["feature", "training", "inference"]  # whose steps carry their source into the pod


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    compile_pipelines(folder)
    return folder


def spec(folder: Path, name: str) -> dict[str, Any]:
    return next(yaml.safe_load_all((folder / f"{name}.yaml").read_text()))


def tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All tasks that run a component, however deep they lie."""
    dags = [spec["root"], *spec["components"].values()]
    found = {name: task for dag in dags for name, task in dag.get("dag", {}).get("tasks", {}).items()}
    return {name: task for name, task in found.items() if "dag" not in spec["components"][f"comp-{name}"]}


@pytest.mark.parametrize("name", STEPS)
def test_a_pipeline_has_its_steps(folder: Path, name: str) -> None:
    assert set(tasks(spec(folder, name))) == STEPS[name]


def test_compiling_again_changes_nothing(folder: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert [compiled.changed for compiled in compile_pipelines(folder)] == [False] * 4
    assert {path: path.read_bytes() for path in folder.iterdir()} == {path: was for path, (was, _) in before.items()}


def test_a_pipeline_that_differs_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "feature.yaml").write_bytes((folder / "feature.yaml").read_bytes())
    (tmp_path / "training.yaml").write_text("of yesterday")
    changed = {compiled.name: compiled.changed for compiled in compile_pipelines(tmp_path)}
    assert changed == {"feature": False, "training": True, "inference": True, "upkeep": True}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserInputError, match=r"cannot be written to .*/file/pipelines: Not a directory.* --output"):
        compile_pipelines(tmp_path / "file" / "pipelines")


def test_what_is_committed_is_what_compiles(folder: Path) -> None:
    for name in STEPS:
        assert (ROOT / "manifests/pipelines" / f"{name}.yaml").read_text() == (folder / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", STEPS)
def test_no_step_is_cached(folder: Path, name: str) -> None:
    for task in tasks(spec(folder, name)).values():
        assert not task["cachingOptions"].get("enableCache", False)


@pytest.mark.parametrize("name", PYTHON)
def test_a_pipeline_takes_settings_and_a_clock(folder: Path, name: str) -> None:
    parameters = spec(folder, name)["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) - {"parts"} == {"settings", "as_of"}
    assert all("defaultValue" in parameter for parameter in parameters.values())


def test_the_parts_are_those_of_the_usual_settings() -> None:
    assert part_names(TrainingSettings()) == PARTS


def test_artifacts_are_typed(folder: Path) -> None:
    outputs = {
        (name.removeprefix("comp-"), artifact): kind["artifactType"]["schemaTitle"].removeprefix("system.")
        for pipeline in PYTHON
        for name, component in spec(folder, pipeline)["components"].items()
        if "executorLabel" in component
        for artifact, kind in component["outputDefinitions"].get("artifacts", {}).items()
    }
    assert outputs == {
        ("ingest", "bars"): "Dataset",
        ("ingest", "report"): "Markdown",
        ("featurize", "features"): "Dataset",
        ("drift", "report"): "HTML",
        ("train", "model"): "Model",
        ("evaluate", "evaluation"): "Artifact",
        ("evaluate", "direction"): "ClassificationMetrics",
        ("evaluate", "report"): "Markdown",
        ("register", "card"): "Markdown",
        ("predict", "forecast"): "Dataset",
        ("predict", "report"): "Markdown",
    } | {(step, "metrics"): "Metrics" for name in PYTHON for step in STEPS[name]}


def test_training_tasks_run_side_by_side_and_only_with_enough_rows(folder: Path) -> None:
    training = spec(folder, "training")
    assert training["root"]["dag"]["tasks"]["condition-1"]["triggerPolicy"]["condition"].endswith("!= ''")
    loop = training["components"]["comp-condition-1"]["dag"]["tasks"]["for-loop-2"]
    assert loop["iteratorPolicy"]["parallelismLimit"] == 2
    assert loop["parameterIterator"]["items"] == {"inputParameter": "pipelinechannel--parts"}


def code(folder: Path, pipeline: str) -> dict[str, str]:
    """The source that each step carries into its pod."""
    executors = spec(folder, pipeline)["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor["container"]["command"][-1] for name, executor in executors.items()}


@pytest.mark.parametrize("pipeline", PYTHON)
def test_a_step_imports_only_what_the_image_holds(folder: Path, pipeline: str) -> None:
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements/main.txt").read_text(), re.MULTILINE))
    ours = {"cryptosentinel", "components", "serving"}
    for step, source in code(folder, pipeline).items():
        for node in ast.walk(ast.parse(source)):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            for name in names:
                package = name.partition(".")[0]
                assert package in ours | locked | set(sys.stdlib_module_names), f"{step} imports {name}"
                assert importlib.util.find_spec(name), f"{step} imports {name}, which is not there"


@pytest.mark.parametrize("pipeline", STEPS)
def test_a_step_installs_nothing_and_runs_in_the_image(folder: Path, pipeline: str) -> None:
    for name, executor in spec(folder, pipeline)["deploymentSpec"]["executors"].items():
        image = "drift" if name == "exec-drift" else "pipeline"
        assert executor["container"]["image"].startswith(f"cryptosentinel/{image}:")
        assert "pip install" not in " ".join(executor["container"]["command"])
