"""Runs on this machine: what a run writes down of itself, what is read of it, and requests for runs."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cryptosentinel.errors import StoreUnavailableError, UserInputError
from cryptosentinel.runs import KINDS, Asked, Kind, Recording, Run, dropped, listening, pending
from cryptosentinel.runs import recording as recording_module
from cryptosentinel.runs.asking import ask
from cryptosentinel.runs.local import LocalRunner

DAY = datetime(2026, 3, 2, tzinfo=UTC)


def folder_of(root: Path, kind: Kind, minute: int = 0) -> Path:
    folder = root / "runs" / f"{kind}-20260302T10{minute:02d}00000000"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("first\nlast\n")
    return folder


def a_run(root: Path, kind: Kind, minute: int = 0, *, well: bool = True, **more: object) -> Path:
    folder = folder_of(root, kind, minute)
    with Recording(folder, kind, **more) as recording:  # type: ignore[arg-type]
        recording.step_began("predict")
        recording.step_ended("predict", well=well)
        recording.end(
            well=well,
            told=["done"] * well,
            failed_step="" if well else "predict",
            message="" if well else "It broke.",
            remedy="" if well else "Mend it.",
        )
    return folder


def the_only(root: Path) -> Run:
    (run,) = LocalRunner(root).runs()
    return run


def test_a_run_is_seen_step_by_step(tmp_path: Path) -> None:
    with Recording(folder_of(tmp_path, "training"), "training", by="schedule", tasks={"train": 3}) as recording:
        seen = []
        for begins, name in [(True, "drift"), (False, "drift"), (True, "train"), (True, "train"), (False, "train")]:
            recording.step_began(name) if begins else recording.step_ended(name, well=True)
            run = the_only(tmp_path)
            seen.append([(step.name, step.state, step.done, step.tasks) for step in run.steps])
            assert (run.state, run.by, run.ended_at) == ("running", "schedule", None)
        recording.end(well=True)
    assert seen[0] == [("drift", "running", 0, 1)]
    assert seen[1] == [("drift", "succeeded", 1, 1)]
    assert seen[3][1] == ("train", "running", 0, 3)
    assert seen[4][1] == ("train", "running", 1, 3)
    assert the_only(tmp_path).state == "succeeded"


def test_a_run_that_ended_says_what_came_of_it_and_who_asked(tmp_path: Path) -> None:
    a_run(tmp_path, "inference", well=False, by="user", user="ana", requests=["r1"])
    run = the_only(tmp_path)
    assert (run.kind, run.state, run.by, run.user, run.requests) == ("inference", "failed", "user", "ana", ("r1",))
    assert (run.failed_step, run.message, run.remedy) == ("predict", "It broke.", "Mend it.")
    assert [step.state for step in run.steps] == ["failed"]
    assert run.ended_at is not None
    assert run.seconds(DAY) == (run.ended_at - run.began_at).total_seconds()


def test_a_run_that_was_left_by_an_exception_has_failed_with_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "feature")

    def left() -> None:
        with Recording(folder, "feature") as recording:
            recording.step_began("ingest")
            raise ZeroDivisionError("of all things")

    with pytest.raises(ZeroDivisionError):
        left()
    run = the_only(tmp_path)
    assert (run.state, run.message) == ("failed", "of all things")
    assert [step.state for step in run.steps] == ["stopped"]


def test_a_run_whose_process_was_killed_is_told_from_one_under_way(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom cryptosentinel.runs import Recording\n"
        "Recording(Path(sys.argv[1]), 'feature').step_began('ingest')\nos._exit(9)"
    )
    folder = folder_of(tmp_path, "feature")
    subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    run = the_only(tmp_path)
    assert (run.state, run.under_way) == ("stopped", False)
    assert "killed" in run.message
    assert run.ended_at is not None
    assert [step.state for step in run.steps] == ["stopped"]


def test_another_process_that_got_the_number_of_one_that_was_killed_is_not_taken_for_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "feature")
    Recording(folder, "feature")
    assert the_only(tmp_path).state == "running"
    record = json.loads((folder / "run.json").read_text())
    record["process"]["started_at"] -= 60
    (folder / "run.json").write_text(json.dumps(record))
    assert the_only(tmp_path).state == "stopped"


@pytest.mark.parametrize(
    ("log", "state"),
    [
        ("Pipeline 'cryptosentinel-feature' finished with status SUCCESS", "succeeded"),
        ("Pipeline 'cryptosentinel-feature' finished with status FAILURE", "failed"),
        ("and then nothing", "stopped"),
    ],
)
def test_runs_of_releases_that_wrote_no_record_are_told_by_their_logs(tmp_path: Path, log: str, state: str) -> None:
    (folder_of(tmp_path, "feature") / "log.txt").write_text(f"...\n{log}\n")
    run = the_only(tmp_path)
    assert (run.kind, run.state, run.began_at) == ("feature", state, datetime(2026, 3, 2, 10, tzinfo=UTC))


def test_a_record_that_cannot_be_read_leaves_what_the_log_tells(tmp_path: Path) -> None:
    (a_run(tmp_path, "feature") / "run.json").write_text('{"kind": "fea')
    (tmp_path / "runs.jsonl").write_text('{"half a li\n')
    assert the_only(tmp_path).state == "stopped"


def test_history_outlives_the_folders_of_runs(tmp_path: Path) -> None:
    for minute in (0, 1):
        folder = a_run(tmp_path, "inference", minute)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    newest, oldest = LocalRunner(tmp_path).runs()
    assert (newest.id, newest.state, newest.has_log) == (folder.name, "succeeded", False)
    assert oldest.has_log
    with pytest.raises(UserInputError, match="Its log is gone"):
        LocalRunner(tmp_path).log(newest)


def test_history_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_module, "_KEPT", 2)
    monkeypatch.setattr(recording_module, "_MOST", 4)
    for minute in range(5):
        folder = a_run(tmp_path, "inference", minute)
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[-1])["id"] == folder.name


def test_the_newest_runs_come_first_and_no_more_than_asked_for(tmp_path: Path) -> None:
    for minute, kind in enumerate(KINDS):
        a_run(tmp_path, kind, minute)
    assert [run.kind for run in LocalRunner(tmp_path).runs(2)] == ["drift", "inference"]


def test_of_a_long_log_the_end_is_read_in_whole_lines(tmp_path: Path) -> None:
    a_run(tmp_path, "feature")
    assert LocalRunner(tmp_path).log(the_only(tmp_path)) == "first\nlast\n"
    assert LocalRunner(tmp_path).log(the_only(tmp_path), most=8) == "last\n"


@pytest.mark.parametrize("name", ["../../secret", "feature-1/../..", "feature-20260302T100000000000/../x", ""])
def test_no_other_file_is_read_for_a_log(tmp_path: Path, name: str) -> None:
    a_run(tmp_path, "feature")
    with pytest.raises(UserInputError, match="no such run"):
        LocalRunner(tmp_path).log(Run(name, "feature", "failed", DAY))


def test_asking_where_nothing_listens_says_what_to_start(tmp_path: Path) -> None:
    asked = LocalRunner(tmp_path).ask("training", "ana")
    assert asked.id == ""
    assert "`cryptosentinel up`" in asked.refused
    assert "`cryptosentinel run training`" in asked.refused
    assert "`cryptosentinel drift`" in LocalRunner(tmp_path).ask("drift", "ana").refused
    assert pending(tmp_path, "training") == []


def test_a_request_waits_until_a_run_answers_it(tmp_path: Path) -> None:
    runner = LocalRunner(tmp_path)
    with listening(tmp_path):
        asked = runner.ask("inference", "ana")
        (request,) = pending(tmp_path, "inference")
        assert (request.id, request.kind, request.user) == (asked.id, "inference", "ana")
        assert pending(tmp_path, "training") == []
        assert runner.answer(asked) is None
        a_run(tmp_path, "inference", requests=[request.id])
        dropped(tmp_path, [request])
        answer = runner.answer(asked)
        assert answer is not None
        assert answer.state == "succeeded"
        assert pending(tmp_path, "inference") == []


def test_who_asks_for_what_is_running_joins_that(tmp_path: Path) -> None:
    runner = LocalRunner(tmp_path)
    with listening(tmp_path), Recording(folder_of(tmp_path, "training"), "training") as recording:
        asked = runner.ask("training", "ana")
        assert asked.joined
        assert pending(tmp_path, "training") == []
        recording.end(well=True)
        answer = runner.answer(asked)
        assert answer is not None
        assert answer.state == "succeeded"
        assert not runner.ask("training", "ana").joined


def test_what_was_asked_of_one_that_is_gone_is_not_run_by_the_next(tmp_path: Path) -> None:
    runner = LocalRunner(tmp_path)
    with listening(tmp_path):
        asked = runner.ask("training", "ana")
    lost = runner.answer(asked)
    assert lost is not None
    assert (lost.state, lost.under_way) == ("stopped", False)
    assert "was not run" in lost.message
    with listening(tmp_path):
        assert pending(tmp_path, "training") == []
        assert runner.refusal("training") == ""
    assert runner.refusal("training") != ""


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with listening(tmp_path):
        monkeypatch.setattr("cryptosentinel.runs.asking.write_json", refuse)
        with pytest.raises(StoreUnavailableError, match=r"Permission denied\. The dashboard must be able to write"):
            LocalRunner(tmp_path).ask("feature", "ana")


def test_half_a_request_is_none(tmp_path: Path) -> None:
    request = ask(tmp_path, "feature", "ana")
    path = tmp_path / "requests" / f"{request.id}.json"
    path.write_text('{"us')
    assert pending(tmp_path, "feature") == []
    assert LocalRunner(tmp_path).answer(Asked("feature", request.id)).state == "stopped"  # type: ignore[union-attr]
