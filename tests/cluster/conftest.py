"""Where the release is, and how to wait for what takes minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx
import pytest

from manifests.kind import reporting
from manifests.kind.pins import NAME

T = TypeVar("T")
ADDRESSES = reporting.addresses()


def wait_until(what: str, look: Callable[[], T | None], *, minutes: float, every_s: float = 15.0) -> T:
    """The first answer that is not None; says how long it has waited."""
    began = time.monotonic()
    while True:
        answer = look()
        if answer is not None:
            return answer
        waited = (time.monotonic() - began) / 60
        assert waited < minutes, f"waited {waited:.0f} minutes for {what}; make kind-status, make kind-logs"
        print(f"{waited:5.1f} min: waiting for {what}", flush=True)
        time.sleep(every_s)


class Kubeflow:
    """Kubeflow's own API, as its pages ask it."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def list(self, kind: str, key: str, **options: str) -> list[dict[str, Any]]:
        """All objects of a kind; `key` is their name in the answer."""
        found, token = [], ""
        while True:
            options |= {"page_size": "100", "page_token": token}
            answer = self._http.get(f"/apis/v2beta1/{kind}", params=options).raise_for_status().json()
            found += answer.get(key, [])
            token = answer.get("next_page_token", "")
            if not token:
                return found

    def pipelines(self) -> dict[str, str]:
        """Our pipelines' names by their ids."""
        found = self.list("pipelines", "pipelines")
        return {each["pipeline_id"]: each["display_name"] for each in found if each["display_name"].startswith(NAME)}

    def ours(self, kind: str, key: str) -> list[dict[str, Any]]:
        """Those of our experiment."""
        experiments = self.list("experiments", "experiments")
        (ours,) = [each["experiment_id"] for each in experiments if each["display_name"] == NAME]
        return self.list(kind, key, experiment_id=ours)

    def runs(self) -> list[tuple[str, str, str]]:
        """Each run of ours: its pipeline, its state, its name."""
        names = self.pipelines()
        return [
            (names[of], run.get("state", ""), run["display_name"])
            for run in self.ours("runs", "runs")
            if (of := run.get("pipeline_version_reference", {}).get("pipeline_id")) in names
        ]


@pytest.fixture(scope="session")
def kubeflow() -> Iterator[Kubeflow]:
    with httpx.Client(base_url=ADDRESSES["Kubeflow Pipelines"], timeout=30, trust_env=False) as http:
        yield Kubeflow(http)


@pytest.fixture(scope="session")
def predictor() -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ADDRESSES["Forecasts (V2)"], timeout=30, trust_env=False) as http:
        yield http
