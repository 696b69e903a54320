"""What is asked of Kubeflow Pipelines' API: with time-outs, retries, and errors of ours.

What is repeated after a failure is not the request but the step with its question before it ("is it there? else make
it"): a request whose answer was lost may have been followed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import kfp
import kfp_server_api
import tenacity
import urllib3

from cryptosentinel.config import KubeflowSettings
from cryptosentinel.errors import KubeflowError
from pipelines.kubeflow.answers import explained, given, may_pass, read_run, read_schedule, read_version, wait
from pipelines.kubeflow.records import Run, Schedule, Version

Answer = TypeVar("Answer")

_PAGE = 100


class Kubeflow:
    """Kubeflow Pipelines, as far as we ask of it.

    Args:
        client: Kubeflow's own.
        settings: of it.
        sleep: waits between two tries.
    """

    def __init__(self, client: kfp.Client, settings: KubeflowSettings, *, sleep: Callable[[float], None]) -> None:
        self._client = client
        self._settings = settings
        self._sleep = sleep

    def experiment(self) -> str | None:
        """The id of the experiment that all of ours are in; None where there is none yet."""
        return self._patiently("look for our experiment", self._find_experiment)

    def make_experiment(self) -> str:
        """The same; makes it where there is none."""

        def make() -> str:
            made = self._client.create_experiment(self._settings.name, namespace=self._settings.namespace)
            return given(made.experiment_id)

        return self._patiently("make our experiment", lambda: self._find_experiment() or make())

    def pipeline(self, name: str) -> str | None:
        """The id of a pipeline; None where there is none of the name."""
        return self._patiently(f"look for the pipeline {name}", lambda: self._find_pipeline(name))

    def make_pipeline(self, name: str, package: Path) -> str:
        """The same; makes it of a compiled file where there is none."""

        def make() -> str:
            made = self._client.upload_pipeline(str(package), pipeline_name=name, namespace=self._settings.namespace)
            return given(made.pipeline_id)

        return self._patiently(f"make the pipeline {name}", lambda: self._find_pipeline(name) or make())

    def version(self, pipeline_id: str, name: str) -> Version | None:
        """A version by name; None where it was not uploaded."""
        return self._patiently(f"look for the version {name}", lambda: self._find_version(pipeline_id, name))

    def versions(self, pipeline_id: str) -> list[Version]:
        """All versions of a pipeline."""
        return self._patiently("list versions", lambda: list(self._each_version(pipeline_id)))

    def upload_version(self, pipeline_id: str, name: str, package: Path) -> Version:
        """Uploads a compiled file, unless a version of the name is there."""

        def upload() -> Version:
            return read_version(self._client.upload_pipeline_version(str(package), name, pipeline_id=pipeline_id))

        return self._patiently(f"upload the version {name}", lambda: self._find_version(pipeline_id, name) or upload())

    def delete_version(self, version: Version) -> None:
        """Deletes a version; runs that refer to it can no longer be drawn."""
        self._once(
            f"delete the version {version.name}",
            lambda: self._client.delete_pipeline_version(version.pipeline_id, version.id),
        )

    def schedules(self, experiment_id: str) -> list[Schedule]:
        """All recurring runs of an experiment, the oldest first."""
        return self._patiently("list recurring runs", lambda: self._all_schedules(experiment_id))

    def make_schedule(
        self,
        experiment_id: str,
        name: str,
        version: Version,
        *,
        cron: str,
        parameters: dict[str, Any],
        service_account: str | None,
        start: Callable[[], datetime],
    ) -> None:
        """Makes an enabled recurring run, unless one of the name that runs the version is there and enabled.

        Args:
            experiment_id: where.
            name: of it.
            version: what it runs, and goes on running.
            cron: when, in six fields.
            parameters: of each run.
            service_account: of its steps; None for Kubeflow's.
            start: ticks before that do not count. Asked at each try: without it, or with an old one, a tick of the
                past would be made up for at once.
        """

        def make() -> None:
            there = self._all_schedules(experiment_id)
            if any(s.name == name and s.version_id == version.id and s.enabled for s in there):
                return
            made = self._client.create_recurring_run(
                experiment_id,
                name,
                description="Kept by `cryptosentinel pipelines schedule`; what is changed by hand is changed back.",
                start_time=start().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                params=parameters,
                pipeline_id=version.pipeline_id,
                version_id=version.id,
                service_account=service_account,
            )
            given(made.recurring_run_id)

        self._patiently(f"make the recurring run {name}", make)

    def disable(self, schedule: Schedule) -> None:
        """A recurring run starts no more runs; those under way go on."""
        self._once(f"disable {schedule.name}", lambda: self._client.disable_recurring_run(schedule.id))

    def delete_schedule(self, schedule: Schedule) -> None:
        """Deletes a recurring run; a run of it that is under way is killed."""
        self._once(f"delete {schedule.name}", lambda: self._client.delete_recurring_run(schedule.id))

    def under_way(self, experiment_id: str, schedule: Schedule) -> list[Run]:
        """Runs of a recurring run that have not ended; as they run one at a time, among its newest."""

        def ask() -> list[Run]:
            answer = self._client.list_runs(
                experiment_id=experiment_id,
                page_size=50,
                sort_by="created_at desc",
                filter=_where("recurring_run_id", schedule.id),
            )
            return [run for run in map(read_run, answer.runs or []) if not run.ended]

        return self._patiently(f"list runs of {schedule.name}", ask)

    def runs(self, experiment_id: str) -> list[Run]:
        """All runs of an experiment, the oldest first."""

        def ask() -> list[Run]:
            return list(
                map(
                    read_run,
                    _paged(self._client.list_runs, "runs", experiment_id=experiment_id, sort_by="created_at asc"),
                )
            )

        return self._patiently("list runs", ask)

    def newest_runs(self, experiment_id: str, pipeline_id: str, count: int) -> list[Run]:
        """The newest runs of a pipeline, the newest first."""

        def ask() -> list[Run]:
            # Kubeflow cannot filter runs by their pipeline: all are read, until there are enough.
            newest = map(
                read_run,
                _paged(self._client.list_runs, "runs", experiment_id=experiment_id, sort_by="created_at desc"),
            )
            return list(islice((run for run in newest if run.pipeline_id == pipeline_id), count))

        return self._patiently("list runs", ask)

    def start_run(
        self,
        experiment_id: str,
        name: str,
        version: Version,
        *,
        parameters: dict[str, Any],
        service_account: str | None,
    ) -> Run:
        """Starts a run of a name that no other run has."""

        def start() -> Run:
            answer = self._client.list_runs(
                experiment_id=experiment_id, page_size=1, filter=_where("display_name", name)
            )
            if answer.runs:
                return read_run(answer.runs[0])
            return read_run(
                self._client.run_pipeline(
                    experiment_id,
                    name,
                    params=parameters,
                    pipeline_id=version.pipeline_id,
                    version_id=version.id,
                    service_account=service_account,
                )
            )

        return self._patiently(f"start {name}", start)

    def run(self, run_id: str) -> Run:
        """One run as it is now."""
        return self._patiently("look at a run", lambda: read_run(self._client.get_run(run_id)))

    def delete_run(self, run: Run) -> None:
        """Deletes a run, which ends it where it has not ended."""
        self._once(f"delete the run {run.name}", lambda: self._client.delete_run(run.id))

    def _find_experiment(self) -> str | None:
        try:
            found = self._client.get_experiment(experiment_name=self._settings.name, namespace=self._settings.namespace)
        except ValueError as error:
            if "No experiment is found" in str(error):
                return None
            raise KubeflowError(f"The experiment {self._settings.name} is not clear: {error}") from error
        return given(found.experiment_id)

    def _find_pipeline(self, name: str) -> str | None:
        answer = self._client.list_pipelines(namespace=self._settings.namespace, filter=_where("display_name", name))
        return given(answer.pipelines[0].pipeline_id) if answer.pipelines else None

    def _find_version(self, pipeline_id: str, name: str) -> Version | None:
        answer = self._client.list_pipeline_versions(pipeline_id, filter=_where("display_name", name))
        return read_version(answer.pipeline_versions[0]) if answer.pipeline_versions else None

    def _each_version(self, pipeline_id: str) -> Iterator[Version]:
        return map(
            read_version, _paged(self._client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline_id)
        )

    def _all_schedules(self, experiment_id: str) -> list[Schedule]:
        found = _paged(self._client.list_recurring_runs, "recurring_runs", experiment_id=experiment_id)
        return sorted(map(read_schedule, found), key=lambda schedule: (schedule.created_at, schedule.id))

    def _once(self, what: str, write: Callable[[], Any]) -> None:
        """A write to something that may be gone, which is as well."""

        def attempt() -> None:
            try:
                write()
            except kfp_server_api.ApiException as error:
                if error.status != 404:
                    raise

        self._patiently(what, attempt)

    def _patiently(self, what: str, attempt: Callable[[], Answer]) -> Answer:
        def quietly() -> Answer:
            with redirect_stdout(io.StringIO()):  # the client prints links, and standard output is the answer's
                return attempt()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_pass),
            wait=wait,
            stop=lambda state: max(state.idle_for, state.seconds_since_start or 0) >= self._settings.budget_s,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(quietly)
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
            raise explained(what, self._settings, error) from error


def _paged(listing: Callable[..., Any], kind: str, **arguments: Any) -> Iterator[Any]:
    token = ""
    while True:
        answer = listing(page_token=token, page_size=_PAGE, **arguments)
        yield from getattr(answer, kind) or []
        token = answer.next_page_token
        if not token:
            return


def _where(key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "stringValue": value}]})
