"""Forecasting live: asking a predictor, settling what is due, raising alerts."""

from cryptosentinel.predicting.predictor import Answer, BundlePredictor, Predictor, Rows, answer_with

__all__ = ["Answer", "BundlePredictor", "Predictor", "Rows", "answer_with"]
