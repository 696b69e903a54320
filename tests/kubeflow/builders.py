"""A Kubeflow to talk to, and what is wanted of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from cryptosentinel.config import KubeflowSettings, Settings, load_settings
from pipelines.kubeflow.api import Kubeflow
from pipelines.kubeflow.connecting import connect
from pipelines.kubeflow.reconciling import Change, Clock, reconcile
from pipelines.kubeflow.wanted import Wanted
from tests.kubeflow.double import Double

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests/pipelines"
CRONS = {
    "feature": "0 */5 * * * *",
    "training": "0 16,46 * * * *",
    "inference": "0 2-59/5 * * * *",
    "upkeep": "0 34 * * * *",
}
CLUSTER = {
    "market.source": "simulated:7",
    "storage.uri": "s3://bucket/prefix",
    "serving.url": "http://cryptosentinel-predictor.default",
}


def cluster_settings(double: Double | None = None, **more: Any) -> Settings:
    given = CLUSTER | ({"kubeflow.url": double.url} if double else {})
    return load_settings(environ={}, overrides=given | more)


def talk_to(double: Double, **settings: Any) -> Kubeflow:
    """Our client, that waits on the double's clock."""
    kubeflow = connect(KubeflowSettings(url=double.url, **{"timeout_s": 0.3, "budget_s": 120.0} | settings))
    kubeflow._sleep = double.advance
    return kubeflow


def clock_of(double: Double) -> Clock:
    return Clock(now=lambda: double.now, sleep=double.advance)


def wanted(version: str = "1", pipelines: tuple[str, ...] = tuple(CRONS), **crons: str) -> list[Wanted]:
    return [
        Wanted(
            pipeline=pipeline,
            name=f"cryptosentinel-{pipeline}",
            package=MANIFESTS / f"{pipeline}.yaml",
            version=version,
            cron=(CRONS | crons)[pipeline],
            parameters={"settings": "{}"},
            service_account="steps",
        )
        for pipeline in pipelines
    ]


def schedule(double: Double, want: list[Wanted], *, dry_run: bool = False) -> list[Change]:
    return reconcile(talk_to(double), want, prefix="cryptosentinel", dry_run=dry_run, clock=clock_of(double))


def done(changes: list[Change]) -> list[tuple[str, str]]:
    return [(change.pipeline, change.action) for change in changes]


def writes(changes: list[Change]) -> list[Change]:
    return [change for change in changes if change.action not in {"keep", "leave to end"}]


def minutes(times: list[datetime]) -> list[str]:
    return [f"{time:%H:%M:%S}" for time in times]
