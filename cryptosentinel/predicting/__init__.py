"""Forecasting live: asking a predictor, settling what is due, raising alerts."""

from cryptosentinel.predicting.describe import (
    ENOUGH_OUTCOMES,
    NO_BETTER_THAN_A_COIN,
    REGIME_WORDS,
    describe_forecast,
    evidence,
    forecast_records,
    forecast_table,
    is_coin,
    is_outlying,
    made_by,
    record,
)
from cryptosentinel.predicting.forecasts import abstention, forecast_frame, newest_rows
from cryptosentinel.predicting.predictor import Answer, BundlePredictor, Predictor, Rows, answer_with
from cryptosentinel.predicting.refusals import Abstention, expired_model, stale_features
from cryptosentinel.predicting.settling import outcomes
from cryptosentinel.predicting.step import PredictReport, current_forecast, predict

__all__ = [
    "ENOUGH_OUTCOMES",
    "NO_BETTER_THAN_A_COIN",
    "REGIME_WORDS",
    "Abstention",
    "Answer",
    "BundlePredictor",
    "PredictReport",
    "Predictor",
    "Rows",
    "abstention",
    "answer_with",
    "current_forecast",
    "describe_forecast",
    "evidence",
    "expired_model",
    "forecast_frame",
    "forecast_records",
    "forecast_table",
    "is_coin",
    "is_outlying",
    "made_by",
    "newest_rows",
    "outcomes",
    "predict",
    "record",
    "stale_features",
]
