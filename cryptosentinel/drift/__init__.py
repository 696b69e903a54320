"""Whether the market still looks like the one the champion was trained on, and its forecasts still do what they say."""

from cryptosentinel.drift.check import Baseline, check_drift, compare, compared, make_baseline
from cryptosentinel.drift.concept import CHALLENGERS, Concept, champion_concept, check_concept
from cryptosentinel.drift.detectors import (
    AlibiTabular,
    Answer,
    Detector,
    NoAnswerError,
    Pair,
    ask_detector,
    find_python,
    scipy_ks,
)
from cryptosentinel.drift.history import keep_report, newest_report
from cryptosentinel.drift.importance import importances
from cryptosentinel.drift.page import page
from cryptosentinel.drift.records import DriftReport, FeatureDrift, Histogram, NotChecked, WindowDrift, in_words

__all__ = [
    "CHALLENGERS",
    "AlibiTabular",
    "Answer",
    "Baseline",
    "Concept",
    "Detector",
    "DriftReport",
    "FeatureDrift",
    "Histogram",
    "NoAnswerError",
    "NotChecked",
    "Pair",
    "WindowDrift",
    "ask_detector",
    "champion_concept",
    "check_concept",
    "check_drift",
    "compare",
    "compared",
    "find_python",
    "importances",
    "in_words",
    "keep_report",
    "make_baseline",
    "newest_report",
    "page",
    "scipy_ks",
]
