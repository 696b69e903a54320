"""Whether the market still looks like the one the champion was trained on."""

from cryptosentinel.drift.check import check_drift
from cryptosentinel.drift.detector import Detector, DriftReport, FeatureDrift
from cryptosentinel.drift.ks import KolmogorovSmirnov

__all__ = ["Detector", "DriftReport", "FeatureDrift", "KolmogorovSmirnov", "check_drift"]
