"""What the rules look at: a few figures of the market, the forecasts and the machinery, gathered once a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import nan
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cryptosentinel.alerting.machinery import facts_of_runs
from cryptosentinel.config import Settings
from cryptosentinel.drift import Concept
from cryptosentinel.features import FeatureSpec
from cryptosentinel.storage import Storage

if TYPE_CHECKING:
    from cryptosentinel.storage import StepRun

# Coverage is not judged on fewer outcomes that do not overlap: with 200, chance makes three points of it.
ENOUGH_FOR_COVERAGE = 200
COVERAGE = 0.80
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Facts:
    """The figures as far as they are known; NaN is not known.

    Attributes:
        price: the newest close.
        change_24h: the price against that of 24 hours ago, e.g. -0.05.
        drawdown: how far it is below the highest close of the last 24 hours.
        volatility: annualised, over 20 bars.
        deviation: the newest forecast against its price.
        target: what that forecast is for, in words.
        coverage: share of settled prices within the 80% interval, over `alerts.coverage_days`.
        drift: share of features that drifted, 0 to 1.
        concept: the evidence against the champion's forecasts, as `drift.Concept.level`; 0 where there is none.
        concept_in_words: the same for people; `concept_follows` what follows by itself.
        bars_age_s: since the newest bar closed.
        feature_lag_s: from the newest bar to the newest row of features.
        forecast_age_s: since the newest forecast was made.
        no_forecast: why there was none just now; empty where there was one.
        training_age_s: since a version was last registered.
        model_age_days: since the champion's data ended; 0 for the random walk, which has none.
        failures: how often the step that is worst off failed in a row.
        failed: which, and why.
        missed_runs: how many times of its schedule the pipeline that is worst off missed.
        missed: which, and since when.
        store_lag_s: how long the oldest features wait for the feature store behind the store.
        interval: of the bars.
        tick: names what all this rests on, so that processes that look at the same raise the same alert.
    """

    price: float = nan
    change_24h: float = nan
    drawdown: float = nan
    volatility: float = nan
    deviation: float = nan
    target: str = ""
    coverage: float = nan
    drift: float = nan
    concept: float = nan
    concept_in_words: str = ""
    concept_follows: tuple[str, ...] = ()
    bars_age_s: float = nan
    feature_lag_s: float = nan
    forecast_age_s: float = nan
    no_forecast: str = ""
    training_age_s: float = nan
    model_age_days: float = nan
    failures: float = nan
    failed: str = ""
    missed_runs: float = nan
    missed: str = ""
    store_lag_s: float = nan
    interval: str = ""
    tick: str = ""


def gather_facts(
    storage: Storage,
    spec: FeatureSpec,
    settings: Settings,
    forecast: pd.Series | None = None,
    *,
    no_forecast: str = "",
    model_age_days: float = nan,
    runs: Sequence[StepRun] = (),
    concept: Concept | None = None,
    now: datetime,
) -> Facts:
    """Reads from the store what the rules look at.

    Args:
        storage: the store.
        spec: of the features.
        settings: name the asset, and how far back coverage is counted.
        forecast: the one that was made just now, if any.
        no_forecast: why none was made.
        model_age_days: as in `Facts`; who asked the predictor knows it.
        runs: the newest of each step; none where there are no pipelines, as in a replay.
        concept: the evidence against the champion's forecasts; None: there is none.
        now: the time.
    """
    store, asset, bar = storage.features, settings.market.asset, spec.interval.delta
    newest = store.last_timestamp(asset)
    machinery = facts_of_runs(runs, settings.schedules, now=now)
    if newest is None:
        return Facts(no_forecast=no_forecast, **machinery)
    bars = store.read_bars(asset, newest - _DAY - bar, newest + bar)
    price = float(bars["close"].iloc[-1])
    day_ago = bars[bars["timestamp"] <= newest - _DAY]
    last_day = bars[bars["timestamp"] > newest - _DAY]
    row = store.read_features(asset, spec.hash, newest, newest + bar, columns=["volatility_20"])
    featurized = store.last_timestamp(asset, spec.hash)
    log = _recent_forecasts(storage, settings, now)
    trained = storage.registry.newest()
    return Facts(
        price=price,
        # Without a bar from a day ago the change over 24 hours is not known, rather than that of a shorter time.
        change_24h=price / float(day_ago["close"].iloc[-1]) - 1 if len(day_ago) else nan,
        drawdown=1 - price / float(last_day["close"].max()),
        volatility=float(row["volatility_20"].iloc[-1]) if len(row) else nan,
        deviation=nan if forecast is None else float(forecast["predicted_price"]) / float(forecast["price"]) - 1,
        target="" if forecast is None else f"{forecast['target_at']:%H:%M} UTC",
        coverage=coverage_since(log, now - timedelta(days=settings.alerts.coverage_days)),
        concept=0.0 if concept is None else concept.level,
        concept_in_words="" if concept is None else concept.sentence(),
        concept_follows=settings.drift.concept.follows,
        bars_age_s=(now - newest - bar).total_seconds(),
        feature_lag_s=(newest - featurized).total_seconds() if featurized is not None else nan,
        forecast_age_s=(now - log["made_at"].max()).total_seconds() if len(log) else nan,
        no_forecast=no_forecast,
        training_age_s=(now - trained.registered_at).total_seconds() if trained else nan,
        model_age_days=model_age_days,
        **machinery,
        store_lag_s=_store_lag_s(storage, now),
        interval=spec.interval.name,
        tick=newest.isoformat(),
    )


def _store_lag_s(storage: Storage, now: datetime) -> float:
    backlog = storage.backlog()
    if backlog is None:
        return nan
    return max((now - backlog.since).total_seconds(), 0.0) if backlog.since else 0.0


def _recent_forecasts(storage: Storage, settings: Settings, now: datetime) -> pd.DataFrame:
    days = max(settings.alerts.coverage_days, 2 * settings.alerts.forecast_late_s / 86_400)
    columns = ["made_at", "target_at", "actual_price", "lower_80", "upper_80"]
    return storage.log.read_forecasts(
        settings.market.asset, now - timedelta(days=days), now + timedelta(seconds=1), columns=columns
    )


def coverage_since(log: pd.DataFrame, since: datetime) -> float:
    """The share of prices within the 80% interval; NaN for too few outcomes that do not overlap.

    Args:
        log: forecasts, by `made_at`.
        since: those made before do not count.
    """
    settled = log[(log["made_at"] >= since) & log["actual_price"].notna()]
    made = settled["made_at"].to_numpy(dtype="datetime64[ms]")
    until = settled["target_at"].to_numpy(dtype="datetime64[ms]")
    count, at = 0, 0
    while at < len(made):
        count, at = count + 1, int(np.searchsorted(made, until[at]))
    if count < ENOUGH_FOR_COVERAGE:
        return nan
    return float(settled["actual_price"].between(settled["lower_80"], settled["upper_80"]).mean())
