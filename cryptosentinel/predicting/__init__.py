"""Forecasting live: asking a predictor, settling what is due, raising alerts."""

from cryptosentinel.predicting.describe import (
    describe_forecast,
    forecast_records,
    forecast_table,
    is_outlying,
    record,
)
from cryptosentinel.predicting.forecasts import forecast_frame
from cryptosentinel.predicting.predictor import Answer, BundlePredictor, Predictor, Rows, answer_with
from cryptosentinel.predicting.settling import outcomes
from cryptosentinel.predicting.step import PredictReport, predict

__all__ = [
    "Answer",
    "BundlePredictor",
    "PredictReport",
    "Predictor",
    "Rows",
    "answer_with",
    "describe_forecast",
    "forecast_frame",
    "forecast_records",
    "forecast_table",
    "is_outlying",
    "outcomes",
    "predict",
    "record",
]
