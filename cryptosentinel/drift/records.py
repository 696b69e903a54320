"""What a drift check reports: plain numbers that survive JSON."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FeatureDrift(_Record):
    """One feature's verdict in one window.

    Attributes:
        weight: its share of the champion's importances, among the features of the window.
        statistic: Kolmogorov and Smirnov's distance between window and baseline, 0 to 1.
        p_value: the share of stretches of the baseline, as long as the window, that were as far from the rest of it.
        corrected: the same after Benjamini and Hochberg's correction for many features.
        naive_p_value: what the detector says, which takes neighbouring rows for independent.
        effect: by how many of the baseline's standard deviations the window's mean is off, sign included.
        drifted: `corrected` is within the window's rate, and `statistic` not below `drift.least_distance`.
    """

    feature: str
    weight: float
    statistic: float
    p_value: float
    corrected: float
    naive_p_value: float
    effect: float
    drifted: bool


class WindowDrift(_Record):
    """One window's verdict.

    Attributes:
        hours: its length.
        rows: how many were compared, as far apart as the baseline's.
        stretches: of the baseline, that the window's distances are compared with; they overlap.
        rate: the false discovery rate of one check.
        features: most drifted first.
    """

    hours: float
    rows: int
    stretches: int
    rate: float
    features: list[FeatureDrift]

    @property
    def score(self) -> float:
        """Share of drifted features by weight, 0 to 1."""
        total = sum(feature.weight for feature in self.features)
        return sum(feature.weight for feature in self.features if feature.drifted) / total if total else 0.0


class Histogram(_Record):
    """How a feature was distributed, as it is, in the baseline and in each window.

    Attributes:
        edges: of the bins; what lies beyond is counted in the first and the last.
        baseline: rows a bin.
        windows: rows a bin, for each window of the report.
    """

    feature: str
    edges: list[float]
    baseline: list[int]
    windows: list[list[int]]


class DriftReport(_Record):
    """What a check found.

    Attributes:
        asset: whose.
        version: the champion whose baseline it is.
        data_end: when the newest row opens.
        detector: which one ran; `note` says why not the one that was asked for.
        reference_rows: of the baseline, from `reference_start` to `reference_end`.
        weighted: whether features count by the champion's importances; else all alike.
        threshold: a score above it is drift.
        windows: the short one first.
    """

    asset: str
    version: int
    data_end: datetime
    detector: str
    note: str = ""
    reference_rows: int
    reference_start: datetime
    reference_end: datetime
    weighted: bool
    threshold: float
    windows: list[WindowDrift]
    histograms: list[Histogram]

    @property
    def worst(self) -> WindowDrift:
        """The window with the highest score; of equal ones the first."""
        return max(self.windows, key=lambda window: window.score)

    @property
    def score(self) -> float:
        """The highest score of a window, 0 to 1."""
        return self.worst.score

    @property
    def drifted(self) -> bool:
        """Whether the score is above the threshold."""
        return self.score > self.threshold

    def figures(self) -> dict[str, float]:
        """The verdict in numbers."""
        scores = {f"drift_score_{window.hours:g}h": window.score for window in self.windows}
        return {"drift_score": self.score, "drifted": float(self.drifted), **scores}

    def sentence(self) -> str:
        """The verdict for people."""
        verdict, window = "drift" if self.drifted else "no drift", self.worst
        drifted = [feature.feature for feature in window.features if feature.drifted]
        counted = "by importance" if self.weighted else "counted alike"
        said = (
            f"{verdict}: {window.score:.0%} of the features, {counted}, look otherwise in the last "
            f"{in_words(window.hours)} than champion {self.version} was trained on (threshold {self.threshold:.0%})"
        )
        worst = f", most {', '.join(drifted[:3])}" if drifted else ""
        return f"{said}{worst}; detector {self.detector}{f' ({self.note})' if self.note else ''}"

    def advice(self) -> str:
        """What to do about it."""
        if not self.drifted:
            return "Nothing is to be done."
        if self.worst is self.windows[0]:
            return (
                "The market changed within hours: look for wrong bars first, and watch the coverage of the intervals. "
                "The baseline stays until a training registers a champion that passes the gate."
            )
        return (
            "The market has been another for days: let a training run (`cryptosentinel run training`), and see whether "
            "its version passes the gate; with it comes a new baseline."
        )


class NotChecked(_Record):
    """Why there is nothing to compare.

    Attributes:
        reason: a sentence without a full stop.
    """

    reason: str

    def sentence(self) -> str:
        """The same for people."""
        return f"drift was not checked: {self.reason}"


def in_words(hours: float) -> str:
    """A length of time, e.g. `3 hours` or `3 days`."""
    return f"{hours / 24:.3g} days" if hours >= 48 else f"{hours:.3g} hours"
