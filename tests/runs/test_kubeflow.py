"""Runs on Kubeflow, asked of the double that the pipelines' own client is held to as well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cryptosentinel.config import KubeflowSettings
from cryptosentinel.errors import KubeflowError, KubeflowUnavailableError, UserInputError
from cryptosentinel.runs import KINDS, Run
from cryptosentinel.runs.kubeflow import KubeflowRunner
from tests.kubeflow.double import Double, Fault
from tests.kubeflow.scheduling import BEGIN
from tests.kubeflow.server import serving
from tests.runs.builders import scheduled


@pytest.fixture
def double() -> Iterator[Double]:
    with serving(Double()) as double:
        yield double


def runner_of(double: Double, **more: object) -> KubeflowRunner:
    return KubeflowRunner(KubeflowSettings.model_validate({"url": double.url} | more))


def test_before_anything_is_scheduled_there_are_no_runs_and_asking_says_what_to_do(double: Double) -> None:
    assert runner_of(double).runs() == []
    assert "`cryptosentinel pipelines schedule` makes it" in runner_of(double).ask("feature", "ana").refused
    scheduled(double, "training")
    assert "no schedule of the feature pipeline" in runner_of(double).ask("feature", "ana").refused
    for schedule in double.recurring.values():
        schedule.enabled = False  # as it is while another one takes its place
    assert "no schedule of the training pipeline" in runner_of(double).ask("training", "ana").refused
    assert double.runs == {}


def test_a_run_that_is_asked_for_is_the_schedules_without_its_leases_and_says_who_asked(double: Double) -> None:
    scheduled(double, "feature", "training", "inference")
    asked = runner_of(double).ask("training", "ana@example.org")
    (run,) = double.runs.values()
    assert (asked.run_id, asked.joined, asked.refused) == (run.id, False, "")
    assert run.pipeline_id == "training"
    assert run.version_id in double.versions
    settings = json.loads(str(run.parameters["settings"]))
    assert settings == {"market": {"asset": "bitcoin"}, "leases": {"interval_s": 0, "lost_after_s": 9}}
    shown = runner_of(double).answer(asked)
    assert shown is not None
    assert (shown.kind, shown.state, shown.by, shown.user) == ("training", "running", "user", "ana@example.org")
    assert shown.url == f"{double.url}/#/runs/details/{run.id}"
    double.advance(60)
    ended = runner_of(double).answer(asked)
    assert ended is not None
    assert (ended.state, ended.seconds(double.now)) == ("succeeded", double.run_s)


def test_who_asks_for_what_is_running_joins_that(double: Double) -> None:
    scheduled(double, "feature", "training")
    first = runner_of(double).ask("training", "ana")
    second = runner_of(double).ask("training", "bob")
    assert (second.run_id, second.joined) == (first.run_id, True)
    assert not runner_of(double).ask("feature", "bob").joined
    double.advance(60)
    assert not runner_of(double).ask("training", "bob").joined


def test_a_check_of_drift_alone_is_refused_with_what_does_it(double: Double) -> None:
    scheduled(double, *KINDS)
    assert "with each training" in runner_of(double).refusal("drift")
    assert "with each training" in runner_of(double).ask("drift", "ana").refused
    assert double.requests == []


def test_history_is_of_our_pipelines_the_newest_first_over_all_pages(double: Double) -> None:
    scheduled(double, "feature", "training", "inference", "upkeep")
    for number in range(230):
        pipeline = ("feature", "upkeep")[number % 2]
        double.add_run(pipeline_id=pipeline, version_id="v", created_at=BEGIN + timedelta(minutes=number))
    double.add_run(pipeline_id="somebody's", version_id="v")
    runs = runner_of(double).runs(1000)
    assert {run.kind for run in runs} == {"feature"}
    assert len(runs) == 115
    assert [run.began_at for run in runs] == sorted((run.began_at for run in runs), reverse=True)
    assert len(runner_of(double).runs(7)) == 7


def test_steps_are_ours_with_their_times_and_a_failure_is_named(double: Double) -> None:
    scheduled(double, "training")
    run = double.add_run(pipeline_id="training", version_id="v", recurring_run_id="r", state="FAILED")
    run.finished_at = BEGIN + timedelta(seconds=90)
    begin, end, never = BEGIN, BEGIN + timedelta(seconds=9), datetime(1970, 1, 1, tzinfo=UTC)

    def task(name: str, state: str, **more: object) -> dict[str, object]:
        return {"display_name": name, "state": state, "start_time": begin, "end_time": end} | more

    run.tasks = [
        task("root-driver", "SUCCEEDED"),
        task("drift", "SUCCEEDED"),
        task("train", "SUCCEEDED"),
        task("train", "FAILED"),
        task("train", "RUNNING", end_time=never),
        task("executor", "SUCCEEDED", pod_name="good"),
        task("executor", "FAILED", pod_name="bad"),
    ]
    run.logs = {"bad": "Traceback", "good": "fine"}
    (shown,) = runner_of(double).runs()
    assert [(step.name, step.state, step.done, step.tasks) for step in shown.steps] == [
        ("drift", "succeeded", 1, 1),
        ("train", "failed", 1, 3),
    ]
    assert shown.steps[0].ended_at == end
    assert (shown.by, shown.failed_step, shown.message) == ("schedule", "train", "Step 'train' failed.")
    assert runner_of(double).log(shown) == "Traceback"
    run.logs = {}
    with pytest.raises(UserInputError, match="gone with its pods"):
        runner_of(double).log(shown)


@pytest.mark.parametrize(
    ("state", "ours"),
    [("PENDING", "waiting"), ("CANCELING", "running"), ("CANCELED", "stopped"), ("SKIPPED", "succeeded")],
)
def test_each_state_of_kubeflows_is_one_of_ours(double: Double, state: str, ours: str) -> None:
    scheduled(double, "feature")
    double.add_run(pipeline_id="feature", version_id="v", state=state)
    (run,) = runner_of(double).runs()
    assert (run.state, run.ended_at) == (ours, None)


def test_the_token_of_the_settings_is_sent_or_else_the_one_in_its_file(double: Double, tmp_path: Path) -> None:
    double.token = "letmein"
    assert runner_of(double, token="letmein").runs() == []
    (tmp_path / "token").write_text("letmein\n")
    assert runner_of(double, token_file=tmp_path / "token").runs() == []
    with pytest.raises(KubeflowError, match=r"it answered 401.*kubeflow.token"):
        runner_of(double).runs()
    with pytest.raises(KubeflowError) as refused:
        runner_of(double, token="top-secret").runs()
    assert "top-secret" not in str(refused.value)
    with pytest.raises(UserInputError, match="cannot be read"):
        runner_of(double, token_file=tmp_path / "none").runs()


def test_with_several_users_the_profiles_namespace_is_named(double: Double) -> None:
    double.multi_user = True
    with pytest.raises(KubeflowError, match="requires a namespace"):
        runner_of(double).runs()
    assert runner_of(double, namespace="team-a").runs() == []


def test_what_is_wrong_there_is_said_with_what_to_look_at(double: Double) -> None:
    with pytest.raises(KubeflowUnavailableError, match="cannot be reached"):
        KubeflowRunner(KubeflowSettings(url="http://127.0.0.1:9")).runs()
    for status, kind, said in (
        (302, KubeflowError, "does not let us"),
        (503, KubeflowUnavailableError, "out of order"),
        (400, KubeflowError, "a fault that was asked for"),
    ):
        double.faults.append(Fault("GET", "/experiments", status))
        with pytest.raises(kind, match=said):
            runner_of(double).runs()


def test_runs_elsewhere_have_a_log_only_there(double: Double) -> None:
    scheduled(double, "feature")
    run = double.add_run(pipeline_id="feature", version_id="v")
    with pytest.raises(UserInputError, match="gone"):
        runner_of(double).log(Run(run.id, "feature", "failed", BEGIN))
