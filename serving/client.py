"""A client of the predictor, over KServe's own inference client."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TypeVar

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from cryptosentinel.config import ServingSettings
from cryptosentinel.errors import ServingError, SpecMismatchError
from cryptosentinel.predicting import Answer, Rows
from serving._kserve import InferenceRESTClient, InferResponse, RESTConfig
from serving.info import ModelInfo
from serving.tensors import answer_of, request_of

T = TypeVar("T")

AWAY = "Start it with `cryptosentinel up` or `cryptosentinel serve`, or set `serving.url` to where one runs."


class ServedPredictor:
    """A predictor somewhere else as a `predicting.Predictor`. Threads may share one; close it when done.

    What may pass (refused and broken connections, 503) is tried again until the time is over: a forecast may be asked
    for twice without harm.

    Args:
        url: the server's base address, e.g. `http://127.0.0.1:8085`.
        model_name: the model's name there.
        timeout_s: how long one call may take, with all its retries.

    Raises:
        ServingError: `url` is no address.
    """

    def __init__(self, url: str, model_name: str, timeout_s: float = 10.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise ServingError(f"'{url}' is no predictor's address.", remedy="Write http://host:port in `serving.url`.")
        self.url = url.rstrip("/")
        self.model_name = model_name
        self.timeout_s = timeout_s
        # Given, a transport keeps the environment's proxies out, which would not find 127.0.0.1 or a cluster's names.
        transport = httpx.AsyncHTTPTransport()
        self._kserve = InferenceRESTClient(RESTConfig(transport=transport, protocol="v2", timeout=timeout_s))
        self._http = httpx.AsyncClient(transport=transport, timeout=timeout_s)
        self._resources = ExitStack()
        self._portal = self._resources.enter_context(start_blocking_portal(name="served-predictor"))
        self._resources.callback(lambda: self._portal.call(self._kserve.close))

    def infer(self, rows: Rows) -> Answer:
        """Forecasts for the rows.

        Raises:
            ServingError: the predictor is away, refuses the rows, or answers something that is not a forecast.
            SpecMismatchError: its bundle was built for other features.
        """
        request = request_of(rows, self.model_name)

        async def ask() -> InferResponse:
            return await self._kserve.infer(self.url, request, model_name=self.model_name)

        return answer_of(self._call(ask, self.timeout_s), len(rows.close))

    def info(self) -> ModelInfo:
        """Which bundle is served.

        Raises:
            ServingError: the predictor is away, or none of this project's.
        """
        return self._call(self._ask_info, self.timeout_s)

    def ready(self) -> bool:
        """Whether it answers now; asks once."""
        try:
            return self._portal.call(self._kserve.is_model_ready, self.url, self.model_name)
        except httpx.HTTPError:
            return False

    def wait_ready(self, timeout_s: float, version: int | None = None) -> ModelInfo:
        """Waits until it answers, and, with `version`, until it serves that bundle version.

        Raises:
            ServingError: it does not in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            info = self._call(self._ask_info, max(deadline - time.monotonic(), 1.0))
            if version is None or info.bundle_version == version:
                return info
            if time.monotonic() > deadline:
                raise ServingError(
                    f"The predictor at {self.url} still serves bundle version {info.bundle_version} after"
                    f" {timeout_s:g} s, not {version}.",
                    remedy="Its log says why it did not change.",
                )
            time.sleep(0.1)

    def close(self) -> None:
        """Closes its connections."""
        self._resources.close()

    def __enter__(self) -> ServedPredictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _ask_info(self) -> ModelInfo:
        response = await self._http.get(f"{self.url}/v2/models/{self.model_name}/bundle")
        response.raise_for_status()
        return ModelInfo.model_validate_json(response.content)

    def _call(self, ask: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        try:
            return self._portal.call(self._until_answered, ask, timeout_s)
        except httpx.HTTPStatusError as error:
            raise self._refusal(error.response) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServingError(f"The predictor at {self.url} cannot be asked: {error}.", remedy=AWAY) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ServingError(
                f"What answers at {self.url} is no predictor of this project ({type(error).__name__}: {error}).",
                remedy="Check `serving.url`.",
            ) from error

    async def _until_answered(self, ask: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        problem, pause_s = "it did not answer", 0.05
        with anyio.move_on_after(timeout_s):
            while True:
                try:
                    return await ask()
                except httpx.TransportError as error:
                    problem = str(error) or type(error).__name__
                except httpx.HTTPStatusError as error:
                    if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                        raise
                    problem = _sentence(error.response)
                await anyio.sleep(pause_s)
                pause_s = min(2 * pause_s, 0.5)
        raise ServingError(
            f"The predictor at {self.url} gave no answer within {timeout_s:.3g} s: {problem.rstrip('.')}.", remedy=AWAY
        )

    def _refusal(self, response: httpx.Response) -> ServingError | SpecMismatchError:
        sentence = _sentence(response)
        match response.status_code:
            case httpx.codes.CONFLICT:
                return SpecMismatchError(sentence)
            case httpx.codes.NOT_FOUND:
                return ServingError(
                    f"There is no model '{self.model_name}' at {self.url}: {sentence}",
                    remedy="Check `serving.url` and `serving.model_name`.",
                )
        return ServingError(f"The predictor at {self.url} refused ({response.status_code}): {sentence}")


def predictor_for(serving: ServingSettings) -> ServedPredictor:
    """A client of the predictor that the settings name.

    Raises:
        ServingError: they name none.
    """
    if serving.url is None:
        raise ServingError("There is no predictor to ask: none runs here, and `serving.url` names none.", remedy=AWAY)
    return ServedPredictor(serving.url, serving.model_name, timeout_s=serving.timeout_s)


def _sentence(response: httpx.Response) -> str:
    """What a server says of its failure: its `error`, or the beginning of what else it sent."""
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
