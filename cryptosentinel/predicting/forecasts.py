"""Making a forecast from the newest features, as a row of the forecast log."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.bundle import BOUNDS
from cryptosentinel.config import ForecastSettings
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec
from cryptosentinel.predicting.predictor import Answer, Predictor, Rows
from cryptosentinel.predicting.refusals import NO_FEATURES, NO_VOLATILITY, Abstention, expired_model, stale_features
from cryptosentinel.storage import FeatureStore
from cryptosentinel.storage.schemas import FORECASTS


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
    and asking twice gives the same forecast. How far it looks is the bundle's to say: after `forecast.horizon_bars` has
    changed, the champion forecasts as far as it has learnt to, until another is trained.

    Returns:
        One row with the columns of `storage.schemas.FORECASTS`, unsettled, or why there is none.

    Raises:
        ServingError: the predictor is away, or answers something that is not a forecast.
        SpecMismatchError: its bundle was built for other features.
    """
    question = newest_rows(store, spec, asset, settings, now=now)
    if isinstance(question, Abstention):
        return question
    made_at, rows = question
    answer = predictor.infer(rows)
    if refusal := expired_model(answer.data_end, settings, now=now):
        return refusal
    return forecast_frame(answer, rows.close, asset, pd.DatetimeIndex([made_at]), spec)


def abstention(
    store: FeatureStore,
    spec: FeatureSpec,
    asset: str,
    settings: ForecastSettings,
    data_end: datetime | None,
    *,
    now: datetime,
) -> str:
    """Why `make_forecast` would abstain now, without asking a predictor; empty where it would not.

    Args:
        store: where the newest features are.
        spec: of the features.
        asset: whose price.
        settings: how old features and champion may be.
        data_end: of the champion, as `Answer.data_end`.
        now: the time.
    """
    question = newest_rows(store, spec, asset, settings, now=now)
    refusal = question if isinstance(question, Abstention) else expired_model(data_end, settings, now=now)
    return refusal.reason if refusal else ""


def newest_rows(
    store: FeatureStore, spec: FeatureSpec, asset: str, settings: ForecastSettings, *, now: datetime
) -> tuple[datetime, Rows] | Abstention:
    """When the newest bar closed and what a predictor is asked about it (one row), or why nothing can be asked."""
    newest = store.last_timestamp(asset, spec.hash)
    if newest is None:
        return NO_FEATURES
    made_at = newest + spec.interval.delta
    if refusal := stale_features(made_at, settings, now=now):
        return refusal
    features = store.read_features(asset, spec.hash, newest, made_at)
    bars = store.read_bars(asset, newest, made_at)
    volatility = features[SCALE_FEATURE].to_numpy(np.float64)
    if not np.isfinite(volatility).all():
        return NO_VOLATILITY
    inputs = features[spec.model_names].to_numpy(np.float64)
    rows = Rows(
        close=bars["close"].to_numpy(np.float64),
        volatility=volatility,
        features=inputs if np.isfinite(inputs).all() else None,
        spec_hash=spec.hash,
    )
    return made_at, rows


def forecast_frame(
    answer: Answer, close: NDArray[np.float64], asset: str, made_at: pd.DatetimeIndex, spec: FeatureSpec
) -> pd.DataFrame:
    """A predictor's answer as rows of the forecast log, not settled yet.

    Args:
        answer: for n rows.
        close: the last price of each, shape (n,).
        asset: whose price.
        made_at: when each bar closed, in UTC, n of them.
        spec: of the features asked with.
    """
    inference = answer.inference
    names, prices = list(inference.by_model), np.column_stack(list(inference.by_model.values())).tolist()
    frame = pd.DataFrame(
        {
            "forecast_id": [forecast_id(asset, spec, answer.horizon_bars, time) for time in made_at],
            "asset": asset,
            "made_at": made_at,
            "target_at": made_at + answer.horizon_bars * spec.interval.delta,
            "price": close,
            "predicted_price": inference.predicted_price,
            "sigma": inference.sigma,
            **dict(zip(BOUNDS, inference.quantiles.T, strict=True)),
            "direction": inference.direction,
            "p_up": inference.p_up,
            "confidence": inference.confidence,
            "regime": inference.regime,
            "dissimilarity": inference.dissimilarity,
            "outlying": inference.outlying,
            "champion": inference.champion,
            "by_model": [json.dumps(dict(zip(names, row, strict=True))) for row in prices],
            "bundle_version": answer.bundle_version,
            "widened": 1.0,
        }
    )
    return frame.reindex(columns=FORECASTS.names)


def forecast_id(asset: str, spec: FeatureSpec, horizon_bars: int, made_at: datetime) -> str:
    """The same for the same question, so that two schedulers that ask it make one forecast."""
    question = f"{asset}|{spec.interval.name}|{horizon_bars}|{made_at.timestamp():.0f}"
    return hashlib.sha256(question.encode()).hexdigest()[:16]
