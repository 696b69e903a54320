# ruff: noqa: ARG002 - methods take what those of the stores take
"""A store as it was at a moment: reads answer what was known by then, from frames in memory.

Only what the steps of a past day read and write is there. Alerts, detections and reports are gathered for the real
store; what the real store holds is never touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from cryptosentinel.storage import ALERTS, DETECTIONS, RegisteredModel
from cryptosentinel.storage.frames import of_records

_NOTHING_YET = datetime(1970, 1, 1, tzinfo=UTC)
OUTCOME = ("outcome", "actual_price", "error", "settled_at")


def _naive(time: datetime) -> np.datetime64:
    return np.datetime64(pd.Timestamp(time).tz_convert("UTC").tz_localize(None), "ms")


class _Timed:
    """A frame by time, of which everything up to a moment is read."""

    def __init__(self, frame: pd.DataFrame, column: str) -> None:
        self.frame = frame
        self.times = frame[column].dt.tz_localize(None).to_numpy("datetime64[ms]")

    def between(self, start: datetime | None, end: datetime | None, until: datetime) -> slice:
        """The rows with ``start <= time < end``, of those at or before `until`."""
        stop = int(np.searchsorted(self.times, _naive(until), side="right"))
        first = 0 if start is None else int(np.searchsorted(self.times, _naive(start)))
        last = stop if end is None else min(stop, int(np.searchsorted(self.times, _naive(end))))
        return slice(first, max(first, last))


class Features:
    """Bars and features (`storage.FeatureStore`, reading) whose bars have closed by `now`."""

    def __init__(self, bars: pd.DataFrame, features: pd.DataFrame, bar: timedelta, versions: tuple[int, int]) -> None:
        self._bars, self._features = _Timed(bars, "timestamp"), _Timed(features, "timestamp")
        self._bar, self._versions = bar, versions
        self.now = _NOTHING_YET

    def copy(self) -> Features:
        """What is known by `now` and nothing else, for another process."""
        ends = self.now - self._bar
        bars, features = (table.frame.iloc[table.between(None, None, ends)] for table in (self._bars, self._features))
        copied = Features(bars, features, self._bar, self._versions)
        copied.now = self.now
        return copied

    def read_bars(self, asset: str, start=None, end=None, *, columns=None, version=None) -> pd.DataFrame:
        """See `FeatureStore.read_bars`."""
        frame = self._bars.frame if columns is None else self._bars.frame[list(columns)]
        return frame.iloc[self._bars.between(start, end, self.now - self._bar)].reset_index(drop=True)

    def read_features(self, asset, spec_hash, start=None, end=None, *, columns=None, version=None) -> pd.DataFrame:
        """See `FeatureStore.read_features`."""
        rows = self._features.between(start, end, self.now - self._bar)
        frame = self._features.frame
        if columns is not None:
            frame = frame[list(dict.fromkeys(["asset", "timestamp", *columns]))]
        return frame.iloc[rows].reset_index(drop=True)

    def last_timestamp(self, asset: str, spec_hash: str | None = None) -> datetime | None:
        """See `FeatureStore.last_timestamp`."""
        table = self._bars if spec_hash is None else self._features
        rows = table.between(None, None, self.now - self._bar)
        return None if rows.stop == 0 else pd.Timestamp(table.times[rows.stop - 1], tz="UTC").to_pydatetime()

    def version(self, spec_hash: str | None = None) -> int:
        """See `FeatureStore.version`."""
        return self._versions[spec_hash is not None]


class Log:
    """A forecast log (`storage.ForecastLog`) that knows of the forecasts made by `now`, and of what they had come to.

    Attributes:
        alerts: those of before and those written here, newest first.
        written: by `alert_id`, those written here, as they are now.
        detections: written here.
        reports: of drift, written here.
    """

    def __init__(self, alerts: pd.DataFrame, detections: pd.DataFrame) -> None:
        self.alerts = alerts if len(alerts) else of_records([], ALERTS)
        self.detections = detections if len(detections) else of_records([], DETECTIONS)
        self.written: dict[str, pd.DataFrame] = {}
        self.reports: list[pd.DataFrame] = []
        self.now = _NOTHING_YET

    def hold(self, forecasts: pd.DataFrame) -> None:
        """Lets it know of forecasts, with their outcomes; it tells each when it was known."""
        self._forecasts = _Timed(forecasts, "made_at")
        settled_at = pd.to_datetime(forecasts["settled_at"], utc=True)
        self._settled = settled_at.dt.tz_localize(None).to_numpy("datetime64[ms]")

    def read_forecasts(
        self, asset: str, start=None, end=None, *, unsettled: bool = False, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """See `ForecastLog.read_forecasts`."""
        held = self._forecasts
        rows = held.between(start, end, self.now)
        frame = held.frame if columns is None else held.frame[list(columns)]
        frame = frame.iloc[rows].reset_index(drop=True)
        later = ~(self._settled[rows] <= _naive(self.now))  # NaT: never
        unknown = [name for name in OUTCOME if name in frame]
        for name in unknown if later.any() else ():
            if frame[name].dtype == np.float64:  # much faster than `mask`, and read at every bar
                values = frame[name].to_numpy(copy=True)
                values[later] = np.nan
                frame[name] = values
            else:
                frame[name] = frame[name].mask(later)
        return frame[later].reset_index(drop=True) if unsettled else frame

    def read_alerts(self, asset: str, *, open_only: bool = False) -> pd.DataFrame:
        """See `ForecastLog.read_alerts`."""
        return self.alerts[self.alerts["resolved_at"].isna()] if open_only else self.alerts

    def write_alerts(self, alerts: pd.DataFrame) -> None:
        """See `ForecastLog.write_alerts`."""
        for position in range(len(alerts)):
            row = alerts.iloc[[position]]
            self.written[row["alert_id"].iloc[0]] = row
        others = self.alerts[~self.alerts["alert_id"].isin(alerts["alert_id"])]
        # (An empty frame would take the columns' types away.)
        every = pd.concat([alerts, others]) if len(others) else alerts
        self.alerts = every.sort_values(["raised_at", "alert_id"], ascending=[False, True], ignore_index=True)

    def read_detections(self, asset: str) -> pd.DataFrame:
        """See `ForecastLog.read_detections`."""
        return self.detections

    def write_detections(self, detections: pd.DataFrame) -> None:
        """See `ForecastLog.write_detections`."""
        new = detections[~detections["bundle_version"].isin(self.detections["bundle_version"])]
        if len(new):
            self.detections = pd.concat([self.detections, new]) if len(self.detections) else new

    def write_drift(self, reports: pd.DataFrame) -> None:
        """See `ForecastLog.write_drift`."""
        self.reports.append(reports)


@dataclass
class Registry:
    """What of the registry (`storage.ModelRegistry`) is read while a day passes: noted whenever it changes."""

    champion_now: RegisteredModel
    known: list[RegisteredModel]

    def champion(self) -> RegisteredModel:
        """See `ModelRegistry.champion`."""
        return self.champion_now

    def newest(self) -> RegisteredModel:
        """See `ModelRegistry.newest`."""
        return self.known[-1]


@dataclass
class Then:
    """A store (`storage.Storage`) at a moment."""

    features: Features
    log: Log
    registry: Registry
    outbox: None = field(default=None)

    def at(self, now: datetime) -> Then:
        """The same, at another moment."""
        self.features.now = self.log.now = now
        return self

    def backlog(self) -> None:
        """Nobody else waits for features."""
