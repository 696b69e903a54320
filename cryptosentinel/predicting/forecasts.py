"""Making a forecast from the newest features, as a row of the forecast log."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from cryptosentinel.config import ForecastSettings
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec
from cryptosentinel.predicting.predictor import Answer, Predictor, Rows
from cryptosentinel.storage import FeatureStore
from cryptosentinel.storage.schemas import FORECASTS

INTERVAL_BOUNDS = ("lower_80", "upper_80", "lower_95", "upper_95")


@dataclass(frozen=True)
class Abstention:
    """Why no forecast was made."""

    reason: str


def make_forecast(
    store: FeatureStore,
    predictor: Predictor,
    spec: FeatureSpec,
    asset: str,
    settings: ForecastSettings,
    *,
    now: datetime,
) -> pd.DataFrame | Abstention:
    """Asks the predictor about the newest complete bar.

    A forecast is made at that bar's close, the moment its price was known, not at `now`: so it can be checked fairly,
    and asking twice gives the same forecast.

    Returns:
        One row with the columns of `storage.schemas.FORECASTS`, unsettled, or why there is none.

    Raises:
        ServingError: the predictor is away, or answers something that is not a forecast.
    """
    newest = store.last_timestamp(asset, spec.hash)
    if newest is None:
        return Abstention("there are no features yet")
    made_at = newest + spec.interval.delta
    age_s = (now - made_at).total_seconds()
    if age_s > settings.max_data_age_s:
        return Abstention(f"the newest features are {age_s / 60:.0f} minutes old, older than forecast.max_data_age_s")
    features = store.read_features(asset, spec.hash, newest, made_at)
    bars = store.read_bars(asset, newest, made_at)
    if bars.empty or features.empty:
        return Abstention(f"the bar of {newest:%H:%M} has no features yet")
    volatility = features[SCALE_FEATURE].to_numpy(np.float64)
    if not np.isfinite(volatility).all():
        return Abstention("too few bars since the last gap to know the volatility")
    inputs = features[spec.model_names].to_numpy(np.float64)
    rows = Rows(
        close=bars["close"].to_numpy(np.float64),
        volatility=volatility,
        features=inputs if np.isfinite(inputs).all() else None,
        spec_hash=spec.hash,
    )
    return forecast_rows(predictor.infer(rows), rows.close, asset, [made_at], spec, settings.horizon_bars)


def forecast_rows(
    answer: Answer, close: np.ndarray, asset: str, made_at: list[datetime], spec: FeatureSpec, horizon_bars: int
) -> pd.DataFrame:
    """A predictor's answer as unsettled rows of the forecast log."""
    inference = answer.inference
    frame = pd.DataFrame(
        {
            "forecast_id": [forecast_id(asset, spec, horizon_bars, at) for at in made_at],
            "asset": asset,
            "made_at": pd.to_datetime(made_at, utc=True),
            "target_at": pd.to_datetime(made_at, utc=True) + horizon_bars * spec.interval.delta,
            "price": close,
            "predicted_price": inference.predicted_price,
            **{name: getattr(inference, name) for name in INTERVAL_BOUNDS},
            "direction": inference.direction,
            "p_up": inference.p_up,
            "confidence": inference.confidence,
            "regime": inference.regime,
            "champion": inference.champion,
            "by_model": [
                json.dumps({name: float(prices[row]) for name, prices in inference.by_model.items()})
                for row in range(len(made_at))
            ],
            "bundle_version": answer.bundle_version,
        }
    )
    return frame.reindex(columns=FORECASTS.names)


def forecast_id(asset: str, spec: FeatureSpec, horizon_bars: int, made_at: datetime) -> str:
    """The same for the same question, so that two schedulers that ask it make one forecast."""
    question = f"{asset}|{spec.interval.name}|{horizon_bars}|{made_at.timestamp():.0f}"
    return hashlib.sha256(question.encode()).hexdigest()[:16]
