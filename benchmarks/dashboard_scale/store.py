"""A market that has run for years, for `bench_dashboard`: simulated bars, their features, and what steps left behind.

What takes years to come by is written in bulk, through the stores that the pipelines write through: a forecast a bar,
settled as `settle_due` settles; a version, its gate's verdict and a drift report each half hour of them; alerts. Two
versions have a bundle, the champion's trained on noise.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
from bench_serving import trained
from deltalake import DeltaTable, write_deltalake

from cryptosentinel.bundle import Bundle
from cryptosentinel.config import load_settings
from cryptosentinel.drift import DriftReport, check_drift
from cryptosentinel.features import compute_features
from cryptosentinel.forecasting.looks import verdict_metrics
from cryptosentinel.market import ingest
from cryptosentinel.predicting import REGIME_WORDS, outcomes
from cryptosentinel.storage import ALERTS, FORECASTS, RegisteredModel, delta
from cryptosentinel.storage.schemas import QUANTILES, VERSIONS
from cryptosentinel.workspace import Workspace, open_workspace, remember

SOURCE = "simulated:3"
HALF_HOUR = timedelta(minutes=30)
_Z = {"lower_95": -1.96, "lower_90": -1.64, "lower_80": -1.28, "lower_50": -0.67, "median": 0.0}
Z = _Z | {name.replace("lower", "upper"): -z for name, z in _Z.items()}
CANDIDATES = ("random_walk", "ridge", "random_forest", "gradient_boosting", "xgboost", "blend")


def make_store(home: Path, now: datetime, *, rows: int, forecasts: int) -> Workspace:
    """A store with as many bars and rows of features up to `now`, and as many forecasts of the last bars."""
    workspace = open_workspace(
        load_settings(environ={}, overrides={"home": str(home), "market.source": SOURCE}), now=now
    )
    remember(workspace)
    storage, asset, spec = workspace.storage, workspace.settings.market.asset, workspace.spec
    workspace.champion()
    ingest(workspace.source, storage.features, history=rows * spec.interval.delta)
    bars = storage.features.read_bars(asset)
    storage.features.write_features(compute_features(bars, spec), spec.hash)
    log = some_forecasts(bars.tail(forecasts), workspace)
    storage.log.write_forecasts(log)
    storage.log.settle(outcomes(log, bars, spec.interval, workspace.settings.forecast, now=now))
    storage.log.write_alerts(some_alerts(bars.tail(forecasts)))
    with TemporaryDirectory() as folder:
        bundle = trained(Path(folder), 1_800)
        newest = int(log["bundle_version"].iloc[-1])
        model = register(workspace, bundle, newest, now)
        storage.registry.promote(model.version, expected=0)
        report = check_drift(storage.features, spec, asset, bundle, workspace.settings.drift, version=newest)
    if isinstance(report, DriftReport):
        for month in range(0, newest, 1_440):
            storage.log.write_drift(some_reports(report, range(month, min(month + 1_440, newest)), now))
    return workspace


def some_forecasts(bars: pd.DataFrame, workspace: Workspace) -> pd.DataFrame:
    """A forecast at each close, by a version each half hour."""
    rng, step = np.random.default_rng(0), workspace.spec.interval.delta
    close = bars["close"].to_numpy()
    expected, sigma = rng.normal(0, 2e-4, len(bars)), rng.lognormal(-6.5, 0.3, len(bars))
    middle, p_up = close * np.exp(expected), 0.5 + np.clip(expected / sigma / 4, -0.2, 0.2)
    made_at = (bars["timestamp"] + step).reset_index(drop=True)
    by_model = np.round(close[:, None] * np.exp(rng.normal(0, 2e-4, (len(bars), len(CANDIDATES)))), 2)
    frame = pd.DataFrame(
        {
            "forecast_id": made_at.dt.strftime("%Y%m%d%H%M"),
            "asset": workspace.settings.market.asset,
            "made_at": made_at,
            "target_at": made_at + workspace.settings.forecast.horizon_bars * step,
            "price": close,
            "predicted_price": middle,
            "sigma": sigma,
            **{name: middle * np.exp(Z[name] * sigma) for name in QUANTILES},
            "direction": np.select([p_up > 0.505, p_up < 0.495], ["up", "down"], "flat"),
            "p_up": p_up,
            "confidence": np.maximum(p_up, 1 - p_up),
            "regime": rng.choice(list(REGIME_WORDS), len(bars)),
            "dissimilarity": rng.random(len(bars)),
            "outlying": rng.random(len(bars)) < 0.01,
            "widened": np.where(rng.random(len(bars)) < 0.01, 1.3, 1.0),
            "champion": rng.choice(["random_walk", "blend"], len(bars)),
            "by_model": [json.dumps(dict(zip(CANDIDATES, prices, strict=True))) for prices in by_model.tolist()],
            "bundle_version": np.arange(len(bars)) // (HALF_HOUR // step) + 1,
        }
    )
    return frame.reindex(columns=FORECASTS.names).astype({"settled_at": made_at.dtype})


def some_alerts(bars: pd.DataFrame) -> pd.DataFrame:
    """One a day or so, the newest two still open."""
    raised = bars["timestamp"].iloc[::250].reset_index(drop=True)
    kinds = np.resize(["volatility", "coverage", "stale_data", "drift"], len(raised))
    alerts = pd.DataFrame(
        {
            "alert_id": [f"{kind}-{number}" for number, kind in enumerate(kinds)],
            "kind": kinds,
            "severity": np.resize(["warning", "critical", "info"], len(raised)),
            "asset": "bitcoin",
            "raised_at": raised,
            "value": 0.7,
            "threshold": 0.5,
            "message": [f"{kind} is beyond what is usual: 0.7 against 0.5" for kind in kinds],
            "resolved_at": (raised + timedelta(hours=3)).where(raised.index < len(raised) - 2),
        }
    )
    return alerts.reindex(columns=ALERTS.names)


def register(workspace: Workspace, bundle: Path, version: int, now: datetime) -> RegisteredModel:
    """Registers a bundle as this version, after as many that were pruned since."""
    gate = Bundle.load(bundle).manifest.gate
    rng = np.random.default_rng(1)
    registry = workspace.storage.registry
    first = registry.register(bundle, metrics={}, verdict="")
    rows = []
    for number in range(1, version + 1):
        at = now - (version - number) * HALF_HOUR
        noise = dict(zip(("mae", "rmse", "r2", "skill", "rmse_price"), rng.normal(1e-3, 1e-4, 5).tolist(), strict=True))
        promote = number % 10 == 0
        verdict = f"{'promoted' if promote else 'refused'}: {'; '.join(gate.reasons)}"
        metrics = verdict_metrics(gate.model_copy(update={"promote": promote}), at)
        rows.append(
            {
                "version": number,
                "folder": Path(first.uri).name,
                "digest": first.digest,
                "registered_at": at,
                "metrics": json.dumps(metrics | noise, sort_keys=True),
                "verdict": verdict,
                "pruned_at": None if number == version else now,
            }
        )
    root = Path(first.uri).parents[1]
    table = DeltaTable(root / "registry" / "versions")
    kept = delta.scan(table, grown=VERSIONS, where=["version = 0"])
    everything = pa.concat_tables([kept, pa.Table.from_pylist(rows, schema=kept.schema)])
    write_deltalake(table, everything.cast(VERSIONS), mode="overwrite", writer_properties=delta.WRITER)
    return registry.get(version)


def some_reports(report: DriftReport, numbers: range, now: datetime) -> pd.DataFrame:
    """The same report again and again, each half hour before `now`, with another score."""
    rng = np.random.default_rng(numbers.start)
    rows = []
    for number in numbers:
        at = pd.Timestamp(now - number * HALF_HOUR).floor("5min")
        told = report.model_copy(update={"data_end": at.to_pydatetime(), "version": max(1, report.version - number)})
        rows.append(
            {
                "report_id": f"{report.asset}|{told.version}|{at.isoformat()}",
                "asset": report.asset,
                "data_end": at,
                "checked_at": at + timedelta(minutes=6),
                "bundle_version": told.version,
                "detector": report.detector,
                "score": float(rng.beta(2, 6)),
                "threshold": report.threshold,
                "drifted": False,
                "sentence": report.sentence(),
                "body": told.model_dump_json(),
            }
        )
    return pd.DataFrame(rows)
