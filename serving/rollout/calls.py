"""Calls of the Kubernetes API: made again where that may help, explained where it does not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.client.rest import urllib3
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from cryptosentinel.errors import RolloutError

T = TypeVar("T")

# What the client lets through where no answer came.
NoAnswer = urllib3.exceptions.HTTPError

# To connect, and then for an answer: an API server that is there answers a small question within a second.
TIMEOUT_S = (3.0, 10.0)
# For one call with all its repetitions. A control plane of one node may be away for some time while it restarts.
BUDGET_S = 60.0
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_PASSING = {408, 429, 500, 502, 503, 504}
_LONGEST_PAUSE_S = 15.0

_LATER = "Once it does, `cryptosentinel rollout` leads the service to the champion."

CONFLICT = 409


def connect() -> tuple[client.ApiClient, str]:
    """A client of a cluster, and the namespace there.

    The cluster is the one that `KUBECONFIG` names, else the one that this pod is in, else the default kubeconfig's.

    Raises:
        RolloutError: there is none of them.
    """
    settings = client.Configuration()
    file = os.environ.get("KUBECONFIG")  # the client reads it once, when it is imported
    try:
        if file is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=settings)
            namespace = _POD_NAMESPACE.read_text(encoding="utf-8").strip()
        else:
            config.load_kube_config(file, client_configuration=settings)
            namespace = config.list_kube_config_contexts(file)[1]["context"].get("namespace", "default")
    except (config.ConfigException, OSError) as error:
        raise RolloutError(
            f"There is no cluster to ask: {error}.".replace("..", "."),
            remedy="Set KUBECONFIG to the file of your cluster, or run this in the cluster.",
        ) from error
    settings.retries = False  # `call` has one rule for all
    return client.ApiClient(settings), namespace


def call(function: Callable[..., T], *args: Any, races: bool = False, **kwargs: Any) -> T:
    """What `function`, one of the client's, answers; what may pass is tried again, when the server says so.

    For calls that may be repeated, as all of ours may: reading, applying, and writing what carries its version.

    Args:
        function: of the client.
        args: its.
        races: whether to try again, too, where another write of the same object came between.
        kwargs: its.

    Raises:
        ApiException: the server refuses.
        RolloutError: it cannot be reached, or is busy for too long.
    """

    def may_pass(error: BaseException) -> bool:
        if not isinstance(error, ApiException):
            return isinstance(error, NoAnswer)
        return error.status in _PASSING or (races and _is_race(error))

    kwargs.setdefault("_request_timeout", TIMEOUT_S)
    again = Retrying(retry=retry_if_exception(may_pass), wait=_pause_s, stop=stop_after_delay(BUDGET_S), reraise=True)
    try:
        return again(function, *args, **kwargs)
    except NoAnswer as error:
        raise RolloutError(
            f"The Kubernetes API does not answer: {type(error).__name__}: {error}.".replace("..", "."), remedy=_LATER
        ) from error
    except ApiException as error:
        if error.status in _PASSING:
            raise RolloutError(f"The Kubernetes API is busy: {sentence(error)}.", remedy=_LATER) from error
        raise


def _is_race(error: ApiException) -> bool:
    return error.status == CONFLICT and not field_conflicts(error) and "uid mismatch" not in sentence(error)


_growing = wait_random_exponential(multiplier=0.2, max=5)


def _pause_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    told = ((error.headers or {}) if isinstance(error, ApiException) else {}).get("Retry-After", "")
    return min(float(told), _LONGEST_PAUSE_S) if told.isascii() and told.isdigit() else _growing(state)


def sentence(error: ApiException) -> str:
    """What the server says of its refusal."""
    status = status_of(error)
    return str(status.get("message") or error.reason or f"status {error.status}").rstrip(".")


def status_of(error: ApiException) -> dict[str, Any]:
    """The `Status` object of a refusal; empty where a proxy answered with something else."""
    try:
        status = json.loads(error.body)
    except (TypeError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def field_conflicts(error: ApiException) -> list[str]:
    """Whose fields an apply would have taken, and which."""
    causes = (status_of(error).get("details") or {}).get("causes") or []
    return [
        f"{cause.get('message')}: {cause.get('field')}"
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
    ]
