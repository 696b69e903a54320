"""The training that a step asks Kubeflow for once the champion is called useless."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from components import following
from cryptosentinel.config import KubeflowSettings
from cryptosentinel.errors import KubeflowError, StoreUnavailableError
from pipelines.definitions import define
from pipelines.kubeflow.retraining import start_training, way_to
from pipelines.kubeflow.wanted import parameters
from tests.builders import at
from tests.drift.concept_builders import NOW
from tests.kubeflow.builders import cluster_settings, schedule, wanted
from tests.kubeflow.double import Double
from tests.kubeflow.scheduling import Run
from tests.predicting.test_following import champion, detections, spoilt, step

LABEL = "concept-v3-20250107T130000"
PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def ask(double: Double, label: str = LABEL) -> None:
    start_training(cluster_settings(), way_to(KubeflowSettings(url=double.url)), label)


def asked(double: Double) -> list[Run]:
    return [run for run in double.runs.values() if "concept" in run.name]


def test_it_runs_what_the_schedule_of_trainings_runs(double: Double) -> None:
    schedule(double, wanted("1"))
    schedule(double, wanted("2"))
    ask(double)
    (run,) = asked(double)
    assert run.name == f"cryptosentinel-training-{LABEL}"
    assert double.versions[run.version_id]["display_name"] == "2"
    assert double.pipelines[run.pipeline_id]["display_name"] == "cryptosentinel-training"
    assert run.parameters == parameters("training", cluster_settings())


def test_under_one_label_it_is_started_once(double: Double) -> None:
    schedule(double, wanted())
    ask(double)
    ask(double)
    ask(double, "concept-v4-20250108T000000")
    assert [run.name[-len(LABEL) :] for run in asked(double)] == [LABEL, "concept-v4-20250108T000000"]


def test_without_a_schedule_of_trainings_it_says_what_to_do(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature", "inference")))
    with pytest.raises(KubeflowError, match="no schedule of cryptosentinel-training") as refused:
        ask(double)
    assert "pipelines schedule" in refused.value.remedy


def test_steps_are_told_the_way_without_secrets() -> None:
    settings = KubeflowSettings(url="http://ml-pipeline:8888", token="hush", service_account="steps")
    told = json.loads(way_to(settings))
    assert (told["url"], told["service_account"]) == ("http://ml-pipeline:8888", "steps")
    assert "hush" not in way_to(settings)
    assert way_to(KubeflowSettings()) == ""


def test_the_predict_step_is_told_it_where_there_is_one() -> None:
    def told(**more: str) -> object:
        spec = define(**more)["inference"].pipeline_spec
        return spec.root.dag.tasks["predict"].inputs.parameters["kubeflow"].runtime_value.constant.string_value

    assert (told(), told(kubeflow='{"url": "http://x"}')) == ("", '{"url": "http://x"}')


class TestTheStepThatAsks:
    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As pyproject.toml has it, whatever release is installed here."""
        ((name, value),) = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"][
            "cryptosentinel.trainings"
        ].items()
        found = EntryPoint(name, value, "cryptosentinel.trainings")
        monkeypatch.setattr(following, "entry_points", lambda group: [found] if group == found.group else [])

    def test_starts_a_training_and_falls_back_once(self, double: Double, tmp_path: Path) -> None:
        schedule(double, wanted())
        workspace, way = spoilt(tmp_path), way_to(KubeflowSettings(url=double.url))
        step(workspace)
        done = following.follow(workspace, way, now=NOW)
        assert done == [
            "a training was started, since version 1 is called useless",
            "version 0, the random walk, serves in the place of version 1",
        ]
        assert following.follow(workspace, way, now=at(1000)) == []
        (run,) = asked(double)
        assert run.name.startswith("cryptosentinel-training-concept-v1-")
        assert champion(workspace) == 0

    def test_killed_before_it_could_write_that_down_it_starts_no_second_one(
        self, double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        schedule(double, wanted())
        workspace, way = spoilt(tmp_path), way_to(KubeflowSettings(url=double.url))
        step(workspace)
        with monkeypatch.context() as patched:

            def gone(*_: object, **__: object) -> None:
                raise StoreUnavailableError("It is gone.")

            patched.setattr(following, "note_training", gone)
            with pytest.raises(StoreUnavailableError):
                following.follow(workspace, way, now=NOW)
        assert len(following.follow(workspace, way, now=NOW)) == 2
        assert len(asked(double)) == 1

    def test_on_one_machine_it_leaves_the_training_to_up(self, tmp_path: Path) -> None:
        workspace = spoilt(tmp_path, drift__concept__follows="retrain")
        step(workspace)
        assert following.follow(workspace, "", now=NOW) == []
        assert detections(workspace)["retrained_at"].isna().all()
