"""The V1 form of a forecast: rows as objects with named features, or as the raw bars that lead up to them.

    {"instances": [{"close": 600.0, "features": {"rsi_14": 41.2, ...}}], "spec_hash": "..."}
    {"bars": [{"timestamp": "2025-01-06T00:00:00Z", "open": 600.0, ...}, ...], "interval": "5m"}
    {"series": [{"bars": [...]}, ...], "interval": "5m"}

A timestamp is when the bar opens, in ISO 8601 or in milliseconds since 1970; `spec_hash` and `interval` are optional,
and checked. The answer is `{"predictions": [...], "bundle_version": N, "data_end": "...", "abstention": "..."}`; each
prediction has the fields of `bundle.Inference`, the bounds of the 80% and 95% intervals by name, the flags of
`asked.Reply` and, where bars were sent, `made_at` and `target_at`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from cryptosentinel.bundle import Manifest
from serving._kserve import InvalidInput
from serving.asked import CLOSE, FEATURES, MAX_ROWS, Asked, Reply, checked_rows, number_of, shown
from serving.bars import MAX_BARS, VALUES, Series, milliseconds, rows_of_bars
from serving.tensors import (
    ABSTENTION,
    BUNDLE_VERSION,
    DATA_END,
    FLAGS,
    INTERVAL,
    INTERVALS,
    MADE_AT,
    NAMES,
    NUMBERS,
    OUTLYING,
    QUANTILES,
    SPEC_HASH,
    TARGET_AT,
)

INSTANCES, BARS, SERIES = "instances", "bars", "series"
_KEYS = {INSTANCES: {INSTANCES, SPEC_HASH}, BARS: {BARS, INTERVAL}, SERIES: {SERIES, INTERVAL}}
BAR_KEYS = {"timestamp", *VALUES}
SHAPE = (
    'Send {"instances": [{"close": number, "features": {name: number, ...}}, ...]}, or {"bars": [{"timestamp": when it'
    ' opens, "open": number, "high": number, "low": number, "close": number, "volume": number}, ...]}'
)


def asked_of_payload(payload: object, manifest: Manifest, *, now: datetime) -> Asked:
    """What a V1 request asks.

    Raises:
        InvalidInput: the request cannot be answered; the message says what to send.
    """
    if not isinstance(payload, dict) or not any(name in payload and not payload.keys() - _KEYS[name] for name in _KEYS):
        raise InvalidInput(f"The request is not of the V1 form. {SHAPE} as application/json.")
    if BARS in payload:
        return rows_of_bars([_series(payload[BARS], "")], payload.get(INTERVAL), manifest, now=now)
    if SERIES in payload:
        return rows_of_bars(_all_series(payload[SERIES]), payload.get(INTERVAL), manifest, now=now)
    instances = _some(payload[INSTANCES], INSTANCES, MAX_ROWS)
    table = [_row(number, instance, manifest) for number, instance in enumerate(instances)]
    values = np.array(table, dtype=np.float64)
    spec_hash = payload.get(SPEC_HASH, manifest.spec_hash)
    return Asked(checked_rows(values[:, 0], values[:, 1:], None, manifest, spec_hash=spec_hash))


def predictions_of(reply: Reply, manifest: Manifest) -> dict[str, Any]:
    """The V1 answer."""
    answer, inference = reply.answer, reply.answer.inference
    columns = {name: getattr(inference, name).tolist() for name in (*NUMBERS, *INTERVALS, QUANTILES, OUTLYING, *NAMES)}
    columns |= {name: getattr(reply, name).tolist() for name in FLAGS}
    if reply.made_at is not None:
        columns[MADE_AT] = [time.isoformat() for time in reply.made_at]
        columns[TARGET_AT] = [time.isoformat() for time in reply.target_at(manifest)]
    by_model = {name: price.tolist() for name, price in inference.by_model.items()}
    return {
        "predictions": [
            {name: column[row] for name, column in columns.items()}
            | {"by_model": {name: prices[row] for name, prices in by_model.items()}}
            for row in range(len(inference.log_return))
        ],
        BUNDLE_VERSION: answer.bundle_version,
        DATA_END: answer.data_end.isoformat() if answer.data_end else "",
        ABSTENTION: reply.abstention,
    }


def _some(sent: object, name: str, most: int) -> list[object]:
    if not isinstance(sent, list) or not sent:
        raise InvalidInput(f"'{name}' is no list, or an empty one. {SHAPE}.")
    if len(sent) > most:
        raise InvalidInput(f"There are {len(sent):,} {name}; send at most {most:,} a request.")
    return sent


def _row(number: int, instance: object, manifest: Manifest) -> list[float]:
    if not isinstance(instance, dict) or set(instance) != {CLOSE, FEATURES} or not isinstance(instance[FEATURES], dict):
        raise InvalidInput(f"Instance {number} is not an object with 'close' and 'features'. {SHAPE}.")
    features: Mapping[str, object] = instance[FEATURES]
    if unknown := features.keys() - set(manifest.features):
        raise InvalidInput(f"Instance {number}: there is no feature {shown(min(unknown))}.")
    if missing := set(manifest.features) - features.keys():
        raise InvalidInput(f"Instance {number} lacks {len(missing)} features, '{min(missing)}' among them.")
    try:
        return [number_of(instance[CLOSE]), *(number_of(features[name]) for name in manifest.features)]
    except (TypeError, OverflowError) as error:
        raise InvalidInput(f"Instance {number}: 'close' and all features must be numbers.") from error


def _all_series(sent: object) -> list[Series]:
    all_series = []
    for number, series in enumerate(_some(sent, SERIES, MAX_ROWS)):
        if not isinstance(series, dict) or series.keys() != {BARS}:
            raise InvalidInput(f"Series {number} is not an object with 'bars' alone. {SHAPE}.")
        all_series.append(_series(series[BARS], f"Series {number}: "))
    return all_series


def _series(sent: object, where: str) -> Series:
    opened_ms, values = [], []
    for number, bar in enumerate(_some(sent, BARS, MAX_BARS)):
        if not isinstance(bar, dict) or bar.keys() != BAR_KEYS:
            raise InvalidInput(
                f"{where}Bar {number} is not an object with exactly 'timestamp', 'open', 'high', 'low', 'close' and"
                " 'volume'."
            )
        try:
            values.append([number_of(bar[name]) for name in VALUES])
        except (TypeError, OverflowError) as error:
            raise InvalidInput(f"{where}Bar {number}: prices and volume must be numbers.") from error
        try:
            opened_ms.append(milliseconds(bar["timestamp"]))
        except (ValueError, OverflowError) as error:
            raise InvalidInput(
                f"{where}Bar {number}: 'timestamp' is {shown(bar['timestamp'])}; send when the bar opens, in ISO 8601"
                " or in milliseconds since 1970."
            ) from error
    return Series(np.array(opened_ms, dtype=np.int64), np.array(values, dtype=np.float64), where)
