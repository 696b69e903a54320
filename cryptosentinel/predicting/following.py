"""What follows once a version's forecasts are called useless, as `drift.concept.follows` says: each once a version.

That it was called so is a row of the log (`storage.DETECTIONS`), and so is what was done about it. What waits to be
done is told by the log and the registry alone: a step that is killed anywhere leaves it to the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from cryptosentinel.bundle import BOUNDS, UNKNOWN_REGIME
from cryptosentinel.config import Settings
from cryptosentinel.drift import Concept
from cryptosentinel.errors import StoreConflictError
from cryptosentinel.forecasting import Promote
from cryptosentinel.storage import DETECTIONS, ForecastLog, RegisteredModel, Storage
from cryptosentinel.storage.frames import of_records

_FELL_BACK = "fell back: "


def note_detection(log: ForecastLog, concept: Concept | None, asset: str, *, now: datetime) -> None:
    """Writes down that a version's forecasts are called useless, the first time that they are."""
    if concept is not None and concept.drifted:
        found = {"evidence": concept.evidence, "limit": concept.limit, "reason": concept.sentence()}
        log.write_detections(_row(asset, concept.version, now, found))


def widened(forecast: pd.DataFrame, log: ForecastLog, settings: Settings) -> pd.DataFrame:
    """A forecast with its intervals `widen_by` times as wide where its version was called useless, and flagged as such.

    Args:
        forecast: one row of the log, made just now.
        log: says which versions were.
        settings: whether that is to follow.
    """
    rules, row = settings.drift.concept, forecast.iloc[0]
    called = "widen" in rules.follows and row["regime"] != UNKNOWN_REGIME
    if not called or row["bundle_version"] not in set(log.read_detections(row["asset"])["bundle_version"]):
        return forecast
    middle = row["predicted_price"]
    bounds = middle * (row[list(BOUNDS)].to_numpy(np.float64) / middle) ** rules.widen_by
    return forecast.assign(**dict(zip(BOUNDS, bounds, strict=True)), widened=rules.widen_by)


def fall_back(
    storage: Storage,
    settings: Settings,
    random_walk: Callable[[], RegisteredModel],
    promote: Promote,
    *,
    now: datetime,
) -> str:
    """Makes the random walk champion in the place of a version that was called useless, until one passes the gate.

    A version that is promoted again by hand afterwards stays: whoever did that knew.

    Args:
        storage: the store.
        settings: whether that is to follow.
        random_walk: the version of the random walk; registers it where it is not yet.
        promote: as in `forecasting.register_bundle`.
        now: the time.

    Returns:
        What was done, in words; empty where nothing was to do.

    Raises:
        RolloutError: the random walk was not brought to serve; the champion stays, and the next call tries again.
    """
    asset, registry = settings.market.asset, storage.registry
    detection = _waiting(storage, settings, "random_walk", "fell_back_at")
    if detection is None:
        return ""
    version, walk = detection["bundle_version"], random_walk()
    try:
        promote(walk.version, expected=version)
    except StoreConflictError:
        champion = registry.champion()
        if champion is None or champion.version != walk.version:
            return ""
        # A step that was killed had done so far.
    verdict = registry.get(version).verdict
    if not verdict.startswith(_FELL_BACK):
        registry.amend(version, verdict=f"{_FELL_BACK}{detection['reason']}; {verdict}")
    storage.log.write_detections(_row(asset, version, now, {"fell_back_at": now}))
    return f"version {walk.version}, the random walk, serves in the place of version {version}"


def awaiting_training(storage: Storage, settings: Settings) -> pd.Series | None:
    """The detection that a training is to follow and has not been started for; None where there is none."""
    return _waiting(storage, settings, "retrain", "retrained_at")


def note_training(log: ForecastLog, detection: pd.Series, *, now: datetime) -> None:
    """Writes down that it was started."""
    log.write_detections(_row(detection["asset"], detection["bundle_version"], now, {"retrained_at": now}))


def _waiting(storage: Storage, settings: Settings, consequence: str, done: str) -> pd.Series | None:
    if consequence not in settings.drift.concept.follows:
        return None
    detections = storage.log.read_detections(settings.market.asset)
    champion = storage.registry.champion()
    if detections.empty or champion is None:
        return None
    newest = detections.iloc[-1]
    # A newer champion has passed the gate meanwhile: nothing needs to follow.
    return newest if pd.isna(newest[done]) and champion.version <= newest["bundle_version"] else None


def _row(asset: str, version: int, now: datetime, values: dict[str, Any]) -> pd.DataFrame:
    blank = dict.fromkeys(DETECTIONS.names) | {"asset": asset, "bundle_version": version, "detected_at": now}
    return of_records([blank | values], DETECTIONS)
