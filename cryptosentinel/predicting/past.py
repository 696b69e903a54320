"""Forecasts of a time that has passed, many at once: what `predict` would have logged bar by bar, to the bit."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptosentinel.bundle import BOUNDS
from cryptosentinel.config import ForecastSettings
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec
from cryptosentinel.forecasting import SETTLED_COLUMNS, Settled, calibrate
from cryptosentinel.market.bars import Interval, utc
from cryptosentinel.predicting.forecasts import forecast_frame
from cryptosentinel.predicting.predictor import Predictor, Rows
from cryptosentinel.predicting.refusals import expired_model
from cryptosentinel.predicting.settling import outcomes

_LOWER_95, _LOWER_80, _UPPER_80, _UPPER_95 = map(BOUNDS.index, ("lower_95", "lower_80", "upper_80", "upper_95"))


def answered(
    predictor: Predictor, features: pd.DataFrame, bars: pd.DataFrame, spec: FeatureSpec, settings: ForecastSettings
) -> pd.DataFrame:
    """What a predictor answers at the close of each bar, as `make_forecast`; where that abstains there is no row.

    Args:
        predictor: who was asked then.
        features: rows of the feature table, by time.
        bars: those of the same times.
        spec: of the features.
        settings: how old a champion may be.

    Returns:
        Rows of the forecast log with the bundle's own quantiles: `issued` adjusts them.

    Raises:
        SpecMismatchError: the predictor's bundle was built for other features.
    """
    volatility = features[SCALE_FEATURE].to_numpy(np.float64)
    inputs = features[spec.model_names].to_numpy(np.float64)
    warm, known = np.isfinite(inputs).all(axis=1), np.isfinite(volatility)
    close, asset = bars["close"].to_numpy(np.float64), str(bars["asset"].iloc[0])
    made_at = pd.DatetimeIndex(bars["timestamp"]) + spec.interval.delta
    frames = []
    for asked, given in ((known & warm, inputs), (known & ~warm, None)):
        if asked.any():
            rows = Rows(close[asked], volatility[asked], None if given is None else given[asked], spec.hash)
            answer = predictor.infer(rows)
            frame = forecast_frame(answer, rows.close, asset, made_at[asked], spec)
            refused = [expired_model(answer.data_end, settings, now=utc(time)) for time in frame["made_at"]]
            frames.append(frame[[refusal is None for refusal in refused]])
    return pd.concat(frames).sort_values("made_at", ignore_index=True) if frames else features.iloc[:0]


def issued(
    answers: pd.DataFrame, before: pd.DataFrame, bars: pd.DataFrame, interval: Interval, settings: ForecastSettings
) -> pd.DataFrame:
    """Settles answers at the moment each is due, and gives each the quantiles that those settled by then call for.

    Args:
        answers: from `answered`, by `made_at`; of one horizon.
        before: the settled forecasts of the log before them, with `SETTLED_COLUMNS` at least.
        bars: of the answers' time, and after it as far as outcomes are to be known.
        interval: of the bars.
        settings: how to settle, and how far back quantiles look.

    Returns:
        Rows of the forecast log; those whose outcome is not known yet have none.
    """
    horizon = answers["target_at"].iloc[0] - answers["made_at"].iloc[0]
    found = settled_in_time(answers, bars, interval, settings).set_index("forecast_id").reindex(answers["forecast_id"])
    rows = answers.assign(**{name: found[name].array for name in ("actual_price", "outcome", "error", "settled_at")})
    price, sigma = rows["predicted_price"].to_numpy(np.float64), rows["sigma"].to_numpy(np.float64)
    bounds = rows[list(BOUNDS)].to_numpy(np.float64)
    own = np.log(bounds / price[:, None]) / sigma[:, None]
    # All that is ever known; `calibrate` leaves out what is not known yet. Whether an interval missed is filled in when
    # it is issued.
    seen = Settled.from_log(pd.concat([before[list(SETTLED_COLUMNS)], rows[list(SETTLED_COLUMNS)]]), horizon)
    actual = rows["actual_price"].to_numpy(np.float64)
    place = len(seen.scores) - int(np.isfinite(actual).sum())
    for row, made_at in enumerate(rows["made_at"]):
        adjusted = calibrate(own[row], seen, made_at, horizon, settings)
        bounds[row] = price[row] * np.exp(sigma[row] * adjusted.quantiles)
        if np.isfinite(actual[row]):
            seen.missed_80[place] = not bounds[row, _LOWER_80] <= actual[row] <= bounds[row, _UPPER_80]
            seen.missed_95[place] = not bounds[row, _LOWER_95] <= actual[row] <= bounds[row, _UPPER_95]
            place += 1
    return rows.assign(**dict(zip(BOUNDS, bounds.T, strict=True)))


def settled_in_time(
    pending: pd.DataFrame, bars: pd.DataFrame, interval: Interval, settings: ForecastSettings
) -> pd.DataFrame:
    """Those of the forecasts that the bars settle, as the step at the close of each one's target would have.

    Args:
        pending: rows of the forecast log without outcome.
        bars: from before the first target on.
        interval: of the bars.
        settings: how to settle.
    """
    now = utc(bars["timestamp"].iloc[-1]) + interval.delta
    due = pending[pending["target_at"] <= pd.Timestamp(now)]
    settled = outcomes(due, bars, interval, settings, now=now)
    settled["settled_at"] = settled["settled_at"].where(settled["actual_price"].isna(), settled["target_at"])
    return settled
