"""Forecasting live: asking a predictor, settling what is due, raising alerts."""

from cryptosentinel.predicting.accuracy import COLUMNS as ACCURACY_COLUMNS
from cryptosentinel.predicting.accuracy import (
    PENDING,
    Accuracy,
    Share,
    Skill,
    independent_outcomes,
    measure,
    share_of,
    wilson,
)
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
    is_widened,
    made_by,
    record,
)
from cryptosentinel.predicting.following import awaiting_training, fall_back, note_detection, note_training
from cryptosentinel.predicting.forecasts import abstention, forecast_frame, newest_rows
from cryptosentinel.predicting.past import answered, issued, settled_in_time
from cryptosentinel.predicting.predictor import Answer, BundlePredictor, Predictor, Rows, answer_with
from cryptosentinel.predicting.refusals import Abstention, expired_model, stale_features
from cryptosentinel.predicting.settling import due_outcomes, outcomes
from cryptosentinel.predicting.step import PredictReport, current_forecast, predict

__all__ = [
    "ACCURACY_COLUMNS",
    "ENOUGH_OUTCOMES",
    "NO_BETTER_THAN_A_COIN",
    "PENDING",
    "REGIME_WORDS",
    "Abstention",
    "Accuracy",
    "Answer",
    "BundlePredictor",
    "PredictReport",
    "Predictor",
    "Rows",
    "Share",
    "Skill",
    "abstention",
    "answer_with",
    "answered",
    "awaiting_training",
    "current_forecast",
    "describe_forecast",
    "due_outcomes",
    "evidence",
    "expired_model",
    "fall_back",
    "forecast_frame",
    "forecast_records",
    "forecast_table",
    "independent_outcomes",
    "is_coin",
    "is_outlying",
    "is_widened",
    "issued",
    "made_by",
    "measure",
    "newest_rows",
    "note_detection",
    "note_training",
    "outcomes",
    "predict",
    "record",
    "settled_in_time",
    "share_of",
    "stale_features",
    "wilson",
]
