"""The lane of most gRPC requests: one row of features, read where its message lies, answered in bytes.

What is not of that form, or wrong in any way, goes the way of all requests, which has a sentence for it.
"""

from __future__ import annotations

import asyncio
import math
import struct
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np

from cryptosentinel.bundle import BOUNDS, RowForecast
from cryptosentinel.config import ForecastSettings
from cryptosentinel.predicting import Rows, expired_model
from serving._kserve import ModelInferRequest, ModelInferResponse
from serving.asked import CLOSE, FEATURES, HIGHEST, NUMBERS
from serving.batching import Batches
from serving.bundles import Served
from serving.metrics import count_row
from serving.tensors import FLAGS, INTERVALS, NAMES, OUTLYING, SPEC_HASH
from serving.tracing import span
from serving.v2 import V2Form
from serving.v2_answers import NUMBER, text_tensor

_BOUNDS = [BOUNDS.index(name) for name in INTERVALS]


class OneRowLane:
    """Of one bundle."""

    def __init__(self, served: Served, form: V2Form, batches: Batches, settings: ForecastSettings) -> None:
        manifest = served.bundle.manifest
        self._served = served
        self._form = form
        self._batches = batches
        self._settings = settings
        self._spec_hash, self._data_end = manifest.spec_hash, manifest.data_end
        self._count = len(manifest.features)
        self._scale = manifest.features.index(manifest.scale_feature)
        self._frame = lru_cache(maxsize=64)(self._new_frame)
        self._abstention = lru_cache(maxsize=1)(self._new_abstention)  # it holds for a second

    async def answer(self, request: ModelInferRequest, *, now: datetime) -> bytes | None:
        """The answer, a serialized `ModelInferResponse`; None where the request is to go the way of all."""
        asked = self._asked(request)
        if asked is None:
            return None
        with span("infer"):
            row = await self._inferred(*asked)
        bounds = row.quantiles
        numbers = [*row[: len(NUMBERS)], *(bounds[at] for at in _BOUNDS), *bounds, *row.prices]
        if not math.isfinite(sum(numbers)):
            return None
        abstention = self._abstention(int(now.timestamp()))
        asyncio.get_running_loop().call_soon(count_row, bool(abstention), row.outlying)
        frame, pack = self._frame(row.outlying, abstention, row.direction, row.regime, row.champion)
        fields = frame.copy()
        fields[1::2] = numbers
        head = ModelInferResponse(id=request.id or str(uuid.uuid4()), model_name=request.model_name)
        return bytes(head.SerializeToString()) + pack(*fields)

    async def _inferred(self, features: list[float], close: float) -> RowForecast:
        if not self._batches.next_waits():
            return self._served.bundle.infer_row(features, close)
        rows = Rows(np.array([close]), np.array([features[self._scale]]), np.array([features]), self._spec_hash)
        return RowForecast.of((await self._batches.wait(self._served, rows)).inference)

    def _new_abstention(self, now_s: int) -> str:
        expired = expired_model(self._data_end, self._settings, now=datetime.fromtimestamp(now_s, UTC))
        return expired.reason if expired else ""

    def _new_frame(self, outlying: bool, abstention: str, *names: str) -> tuple[list[Any], Callable[..., bytes]]:
        """What is the same in most answers, as bytes before each of the numbers, and what joins them."""
        flags = dict(zip((OUTLYING, *FLAGS), (outlying, bool(abstention), False), strict=True))
        texts = dict(zip(NAMES, names, strict=True))
        head, tensors = self._form.frame(1, self._served.version, abstention)
        constants = [head]
        for (name, datatype, shape), before in zip(self._form.outputs, tensors, strict=True):
            if datatype == NUMBER:
                constants[-1] += before
                constants += [b""] * math.prod(shape[1:])
            elif name in flags:
                constants[-1] += before + bytes([flags[name]])
            else:
                constants[-1] += text_tensor(name, (texts[name],))
        *constants, after = constants
        assert not after, "an answer ends with prices"
        joined = struct.Struct("<" + "".join(f"{len(constant)}sd" for constant in constants))
        return [field for constant in constants for field in (constant, 0.0)], joined.pack

    def _asked(self, request: ModelInferRequest) -> tuple[list[float], float] | None:
        if len(request.inputs) != 2 or request.outputs or request.raw_input_contents:
            return None
        given = request.parameters
        if given and (len(given) > 1 or SPEC_HASH not in given or given[SPEC_HASH].string_param != self._spec_hash):
            return None
        close, features = request.inputs
        if (
            close.name != CLOSE
            or features.name != FEATURES
            or not close.datatype == features.datatype == "FP64"
            or close.shape != [1]
            or features.shape != [1, self._count]
        ):
            return None
        prices, values = close.contents.fp64_contents, list(features.contents.fp64_contents)
        if len(prices) != 1 or len(values) != self._count:
            return None
        fine = (
            0 < prices[0] < math.inf
            and min(values) >= -HIGHEST
            and max(values) <= HIGHEST
            and math.isfinite(sum(values))  # no NaN, which the two above may overlook
            and values[self._scale] >= 0
        )
        return (values, prices[0]) if fine else None
