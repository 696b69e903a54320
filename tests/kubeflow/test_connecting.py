"""How Kubeflow Pipelines is reached, and what is said where it is not."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import kfp
import kfp_server_api as api
import pytest

from cryptosentinel.config import KubeflowSettings
from cryptosentinel.errors import KubeflowError, KubeflowUnavailableError, UserInputError
from pipelines.kubeflow.api import Kubeflow
from pipelines.kubeflow.connecting import connect
from pipelines.kubeflow.records import Run, Schedule, Version
from tests.kubeflow.builders import talk_to
from tests.kubeflow.double import Double, Fault

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def test_without_an_address_it_says_how_to_run_here() -> None:
    with pytest.raises(UserInputError, match=r"Set kubeflow.url.* `cryptosentinel run NAME` runs a pipeline on this"):
        connect(KubeflowSettings())


def test_to_connect_asks_nothing_and_writes_nothing_at_home(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    connect(KubeflowSettings(url=double.url))
    assert double.requests == []
    assert list(tmp_path.iterdir()) == []


def test_a_bearer_token_is_sent(double: Double) -> None:
    double.token = "letmein"
    assert talk_to(double, token="letmein").experiment() is None
    with pytest.raises(
        KubeflowError, match=r"does not let us look for our experiment: \(401 .*identity.*kubeflow.token"
    ):
        talk_to(double).experiment()
    assert len(double.requests) == 2  # a wrong token is no reason to ask again


def test_a_token_in_a_file_is_read_anew_each_time(double: Double, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    kubeflow = talk_to(double, token_file=path)
    for double.token in ("first", "second"):
        path.write_text(f"{double.token}\n")
        assert kubeflow.experiment() is None


def test_a_pods_own_token_is_found(double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("of the pod")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    double.token = "of the pod"
    assert talk_to(double).experiment() is None


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="missing cannot be read: No such file"):
        connect(KubeflowSettings(url="http://localhost", token_file=tmp_path / "missing"))


def test_with_several_users_everything_is_in_the_profiles_namespace(double: Double) -> None:
    double.multi_user = True
    kubeflow = talk_to(double, namespace="team-a")
    kubeflow.make_experiment()
    kubeflow.make_pipeline("cryptosentinel-feature", Path("manifests/pipelines/feature.yaml").resolve())
    assert kubeflow.pipeline("cryptosentinel-feature") in double.pipelines
    assert {e["namespace"] for e in double.experiments.values()} == {"team-a"}
    assert {p["namespace"] for p in double.pipelines.values()} == {"team-a"}
    with pytest.raises(KubeflowError, match="requires a namespace"):
        talk_to(double).experiment()


def test_nobody_there_is_said_with_what_to_look_at() -> None:
    kubeflow = Kubeflow(
        connect(KubeflowSettings(url="http://127.0.0.1:9", timeout_s=0.3))._client,
        KubeflowSettings(url="http://127.0.0.1:9", budget_s=1),
        sleep=lambda _: None,
    )
    with pytest.raises(
        KubeflowUnavailableError, match=r"http://127.0.0.1:9 cannot be reached .*refused.* network policy"
    ):
        kubeflow.experiment()


def test_a_page_to_log_in_is_not_taken_for_an_answer(double: Double) -> None:
    double.faults.append(Fault("GET", "/experiments", 302, headers={"Location": "/login"}))
    with pytest.raises(KubeflowError, match=r"does not let us .*\(302 .*kubeflow.token"):
        talk_to(double).experiment()
    assert len(double.requests) == 1
    double.faults.append(Fault("POST", "/experiments", 200))  # whose body is none of Kubeflow's
    with pytest.raises(KubeflowError, match="is not Kubeflow Pipelines' API; it may be a page to log in"):
        talk_to(double).make_experiment()


def test_no_token_is_shown_in_an_error(double: Double) -> None:
    double.token = "other"
    with pytest.raises(KubeflowError) as raised:
        talk_to(double, token="top-secret").experiment()
    assert "top-secret" not in str(raised.value)


def test_every_call_fits_the_real_clients_signature() -> None:
    client = create_autospec(kfp.Client, instance=True)
    client.get_experiment.side_effect = ValueError("No experiment is found with name cryptosentinel.")
    client.create_experiment.return_value = api.V2beta1Experiment(experiment_id="e")
    client.list_pipelines.return_value = api.V2beta1ListPipelinesResponse()
    client.upload_pipeline.return_value = api.V2beta1Pipeline(pipeline_id="p")
    client.list_pipeline_versions.return_value = api.V2beta1ListPipelineVersionsResponse()
    client.upload_pipeline_version.return_value = api.V2beta1PipelineVersion(pipeline_version_id="v", pipeline_id="p")
    client.list_recurring_runs.return_value = api.V2beta1ListRecurringRunsResponse()
    client.create_recurring_run.return_value = api.V2beta1RecurringRun(recurring_run_id="r")
    client.list_runs.return_value = api.V2beta1ListRunsResponse()
    client.run_pipeline.return_value = client.get_run.return_value = api.V2beta1Run(run_id="x")

    kubeflow = Kubeflow(client, KubeflowSettings(), sleep=lambda _: None)
    version, package = Version("v", "p", "1", NOW), Path("package.yaml")
    schedule = Schedule("r", "name", True, "0 * * * * *", "v", NOW)
    run = Run("x", "name", "RUNNING", "p", "v", "r", NOW, None)
    given: dict[str, Any] = {"parameters": {}, "service_account": None}
    assert (kubeflow.experiment(), kubeflow.make_experiment()) == (None, "e")
    assert (kubeflow.pipeline("n"), kubeflow.make_pipeline("n", package)) == (None, "p")
    assert (kubeflow.version("p", "1"), kubeflow.versions("p")) == (None, [])
    assert kubeflow.upload_version("p", "1", package).id == "v"
    assert (kubeflow.schedules("e"), kubeflow.runs("e"), kubeflow.newest_runs("e", "p", 3)) == ([], [], [])
    assert kubeflow.under_way("e", schedule) == []
    kubeflow.make_schedule("e", "name", version, cron="0 * * * * *", start=lambda: NOW, **given)
    assert kubeflow.start_run("e", "name", version, **given).id == kubeflow.run("x").id == "x"
    kubeflow.disable(schedule)
    kubeflow.delete_schedule(schedule)
    kubeflow.delete_run(run)
    kubeflow.delete_version(version)

    source = inspect.getsource(Kubeflow)
    used = set(re.findall(r"self\._client\.(\w+)", source))
    assert used == {name for name, *_ in client.method_calls}  # all of them were tried here
