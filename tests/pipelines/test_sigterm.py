"""What is left of SIGTERM where its exception was swallowed."""

from __future__ import annotations

import io
import signal
from contextlib import suppress

import pytest
from rich.console import Console

from pipelines.stopping import CheckedStages, Stopping


@pytest.fixture
def stopping() -> Stopping:
    return Stopping()


def swallow_a_signal(stopping: Stopping) -> None:
    with suppress(SystemExit):
        stopping(signal.SIGTERM, None)


def test_the_signal_ends_the_process_with_its_code(stopping: Stopping) -> None:
    stopping.check()
    with pytest.raises(SystemExit) as ended:
        stopping(signal.SIGTERM, None)
    assert ended.value.code == 143


def test_a_stage_in_which_it_was_swallowed_is_the_last(stopping: Stopping) -> None:
    stages = CheckedStages(2, Console(file=io.StringIO()), stopping.check)
    with stages.stage("before"):
        pass
    with pytest.raises(SystemExit) as ended, stages.stage("during"):
        swallow_a_signal(stopping)
    assert ended.value.code == 143


def test_a_step_in_which_it_was_swallowed_is_the_last(stopping: Stopping) -> None:
    stages, done = CheckedStages(1, Console(file=io.StringIO()), stopping.check), []

    def replay() -> None:
        with stages.stage("replay") as say:
            for number in range(4):
                done.append(number)
                if number == 1:
                    swallow_a_signal(stopping)
                stages.step(say, f"bar {number}")

    with pytest.raises(SystemExit):
        replay()
    assert done == [0, 1]
