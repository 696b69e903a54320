"""Two schedulers start everything twice, each in a process of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.chaos.killing import Runner, running
from tests.chaos.world import BAR, INFERENCE, Result, World, feature

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def runners() -> Iterator[tuple[Runner, Runner]]:
    with running() as one, running() as other:
        yield one, other


def at_once(world: World, runners: tuple[Runner, Runner], pipeline: str) -> list[list[Result]]:
    """The same pipeline at the same time by both."""
    for runner in runners:
        runner.prepare(pipeline, world.place, world.now)
    for runner in runners:
        runner.go()
    results = [runner.ended() for runner in runners]
    return [found for found in results if found is not None]


def test_two_schedulers(world: World, runners: tuple[Runner, Runner]) -> None:
    """Both start both pipelines at the same moment, twice: each piece of work is done once."""
    told = len(world.receiver.taken)
    for count in range(1, 3):
        world.now += BAR
        results = at_once(world, runners, "feature")
        assert len(world.gecko.charts) == count, "the source was asked once"
        assert sorted(bool(ingest.returned[0]) for ingest, _ in results) == [False, True]
        assert sorted(bool(featurize.returned) for _, featurize in results) == [False, True]
        world.now += INFERENCE
        results = at_once(world, runners, "inference")
        assert sorted(predict.asked for (predict,) in results) == [0, 1]
        world.now -= INFERENCE
    assert len(world.receiver.taken) > told
    world.well()
    assert world.violations() == []


def test_two_schedulers_without_leases(world: World, runners: tuple[Runner, Runner]) -> None:
    """The same without leases: work is done twice, and what is stored is right all the same."""
    world.place = replace(world.place, more={"leases.interval_s": 0})
    for _ in range(2):
        world.now += BAR
        at_once(world, runners, "feature")
        world.now += INFERENCE
        results = at_once(world, runners, "inference")
        assert [predict.asked for (predict,) in results] == [1, 1]
        world.now -= INFERENCE
    world.well()
    assert world.violations() == []


@pytest.mark.parametrize("pipeline", ["feature", "inference"])
def test_scheduler_killed_while_another_waits(world: World, runners: tuple[Runner, Runner], pipeline: str) -> None:
    """SIGKILL in the middle of a step; the other one, which waited for it, does the work of that interval."""
    world.place = replace(world.place, more={"leases.lost_after_s": 1.5, "alerts.drawdown": 1e-9})
    first, second = runners
    world.now += BAR
    if pipeline == "inference":
        world.run(feature)
        world.now += INFERENCE
    hit = threading.Event()

    def kill() -> None:
        world.gecko.on_chart = world.receiver.on_request = lambda: None
        second.go()
        os.kill(first.pid, signal.SIGKILL)
        hit.set()

    world.gecko.on_chart = world.receiver.on_request = kill
    second.prepare(pipeline, world.place, world.now)
    first.prepare(pipeline, world.place, world.now)
    first.go()
    assert first.ended() is None
    assert hit.is_set()
    results = second.ended()
    assert results is not None
    assert results[0].returned[0], "the bar, or the forecast"
    if pipeline == "inference":
        world.unsure.add(world.receiver.taken[0].json["id"])
        world.now -= INFERENCE
    world.well()
    assert world.violations() == []
