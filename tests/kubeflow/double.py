"""What stands in for Kubeflow Pipelines' API server (v2beta1), as far as we use it, on a clock of its own.

What it answers is made of `kfp_server_api`'s models, and what it is sent must fit them: a name that they do not know is
refused, as is a filter on what the real server cannot filter by.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import kfp_server_api as api
import yaml
from croniter import croniter
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.kubeflow.scheduling import RecurringRun, Run, Scheduler


@dataclass
class Fault:
    """An answer that goes wrong.

    Attributes:
        method, path: which requests, the path as a regular expression.
        status: what is answered; 0: nothing at all, the connection ends; -1: a refusal, a second late.
        done: whether what was asked for is done all the same.
        times: how often.
        takes_s: how much time passes before the answer.
        headers: of the answer.
    """

    method: str
    path: str
    status: int
    done: bool = False
    times: int = 1
    takes_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Double(Scheduler):
    """See the module. `faults` go wrong in turn; `requests` are all that came."""

    latency_s: float = 0.0
    token: str | None = None
    multi_user: bool = False
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    killed: list[str] = field(default_factory=list)

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.requests if method != "GET"]

    # What is asked over HTTP, by method and path.

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        for verb, pattern, handler in ROUTES:
            if verb == method and (match := re.fullmatch(pattern, path)):
                return handler(self, *match.groups(), query, body)
        raise RefusedError(404, f"Not Found: {method} {path}")

    def list_experiments(self, query: dict[str, str], _: Any) -> Any:
        if self.multi_user and not query.get("namespace"):
            raise RefusedError(400, "In multi-user mode, listing experiments requires a namespace")
        shown = [api.V2beta1Experiment(**e) for e in self.experiments.values()]
        return _page(api.V2beta1ListExperimentsResponse, "experiments", shown, query, {"display_name"})

    def make_experiment(self, _: dict[str, str], body: Any) -> Any:
        given = _fits(api.V2beta1Experiment, body)
        if any(e["display_name"] == given["display_name"] for e in self.experiments.values()):
            raise RefusedError(409, "Already exist error: the experiment already exists")
        key = self.new_id("experiment")
        self.experiments[key] = {**given, "experiment_id": key, "created_at": self.now}
        return api.V2beta1Experiment(**self.experiments[key])

    def list_pipelines(self, query: dict[str, str], _: Any) -> Any:
        shown = [api.V2beta1Pipeline(**p) for p in self.pipelines.values() if p["namespace"] == query.get("namespace")]
        return _page(api.V2beta1ListPipelinesResponse, "pipelines", shown, query, {"display_name"})

    def upload_pipeline(self, query: dict[str, str], body: bytes) -> Any:
        _is_pipeline(body)
        if any(p["display_name"] == query["name"] for p in self.pipelines.values()):
            raise RefusedError(409, "Already exist error: the pipeline already exists")
        key = self.new_id("pipeline")
        self.pipelines[key] = {
            "pipeline_id": key,
            "display_name": query["name"],
            "namespace": query.get("namespace"),
            "created_at": self.now,
        }
        self._add_version(key, query["name"])  # as the real one does
        return api.V2beta1Pipeline(**self.pipelines[key])

    def upload_version(self, query: dict[str, str], body: bytes) -> Any:
        _is_pipeline(body)
        if query["pipelineid"] not in self.pipelines:
            raise RefusedError(404, "no such pipeline")
        of_it = [v for v in self.versions.values() if v["pipeline_id"] == query["pipelineid"]]
        if any(v["display_name"] == query["name"] for v in of_it):
            raise RefusedError(409, "Already exist error: the version already exists")
        return self._add_version(query["pipelineid"], query["name"])

    def _add_version(self, pipeline_id: str, name: str) -> Any:
        key = self.new_id("version")
        self.versions[key] = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": key,
            "display_name": name,
            "created_at": self.now,
        }
        return api.V2beta1PipelineVersion(**self.versions[key])

    def list_versions(self, pipeline_id: str, query: dict[str, str], _: Any) -> Any:
        shown = [api.V2beta1PipelineVersion(**v) for v in self.versions.values() if v["pipeline_id"] == pipeline_id]
        return _page(api.V2beta1ListPipelineVersionsResponse, "pipeline_versions", shown, query, {"display_name"})

    def delete_version(self, _pipeline: str, version_id: str, _query: dict[str, str], _: Any) -> Any:
        _take(self.versions, version_id)
        return {}

    def list_recurring(self, query: dict[str, str], _: Any) -> Any:
        shown = [
            self._shown(r) for r in self.recurring.values() if r.body["experiment_id"] == query.get("experiment_id")
        ]
        return _page(api.V2beta1ListRecurringRunsResponse, "recurringRuns", shown, query, {"display_name"})

    def make_recurring(self, _: dict[str, str], body: Any) -> Any:
        given = _fits(api.V2beta1RecurringRun, body)
        reference, cron = given["pipeline_version_reference"], given["trigger"]["cron_schedule"]
        if given["experiment_id"] not in self.experiments or reference["pipeline_version_id"] not in self.versions:
            raise RefusedError(404, "no such experiment or version")
        if len(cron["cron"].split()) != 6 or not croniter.is_valid(cron["cron"], second_at_beginning=True):
            raise RefusedError(400, "Schedule cron is not a supported format")
        if not 1 <= int(given["max_concurrency"]) <= 10:
            raise RefusedError(400, "The max concurrency of the job is out of range")
        start = datetime.fromisoformat(cron["start_time"]) if cron.get("start_time") else None
        key = self.new_id("recurring")
        self.recurring[key] = RecurringRun(
            key, given["display_name"], given, cron["cron"], self.now, start, given["mode"] == "ENABLE"
        )
        return self._shown(self.recurring[key])

    def _shown(self, recurring: RecurringRun) -> Any:
        status = "ENABLED" if recurring.enabled else "DISABLED"
        more = {"recurring_run_id": recurring.id, "status": status, "created_at": recurring.created_at}
        return api.V2beta1RecurringRun(**recurring.body | more)

    def disable(self, recurring_id: str, _query: dict[str, str], _: Any) -> Any:
        self._recurring(recurring_id).enabled = False
        return {}

    def delete_recurring(self, recurring_id: str, _query: dict[str, str], _: Any) -> Any:
        self._recurring(recurring_id)
        for run in self.under_way(recurring_id):
            run.state, run.finished_at = "FAILED", self.now
            self.killed.append(run.id)
        del self.recurring[recurring_id]
        return {}

    def _recurring(self, recurring_id: str) -> RecurringRun:
        if recurring_id not in self.recurring:
            raise RefusedError(404, "Recurring run not found")
        return self.recurring[recurring_id]

    def list_runs(self, query: dict[str, str], _: Any) -> Any:
        shown = [_run(run) for run in self.runs.values() if run.experiment_id == query.get("experiment_id")]
        # Not by its pipeline: runAPIToModelFieldMap of the API server lacks that.
        return _page(api.V2beta1ListRunsResponse, "runs", shown, query, {"display_name", "recurring_run_id"})

    def make_run(self, _: dict[str, str], body: Any) -> Any:
        given = _fits(api.V2beta1Run, body)
        reference = given["pipeline_version_reference"]
        if reference["pipeline_version_id"] not in self.versions:
            raise RefusedError(404, "no such version")
        return _run(
            self.add_run(
                name=given["display_name"],
                experiment_id=given["experiment_id"],
                pipeline_id=reference["pipeline_id"],
                version_id=reference["pipeline_version_id"],
                parameters=given["runtime_config"].get("parameters", {}),
                description=given.get("description", ""),
            )
        )

    def get_run(self, run_id: str, _query: dict[str, str], _: Any) -> Any:
        if run_id not in self.runs:
            raise RefusedError(404, "Run not found")
        return _run(self.runs[run_id])

    def read_log(self, run_id: str, pod: str, _query: dict[str, str], _: Any) -> bytes:
        """As the real one: 200, whatever comes of it."""
        gone = json.dumps({"error_message": f"pod {pod} not found"})
        return self.runs[run_id].logs.get(pod, gone).encode()

    def delete_run(self, run_id: str, _query: dict[str, str], _: Any) -> Any:
        _take(self.runs, run_id)
        return {}


ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/experiments", Double.list_experiments),
    ("POST", "/experiments", Double.make_experiment),
    ("GET", "/pipelines", Double.list_pipelines),
    ("POST", "/pipelines/upload", Double.upload_pipeline),
    ("POST", "/pipelines/upload_version", Double.upload_version),
    ("GET", "/pipelines/([^/]+)/versions", Double.list_versions),
    ("DELETE", "/pipelines/([^/]+)/versions/([^/]+)", Double.delete_version),
    ("GET", "/recurringruns", Double.list_recurring),
    ("POST", "/recurringruns", Double.make_recurring),
    ("POST", "/recurringruns/([^/]+):disable", Double.disable),
    ("DELETE", "/recurringruns/([^/]+)", Double.delete_recurring),
    ("GET", "/runs", Double.list_runs),
    ("POST", "/runs", Double.make_run),
    ("GET", "/runs/([^/]+)", Double.get_run),
    ("DELETE", "/runs/([^/]+)", Double.delete_run),
    ("GET", "/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", Double.read_log),
]


def _take(items: dict[str, Any], key: str) -> None:
    if items.pop(key, None) is None:
        raise RefusedError(404, f"{key} not found")


def _run(run: Run) -> Any:
    return api.V2beta1Run(
        run_id=run.id,
        display_name=run.name,
        experiment_id=run.experiment_id,
        pipeline_version_reference=api.V2beta1PipelineVersionReference(
            pipeline_id=run.pipeline_id, pipeline_version_id=run.version_id
        ),
        recurring_run_id=run.recurring_run_id or None,
        state=run.state,
        description=run.description or None,
        run_details=api.V2beta1RunDetails(task_details=[api.V2beta1PipelineTaskDetail(**task) for task in run.tasks]),
        created_at=run.created_at,
        scheduled_at=run.scheduled_at,
        finished_at=run.finished_at or datetime(1970, 1, 1, tzinfo=UTC),
    )


def _fits(model: Any, body: Any) -> dict[str, Any]:
    """The body, every name in which the model knows, however deep."""

    def check(kind: str, value: Any, where: str) -> None:
        if kind.startswith("list["):
            for item in value:
                check(kind[5:-1], item, where)
        elif hasattr(api, kind) and hasattr(getattr(api, kind), "openapi_types") and isinstance(value, dict):
            known = getattr(api, kind)
            named = {json_name: known.openapi_types[name] for name, json_name in known.attribute_map.items()}
            for name, inner in value.items():
                if name not in named:
                    raise RefusedError(400, f"unknown field {where}.{name}")
                check(named[name], inner, f"{where}.{name}")

    if not isinstance(body, dict):
        raise RefusedError(400, "no JSON object")
    check(model.__name__, body, model.__name__)
    return body


def _page(model: Any, kind: str, items: list[Any], query: dict[str, str], filters: set[str]) -> Any:
    for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
        if predicate["operation"] not in {"EQUALS", 1} or predicate["key"] not in filters:
            raise RefusedError(400, f"cannot filter by {predicate}")
        items = [item for item in items if getattr(item, predicate["key"]) == predicate["stringValue"]]
    name, _, order = (query.get("sort_by") or "created_at asc").partition(" ")
    items = sorted(items, key=lambda item: getattr(item, name), reverse=order == "desc")
    begin, size = int(query.get("page_token") or 0), int(query.get("page_size") or 10)
    token = str(begin + size) if begin + size < len(items) else ""
    field_name = next(name for name, json_name in model.attribute_map.items() if json_name == kind)
    return model(**{field_name: items[begin : begin + size]}, next_page_token=token, total_size=len(items))


@lru_cache(maxsize=64)
def _is_pipeline(package: bytes) -> None:
    """What Kubeflow would refuse is refused: a file that holds no pipeline."""
    try:
        spec, *platform = yaml.load_all(package, yaml.CSafeLoader)
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        for one in platform:
            json_format.ParseDict(one, pipeline_spec_pb2.PlatformSpec())
    except (ValueError, yaml.YAMLError, json_format.ParseError) as error:
        raise RefusedError(400, f"Failed to parse the pipeline: {error}") from error
