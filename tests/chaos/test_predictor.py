"""The predictor, a real one, is killed."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from serving.process import PredictorProcess, start_predictor
from tests.chaos.world import World

pytestmark = pytest.mark.chaos


def served(world: World, port: int = 0) -> PredictorProcess:
    """A predictor of the world's champion, which its steps ask from now on."""
    home = replace(world.place, more={"serving.http_port": port, "serving.grpc_port": 0})
    workspace = world.workspace
    log = workspace.root / "logs" / "predictor.log"
    process = start_predictor(home.settings, store_root=workspace.root, market=workspace.market, log_path=log)
    url = {"serving.url": process.url, "serving.timeout_s": 1.0, "alerts.forecast_late_s": 500}
    world.place = replace(world.place, more=url)
    return process


def test_predictor_killed(world: World) -> None:
    """SIGKILL; ten minutes later another one is there, at the same address."""
    with served(world) as process:
        assert world.problems(world.go_on(1)) == ""
        os.kill(process.process.pid, signal.SIGKILL)
        process.process.wait()
        results = world.go_on(2)
        assert "predict: " in world.problems(results)
        assert not [result for result in results if result.problem and result.step != "predict"]
        assert "forecast_late" in world.open_alerts()
        with served(world, int(process.url.rpartition(":")[2])):
            world.well()
            assert world.violations() == []
            assert "forecast_late" not in world.open_alerts()


def test_predictor_hangs(world: World) -> None:
    """It is stopped (SIGSTOP) for ten minutes: connections are taken, and nothing is answered."""
    with served(world) as process:
        os.kill(process.process.pid, signal.SIGSTOP)
        try:
            results = world.go_on(2)
        finally:
            os.kill(process.process.pid, signal.SIGCONT)
        assert [result.step for result in results if result.problem] == ["predict"] * 2
        world.well()
        assert world.violations() == []
