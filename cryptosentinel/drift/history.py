"""Drift reports in the store: what was found, when, for the dashboard."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from cryptosentinel.drift.records import DriftReport
from cryptosentinel.storage import ForecastLog


def keep_report(log: ForecastLog, report: DriftReport, *, now: datetime) -> None:
    """Writes a report; the same rows held against the same champion again replace it."""
    row = {
        "report_id": f"{report.asset}|{report.version}|{report.data_end.isoformat()}",
        "asset": report.asset,
        "data_end": report.data_end,
        "checked_at": now,
        "bundle_version": report.version,
        "detector": report.detector,
        "score": report.score,
        "threshold": report.threshold,
        "drifted": report.drifted,
        "sentence": report.sentence(),
        "body": report.model_dump_json(),
    }
    log.write_drift(pd.DataFrame([row]))


def newest_report(log: ForecastLog, asset: str) -> DriftReport | None:
    """The newest report of an asset; None where there is none."""
    kept = log.read_drift(asset, columns=["data_end", "checked_at"])
    if kept.empty:
        return None
    newest = log.read_drift(asset, kept["data_end"].iloc[-1].to_pydatetime(), columns=["checked_at", "body"])
    return DriftReport.model_validate_json(newest.sort_values("checked_at")["body"].iloc[-1])
