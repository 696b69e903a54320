"""The V1 form of a forecast: rows as objects with named features.

    {"instances": [{"close": 600.0, "features": {"rsi_14": 41.2, ...}}], "spec_hash": "..."}

The answer is `{"predictions": [...], "bundle_version": N, "data_end": "..."}`; each prediction has the fields of
`bundle.Inference`, and the bounds of the 80% and 95% intervals by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cryptosentinel.bundle import Manifest
from cryptosentinel.predicting import Answer, Rows
from serving._kserve import InvalidInput
from serving.tensors import (
    BUNDLE_VERSION,
    CLOSE,
    DATA_END,
    FEATURES,
    INTERVALS,
    MAX_ROWS,
    NAMES,
    NUMBERS,
    OUTLYING,
    QUANTILES,
    SPEC_HASH,
    checked_rows,
    shown,
)

SHAPE = 'Send {"instances": [{"close": number, "features": {name: number, ...}}, ...]}'


def rows_of_instances(payload: object, manifest: Manifest) -> Rows:
    """The rows that a V1 request asks for.

    Raises:
        InvalidInput: the request cannot be answered; the message says what to send.
    """
    if not isinstance(payload, dict) or set(payload) - {"instances", SPEC_HASH} or "instances" not in payload:
        raise InvalidInput(f"The request is not of the V1 form. {SHAPE} as application/json.")
    instances = payload["instances"]
    if not isinstance(instances, list) or not instances:
        raise InvalidInput(f"'instances' is no list, or an empty one. {SHAPE}.")
    if len(instances) > MAX_ROWS:
        raise InvalidInput(f"There are {len(instances):,} instances; send at most {MAX_ROWS:,} a request.")
    table = [_row(number, instance, manifest) for number, instance in enumerate(instances)]
    values = np.array(table, dtype=np.float64)
    return checked_rows(
        values[:, 0], values[:, 1:], None, manifest, spec_hash=payload.get(SPEC_HASH, manifest.spec_hash)
    )


def predictions_of(answer: Answer) -> dict[str, Any]:
    """The V1 answer."""
    inference = answer.inference
    columns = {name: getattr(inference, name).tolist() for name in (*NUMBERS, *INTERVALS, QUANTILES, OUTLYING, *NAMES)}
    by_model = {name: price.tolist() for name, price in inference.by_model.items()}
    return {
        "predictions": [
            {name: column[row] for name, column in columns.items()}
            | {"by_model": {name: prices[row] for name, prices in by_model.items()}}
            for row in range(len(inference.log_return))
        ],
        BUNDLE_VERSION: answer.bundle_version,
        DATA_END: answer.data_end.isoformat() if answer.data_end else "",
    }


def _row(number: int, instance: object, manifest: Manifest) -> list[float]:
    if not isinstance(instance, dict) or set(instance) != {CLOSE, FEATURES} or not isinstance(instance[FEATURES], dict):
        raise InvalidInput(f"Instance {number} is not an object with 'close' and 'features'. {SHAPE}.")
    features: Mapping[str, object] = instance[FEATURES]
    if unknown := features.keys() - set(manifest.features):
        raise InvalidInput(f"Instance {number}: there is no feature {shown(min(unknown))}.")
    if missing := set(manifest.features) - features.keys():
        raise InvalidInput(f"Instance {number} lacks {len(missing)} features, '{min(missing)}' among them.")
    row = [instance[CLOSE], *(features[name] for name in manifest.features)]
    try:
        return [_number(value) for value in row]
    except (TypeError, OverflowError) as error:
        raise InvalidInput(f"Instance {number}: 'close' and all features must be numbers.") from error


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)
