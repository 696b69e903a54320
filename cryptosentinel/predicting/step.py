"""The predict step: settle what is due, forecast, adjust its quantiles by what was settled, raise alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cryptosentinel.alerting import Told, deliver, gather_facts, open_sinks, watch
from cryptosentinel.bundle import BOUNDS
from cryptosentinel.config import ForecastSettings, Settings
from cryptosentinel.drift import Concept, champion_concept
from cryptosentinel.errors import BundleError, ServingError
from cryptosentinel.features import FeatureSpec
from cryptosentinel.forecasting import SETTLED_COLUMNS, Adjusted, Settled, calibrate
from cryptosentinel.predicting.following import note_detection, widened
from cryptosentinel.predicting.forecasts import make_forecast
from cryptosentinel.predicting.predictor import Answer, Predictor, Rows
from cryptosentinel.predicting.refusals import Abstention
from cryptosentinel.predicting.settling import revise_settled, settle_due
from cryptosentinel.storage import ForecastLog, Storage

if TYPE_CHECKING:
    from cryptosentinel.storage import StepRun


@dataclass(frozen=True)
class PredictReport:
    """What a predict step did.

    Attributes:
        forecast: the forecast as a row of the log; None where the step abstained. Where the same was asked before, the
            first answer.
        abstained: why there is no forecast; empty where there is one.
        adjusted: what the forecast's quantiles rest on; None where the step abstained.
        settled: forecasts settled now.
        concept: the evidence against the champion's forecasts; None while none of them is settled.
        alerts: alerts that were raised, got worse or were resolved now.
        told: what of the alerts, and of those before them, was delivered now.
    """

    forecast: pd.Series | None
    abstained: str
    adjusted: Adjusted | None
    settled: pd.DataFrame
    concept: Concept | None
    alerts: pd.DataFrame
    told: Told


def predict(
    storage: Storage,
    predictor: Predictor,
    spec: FeatureSpec,
    settings: Settings,
    *,
    runs: Sequence[StepRun] = (),
    now: datetime,
) -> PredictReport:
    """Settles due forecasts, makes a forecast, adjusts its quantiles, logs it, updates the alerts and tells of them.

    Settling comes first and alerts happen even where the predictor fails: its failure is raised at the end, after
    everything that does not need it is stored. Of `runs`, the newest of each step, alerts are raised too.

    Raises:
        ServingError: the predictor is away, or answers something that is not a forecast.
        SpecMismatchError: its bundle was built for other features.
    """
    asset = settings.market.asset
    settled = settle_due(storage.log, storage.features, asset, spec.interval, settings.forecast, now=now)
    revise_settled(storage.log, storage.features, asset, spec.interval, settings.forecast, now=now)
    concept = champion_concept(storage, spec.interval.delta, settings, now=now)
    note_detection(storage.log, concept, asset, now=now)
    forecast, abstained, adjusted, failure = None, "", None, None
    noted = _Noting(predictor)
    try:
        made = current_forecast(storage, noted, spec, settings, now=now)
    except (ServingError, BundleError) as error:
        failure = error
    else:
        if isinstance(made, Abstention):
            abstained = made.reason
        else:
            rows, adjusted = made
            storage.log.write_forecasts(rows)
            forecast = _as_logged(storage.log, rows.iloc[0])
    no_forecast = abstained or (failure.message if failure is not None else "")
    facts = gather_facts(
        storage,
        spec,
        settings,
        forecast,
        no_forecast=no_forecast,
        model_age_days=noted.age_days(now),
        runs=runs,
        concept=concept,
        now=now,
    )
    alerts = watch(storage, facts, settings, now=now)
    told = deliver(storage, asset, open_sinks(settings.alerts), settings.alerts)
    if failure is not None:
        raise failure
    return PredictReport(forecast, abstained, adjusted, settled, concept, alerts, told)


class _Noting:
    """A predictor that notes what data its bundle has seen."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.answer: Answer | None = None

    def infer(self, rows: Rows) -> Answer:
        self.answer = self.predictor.infer(rows)
        return self.answer

    def age_days(self, now: datetime) -> float:
        """Since that data ended: 0 for the random walk, which has seen none; NaN while nothing was answered."""
        if self.answer is None:
            return np.nan
        data_end = self.answer.data_end
        return (now - data_end) / timedelta(days=1) if data_end is not None else 0.0


def current_forecast(
    storage: Storage, predictor: Predictor, spec: FeatureSpec, settings: Settings, *, now: datetime
) -> tuple[pd.DataFrame, Adjusted] | Abstention:
    """What `predict` would log now, as one row, and what its quantiles rest on; or why nothing. Nothing is stored.

    Raises:
        ServingError: as `predict`; likewise `SpecMismatchError`.
    """
    made = make_forecast(storage.features, predictor, spec, settings.market.asset, settings.forecast, now=now)
    if isinstance(made, Abstention):
        return made
    rows, adjusted = adjust(made, storage.log, settings.forecast)
    return widened(rows, storage.log, settings), adjusted


def adjust(forecast: pd.DataFrame, log: ForecastLog, settings: ForecastSettings) -> tuple[pd.DataFrame, Adjusted]:
    """Replaces the quantiles of a forecast by those that the settled forecasts before it call for.

    Args:
        forecast: one row of the log, as the bundle answered.
        log: the forecasts before it.
        settings: how far back, and how fast levels adapt.

    Returns:
        The row with other bounds, and what they rest on.
    """
    row = forecast.iloc[0]
    made_at, horizon = row["made_at"], row["target_at"] - row["made_at"]
    since = made_at - horizon - timedelta(days=settings.calibration_days)
    past = log.read_forecasts(row["asset"], since, made_at, columns=SETTLED_COLUMNS)
    bounds = row[list(BOUNDS)].to_numpy(np.float64)
    own = np.log(bounds / row["predicted_price"]) / row["sigma"]
    adjusted = calibrate(own, Settled.from_log(past, horizon), made_at, horizon, settings)
    bounds = row["predicted_price"] * np.exp(row["sigma"] * adjusted.quantiles)
    return forecast.assign(**dict(zip(BOUNDS, bounds, strict=True))), adjusted


def _as_logged(log: ForecastLog, made: pd.Series) -> pd.Series:
    """The log keeps the first answer to a question, which another process or champion may have given."""
    stored = log.read_forecasts(made["asset"], made["made_at"], made["made_at"] + pd.Timedelta("1s"))
    return stored[stored["forecast_id"] == made["forecast_id"]].iloc[0]
