"""What a drift detector is, and what it reports."""

from __future__ import annotations

from typing import Protocol

import pandas as pd
from pydantic import BaseModel, ConfigDict


class FeatureDrift(BaseModel):
    """One feature's verdict.

    Attributes:
        statistic: the test's; for Kolmogorov-Smirnov, the largest distance between the distribution functions, 0 to 1.
        p_value: before the correction for many features.
        drifted: after it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    feature: str
    statistic: float
    p_value: float
    drifted: bool


class DriftReport(BaseModel):
    """What a detector saw.

    Attributes:
        detector: which one ran.
        reference_rows: rows of the baseline; `current_rows` those held against it.
        features: a verdict a feature, most drifted first.
        threshold: scores above it count as drift.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: str
    reference_rows: int
    current_rows: int
    features: list[FeatureDrift]
    threshold: float

    @property
    def score(self) -> float:
        """Share of drifted features, 0 to 1."""
        return sum(feature.drifted for feature in self.features) / len(self.features) if self.features else 0.0

    @property
    def drifted(self) -> bool:
        """Whether the score is above the threshold."""
        return self.score > self.threshold

    def sentence(self) -> str:
        """The verdict for people."""
        verdict = "drift" if self.drifted else "no drift"
        worst = ", ".join(feature.feature for feature in self.features[:3] if feature.drifted)
        return (
            f"{verdict}: {self.score:.0%} of {len(self.features)} features drifted (threshold {self.threshold:.0%})"
            f"{', ' + worst + ' most' if worst else ''}; detector {self.detector}, {self.current_rows:,} rows against "
            f"{self.reference_rows:,}"
        )


class Detector(Protocol):
    """Compares two samples of the same features."""

    name: str

    def detect(self, reference: pd.DataFrame, current: pd.DataFrame) -> list[FeatureDrift]:
        """A verdict for each column of `reference`, most drifted first; both frames have the same columns."""
