"""The two-sample Kolmogorov-Smirnov test a feature, by SciPy, with Benjamini and Hochberg's correction."""

from __future__ import annotations

import pandas as pd

from cryptosentinel.drift.detector import FeatureDrift


class KolmogorovSmirnov:
    """Tests every feature alone and controls the false discovery rate (Benjamini and Hochberg 1995).

    It takes rows as independent, which neighbouring bars are not: hand it thinned samples.
    """

    name = "scipy-ks"

    def __init__(self, false_discovery_rate: float) -> None:
        self.false_discovery_rate = false_discovery_rate

    def detect(self, reference: pd.DataFrame, current: pd.DataFrame) -> list[FeatureDrift]:
        """See `Detector.detect`."""
        from scipy.stats import false_discovery_control, ks_2samp

        tests = {name: ks_2samp(reference[name].dropna(), current[name].dropna()) for name in reference}
        corrected = false_discovery_control([test.pvalue for test in tests.values()])
        verdicts = [
            FeatureDrift(
                feature=name,
                statistic=float(test.statistic),
                p_value=float(test.pvalue),
                drifted=bool(p <= self.false_discovery_rate),
            )
            for (name, test), p in zip(tests.items(), corrected, strict=True)
        ]
        return sorted(verdicts, key=lambda verdict: -verdict.statistic)
