"""The predict step: settle what is due, forecast, raise alerts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from cryptosentinel.config import Settings
from cryptosentinel.errors import BundleError, ServingError
from cryptosentinel.features import FeatureSpec
from cryptosentinel.predicting.alerts import check_alerts
from cryptosentinel.predicting.forecasts import Abstention, make_forecast
from cryptosentinel.predicting.predictor import Predictor
from cryptosentinel.predicting.settling import settle_due
from cryptosentinel.storage import ForecastLog, Storage


@dataclass(frozen=True)
class PredictReport:
    """What a predict step did.

    Attributes:
        forecast: the forecast as a row of the log; None where the step abstained. Where the same was asked before, the
            first answer.
        abstained: why there is no forecast; empty where there is one.
        settled: forecasts settled now.
        alerts: alerts raised or resolved now.
    """

    forecast: pd.Series | None
    abstained: str
    settled: pd.DataFrame
    alerts: pd.DataFrame


def predict(
    storage: Storage, predictor: Predictor, spec: FeatureSpec, settings: Settings, *, now: datetime
) -> PredictReport:
    """Settles due forecasts, makes a forecast and logs it, and updates the alerts.

    Settling comes first and alerts happen even where the predictor fails: its failure is raised at the end, after
    everything that does not need it is stored.

    Raises:
        ServingError: the predictor is away, or answers something that is not a forecast.
        SpecMismatchError: its bundle was built for other features.
    """
    asset = settings.market.asset
    settled = settle_due(storage.log, storage.features, asset, spec.interval, settings.forecast, now=now)
    forecast, abstained, failure = None, "", None
    try:
        made = make_forecast(storage.features, predictor, spec, asset, settings.forecast, now=now)
    except (ServingError, BundleError) as error:
        failure = error
    else:
        if isinstance(made, Abstention):
            abstained = made.reason
        else:
            storage.log.write_forecasts(made)
            forecast = _as_logged(storage.log, made.iloc[0])
    alerts = check_alerts(
        storage.log, storage.features, asset, spec.hash, spec.interval, settings.alerts, forecast, now=now
    )
    if failure is not None:
        raise failure
    return PredictReport(forecast, abstained, settled, alerts)


def _as_logged(log: ForecastLog, made: pd.Series) -> pd.Series:
    """The log keeps the first answer to a question, which another process or champion may have given."""
    stored = log.read_forecasts(made["asset"], made["made_at"], made["made_at"] + pd.Timedelta("1s"))
    return stored[stored["forecast_id"] == made["forecast_id"]].iloc[0]
