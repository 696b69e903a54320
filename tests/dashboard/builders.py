"""Small stores with a market and its forecasts, made as the pipelines make them."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from cryptosentinel.bundle import Gate
from cryptosentinel.config import Settings, load_settings
from cryptosentinel.drift import DriftReport, FeatureDrift, Histogram, WindowDrift
from cryptosentinel.features import featurize
from cryptosentinel.forecasting.looks import verdict_metrics
from cryptosentinel.market import ingest
from cryptosentinel.predicting.settling import settle_due
from cryptosentinel.storage import ALERTS, FORECASTS
from cryptosentinel.workspace import Workspace, open_workspace
from tests.builders import make_tiny_bundle

SIMULATED = "simulated:3"


def settings_for(home: Path, source: str = SIMULATED) -> Settings:
    return load_settings(environ={}, overrides={"home": str(home), "market.source": source})


def with_bars(settings: Settings, now: datetime, *, hours: float = 26) -> Workspace:
    """A store with bars and features of the last hours before `now`, and the random walk as champion."""
    workspace = open_workspace(settings, now=now)
    workspace.champion()
    ingest(workspace.source, workspace.storage.features, history=timedelta(hours=hours))
    featurize(workspace.storage.features, workspace.spec, settings.market.asset)
    return workspace


def some_forecasts(workspace: Workspace, count: int, *, move: float | None = None) -> pd.DataFrame:
    """A forecast at each of the last `count` closes: of random moves, or of `move` (a log return) each."""
    asset, step = workspace.settings.market.asset, workspace.spec.interval.delta
    bars = workspace.storage.features.read_bars(asset).tail(count).reset_index(drop=True)
    expected = np.random.default_rng(0).normal(0, 0.001, len(bars)) if move is None else np.full(len(bars), move)
    middle = bars["close"] * np.exp(expected)
    made_at = bars["timestamp"] + step
    frame = pd.DataFrame(
        {
            "forecast_id": made_at.dt.strftime("%Y%m%d%H%M"),
            "asset": asset,
            "made_at": made_at,
            "target_at": made_at + workspace.settings.forecast.horizon_bars * step,
            "price": bars["close"],
            "predicted_price": middle,
            "lower_80": middle * 0.997,
            "upper_80": middle * 1.003,
            "lower_95": middle * 0.995,
            "upper_95": middle * 1.005,
            "direction": np.select([expected > 0, expected < 0], ["up", "down"], "flat"),
            "p_up": 0.5 + 0.2 * np.sign(expected),
            "confidence": 0.5 + 0.2 * np.abs(np.sign(expected)),
            "regime": "uptrend",
            "champion": "ridge",
            "by_model": "{}",
            "bundle_version": 0,
        }
    )
    return frame.reindex(columns=FORECASTS.names)


def with_forecasts(settings: Settings, now: datetime, *, count: int = 48, move: float | None = None) -> Workspace:
    """`with_bars`, and a forecast at each of the last closes, settled where due."""
    workspace = with_bars(settings, now)
    storage, asset = workspace.storage, settings.market.asset
    storage.log.write_forecasts(some_forecasts(workspace, count, move=move))
    settle_due(storage.log, storage.features, asset, workspace.spec.interval, settings.forecast, now=now)
    return workspace


def register(workspace: Workspace, verdict: str, data_end: datetime) -> None:
    """A version 1, of data that end then, which the champion alias does not point at."""
    with TemporaryDirectory() as folder:
        bundle = make_tiny_bundle(Path(folder) / "bundle", workspace.spec)
        gate = Gate(promote=True, reasons=[verdict], figures={"blend_may_speak": 0.0, "look_tested": 0.0})
        metrics = verdict_metrics(gate, data_end)
        workspace.storage.registry.register(bundle.path, metrics=metrics, verdict=verdict)


def an_alert(now: datetime, message: str, *, severity: str = "warning", resolved: bool = False) -> pd.DataFrame:
    row = {
        "alert_id": severity,
        "kind": "volatility",
        "severity": severity,
        "asset": "bitcoin",
        "raised_at": pd.Timestamp(now) - pd.Timedelta("3h"),
        "value": 0.7,
        "threshold": 0.5,
        "message": message,
        "resolved_at": pd.Timestamp(now) if resolved else pd.NaT,
    }
    return pd.DataFrame([row], columns=ALERTS.names)


def a_drift_report(end: datetime, *, scores: tuple[float, float] = (0.0, 0.0), version: int = 0) -> DriftReport:
    """A report of two windows and two features, `rsi_14` and `range`; of each window the first `score` has drifted.

    The short window knows `rsi_14` only.
    """

    def feature(name: str, weight: float, drifted: bool) -> FeatureDrift:
        p = 0.001 if drifted else 0.5
        return FeatureDrift(
            feature=name, weight=weight, statistic=0.4 if drifted else 0.1, p_value=p, corrected=p, naive_p_value=p,
            effect=1.5, drifted=drifted,
        )  # fmt: skip

    short, long = scores
    windows = [
        WindowDrift(hours=3, rows=9, stretches=200, rate=0.007, features=[feature("rsi_14", 1.0, short > 0)]),
        WindowDrift(
            hours=72,
            rows=216,
            stretches=200,
            rate=0.015,
            features=[feature("rsi_14", 1 - long, False), feature("range", long, long > 0)],
        ),
    ]
    histograms = [
        Histogram(feature=name, edges=[0, 1, 2], baseline=[30, 10], windows=[[1, 3], [20, 20]])
        for name in ("rsi_14", "range")
    ]
    return DriftReport(
        asset="bitcoin",
        version=version,
        data_end=end,
        detector="<b>scipy</b>",
        reference_rows=5000,
        reference_start=end - timedelta(days=40),
        reference_end=end - timedelta(days=1),
        weighted=True,
        threshold=0.3,
        windows=windows,
        histograms=histograms,
    )
