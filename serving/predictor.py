"""The KServe model: checks a request, asks the bundle, answers.

It holds a bundle and its version as one value that is replaced as a whole, and reads it once a request: an answer never
mixes two bundles.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from cryptosentinel.config import ForecastSettings
from cryptosentinel.predicting import Answer, Rows, answer_with
from serving._kserve import (
    PREDICT_HIST_TIME,
    InferenceVerb,
    InferRequest,
    InferResponse,
    Model,
    ModelInferRequest,
    ModelNotReady,
    get_labels,
)
from serving.asked import MAX_ROWS, Asked, Reply, refuse_not_finite, utc_now
from serving.bars import MAX_BARS, bars_needed
from serving.batching import Batches
from serving.bundles import Served
from serving.handover import ExplanationsOffError, Handover, split_request
from serving.info import ModelInfo
from serving.instances import INSTANCES, asked_of_payload, predictions_of
from serving.metrics import SWAPS, count_rows
from serving.one_row import OneRowLane
from serving.timeseries import Forecast, asked_of_forecast, forecast_response
from serving.tracing import span
from serving.v2 import V2Form

# A row costs a few microseconds: more than these are computed beside the event loop.
INLINE_ROWS = 200
GRPC_PATIENCE_S = 0.005


class NotServingYet(ModelNotReady):
    """There is no bundle yet. KServe's gRPC server asks for `reason`, which its own class lacks."""

    @property
    def reason(self) -> str:
        """The message."""
        return str(self)


class _Current(NamedTuple):
    served: Served
    form: V2Form
    lane: OneRowLane


class ForecastModel(Model):
    """Answers V2 (REST and gRPC), V1 and time-series requests from the bundle that it was last given.

    Args:
        name: in URLs.
        forecast: when an answer is flagged as stale or abstained.
        clock: the time.
        handover: to the explainer; None where explanations are off.
    """

    def __init__(
        self,
        name: str,
        forecast: ForecastSettings | None = None,
        clock: Callable[[], datetime] = utc_now,
        handover: Handover | None = None,
    ) -> None:
        super().__init__(name)
        self._current: _Current | None = None
        self._batches = {False: Batches(_inferred, INLINE_ROWS), True: Batches(_inferred, INLINE_ROWS, GRPC_PATIENCE_S)}
        self._seconds = PREDICT_HIST_TIME.labels(**get_labels(name))
        self._forecast = forecast or ForecastSettings()
        self._clock = clock
        self._handover = handover

    @property
    def served(self) -> Served:
        """What is served now.

        Raises:
            NotServingYet: nothing yet.
        """
        return self._now().served

    def serve(self, served: Served) -> None:
        """Answers from this bundle from the next request on."""
        if self._current is not None:
            SWAPS.labels("ok").inc()
        form = V2Form(served.bundle.manifest)
        self._current = _Current(served, form, OneRowLane(served, form, self._batches[True], self._forecast))
        self.ready = True

    def withdraw(self) -> None:
        """Answers no request that comes from now on, until it is given a bundle again."""
        self.ready = False
        self._current = None

    def load(self) -> bool:
        """Called by KServe for a model that is not ready. Nothing can be done here: a bundle comes through `serve`."""
        return self.ready

    def start(self) -> None:
        """Called by KServe before it serves, and would otherwise call a model ready that has no bundle."""

    def get_input_types(self) -> list[dict[str, Any]]:
        """The input tensors of V2 metadata."""
        return [tensor.described() for tensor in self._now().form.inputs.values()]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The output tensors of V2 metadata."""
        return [tensor.described() for tensor in self._now().form.outputs]

    def info(self) -> ModelInfo:
        """What is served now, for people and clients."""
        served = self.served
        return ModelInfo.of(
            served.bundle.manifest,
            model_name=self.name,
            bundle_version=served.version,
            digest=served.digest,
            max_rows=MAX_ROWS,
            max_bars=MAX_BARS,
            warm_up_bars=bars_needed(served.bundle.manifest),
        )

    async def __call__(
        self, body: Any, headers: dict[str, str] | None = None, verb: InferenceVerb = InferenceVerb.PREDICT
    ) -> tuple[Any, dict[str, str]]:
        """Called by the data plane. KServe's own also times two steps that a forecast does not have."""
        if verb is not InferenceVerb.PREDICT:
            answered: tuple[Any, dict[str, str]] = await super().__call__(body, headers, verb)
            return answered
        began = time.perf_counter()
        try:
            return await self.predict(body), {}
        finally:
            self._seconds.observe(time.perf_counter() - began)

    async def answer_row(self, request: ModelInferRequest) -> bytes | None:
        """The serialized answer to a gRPC request for one row; None where it is none, or wrong, and others answer.

        Raises:
            NotServingYet: there is no bundle yet.
        """
        began = time.perf_counter()
        answer = await self._now().lane.answer(request, now=self._clock())
        if answer is not None:
            asyncio.get_running_loop().call_soon(self._seconds.observe, time.perf_counter() - began)
        return answer

    async def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,  # noqa: ARG002 (KServe passes them; they are never answered)
        response_headers: dict[str, str] | None = None,  # noqa: ARG002
    ) -> InferResponse | dict[str, Any]:
        """Answers a V2 request (an `InferRequest`) or a V1 one (a dict).

        Raises:
            InvalidInput: the request cannot be answered; the message says what to send.
            NotServingYet: there is no bundle yet.
        """
        current = self._now()
        if _row_count(payload) > INLINE_ROWS:
            return await asyncio.to_thread(self._respond, current, payload)
        asked = self._asked(current, payload)
        over_grpc = isinstance(payload, InferRequest) and payload.from_grpc
        with span("infer"):
            answer = await self._batches[over_grpc].answer(current.served, asked.rows)
        return self._written(current, payload, asked, answer)

    async def explain(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,  # noqa: ARG002 (KServe passes them; they are never answered)
    ) -> dict[str, Any]:
        """Answers a V1 request for explanations (see `serving.handover`), whose rows must be fit for a forecast.

        Raises:
            InvalidInput: the request cannot be answered; the message says what to send.
            NotServingYet: there is no bundle yet.
            ExplainerAwayError: there can be no explanation now.
            ExplanationsOffError: there can be none at all.
        """
        current = self._now()
        rows, lime = await asyncio.to_thread(self._rows_to_explain, current, payload)
        if self._handover is None:
            raise ExplanationsOffError
        return await self._handover.explain(rows, current.served, lime=lime)

    async def forecast(self, request: Forecast) -> dict[str, Any]:
        """Answers a request of the time-series endpoint.

        Raises:
            InvalidInput: as `predict`; likewise `NotServingYet`.
        """
        return await asyncio.to_thread(self._respond_to_forecast, self.served, request)

    def _now(self) -> _Current:
        if self._current is None:
            raise NotServingYet(self.name, "It has no bundle yet; ask again in a few seconds.")
        return self._current

    def _respond(self, current: _Current, payload: Any) -> InferResponse | dict[str, Any]:
        asked = self._asked(current, payload)
        with span("infer"):
            answer = _inferred(current.served, asked.rows)
        return self._written(current, payload, asked, answer)

    def _written(self, current: _Current, payload: Any, asked: Asked, answer: Answer) -> InferResponse | dict[str, Any]:
        reply = self._reply(asked, answer)
        if isinstance(payload, InferRequest):
            written: InferResponse | dict[str, Any] = current.form.response(payload, reply)
        else:
            refuse_not_finite(answer.inference)
            written = predictions_of(reply, current.served.bundle.manifest)
        count_rows(reply)
        return written

    def _rows_to_explain(self, current: _Current, payload: Any) -> tuple[Rows, bool]:
        """The rows, for which there is a forecast, and whether LIME is asked for."""
        payload, lime = split_request(payload)
        rows = self._asked(current, payload).rows
        _answer(current.served, rows)
        return rows, lime

    def _asked(self, current: _Current, payload: Any) -> Asked:
        """What a V2 request (an `InferRequest`) or a V1 one (anything else) asks, checked."""
        if isinstance(payload, InferRequest):
            return current.form.asked(payload, now=self._clock())
        return asked_of_payload(payload, current.served.bundle.manifest, now=self._clock())

    def _respond_to_forecast(self, served: Served, request: Forecast) -> dict[str, Any]:
        manifest, now = served.bundle.manifest, self._clock()
        asked = asked_of_forecast(request, manifest, now=now)
        reply = self._reply(asked, _answer(served, asked.rows))
        count_rows(reply)
        return forecast_response(request, reply, manifest, now=now)

    def _reply(self, asked: Asked, answer: Answer) -> Reply:
        return Reply.to(asked, answer, self._forecast, now=self._clock())


def _row_count(payload: Any) -> int:
    """How many rows or bars a request claims to hold; whether that is so is checked where they are read."""
    if isinstance(payload, InferRequest):
        return max((tensor.shape[0] for tensor in payload.inputs if tensor.shape), default=0)
    if not isinstance(payload, dict):
        return 0
    instances = payload.get(INSTANCES, range(INLINE_ROWS + 1))  # bars take some milliseconds
    return len(instances) if isinstance(instances, list | range) else 0


def _answer(served: Served, rows: Rows) -> Answer:
    with span("infer"):
        answer = _inferred(served, rows)
    refuse_not_finite(answer.inference)
    return answer


def _inferred(served: Served, rows: Rows) -> Answer:
    return answer_with(served.bundle, served.version, rows)
