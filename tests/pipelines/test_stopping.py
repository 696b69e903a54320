"""`up` is stopped at any moment, nicely or not, and started again; on a market too short to train on."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.pipelines.builders import (
    END,
    Finished,
    command,
    environment,
    processes_of,
    run_command,
    started,
    wait_until,
    write_market,
)

HELD_BACK = 8


@dataclass
class Interrupted:
    """A home folder, and the command that works in it."""

    home: Path
    env: dict[str, str]
    command: list[str]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    folder = tmp_path_factory.mktemp("stopping")
    source = f"file:{write_market(folder / 'bars.parquet', 120)}"
    up = command("up", "--once", "--source", source, "--replay-bars", str(HELD_BACK), home=folder / "home")
    return Interrupted(folder / "home", environment(folder / "scratch"), up)


@pytest.mark.parametrize(
    ("number", "code", "stage", "child"),
    [
        (signal.SIGINT, 130, "[1/6]", "serving.server"),
        (signal.SIGKILL, -9, "[2/6]", "kfp.dsl.executor_main"),
        (signal.SIGTERM, 143, "[5/6]", ""),
    ],
    ids=["predictor starts", "feature step runs", "recording is replayed"],
)
def test_stopped_at_any_stage_nothing_runs_on(
    interrupted: Interrupted, number: int, code: int, stage: str, child: str
) -> None:
    with started(interrupted.command, interrupted.env) as up:
        up.wait_for(stage)
        wait_until(lambda: processes_of(interrupted.home, of=child) or up.process.poll() is not None)
        assert up.end(number) == code, up.text
        wait_until(lambda: not processes_of(interrupted.home))
    assert processes_of(interrupted.home) == []
    assert "Traceback" not in up.text


@pytest.fixture(scope="module")
def finished(interrupted: Interrupted) -> Finished:
    """The start after all of that."""
    return run_command([*interrupted.command, "--json"], interrupted.env)


def test_the_next_start_finishes_the_job_without_doing_anything_twice(finished: Finished) -> None:
    assert finished.code == 0, finished.err
    answer = json.loads(finished.out)
    assert answer["record"]["made"] == HELD_BACK + 1
    assert answer["record"]["settled"] == HELD_BACK + 1 - 6
    assert pd.Timestamp(answer["forecast"]["made_at"]) == pd.Timestamp(END)


def test_too_few_bars_to_train_on_leave_the_random_walk_and_say_so(finished: Finished) -> None:
    assert "not training: 0 complete rows, 135 are needed; the champion stays (version 0)" in finished.err
    answer = json.loads(finished.out)
    assert answer["champion"]["version"] == 0
    assert (answer["forecast"]["champion"], answer["forecast"]["direction"]) == ("random_walk", "flat")
    assert answer["forecast"]["lower_95"] < answer["forecast"]["price"] < answer["forecast"]["upper_95"]


def test_interruptions_leave_no_scratch_files_once_the_runs_are_forgotten(
    interrupted: Interrupted, finished: Finished
) -> None:
    scratch = Path(interrupted.env["TMPDIR"])
    assert [path.name for path in scratch.iterdir()] == []
