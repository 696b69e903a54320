"""A client of the predictor, over KServe's own inference client."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import anyio
import httpx
import pandas as pd
from anyio.from_thread import start_blocking_portal
from pydantic import BaseModel, ConfigDict

from cryptosentinel.config import ServingSettings
from cryptosentinel.errors import ServingError, SpecMismatchError, UserInputError
from cryptosentinel.explaining import Explanation
from cryptosentinel.predicting import Answer, Rows
from serving._kserve import InferenceRESTClient, InferRequest, InferResponse, RESTConfig, to_http_parameters
from serving.bars import MAX_BARS
from serving.info import ModelInfo
from serving.tensors import ABSTENTION, MADE_AT, answer_of, request_of, request_of_bars

T = TypeVar("T")

AWAY = "Start it with `cryptosentinel up` or `cryptosentinel serve`, or set `serving.url` to where one runs."

# While a server starts, when to ask again is not what it says: it cannot know.
EAGER_S, EAGER_PAUSE_S = 5.0, 0.2

LATER = "Ask again in a few seconds; where it stays so, its log says why."
NO_EXPLAINER = (
    "`cryptosentinel up` and `cryptosentinel serve` start an explainer beside the predictor; it needs some seconds to"
    " load, and its log says what went wrong."
)


class Explained(BaseModel):
    """Why a predictor answers for rows what it answers.

    Attributes:
        explanations: one a row.
        sentence: each in one or two sentences.
        bundle_version: that was explained.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    explanations: list[Explanation]
    sentence: list[str]
    bundle_version: int


@dataclass(frozen=True)
class BarsAnswer:
    """A predictor's answer for the end of a series of bars.

    Attributes:
        answer: of one row.
        made_at: when the last bar closed.
        abstention: why the live pipeline would make no forecast of it, by the server's clock; empty where it would.
    """

    answer: Answer
    made_at: datetime
    abstention: str


class ServedPredictor:
    """A predictor somewhere else as a `predicting.Predictor`. Threads may share one; close it when done.

    What may pass (refused and broken connections, 503) is tried again until the time is over: a forecast may be asked
    for twice without harm. Where the server says when to ask again (`Retry-After`), it is asked then; if that is too
    late, not at all.

    Args:
        url: the server's base address, e.g. `http://127.0.0.1:8085`.
        model_name: the model's name there.
        timeout_s: how long one call may take, with all its retries.
        explain_timeout_s: how long asking for explanations may take; an explainer that starts needs some seconds.

    Raises:
        ServingError: `url` is no address.
    """

    def __init__(self, url: str, model_name: str, timeout_s: float = 10.0, explain_timeout_s: float = 20.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise ServingError(f"'{url}' is no predictor's address.", remedy="Write http://host:port in `serving.url`.")
        self.url = url.rstrip("/")
        self.model_name = model_name
        self.timeout_s = timeout_s
        self.explain_timeout_s = explain_timeout_s
        # Given, a transport keeps the environment's proxies out, which would not find 127.0.0.1 or a cluster's names.
        transport = httpx.AsyncHTTPTransport()
        self._kserve = InferenceRESTClient(RESTConfig(transport=transport, protocol="v2", timeout=timeout_s))
        self._kserve_v1 = InferenceRESTClient(RESTConfig(transport=transport, protocol="v1", timeout=explain_timeout_s))
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
        return answer_of(self._infer(request_of(rows, self.model_name)), len(rows.close))

    def forecast_bars(self, bars: pd.DataFrame, interval: str | None = None) -> BarsAnswer:
        """The forecast at the end of raw bars, which the server featurizes.

        Args:
            bars: with `timestamp` (when each opens) and `open`, `high`, `low`, `close`, `volume`: complete, ascending,
                and at least `ModelInfo.warm_up_bars` without a gap at the end. As many are sent as a request may hold.
            interval: theirs, for the server to check; else it is found.

        Raises:
            ServingError: as `infer`; it refuses bars that cannot be featurized, and says why.
            SpecMismatchError: the server computes other features than its bundle was built for.
        """
        response = self._infer(request_of_bars(bars.tail(MAX_BARS), self.model_name, interval))
        answer = answer_of(response, 1)
        parameters = to_http_parameters(response.parameters or {})
        try:
            return BarsAnswer(answer, datetime.fromisoformat(parameters[MADE_AT]), str(parameters[ABSTENTION]))
        except (KeyError, ValueError, TypeError) as error:
            raise ServingError(
                f"The answer of the predictor at {self.url} does not say of what time it is.",
                remedy="It is of an earlier release: start it anew.",
            ) from error

    def explain(self, rows: Rows, *, lime: bool = False) -> Explained:
        """Why the predictor answers for the rows what it answers.

        Args:
            rows: with features; at most 16, with `lime` one.
            lime: whether to fit linear models around the row too, which takes some tenths of a second.

        Raises:
            UserInputError: the rows have no features.
            ServingError: the predictor or its explainer is away, still loads, or refuses the rows; at once where
                explanations are off.
            SpecMismatchError: the predictor's bundle was built for other features.
        """
        if rows.features is None:
            raise UserInputError(
                "There are too few bars since the last gap for all features: the random walk answers, and nothing was"
                " learnt that could be explained.",
                remedy="Ask again once the features are warm.",
            )
        names = self.info().features
        if rows.features.shape[1] != len(names):
            raise SpecMismatchError(
                f"The rows have {rows.features.shape[1]} features, and the bundle that is served was built for"
                f" {len(names)}."
            )
        instances = [
            {"close": close, "features": dict(zip(names, row, strict=True))}
            for close, row in zip(rows.close.tolist(), rows.features.tolist(), strict=True)
        ]
        question: dict[str, Any] = {"instances": instances, "spec_hash": rows.spec_hash, "lime": lime}

        async def ask() -> Explained:
            said = await self._kserve_v1.explain(self.url, self.model_name, question)
            explained = Explained.model_validate(said)
            if not len(explained.explanations) == len(explained.sentence) == len(instances):
                raise ValueError(f"{len(explained.explanations)} explanations of {len(instances)} rows")
            return explained

        return self._call(ask, self.explain_timeout_s, remedy=NO_EXPLAINER)

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

        In the first seconds it is asked several times a second, whatever `Retry-After` it tells.

        Raises:
            ServingError: it does not in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            info = self._call(self._ask_info, max(deadline - time.monotonic(), 1.0), eager_s=EAGER_S)
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

    def _infer(self, request: InferRequest) -> InferResponse:
        async def ask() -> InferResponse:
            return await self._kserve.infer(self.url, request, model_name=self.model_name)

        return self._call(ask, self.timeout_s)

    async def _ask_info(self) -> ModelInfo:
        response = await self._http.get(f"{self.url}/v2/models/{self.model_name}/bundle")
        response.raise_for_status()
        return ModelInfo.model_validate_json(response.content)

    def _call(self, ask: Callable[[], Awaitable[T]], timeout_s: float, remedy: str = LATER, eager_s: float = 0.0) -> T:
        """What `ask` answers.

        Args:
            ask: once.
            timeout_s: for all attempts.
            remedy: for a server that answers, but not yet with that.
            eager_s: how long it is asked as often as may be, whatever it says.
        """
        try:
            return self._portal.call(self._until_answered, ask, timeout_s, remedy, eager_s)
        except httpx.HTTPStatusError as error:
            raise self._refusal(error.response) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServingError(f"The predictor at {self.url} cannot be asked: {error}.", remedy=AWAY) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ServingError(
                f"What answers at {self.url} is no predictor of this project ({type(error).__name__}: {error}).",
                remedy="Check `serving.url`.",
            ) from error

    async def _until_answered(
        self, ask: Callable[[], Awaitable[T]], timeout_s: float, remedy: str, eager_s: float
    ) -> T:
        began, pause_s = anyio.current_time(), 0.05
        deadline = began + timeout_s
        said, problem = "", "it did not answer"
        with anyio.CancelScope(deadline=deadline):
            while True:
                told_s = 0.0
                try:
                    return await ask()
                except httpx.TransportError as error:
                    said, problem = "", str(error) or type(error).__name__
                except httpx.HTTPStatusError as error:
                    if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                        raise
                    said, told_s = _sentence(error.response), _retry_after_s(error.response)
                if anyio.current_time() < began + eager_s:
                    told_s, pause_s = 0.0, min(pause_s, EAGER_PAUSE_S)
                if anyio.current_time() + told_s >= deadline:
                    break
                await anyio.sleep(max(told_s, pause_s))
                pause_s = min(2 * pause_s, 0.5)
        if said:
            raise ServingError(f"The predictor at {self.url} cannot answer now: {said.rstrip('.')}.", remedy=remedy)
        raise ServingError(
            f"The predictor at {self.url} gave no answer within {timeout_s:.3g} s: {problem.rstrip('.')}.", remedy=AWAY
        )

    def _refusal(self, response: httpx.Response) -> ServingError | SpecMismatchError:
        sentence = _sentence(response)
        match response.status_code:
            case httpx.codes.CONFLICT:
                return SpecMismatchError(sentence)
            case httpx.codes.NOT_IMPLEMENTED:
                return ServingError(f"The predictor at {self.url} does not do that. {sentence}")
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
    return ServedPredictor(
        serving.url,
        serving.model_name,
        timeout_s=serving.timeout_s,
        # The explainer has its own time; the rest is for one that starts.
        explain_timeout_s=serving.explain_timeout_s + serving.timeout_s,
    )


def _sentence(response: httpx.Response) -> str:
    """What a server says of its failure: its `error`, or the beginning of what else it sent."""
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


def _retry_after_s(response: httpx.Response) -> float:
    """When to ask again; 0 where it does not say so in seconds."""
    told = response.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdigit() else 0.0
