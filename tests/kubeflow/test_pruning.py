"""Old runs, replaced schedules and unused versions go; nothing else does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cryptosentinel.config import KubeflowSettings
from pipelines.kubeflow.pruning import Pruned, prune
from tests.kubeflow.builders import schedule, talk_to, wanted
from tests.kubeflow.double import Double
from tests.kubeflow.scheduling import Run

SETTINGS = KubeflowSettings(runs_kept_days=2, failed_runs_kept_days=7)


def pruned(double: Double, *, dry_run: bool = False) -> Pruned:
    return prune(talk_to(double), SETTINGS, now=double.now, dry_run=dry_run)


def add_run(double: Double, days_old: float, state: str = "SUCCEEDED", **more: Any) -> Run:
    at = double.now - timedelta(days=days_old)
    feature = next(k for k, p in double.pipelines.items() if p["display_name"] == "cryptosentinel-feature")
    return double.add_run(
        **{"pipeline_id": feature, "version_id": "gone", "created_at": at, "finished_at": at, "state": state} | more
    )


def test_a_run_that_ended_well_goes_sooner_than_one_that_did_not(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature",)))
    kept = [add_run(double, 1.9), add_run(double, 6.9, "FAILED"), add_run(double, 6.9, "CANCELED")]
    gone = [add_run(double, 2.1), add_run(double, 2.1, "SKIPPED"), add_run(double, 7.1, "FAILED")]
    assert {run.id for run in pruned(double).runs} == {run.id for run in gone}
    assert set(double.runs) == {run.id for run in kept}


def test_a_run_that_has_not_ended_stays_however_old(double: Double) -> None:
    double.run_s = 1e9
    schedule(double, wanted(pipelines=("feature",)))
    for state in ("PENDING", "RUNNING", "CANCELING", "PAUSED"):
        add_run(double, 100, state, finished_at=None)
    assert pruned(double).runs == []


def test_runs_of_others_in_our_experiment_stay(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature",)))
    add_run(double, 100, pipeline_id="of somebody else")
    add_run(double, 100, experiment_id="elsewhere")
    assert pruned(double).runs == []


def test_there_may_be_many_runs(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature",)))
    for number in range(450):  # more than two pages
        add_run(double, 3 if number % 2 else 1)
    assert len(pruned(double).runs) == 225
    assert len(double.runs) == 225


def test_a_schedule_that_gave_way_goes_once_its_run_has_ended(double: Double) -> None:
    double.run_s = 600
    schedule(double, wanted(pipelines=("feature",)))
    double.advance(150)
    schedule(double, wanted("2", pipelines=("feature",)))
    assert pruned(double).schedules == []
    double.run_s = 1
    double.advance(1)
    assert [one.name for one in pruned(double).schedules] == [wanted(pipelines=("feature",))[0].schedule]
    assert [one.enabled for one in double.recurring.values()] == [True]
    assert double.killed == []


def test_a_schedule_that_somebody_disabled_stays(double: Double) -> None:
    schedule(double, wanted())
    feature = next(one for one in double.recurring.values() if "feature" in one.name)
    feature.enabled = False
    assert pruned(double).schedules == []
    assert feature.id in double.recurring


def test_versions_that_nothing_refers_to_go(double: Double) -> None:
    for version in ("1", "2", "3"):
        schedule(double, wanted(version, pipelines=("feature",)))
    by_name = {v["display_name"]: key for key, v in double.versions.items()}
    assert pruned(double).versions == []  # so new that somebody may still look at them
    double.recurring.clear()
    double.now += timedelta(days=3)
    add_run(double, 1, version_id=by_name["2"])
    assert {version.name for version in pruned(double).versions} == {"cryptosentinel-feature", "1"}
    assert {version["display_name"] for version in double.versions.values()} == {"2", "3"}  # a run's, and the newest


def test_what_a_schedule_runs_stays(double: Double) -> None:
    schedule(double, wanted("1", pipelines=("feature",)))
    double.upload_version({"name": "2", "pipelineid": next(iter(double.pipelines))}, b"{}\n---\n{}")
    for one in double.recurring.values():
        one.last_tick = double.now + timedelta(days=30)  # it runs nothing meanwhile
    double.now += timedelta(days=3)
    pruned(double)
    assert {version["display_name"] for version in double.versions.values()} == {"1", "2"}


def test_pruning_can_be_tried(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature",)))
    add_run(double, 3)
    before = len(double.writes)
    assert len(pruned(double, dry_run=True).runs) == 1
    assert double.writes[before:] == []


def test_where_nothing_of_ours_is_nothing_is_done(double: Double) -> None:
    assert pruned(double) == Pruned([], [], [])
    assert double.writes == []


def test_pruning_again_finds_nothing_more(double: Double) -> None:
    schedule(double, wanted())
    add_run(double, 3)
    pruned(double)
    before = len(double.writes)
    assert pruned(double) == Pruned([], [], [])
    assert double.writes[before:] == []
