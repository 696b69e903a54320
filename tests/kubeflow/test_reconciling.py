"""Recurring runs are made what they should be: without a write where they are, else with no gap and no double run."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.errors import KubeflowError, KubeflowUnavailableError, UserInputError
from pipelines.kubeflow.reconciling import Clock, reconcile, remove
from tests.kubeflow.builders import CRONS, clock_of, done, minutes, schedule, talk_to, wanted, writes
from tests.kubeflow.double import Double, Fault
from tests.kubeflow.server import serving


def ticks(cron: str, begin: datetime, end: datetime) -> list[datetime]:
    """Those after `begin`, up to `end`."""
    found, ahead = [], croniter(cron, begin, second_at_beginning=True)
    while (tick := ahead.get_next(datetime)) <= end:
        found.append(tick)
    return found


def test_schedules_are_made_as_they_should_be(double: Double) -> None:
    changes = schedule(double, wanted())
    assert sorted(done(changes)) == sorted((name, action) for name in CRONS for action in ("upload", "create"))
    for one, made in zip(wanted(), double.recurring.values(), strict=True):
        assert made.name == one.schedule
        assert made.body["trigger"] == {"cron_schedule": {"cron": one.cron, "start_time": "2026-03-02T10:03:20Z"}}
        assert made.body["max_concurrency"] == 1
        assert made.body["no_catchup"] is True
        assert made.body["mode"] == "ENABLE"
        assert made.body["service_account"] == "steps"
        assert made.body["runtime_config"]["parameters"] == one.scheduled_parameters
        version = double.versions[made.body["pipeline_version_reference"]["pipeline_version_id"]]
        assert version["display_name"] == one.version


def test_what_is_as_it_should_be_is_not_written_to(double: Double) -> None:
    schedule(double, wanted())
    before = len(double.writes)
    changes = schedule(double, wanted())
    assert double.writes[before:] == []
    assert {action for _, action in done(changes)} == {"keep"}


def test_nothing_fires_for_what_was_before_it_was_made(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature",)))
    double.advance(60)
    assert double.ticks("cryptosentinel-feature") == []
    double.advance(300)
    assert minutes(double.ticks("cryptosentinel-feature")) == ["10:05:00"]


def test_only_the_schedule_that_changed_is_replaced(double: Double) -> None:
    schedule(double, wanted())
    others = {one.id for one in double.recurring.values() if "training" not in one.name}
    changes = schedule(double, wanted(training="0 */20 * * * *"))
    assert [change for change in done(changes) if change[1] != "keep"] == [
        ("training", "create"),
        ("training", "disable"),
        ("training", "delete"),
    ]
    assert others < set(double.recurring)
    assert [one.cron for one in double.recurring.values() if "training" in one.name] == ["0 */20 * * * *"]


def test_a_new_version_is_uploaded_and_pinned(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature",)))
    schedule(double, wanted("2", pipelines=("feature",)))
    (made,) = double.recurring.values()
    version = double.versions[made.body["pipeline_version_reference"]["pipeline_version_id"]]
    assert version["display_name"] == "2"


# No oftener than the scheduler can be relied on: it looks twice a minute.
CRON = st.sampled_from(["0 */5 * * * *", "0 2-59/5 * * * *", "30 */2 * * * *", "0 16,46 * * * *", "20 7 */2 * * *"])


@pytest.mark.parametrize("passed", range(30, 161, 10))
def test_it_may_be_changed_at_any_moment_around_a_tick(passed: int) -> None:
    changed_without_gap_or_repetition("0 */5 * * * *", "0 */5 * * * *", passed, phase=25, latency=2.0)


@settings(max_examples=15)
@given(before=CRON, after=CRON, passed=st.integers(0, 3700), phase=st.integers(0, 29), latency=st.floats(0, 3))
def test_a_changed_schedule_leaves_no_gap_and_fires_nothing_twice(
    before: str, after: str, passed: int, phase: int, latency: float
) -> None:
    changed_without_gap_or_repetition(before, after, passed, phase, latency)


def changed_without_gap_or_repetition(before: str, after: str, passed: int, phase: int, latency: float) -> None:
    """Ticks of the one up to the change, and of the other since; each once, and none missing."""
    with serving(Double(phase_s=phase, latency_s=latency, run_s=5)) as double:
        schedule(double, wanted(pipelines=("feature",), feature=before))
        begin = next(iter(double.recurring.values())).start_at
        double.advance(passed)
        schedule(double, wanted("2", pipelines=("feature",), feature=after))
        (left,) = [one for one in double.recurring.values() if one.enabled]
        double.advance(1800)
        expected = ticks(before, begin, left.start_at) + ticks(after, left.start_at, double.now - timedelta(seconds=30))
        seen = [tick for tick in double.ticks("cryptosentinel-feature") if tick <= double.now - timedelta(seconds=30)]
        assert seen == expected


def test_a_run_under_way_is_left_to_end_before_its_schedule_is_deleted(double: Double) -> None:
    double.run_s = 600
    schedule(double, wanted(pipelines=("feature",)))
    double.advance(150)
    (running,) = double.runs.values()
    changes = schedule(double, wanted("2", pipelines=("feature",)))
    assert ("feature", "leave to end") in done(changes)
    assert {one.enabled for one in double.recurring.values()} == {True, False}
    before = len(double.writes)
    assert ("feature", "leave to end") in done(schedule(double, wanted("2", pipelines=("feature",))))
    assert double.writes[before:] == []
    double.run_s = 200
    double.advance(300)
    assert running.state == "SUCCEEDED"
    assert ("feature", "delete") in done(schedule(double, wanted("2", pipelines=("feature",))))
    assert double.killed == []
    assert len(double.recurring) == 1


def test_a_schedule_that_somebody_disabled_is_made_anew(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature",)))
    (old,) = double.recurring.values()
    old.enabled = False
    double.advance(3600)
    assert done(schedule(double, wanted(pipelines=("feature",))))[1:] == [("feature", "create"), ("feature", "delete")]
    double.advance(60)
    assert double.ticks("cryptosentinel-feature") == []  # enabling the old one would have made up for a tick


def test_a_version_that_was_deleted_and_uploaded_again_is_scheduled_again(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature",)))
    (key,) = [key for key, version in double.versions.items() if version["display_name"] == "1"]
    del double.versions[key]
    assert ("feature", "create") in done(schedule(double, wanted(pipelines=("feature",))))
    (made,) = double.recurring.values()
    assert made.body["pipeline_version_reference"]["pipeline_version_id"] in double.versions


def test_recurring_runs_of_others_are_left_alone(double: Double) -> None:
    schedule(double, wanted())
    ours = next(one for one in double.recurring.values() if "feature" in one.name)
    for name in ("mine", "cryptosentinel-feature", "other-feature-0123456789ab", "cryptosentinel-feature-by-me"):
        double.make_recurring({}, ours.body | {"display_name": name})
    before = len(double.writes)
    assert writes(schedule(double, wanted())) == []
    assert double.writes[before:] == []


def test_a_dry_run_says_it_and_writes_nothing(double: Double) -> None:
    nothing_yet = schedule(double, wanted(), dry_run=True)
    assert sorted(done(nothing_yet)) == sorted((name, action) for name in CRONS for action in ("upload", "create"))
    assert double.writes == []
    schedule(double, wanted())
    before, now = len(double.writes), double.now
    would = done(schedule(double, wanted("2", pipelines=("feature",)), dry_run=True))
    assert would == [("feature", "upload"), ("feature", "create"), ("feature", "disable"), ("feature", "delete")]
    assert double.writes[before:] == []
    assert double.now == now
    assert would == done(schedule(double, wanted("2", pipelines=("feature",))))


def test_a_schedule_that_is_no_cron_expression_is_refused_before_it_is_made(double: Double) -> None:
    with pytest.raises(UserInputError, match=r"'0 99 . . . .' is no cron expression"):
        schedule(double, wanted(pipelines=("feature",), feature="0 99 * * * *"))
    assert double.recurring == {}


LOST = [("POST", "/experiments"), ("POST", "/pipelines/upload"), ("POST", "/pipelines/upload_version")]
LOST += [("POST", "/recurringruns"), ("POST", "/recurringruns/.*:disable"), ("DELETE", "/recurringruns/.*")]


@pytest.mark.parametrize(
    ("status", "done_all_the_same"), [(0, True), (0, False), (409, True), (429, False), (503, True)]
)
@pytest.mark.parametrize(("method", "path"), LOST)
def test_a_write_that_fails_or_whose_answer_is_lost_is_done_once(
    double: Double, method: str, path: str, status: int, done_all_the_same: bool
) -> None:
    double.faults.append(Fault(method, path, status, done=done_all_the_same, times=2))
    schedule(double, wanted(pipelines=("feature",)))
    schedule(double, wanted("2", pipelines=("feature",), feature="0 1-59/5 * * * *"))
    assert double.faults[0].times < 2
    assert len(double.experiments) == len(double.pipelines) == 1
    assert sorted(version["display_name"] for version in double.versions.values()) == [
        "1",
        "2",
        "cryptosentinel-feature",
    ]
    assert [(one.cron, one.enabled) for one in double.recurring.values()] == [("0 1-59/5 * * * *", True)]


def test_a_read_that_fails_is_repeated_as_late_as_was_asked_for(double: Double) -> None:
    double.faults.append(Fault("GET", "/pipelines", 429, headers={"Retry-After": "33"}))
    before = double.now
    schedule(double, wanted(pipelines=("feature",)))
    assert 33 <= (double.now - before).total_seconds() < 60


def test_an_answer_that_does_not_come_is_not_waited_for(double: Double) -> None:
    double.faults.append(Fault("GET", "/recurringruns", -1))
    schedule(double, wanted(pipelines=("feature",)))
    assert len(double.recurring) == 1


def test_a_server_that_stays_away_is_given_up(double: Double) -> None:
    double.faults.append(Fault("GET", "/recurringruns", 503, times=1000))
    before = double.now
    with pytest.raises(KubeflowUnavailableError, match=r"kept failing to list recurring runs: .503"):
        schedule(double, wanted(pipelines=("feature",)))
    assert 100 <= (double.now - before).total_seconds() <= 180


def test_what_is_refused_is_not_repeated(double: Double) -> None:
    double.faults.append(Fault("POST", "/recurringruns", 400, times=1000))
    with pytest.raises(KubeflowError, match=r"refused to make the recurring run .* a fault that was asked for"):
        schedule(double, wanted(pipelines=("feature",)))
    assert double.faults[0].times == 999


def test_one_that_was_stopped_halfway_is_finished_by_the_next(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature",)))
    double.faults.append(Fault("POST", "/recurringruns/.*:disable", 403))
    with pytest.raises(KubeflowError, match="does not let us disable"):
        schedule(double, wanted("2", pipelines=("feature",)))
    assert [one.enabled for one in double.recurring.values()] == [True, True]
    schedule(double, wanted("2", pipelines=("feature",)))
    assert [one.name for one in double.recurring.values()] == [wanted("2", pipelines=("feature",))[0].schedule]


def test_of_two_that_were_made_at_once_the_older_stays(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature",)))
    (first,) = double.recurring.values()
    double.latency_s = 1.0
    double.make_recurring({}, first.body)
    changes = schedule(double, wanted(pipelines=("feature",)))
    assert [action for _, action in done(changes)] == ["keep", "keep", "disable", "delete"]
    assert list(double.recurring) == [first.id]


def test_a_slow_server_costs_no_tick_where_the_new_schedule_came_after_it(double: Double) -> None:
    schedule(double, wanted(pipelines=("feature",)))
    double.advance(300)  # 10:08:20
    double.faults.append(Fault("POST", "/recurringruns", 503, takes_s=105))  # from calm into the moment after 10:10
    schedule(double, wanted("2", pipelines=("feature",)))
    double.advance(600)
    assert minutes(double.ticks("cryptosentinel-feature"))[:4] == ["10:05:00", "10:10:00", "10:15:00", "10:20:00"]


def test_clocks_that_differ_are_told_of(double: Double) -> None:
    said: list[str] = []
    behind = Clock(now=lambda: double.now - timedelta(seconds=45), sleep=double.advance)
    for clock, version in ((clock_of(double), "1"), (behind, "2")):
        want = wanted(version, pipelines=("feature",))
        assert said == []
        reconcile(talk_to(double), want, prefix="cryptosentinel", clock=clock, say=said.append)
    assert said == ["The clocks of Kubeflow and of this machine are 45 s apart: a tick may fire twice, or not."]


def test_all_of_ours_are_removed_and_their_runs_given_time(double: Double) -> None:
    schedule(double, wanted())
    double.advance(130)
    assert [run.state for run in double.runs.values()] == ["RUNNING"]
    changes = remove(talk_to(double), prefix="cryptosentinel", wait_s=120, clock=clock_of(double))
    assert sorted(done(changes)) == sorted((name, action) for name in CRONS for action in ("disable", "delete"))
    assert double.recurring == {}
    assert double.killed == []
    assert len(double.pipelines) == 4
    assert remove(talk_to(double), prefix="cryptosentinel", wait_s=0, clock=clock_of(double)) == []


def test_removal_does_not_wait_for_ever(double: Double) -> None:
    double.run_s = 10_000
    schedule(double, wanted(pipelines=("feature",)))
    double.advance(130)
    before = double.now
    remove(talk_to(double), prefix="cryptosentinel", wait_s=60, clock=clock_of(double))
    assert 60 <= (double.now - before).total_seconds() < 70
    assert len(double.killed) == 1


def test_removal_can_be_tried(double: Double) -> None:
    schedule(double, wanted())
    before = len(double.writes)
    assert len(remove(talk_to(double), prefix="cryptosentinel", wait_s=0, dry_run=True)) == 8
    assert double.writes[before:] == []
