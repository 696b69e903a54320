"""What Kubeflow's client answers and raises, in our words."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import kfp_server_api
import tenacity
import urllib3

from cryptosentinel.config import KubeflowSettings
from cryptosentinel.errors import KubeflowError, KubeflowUnavailableError
from pipelines.kubeflow.records import Run, Schedule, Version

Value = TypeVar("Value")

# May pass. 409: somebody else was at it too; what is asked next shows the outcome.
_TRANSIENT = frozenset({408, 409, 429, 500, 502, 503, 504})
_BACKOFF = tenacity.wait_exponential_jitter(initial=1, max=20)


def given(value: Value | None) -> Value:
    """What an answer of Kubeflow's has and that of a login page lacks."""
    if value is None:
        raise KubeflowError(
            "What answers at kubeflow.url is not Kubeflow Pipelines' API; it may be a page to log in.",
            remedy="Name the API itself, e.g. http://ml-pipeline.kubeflow:8888, or set kubeflow.token.",
        )
    return value


def read_version(answer: Any) -> Version:
    """A version of the client's as ours."""
    return Version(
        given(answer.pipeline_version_id), answer.pipeline_id, answer.display_name or answer.name, answer.created_at
    )


def _reference(answer: Any) -> tuple[str, str]:
    reference = answer.pipeline_version_reference
    return (reference.pipeline_id or "", reference.pipeline_version_id or "") if reference else ("", "")


def read_schedule(answer: Any) -> Schedule:
    """A recurring run of the client's as ours."""
    cron = answer.trigger.cron_schedule.cron if answer.trigger and answer.trigger.cron_schedule else ""
    return Schedule(
        given(answer.recurring_run_id),
        answer.display_name,
        answer.status == "ENABLED",
        cron,
        _reference(answer)[1],
        answer.created_at,
    )


def read_run(answer: Any) -> Run:
    """A run of the client's as ours."""
    pipeline_id, version_id = _reference(answer)
    return Run(
        given(answer.run_id),
        answer.display_name,
        answer.state or "PENDING",
        pipeline_id,
        version_id,
        answer.recurring_run_id or "",
        answer.created_at,
        # One that has not ended says 1970.
        answer.finished_at if answer.finished_at and answer.finished_at.year > 1970 else None,
    )


def may_pass(error: BaseException) -> bool:
    """Whether it is worth asking again."""
    if isinstance(error, kfp_server_api.ApiException):
        return error.status in _TRANSIENT
    # Certificates do not change by themselves.
    certificate = isinstance(getattr(error, "reason", None), urllib3.exceptions.SSLError)
    return isinstance(error, urllib3.exceptions.HTTPError) and not certificate


def wait(state: tenacity.RetryCallState) -> float:
    """Seconds until the next try: longer each time, and as long as was asked for, if that is not absurd."""
    error = state.outcome.exception() if state.outcome else None
    asked = (getattr(error, "headers", None) or {}).get("Retry-After", "")
    return max(min(float(asked), 120.0) if asked.isdigit() else 0.0, _BACKOFF(state))


def explained(what: str, settings: KubeflowSettings, error: Exception) -> KubeflowError:
    """An error of the client's as ours; `what` follows "to"."""
    if not isinstance(error, kfp_server_api.ApiException):
        reason = getattr(error, "reason", None) or error
        return KubeflowUnavailableError(
            f"Kubeflow Pipelines at {settings.url} cannot be reached to {what}: {_short(str(reason))}.",
            remedy="See that kubeflow.url leads to its API from here, and that a network policy lets it.",
        )
    said = f"({error.status} {error.reason}) {_message(error.body)}".strip()
    if error.status in {301, 302, 303, 307, 308, 401, 403}:  # a redirect leads to a page to log in
        return KubeflowError(
            f"Kubeflow Pipelines does not let us {what}: {said}",
            remedy="Set kubeflow.token or kubeflow.token_file, and where it has several users kubeflow.namespace.",
        )
    if may_pass(error):
        return KubeflowUnavailableError(
            f"Kubeflow Pipelines at {settings.url} kept failing to {what}: {said}",
            remedy="Its API server's log says why; nothing is lost by trying again.",
        )
    return KubeflowError(f"Kubeflow Pipelines refused to {what}: {said}")


def _message(body: str | None) -> str:
    try:
        return _short(str(json.loads(body or "{}").get("message", "")))
    except (ValueError, AttributeError):
        return ""  # a proxy's page


def _short(text: str) -> str:
    return " ".join(text.split())[:300]
