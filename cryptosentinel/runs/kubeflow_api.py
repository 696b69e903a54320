"""What is asked of Kubeflow Pipelines' REST API (v2beta1), and its runs as ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from cryptosentinel.config import KubeflowSettings
from cryptosentinel.errors import KubeflowError, KubeflowUnavailableError
from cryptosentinel.runs.records import KINDS, STEPS_OF, Kind, Run, State, Step

# Begins the description of a run that somebody asked for; their name follows.
ASKED_FOR_BY = "Asked for by "
_PAGE = 100
_STATES: dict[str, State] = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "PAUSED": "running",
    "CANCELING": "running",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "succeeded",
    "FAILED": "failed",
    "CANCELED": "stopped",
}


@dataclass(frozen=True)
class KubeflowApi:
    """The API behind a client; `url` is of its pages."""

    client: httpx.Client
    settings: KubeflowSettings
    url: str

    def experiment(self) -> str | None:
        """The id of the one that all of ours are in."""
        return next((one["experiment_id"] for one in self._named("experiments", self.settings.name)), None)

    def schedule(self, experiment: str, kind: Kind) -> dict[str, Any] | None:
        """The recurring run of a pipeline, which knows its newest version and its parameters."""
        ours = re.compile(rf"{re.escape(self.settings.name)}-{kind}-[0-9a-f]{{12}}")
        found = [
            one
            for one in self._listed("recurringruns", "recurringRuns", experiment_id=experiment)
            if one.get("status") == "ENABLED" and ours.fullmatch(one["display_name"])
        ]
        return max(found, key=lambda one: one["created_at"], default=None)

    def runs(self, experiment: str, limit: int) -> Iterator[Run]:
        """The newest runs of our pipelines, the newest first."""
        kinds: dict[str | None, Kind] = {}
        for kind in KINDS:
            kinds |= {one["pipeline_id"]: kind for one in self._named("pipelines", f"{self.settings.name}-{kind}")}
        listed = self._listed("runs", "runs", experiment_id=experiment, sort_by="created_at desc")
        for one in listed:
            of = kinds.get((one.get("pipeline_version_reference") or {}).get("pipeline_id"))
            if of is not None:
                yield self.read(one, of)
                limit -= 1
                if limit <= 0:
                    return

    def read(self, answer: Mapping[str, Any], kind: Kind) -> Run:
        """A run of Kubeflow's as ours."""
        state = _STATES.get(answer.get("state") or "PENDING", "waiting")
        description = answer.get("description") or ""
        user = description.removeprefix(ASKED_FOR_BY).removesuffix(".") if description.startswith(ASKED_FOR_BY) else ""
        steps = tuple(_steps(answer, kind))
        failed = next((step.name for step in steps if step.state == "failed"), "") if state == "failed" else ""
        said = (answer.get("error") or {}).get("message") or ""
        return Run(
            id=answer["run_id"],
            kind=kind,
            state=state,
            began_at=_time(answer.get("created_at")) or datetime.now(UTC),
            ended_at=None if state in ("waiting", "running") else _time(answer.get("finished_at")),
            by="schedule" if answer.get("recurring_run_id") else "user" if user else "",
            user=user,
            requests=(answer["run_id"],),
            steps=steps,
            failed_step=failed,
            message=said or (f"Step '{failed}' failed." if failed else ""),
            url=f"{self.url}/#/runs/details/{answer['run_id']}",
        )

    def given(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """An answer of the API.

        Raises:
            KubeflowError: it refuses, or what answers is something else.
            KubeflowUnavailableError: it cannot be reached, or is out of order.
        """
        response = self._response(method, f"/apis/v2beta1{path}", **more)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise KubeflowError(
                "What answers at kubeflow.url is not Kubeflow Pipelines' API; it may be a page to log in.",
                remedy="Name the API itself, e.g. http://ml-pipeline.kubeflow:8888, or set kubeflow.token.",
            )
        return answer

    def text(self, path: str) -> str:
        """As `given`, of what is no JSON."""
        return self._response("GET", path).text

    def _response(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            response = self.client.request(method, path, **more)
        except httpx.HTTPError as error:
            raise KubeflowUnavailableError(
                f"Kubeflow Pipelines at {self.settings.url} cannot be reached: {error or type(error).__name__}.",
                remedy="See that kubeflow.url leads to its API from here, and that a network policy lets it.",
            ) from error
        if response.status_code in {301, 302, 303, 307, 308, 401, 403}:  # a redirect leads to a page to log in
            raise KubeflowError(
                f"Kubeflow Pipelines does not let us: it answered {response.status_code}.",
                remedy="Set kubeflow.token or kubeflow.token_file, and where it has several users kubeflow.namespace.",
            )
        if response.status_code >= 500 or response.status_code == 429:
            raise KubeflowUnavailableError(
                f"Kubeflow Pipelines at {self.settings.url} is out of order: it answered {response.status_code}.",
                remedy="Its API server's log says why.",
            )
        if response.is_error:
            raise KubeflowError(f"Kubeflow Pipelines refused what was asked: {_said(response)}.")
        return response

    def _named(self, what: str, name: str) -> Iterator[dict[str, Any]]:
        where = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
        space = {"namespace": self.settings.namespace} if self.settings.namespace else {}
        return self._listed(what, what, filter=json.dumps(where), **space)

    def _listed(self, path: str, what: str, **query: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            answer = self.given("GET", f"/{path}", params=query | {"page_size": str(_PAGE), "page_token": token})
            yield from answer.get(what) or []
            token = answer.get("next_page_token") or ""
            if not token:
                return


def _steps(answer: Mapping[str, Any], kind: Kind) -> Iterator[Step]:
    """Our steps among the tasks that Kubeflow lists; the others are its own: drivers, executors, loops."""
    tasks = (answer.get("run_details") or {}).get("task_details") or []
    for name in STEPS_OF[kind]:
        of_it = [task for task in tasks if task.get("display_name") == name]
        states = [_STATES.get(task.get("state") or "PENDING", "waiting") for task in of_it]
        if not states:
            continue
        order: tuple[State, ...] = ("failed", "stopped", "running", "waiting", "succeeded")
        state = next(state for state in order if state in states)
        began = [time for task in of_it if (time := _time(task.get("start_time") or task.get("create_time")))]
        ended = [time for task in of_it if (time := _time(task.get("end_time")))]
        over = state in ("succeeded", "failed", "stopped")
        yield Step(
            name,
            state,
            min(began, default=None),
            max(ended, default=None) if over else None,
            tasks=len(of_it),
            done=states.count("succeeded"),
        )


def pod_to_look_at(answer: Mapping[str, Any]) -> str:
    """The pod whose log says most: of what failed, else of the last step."""
    tasks = (answer.get("run_details") or {}).get("task_details") or []
    pods = [task for task in tasks if task.get("pod_name") and str(task.get("display_name")).startswith("executor")]
    failed = [task for task in pods if task.get("state") == "FAILED"]
    last = max(failed or pods, key=lambda task: str(task.get("start_time") or ""), default=None)
    return str(last["pod_name"]) if last else ""


def _time(text: str | None) -> datetime | None:
    """What has not happened yet says 1970."""
    time = datetime.fromisoformat(text) if text else None
    return time if time is not None and time.year > 1970 else None


def _said(response: httpx.Response) -> str:
    try:
        said = str(response.json().get("message", ""))
    except (ValueError, AttributeError):
        said = ""  # a proxy's page
    return f"({response.status_code}) {' '.join(said.split())[:300]}".strip()
