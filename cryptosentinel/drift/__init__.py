"""Whether the market still looks like the one the champion was trained on, and its forecasts still do what they say."""

from cryptosentinel.drift.check import check_drift
from cryptosentinel.drift.concept import CHALLENGERS, Concept, champion_concept, check_concept
from cryptosentinel.drift.detector import Detector, DriftReport, FeatureDrift
from cryptosentinel.drift.ks import KolmogorovSmirnov

__all__ = [
    "CHALLENGERS",
    "Concept",
    "Detector",
    "DriftReport",
    "FeatureDrift",
    "KolmogorovSmirnov",
    "champion_concept",
    "check_concept",
    "check_drift",
]
