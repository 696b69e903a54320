"""Runs on Kubeflow Pipelines, over its REST API (v2beta1): its own client is no part of the dashboard's image."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cryptosentinel.config import KubeflowSettings
from cryptosentinel.errors import UserInputError
from cryptosentinel.runs.kubeflow_api import ASKED_FOR_BY, KubeflowApi, pod_to_look_at
from cryptosentinel.runs.records import Asked, Kind, Run

# A page waits for it.
_ANSWERS_WITHIN_S = 5.0
# Where Kubernetes puts the token that it gives a pod for Kubeflow Pipelines; Kubeflow's own names.
_TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105
_TOKEN_FILE = Path("/var/run/secrets/kubeflow/pipelines/token")


class KubeflowRunner:
    """See `Runner`. Each call asks anew.

    Args:
        settings: how it is reached, and the names of what is ours there.
    """

    name = "Kubeflow Pipelines"

    def __init__(self, settings: KubeflowSettings) -> None:
        self._settings = settings
        self.url = (settings.ui_url or settings.url or "").rstrip("/")

    def refusal(self, kind: Kind) -> str:
        """See `Runner`."""
        return "On Kubeflow the drift check comes with each training: run that." if kind == "drift" else ""

    def ask(self, kind: Kind, user: str) -> Asked:
        """See `Runner`. What runs is what the pipeline's recurring run runs, without its leases, which are by time."""
        if refused := self.refusal(kind):
            return Asked(kind, refused=refused)
        with self._api() as api:
            experiment, schedule = api.experiment(), None
            if experiment is not None:
                schedule = api.schedule(experiment, kind)
            if experiment is None or schedule is None:
                refused = (
                    f"Kubeflow has no schedule of the {kind} pipeline: `cryptosentinel pipelines schedule` makes it."
                )
                return Asked(kind, refused=refused)
            running = next((run for run in api.runs(experiment, 50) if run.kind == kind and run.under_way), None)
            if running is not None:
                return Asked(kind, running.id, run_id=running.id, joined=True)
            given = {
                "display_name": f"{self._settings.name}-{kind}-asked-{secrets.token_hex(4)}",
                "description": f"{ASKED_FOR_BY}{user}.",
                "experiment_id": experiment,
                "pipeline_version_reference": schedule["pipeline_version_reference"],
                "runtime_config": {"parameters": _without_leases(schedule["runtime_config"]["parameters"])},
            }
            if schedule.get("service_account"):
                given["service_account"] = schedule["service_account"]
            run_id = api.given("POST", "/runs", json=given)["run_id"]
        return Asked(kind, run_id, run_id=run_id)

    def answer(self, asked: Asked) -> Run | None:
        """See `Runner`."""
        with self._api() as api:
            return api.read(api.given("GET", f"/runs/{asked.run_id}"), asked.kind)

    def runs(self, limit: int = 200) -> list[Run]:
        """See `Runner`."""
        with self._api() as api:
            experiment = api.experiment()
            return [] if experiment is None else list(api.runs(experiment, limit))

    def log(self, run: Run, most: int = 200_000) -> str:
        """See `Runner`. Of a run that failed, the log of what failed."""
        with self._api() as api:
            pod = pod_to_look_at(api.given("GET", f"/runs/{run.id}"))
            text = api.text(f"/apis/v1alpha1/runs/{run.id}/nodes/{pod}/log") if pod else ""
        if not text or '"error_message"' in text[:200]:  # it says 200 before it looks
            raise UserInputError("Its log is gone with its pods.", remedy="See `kubeflow.pods_kept_s`.")
        return text[-most:]

    @contextmanager
    def _api(self) -> Iterator[KubeflowApi]:
        settings = self._settings
        headers = {"Authorization": f"Bearer {token}"} if (token := _token(settings)) else {}
        with httpx.Client(
            base_url=(settings.url or "").rstrip("/"),
            headers=headers,
            timeout=min(settings.timeout_s, _ANSWERS_WITHIN_S),
            trust_env=False,  # as Kubeflow's own client
            verify=str(settings.ca_file) if settings.ca_file else True,
        ) as client:
            yield KubeflowApi(client, settings, self.url)


def _without_leases(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Else a run that is asked for would leave the work to the schedule's, where that has run in this interval."""
    if "settings" not in parameters:
        return dict(parameters)
    settings = json.loads(parameters["settings"])
    settings["leases"] = settings.get("leases", {}) | {"interval_s": 0}
    return {**parameters, "settings": json.dumps(settings, sort_keys=True)}


def _token(settings: KubeflowSettings) -> str | None:
    if settings.token is not None:
        return settings.token.get_secret_value()
    usual = Path(os.environ.get(_TOKEN_VARIABLE) or _TOKEN_FILE)
    path = settings.token_file or (usual if usual.exists() else None)
    try:
        return path.read_text(encoding="utf-8").strip() if path else None
    except OSError as error:
        raise UserInputError(
            f"The token for Kubeflow Pipelines in {path} cannot be read: {error.strerror or error}.",
            remedy="Set kubeflow.token_file to a file that can, or leave it out.",
        ) from error
