"""From readings to alerts: one open alert a kind, which gets worse, ends, and is not raised again at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import pandas as pd

from cryptosentinel.alerting.rules import Reading
from cryptosentinel.config import AlertSettings
from cryptosentinel.storage.frames import of_records
from cryptosentinel.storage.schemas import ALERTS, CRITICAL


def next_alerts(
    stored: pd.DataFrame, readings: Sequence[Reading], asset: str, settings: AlertSettings, *, now: datetime, tick: str
) -> pd.DataFrame:
    """The alerts that are raised, get worse or end now. What has no reading stays as it is: unknown is not calm.

    Args:
        stored: all alerts of the asset, newest first.
        readings: at most one a kind.
        asset: whose.
        settings: how long an alert that ended is not raised again.
        now: the time.
        tick: names what the readings rest on: processes that read the same raise the same alert, not two.

    Returns:
        Rows to write, with the columns of `storage.schemas.ALERTS`.
    """
    changed, open_kinds = [], set(stored.loc[stored["resolved_at"].isna(), "kind"])
    for reading in readings:
        if not reading.alarming and reading.kind not in open_kinds:
            continue
        same = stored[stored["kind"] == reading.kind]
        is_open = same["resolved_at"].isna()
        if not is_open.any():
            last = same.iloc[0] if len(same) else None
            if reading.alarming and not _cooling(last, reading, settings, now):
                changed.append(of_records([_alert(reading, asset, last, now, tick)], ALERTS))
        elif reading.calm:
            changed.append(same[is_open].assign(resolved_at=pd.Timestamp(now).as_unit("ms")))
        elif reading.severity == CRITICAL and (milder := same[is_open & (same["severity"] != CRITICAL)]).size:
            changed.append(milder.assign(severity=CRITICAL, value=reading.value, message=reading.message))
    return pd.concat(changed, ignore_index=True) if changed else stored.iloc[:0]


def _cooling(last: pd.Series | None, reading: Reading, settings: AlertSettings, now: datetime) -> bool:
    """Whether the last alert of this kind ended too recently; one that is worse than that is not held back."""
    if last is None or (reading.severity == CRITICAL and last["severity"] != CRITICAL):
        return False
    return bool(pd.Timestamp(now) - last["resolved_at"] < timedelta(seconds=settings.cool_down_s))


def _alert(reading: Reading, asset: str, last: pd.Series | None, now: datetime, tick: str) -> dict[str, object]:
    identity = "|".join([asset, reading.kind, "" if last is None else str(last["alert_id"]), tick])
    return {
        "alert_id": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "kind": reading.kind,
        "severity": reading.severity,
        "asset": asset,
        "raised_at": pd.Timestamp(now),
        "value": reading.value,
        "threshold": reading.threshold,
        "message": reading.message,
        "resolved_at": pd.NaT,
    }
