"""Steps are killed, by SIGKILL, at every write; what they left behind is healed by the next ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.bucket import Bucket, Orders, bucket
from tests.chaos.killing import Runner, running
from tests.chaos.world import BAR, INFERENCE, START, Result, World, feature, register

chaos = pytest.mark.chaos
# A platform that is looked at after so many kills: each look takes as long as a kill.
LOOK_EVERY = 8


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def store() -> Iterator[Bucket]:
    with bucket() as found:
        yield found


@pytest.fixture
def far(world: World, store: Bucket, tmp_path: Path) -> World:
    """A platform in a bucket that has run for two ticks and promoted a version."""
    uri = f"s3://bucket/{tmp_path.name}"
    place = replace(world.place, home=str(tmp_path / "elsewhere"), uri=uri, options=store.options)
    found = World(place, world.gecko, world.receiver, START)
    world.gecko.clock = found.clock
    found.go_on(2)
    register(place, found.now)
    return found


def busy(world: World, number: int) -> None:
    """The next steps have an alert to raise, another to end, and both to tell."""
    wild = {"alerts.volatility": 0.05, "alerts.price_move_24h": 0.9}
    moving = {"alerts.volatility": 50.0, "alerts.price_move_24h": 1e-9}
    world.place = replace(world.place, more=wild if number % 2 else moving)


def killed_at_every_write(
    world: World, store: Bucket, runner: Runner, pipeline: str, between: Callable[[], object]
) -> list[str]:
    """Kills a pipeline after its first write, five minutes later after its second, ... until one ends unharmed.

    After a write is also before the next one, but for what else is done between the two: to tell somebody (below).

    Returns:
        The keys that the last one wrote to.
    """
    number = 0
    results: list[Result] | None = None
    while results is None:
        number += 1
        world.now += BAR
        busy(world, number)
        between()
        told = len(world.receiver.taken)
        pid = runner.prepare(pipeline, world.place, world.now + (INFERENCE if pipeline == "inference" else 0 * BAR))
        store.obey(Orders(kill=pid, at=number))
        runner.go()
        results = runner.ended()
        keys = store.writes()
        store.obey()
        assert (results is None) == (len(keys) >= number), keys
        if results is None and len(world.receiver.taken) > told:
            world.unsure.add(world.receiver.taken[-1].json["id"])  # taken, and perhaps not recorded
        if results is not None or number % LOOK_EVERY == 0:
            world.go_on(1)
            assert world.violations() == [], f"last killed after write {number}: {keys[-1]}"
    assert not [result for result in results if result.problem]
    return [key.split("/", 1)[1] for key in keys]


def tables(keys: list[str]) -> set[str]:
    """Which were committed to."""
    return {key.split("/_delta_log/")[0].split("/")[0] for key in keys if "/_delta_log/" in key}


@chaos
@pytest.mark.timeout(900)
def test_feature_run_killed_at_every_write(far: World, store: Bucket, runner: Runner) -> None:
    """SIGKILL after each write of ingest and featurize to an object store."""
    keys = killed_at_every_write(far, store, runner, "feature", lambda: None)
    assert {"bars", "features", "leases"} <= tables(keys)


@chaos
@pytest.mark.timeout(900)
def test_inference_run_killed_at_every_write(far: World, store: Bucket, runner: Runner) -> None:
    """SIGKILL after each write of predict to an object store, with alerts to raise, end and tell."""
    keys = killed_at_every_write(far, store, runner, "inference", lambda: far.run(feature))
    assert {"forecasts", "alerts", "alert_deliveries", "leases"} <= tables(keys)


@chaos
def test_registration_killed_at_every_write(far: World, store: Bucket, runner: Runner) -> None:
    """SIGKILL after each write to an object store of a registration that becomes champion."""
    keys = killed_at_every_write(far, store, runner, "register", lambda: None)
    assert "registry" in tables(keys)
    assert any("/manifest.json" in key for key in keys)


@chaos
def test_step_killed_in_the_middle_of_a_file(world: World, runner: Runner) -> None:
    """SIGXFSZ kills a tick in the middle of any file larger than 1, 200, ... 20,000 bytes, in a folder."""
    killed = 0
    for largest in (1, 200, 800, 1500, 3000, 6000, 20_000):
        world.now += BAR
        busy(world, killed)
        told = len(world.receiver.taken)
        killed += runner.run("tick", world.place, world.now, largest_file=largest) is None
        if len(world.receiver.taken) > told:
            world.unsure.add(world.receiver.taken[-1].json["id"])
    assert killed >= 5
    world.well()
    assert world.violations() == []


@chaos
def test_step_killed_is_run_again_at_once(world: World, runner: Runner) -> None:
    """Each step is killed as the source is asked, or somebody told, and run again in the same interval."""

    def kill() -> None:
        world.gecko.on_chart = world.receiver.on_request = lambda: None
        os.kill(runner.pid, signal.SIGKILL)

    world.now += BAR
    world.gecko.on_chart = kill
    assert runner.run("feature", world.place, world.now) is None
    again = runner.run("feature", world.place, world.now)
    assert again is not None
    assert again[0].returned[0], "it took the killed one's interval over, and brought the bar"
    world.now += INFERENCE
    world.receiver.on_request = kill
    assert runner.run("inference", world.place, world.now) is None
    (taken,) = world.receiver.taken
    world.unsure.add(taken.json["id"])
    again = runner.run("inference", world.place, world.now)
    assert again is not None
    assert again[0].returned[0], "and made the forecast"
    assert len(world.receiver.taken) == 1, "who is told twice within minutes has been told by one that lives"
    world.now -= INFERENCE
    world.well()
    assert world.violations() == []
