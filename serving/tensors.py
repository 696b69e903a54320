"""The V2 tensors of a forecast, for server and client alike.

A request is `close` and either `features` or, for rows that are not warm yet, the scale feature alone; then the random
walk answers. Or it is one series of raw bars in six tensors, for one row. An answer has one tensor for each field of
`bundle.Inference`, the bounds of the 80% and 95% intervals by name beside all `quantiles`, the flags of `asked.Reply`,
and `price_<name>` for each of the bundle's candidates and their blend.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cryptosentinel.bundle import BLEND, PROBABILITIES, Inference, Manifest
from cryptosentinel.errors import ServingError
from cryptosentinel.features import SCALE_FEATURE
from cryptosentinel.predicting import Answer, Rows
from serving._kserve import InferInput, InferOutput, InferRequest, InferResponse, to_http_parameters
from serving.asked import CLOSE, FEATURES, NUMBERS, Array
from serving.bars import VALUES

BAR_TIMESTAMP = "bar_timestamp"
# Parameters: the first two of a request, the others of an answer; the last two where bars were sent.
SPEC_HASH, INTERVAL = "spec_hash", "interval"
BUNDLE_VERSION, DATA_END, ABSTENTION, MADE_AT, TARGET_AT = (
    "bundle_version",
    "data_end",
    "abstention",
    "made_at",
    "target_at",
)
CANDIDATE_PRICE = "price_"
QUANTILES, OUTLYING = "quantiles", "outlying"
FLAGS = ("abstained", "stale")  # what is said of a row, beside what the bundle answers
INTERVALS = ("lower_80", "upper_80", "lower_95", "upper_95")
NAMES = ("direction", "regime", "champion")


class Tensor(NamedTuple):
    """A tensor as V2 metadata describes it; -1 stands for the number of rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def described(self) -> dict[str, Any]:
        """As KServe wants it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


def input_tensors(manifest: Manifest) -> list[Tensor]:
    """What a request may hold: the first, and one of the next two; or all others, where -1 is the number of bars."""
    return [
        Tensor(CLOSE, "FP64", (-1,)),
        Tensor(FEATURES, "FP64", (-1, len(manifest.features))),
        Tensor(manifest.scale_feature, "FP64", (-1,)),
        *BAR_TENSORS,
    ]


BAR_TENSORS = [Tensor(BAR_TIMESTAMP, "INT64", (-1,)), *(Tensor(f"bar_{name}", "FP64", (-1,)) for name in VALUES)]


def output_tensors(manifest: Manifest) -> list[Tensor]:
    """What an answer holds."""
    return [
        *(Tensor(name, "FP64", (-1,)) for name in (*NUMBERS, *INTERVALS)),
        Tensor(QUANTILES, "FP64", (-1, len(PROBABILITIES))),
        *(Tensor(name, "BOOL", (-1,)) for name in (OUTLYING, *FLAGS)),
        *(Tensor(name, "BYTES", (-1,)) for name in NAMES),
        *(Tensor(CANDIDATE_PRICE + name, "FP64", (-1,)) for name in priced(manifest)),
    ]


def priced(manifest: Manifest) -> list[str]:
    """Whose prices an answer holds."""
    return [*manifest.candidates, *([BLEND] if manifest.blend else [])]


def request_of(rows: Rows, model_name: str) -> InferRequest:
    """The request that asks for `rows`."""
    second = (SCALE_FEATURE, rows.volatility) if rows.features is None else (FEATURES, rows.features)
    inputs = [InferInput(name, list(a.shape), "FP64", a.ravel().tolist()) for name, a in ((CLOSE, rows.close), second)]
    return InferRequest(model_name, inputs, request_id=str(uuid.uuid4()), parameters={SPEC_HASH: rows.spec_hash})


def request_of_bars(bars: pd.DataFrame, model_name: str, interval: str | None = None) -> InferRequest:
    """The request that asks for one row of raw bars; `interval` is what they are, where that is to be checked."""
    opened_ms = bars["timestamp"].astype("datetime64[ms, UTC]").astype(np.int64)
    columns = [opened_ms, *(bars[name].astype(np.float64) for name in VALUES)]
    inputs = [
        InferInput(tensor.name, [len(bars)], tensor.datatype, column.tolist())
        for tensor, column in zip(BAR_TENSORS, columns, strict=True)
    ]
    parameters = {} if interval is None else {INTERVAL: interval}
    return InferRequest(model_name, inputs, request_id=str(uuid.uuid4()), parameters=parameters)


def answer_of(response: InferResponse, rows: int) -> Answer:
    """The answer that a response to `rows` rows carries.

    Raises:
        ServingError: it is not a forecast.
    """
    outputs = {output.name: output for output in response.outputs}
    try:
        parameters = to_http_parameters(response.parameters or {})
        version, horizon_bars = int(parameters[BUNDLE_VERSION]), int(parameters["horizon_bars"])
        data_end = datetime.fromisoformat(parameters[DATA_END]) if parameters[DATA_END] else None
        inference = Inference(
            **{name: _output(outputs[name], rows) for name in NUMBERS},
            quantiles=_output(outputs[QUANTILES], rows, len(PROBABILITIES)),
            outlying=np.array(outputs[OUTLYING].data, dtype=np.bool_).reshape(rows),
            **{name: np.array(outputs[name].data, dtype=np.str_).reshape(rows) for name in NAMES},
            by_model={
                name.removeprefix(CANDIDATE_PRICE): _output(output, rows)
                for name, output in outputs.items()
                if name.startswith(CANDIDATE_PRICE)
            },
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ServingError(
            f"The predictor's answer is not a forecast ({type(error).__name__}: {error}).",
            remedy="Check that `serving.url` and `serving.model_name` name a predictor of this release.",
        ) from error
    return Answer(inference, version, horizon_bars, data_end)


def _output(output: InferOutput, *shape: int) -> Array:
    values = np.array(output.data, dtype=np.float64).reshape(shape)
    if not np.isfinite(values).all():
        raise ValueError(f"'{output.name}' is not finite")
    return values
