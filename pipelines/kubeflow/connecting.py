"""How Kubeflow Pipelines is reached: its own client, with time-outs and a way to authenticate."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
import urllib3
from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, KF_PIPELINES_SA_TOKEN_PATH, ServiceAccountTokenVolumeCredentials

from cryptosentinel.config import KubeflowSettings
from cryptosentinel.errors import UserInputError
from pipelines.kubeflow.api import Kubeflow


class _Client(kfp.Client):
    """Kubeflow's client, which asks nothing while it is made.

    Its own asks whether there are several users, and goes on asking for half a minute; where there are, it would note
    a namespace in the user's home. Ours is a setting.
    """

    def get_kfp_healthz(self, sleep_duration: int = 5) -> kfp_server_api.V2beta1GetHealthzResponse:
        del sleep_duration
        return kfp_server_api.V2beta1GetHealthzResponse(multi_user=False)


def connect(settings: KubeflowSettings) -> Kubeflow:
    """Kubeflow Pipelines at `kubeflow.url`; nothing is asked of it yet.

    Authentication, the first that there is: `kubeflow.token`, `kubeflow.token_file`, the token that Kubernetes puts
    into a pod for Kubeflow Pipelines (the file is read at each request: it is renewed), none.

    Raises:
        UserInputError: there is no `kubeflow.url`, or the file with the token cannot be read.
    """
    if settings.url is None:
        raise UserInputError(
            "No Kubeflow Pipelines is named.",
            remedy="Set kubeflow.url, e.g. http://ml-pipeline.kubeflow:8888; "
            "`cryptosentinel run NAME` runs a pipeline on this machine instead.",
        )
    arguments: dict[str, Any] = {"host": settings.url, "ui_host": settings.ui_url}
    if settings.namespace is not None:
        arguments["namespace"] = settings.namespace
    if settings.ca_file is not None:
        arguments["ssl_ca_cert"] = str(settings.ca_file)
    if settings.token is not None:
        arguments["existing_token"] = settings.token.get_secret_value()
    elif (path := _token_file(settings)) is not None:
        arguments["credentials"] = ServiceAccountTokenVolumeCredentials(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that it wants Kubeflow Pipelines 2
        client = _Client(**arguments)
    _limit(client, settings.timeout_s)
    return Kubeflow(client, settings, sleep=time.sleep)


def _token_file(settings: KubeflowSettings) -> Path | None:
    usual = Path(os.environ.get(KF_PIPELINES_SA_TOKEN_ENV) or KF_PIPELINES_SA_TOKEN_PATH)
    path = settings.token_file or (usual if usual.exists() else None)
    if path is not None:
        try:
            path.read_bytes()
        except OSError as error:
            raise UserInputError(
                f"The token for Kubeflow Pipelines in {path} cannot be read: {error.strerror or error}.",
                remedy="Set kubeflow.token_file to a file that can, or leave it out.",
            ) from error
    return path


def _limit(client: kfp.Client, timeout_s: float) -> None:
    """Gives the client's requests the time-out that it knows no way to ask for, and leaves repeating them to us."""
    transport = client._run_api.api_client.rest_client  # all its services have this one
    # No redirects either: an API has none, and a page to log in is no answer.
    transport.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(0, raise_on_redirect=False)
    unlimited = transport.request

    def request(*arguments: Any, **options: Any) -> Any:
        return unlimited(*arguments, **options | {"_request_timeout": (timeout_s, timeout_s)})

    transport.request = request
