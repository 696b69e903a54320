"""`make e2e` takes an hour and a half: what its tests see with is tried here."""

from __future__ import annotations

import httpx
import pytest

from tests.cluster.conftest import Kubeflow, wait_until
from tests.cluster.test_release import SCHEDULES
from tests.kubeflow.builders import schedule, wanted
from tests.kubeflow.double import Double
from tests.kubeflow.server import serving


def test_they_see_pipelines_schedules_and_runs() -> None:
    with serving(Double()) as double, httpx.Client(base_url=double.url, trust_env=False) as http:
        schedule(double, wanted())
        kubeflow = Kubeflow(http)
        assert set(kubeflow.pipelines().values()) <= set(SCHEDULES)
        recurring = kubeflow.ours("recurringruns", "recurringRuns")
        assert {each["status"] for each in recurring} == {"ENABLED"}
        assert all(each["trigger"]["cron_schedule"]["cron"] for each in recurring)
        assert kubeflow.runs() == []
        double.advance(3600)
        assert {(of, state) for of, state, _ in kubeflow.runs()} & {(name, "SUCCEEDED") for name in SCHEDULES}


def test_they_give_up_in_time_and_say_what_they_waited_for() -> None:
    with pytest.raises(AssertionError, match="waited 0 minutes for Godot"):
        wait_until("Godot", lambda: None, minutes=0, every_s=0)
    assert wait_until("the second look", iter([None, "there"]).__next__, minutes=1, every_s=0) == "there"
