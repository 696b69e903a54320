"""Alerts: what a person should know now. One open alert a kind; it is resolved when its cause is gone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from cryptosentinel.config import AlertSettings
from cryptosentinel.market.bars import Interval
from cryptosentinel.storage import FeatureStore, ForecastLog
from cryptosentinel.storage.schemas import ALERTS

WARNING, CRITICAL = "warning", "critical"
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Reading:
    """One watched figure. It alarms when its value is above the threshold."""

    kind: str
    value: float
    threshold: float
    message: str

    @property
    def alarming(self) -> bool:
        """Whether the value is above the threshold."""
        return self.value > self.threshold


def read_market(
    bars: pd.DataFrame, volatility: float, forecast: pd.Series | None, interval: Interval, settings: AlertSettings
) -> list[Reading]:
    """The watched figures of the market and of the newest forecast, as far as they are known.

    Args:
        bars: the last 24 hours and the bar before them, ordered, at least one.
        volatility: annualised volatility over 20 bars; NaN where unknown.
        forecast: the newest forecast, if any was made.
        interval: the bars' interval.
        settings: thresholds.
    """
    newest = bars.iloc[-1]
    price = float(newest["close"])
    day_ago = bars[bars["timestamp"] <= newest["timestamp"] - _DAY]
    # Without a bar from a day ago the change over 24 hours is not known, rather than that of a shorter time.
    change = price / float(day_ago["close"].iloc[-1]) - 1 if len(day_ago) else np.nan
    last_day = bars[bars["timestamp"] > newest["timestamp"] - _DAY]
    drawdown = 1 - price / float(last_day["close"].max())
    readings = [
        Reading(
            "price_move_24h",
            abs(change),
            settings.price_move_24h,
            f"The price moved {change:+.1%} in 24 hours, to {price:,.2f}.",
        ),
        Reading(
            "volatility",
            volatility,
            settings.volatility,
            f"Annualised volatility over 20 bars of {interval.name} is {volatility:.0%}.",
        ),
        Reading(
            "drawdown",
            drawdown,
            settings.drawdown,
            f"The price is {drawdown:.1%} below its highest close of the last 24 hours.",
        ),
    ]
    if forecast is not None:
        deviation = float(forecast["predicted_price"]) / float(forecast["price"]) - 1
        readings.append(
            Reading(
                "forecast_deviation",
                abs(deviation),
                settings.forecast_deviation,
                f"The forecast for {forecast['target_at']:%H:%M} UTC is {deviation:+.1%} off the price.",
            )
        )
    return [reading for reading in readings if np.isfinite(reading.value)]


def update_alerts(log: ForecastLog, asset: str, readings: list[Reading], *, now: datetime) -> pd.DataFrame:
    """Raises an alert for each alarming reading that has none open, and resolves those whose reading calmed down.

    An open alert whose kind has no reading now stays open: what is not known has not calmed down.

    Returns:
        The alerts that were raised or resolved now.
    """
    stored = log.read_alerts(asset, open_only=True)
    open_kinds = set(stored["kind"])
    by_kind = {reading.kind: reading for reading in readings}
    raised = pd.DataFrame(
        [_alert(reading, asset, now) for reading in readings if reading.alarming and reading.kind not in open_kinds],
        columns=ALERTS.names,
    )
    calm = stored[[kind in by_kind and not by_kind[kind].alarming for kind in stored["kind"]]].copy()
    calm["resolved_at"] = pd.Timestamp(now)
    changed = [frame for frame in (raised, calm) if len(frame)]
    if not changed:
        return raised
    result = pd.concat(changed, ignore_index=True)
    log.write_alerts(result)
    return result


def check_alerts(
    log: ForecastLog,
    store: FeatureStore,
    asset: str,
    spec_hash: str,
    interval: Interval,
    settings: AlertSettings,
    forecast: pd.Series | None,
    *,
    now: datetime,
) -> pd.DataFrame:
    """Reads the market from the store and updates the alerts; returns those raised or resolved now."""
    newest = store.last_timestamp(asset)
    if newest is None:
        return pd.DataFrame(columns=ALERTS.names)
    bars = store.read_bars(asset, newest - _DAY - interval.delta, newest + interval.delta)
    row = store.read_features(asset, spec_hash, newest, newest + interval.delta, columns=["volatility_20"])
    volatility = float(row["volatility_20"].iloc[-1]) if len(row) else np.nan
    return update_alerts(log, asset, read_market(bars, volatility, forecast, interval, settings), now=now)


def _alert(reading: Reading, asset: str, now: datetime) -> dict[str, object]:
    identity = f"{asset}|{reading.kind}|{now.timestamp():.0f}"
    return {
        "alert_id": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "kind": reading.kind,
        "severity": CRITICAL if reading.value > 2 * reading.threshold else WARNING,
        "asset": asset,
        "raised_at": pd.Timestamp(now),
        "value": reading.value,
        "threshold": reading.threshold,
        "message": reading.message,
        "resolved_at": pd.NaT,
    }
