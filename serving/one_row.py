"""The lane of most gRPC requests: one row of features, read where its message lies, answered in bytes.

What is not of that form, or wrong in any way, goes the way of all requests, which has a sentence for it.
"""

from __future__ import annotations

import math
import struct
import uuid
from datetime import datetime
from functools import lru_cache
from itertools import accumulate, pairwise

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
        ends = list(accumulate(math.prod(tensor.shape[1:]) for tensor in form.outputs if tensor.datatype == NUMBER))
        self._slices = [slice(8 * start, 8 * end) for start, end in pairwise([0, *ends])]
        self._pack = struct.Struct(f"<{ends[-1]}d").pack
        self._between = lru_cache(maxsize=64)(self._new_between)

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
        expired = expired_model(self._data_end, self._settings, now=now)
        count_row(abstained=expired is not None, outlying=row.outlying)
        packed = self._pack(*numbers)
        head = ModelInferResponse(id=request.id or str(uuid.uuid4()), model_name=request.model_name)
        pieces = [head.SerializeToString()]
        between = self._between(
            row.outlying, expired.reason if expired else "", row.direction, row.regime, row.champion
        )
        for constant, part in zip(between, self._slices, strict=True):
            pieces += (constant, packed[part])
        return b"".join(pieces)

    async def _inferred(self, features: list[float], close: float) -> RowForecast:
        if not self._batches.next_waits():
            with np.errstate(over="ignore", invalid="ignore"):
                return self._served.bundle.infer_row(features, close)
        rows = Rows(np.array([close]), np.array([features[self._scale]]), np.array([features]), self._spec_hash)
        return RowForecast.of((await self._batches.wait(self._served, rows)).inference)

    def _new_between(self, outlying: bool, abstention: str, *names: str) -> list[bytes]:
        """What an answer holds before each tensor of numbers: all that is the same for most rows."""
        flags = dict(zip((OUTLYING, *FLAGS), (outlying, bool(abstention), False), strict=True))
        texts = dict(zip(NAMES, names, strict=True))
        head, tensors = self._form.frame(1, self._served.version, abstention)
        pieces = [head]
        for (name, datatype, _), before in zip(self._form.outputs, tensors, strict=True):
            if datatype == NUMBER:
                pieces[-1] += before
                pieces.append(b"")
            elif name in flags:
                pieces[-1] += before + bytes([flags[name]])
            else:
                pieces[-1] += text_tensor(name, (texts[name],))
        *between, after = pieces
        assert not after, "an answer ends with prices"
        return between

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
