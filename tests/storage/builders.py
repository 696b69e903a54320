"""Small frames, bundles and stores for tests of storage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cryptosentinel.config import StorageSettings
from cryptosentinel.storage import ALERTS, FORECASTS, MUTES, Storage, open_storage

SPEC = "0123456789abcdef0123456789abcdef"
START = pd.Timestamp("2025-01-31T22:00", tz="UTC")  # 24 bars of 5 minutes before the month ends
BAR = pd.Timedelta("5min")
MILLISECONDS = "datetime64[ms, UTC]"


def open_delta(folder: Path, *, market: str = "bitcoin-usd-5m", retention_days: float = 7.0) -> Storage:
    return open_storage(StorageSettings(retention_days=retention_days), root=folder, market=market)


def times(numbers: Sequence[int]) -> pd.Series:
    return pd.Series([START + number * BAR for number in numbers], dtype=MILLISECONDS)


def bars(numbers: Sequence[int], *, close: float = 100.0, asset: str = "bitcoin") -> pd.DataFrame:
    """One bar for each number, on the 5-minute grid from `START`."""
    prices = {name: np.full(len(numbers), close) for name in ("open", "high", "low", "close")}
    frame = pd.DataFrame({"asset": asset, "timestamp": times(numbers), **prices, "volume": 1.0, "source": "test"})
    return frame.astype({"asset": object, "source": object})


def features(numbers: Sequence[int], values: Sequence[float] | float = 1.0, *, asset: str = "bitcoin") -> pd.DataFrame:
    frame = pd.DataFrame({"asset": asset, "timestamp": times(numbers), "rsi_14": values, "macd": -1.0})
    return frame.astype({"asset": object, "rsi_14": "float64", "macd": "float64"})


def forecasts(numbers: Sequence[int], *, predicted: float = 101.0, asset: str = "bitcoin") -> pd.DataFrame:
    """Unsettled forecasts, named after their number."""
    rows = [
        dict.fromkeys(FORECASTS.names)
        | {
            "forecast_id": f"{asset}-{number}",
            "asset": asset,
            "made_at": START + number * BAR,
            "target_at": START + (number + 6) * BAR,
            "price": 100.0,
            "predicted_price": predicted,
            "by_model": json.dumps({"ridge": predicted}),
            "bundle_version": 0,
        }
        for number in numbers
    ]
    return pd.DataFrame(rows, columns=FORECASTS.names)


def settled(rows: pd.DataFrame, *, actual: float = 102.0) -> pd.DataFrame:
    outcome = {"outcome": "correct", "actual_price": actual, "error": 1.0}
    return rows.assign(**outcome, settled_at=rows["target_at"] + pd.Timedelta("1min"))


def drift_report(number: int, score: float) -> pd.DataFrame:
    """The report on rows up to bar `number`."""
    return pd.DataFrame(
        {
            "report_id": [f"bitcoin-{number}"],
            "asset": "bitcoin",
            "data_end": [pd.Timestamp(START + number * BAR)],
            "checked_at": [pd.Timestamp(START + (number + 1) * BAR)],
            "bundle_version": 1,
            "detector": "scipy-ks",
            "score": score,
            "threshold": 0.3,
            "drifted": score > 0.3,
            "sentence": "said",
            "body": "{}",
        }
    )


def alert(name: str, *, raised: int = 0, asset: str = "bitcoin", resolved: int | None = None) -> pd.DataFrame:
    row = dict.fromkeys(ALERTS.names) | {
        "alert_id": name,
        "kind": "drawdown",
        "severity": "warning",
        "asset": asset,
        "raised_at": START + raised * BAR,
        "value": 0.12,
        "threshold": 0.10,
        "message": "it's down",
        "resolved_at": None if resolved is None else START + resolved * BAR,
    }
    return pd.DataFrame([row], columns=ALERTS.names)


def acknowledged(alerts: pd.DataFrame, by: str) -> pd.DataFrame:
    return alerts.assign(acknowledged_by=by, acknowledged_at=START)


def muted(kind: str, at: int, until: int) -> pd.DataFrame:
    row = ("bitcoin", kind, START + until * BAR, "ann", START + at * BAR, "")
    return pd.DataFrame([row], columns=MUTES.names)


def bundle(folder: Path, content: str = "one") -> Path:
    """A bundle folder with a manifest that digests its other files, one of them in a folder of its own."""
    files = {"inference.onnx": content.encode() * 1000, "models/ridge.skops": content.encode()}
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    (folder / "manifest.json").write_text(json.dumps({"content": content, "sha256": digests}))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def contents_as(version: int, folder: Path) -> dict[str, bytes]:
    """A bundle folder's files as the registry keeps them: with a note of the version."""
    return contents(folder) | {"registered.json": json.dumps({"version": version}).encode()}
