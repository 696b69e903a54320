"""The detector: SciPy's test a feature, and the false discovery rate under control."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from cryptosentinel.drift import DriftReport, KolmogorovSmirnov

NAMES = [f"feature_{number}" for number in range(12)]


def sample(rows: int, seed: int, shifts: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Normal features, some of them shifted by so many standard deviations."""
    frame = pd.DataFrame(np.random.default_rng(seed).normal(size=(rows, len(NAMES))), columns=NAMES)
    for name, shift in (shifts or {}).items():
        frame[name] += shift
    return frame


def step_up(p_values: list[float], rate: float) -> list[bool]:
    """Benjamini and Hochberg (1995), as they wrote it: the largest k with p(k) <= k / m * rate, and all up to it."""
    ranked = sorted(p_values)
    passing = [p for k, p in enumerate(ranked, 1) if p <= k / len(ranked) * rate]
    return [bool(passing) and p <= passing[-1] for p in p_values]


def test_statistic_and_p_value_are_scipys() -> None:
    reference, current = sample(400, 0), sample(90, 1, {"feature_3": 0.8})
    verdicts = {verdict.feature: verdict for verdict in KolmogorovSmirnov(0.05).detect(reference, current)}
    assert set(verdicts) == set(NAMES)
    for name in NAMES:
        expected = ks_2samp(reference[name], current[name])
        assert verdicts[name].statistic == expected.statistic
        assert verdicts[name].p_value == expected.pvalue


@given(
    shifts=st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1.5)),
    rate=st.sampled_from([0.01, 0.05, 0.2]),
    seed=st.integers(0, 1000),
)
def test_the_false_discovery_rate_is_controlled_as_its_authors_wrote(
    shifts: dict[str, float], rate: float, seed: int
) -> None:
    verdicts = KolmogorovSmirnov(rate).detect(sample(60, seed), sample(30, seed + 1, shifts))
    assert [v.drifted for v in verdicts] == step_up([v.p_value for v in verdicts], rate)


def test_planted_shifts_are_found_and_come_first() -> None:
    planted = {"feature_2": 1.0, "feature_5": -1.5, "feature_9": 2.0}
    verdicts = KolmogorovSmirnov(0.05).detect(sample(1000, 0), sample(100, 1, planted))
    assert {v.feature for v in verdicts if v.drifted} == set(planted)
    assert [v.feature for v in verdicts[:3]] == ["feature_9", "feature_5", "feature_2"]


def test_a_change_of_spread_alone_is_found() -> None:
    current = sample(200, 1)
    current["feature_4"] *= 3
    verdicts = KolmogorovSmirnov(0.05).detect(sample(1000, 0), current)
    assert [v.feature for v in verdicts if v.drifted] == ["feature_4"]


def test_the_same_distribution_is_mostly_left_alone() -> None:
    found = [KolmogorovSmirnov(0.05).detect(sample(500, seed), sample(96, seed + 1000)) for seed in range(40)]
    alarmed = sum(any(verdict.drifted for verdict in verdicts) for verdicts in found)
    assert alarmed <= 5  # 2 expected at 5%


def test_what_is_missing_is_left_out_of_the_comparison() -> None:
    reference, current = sample(400, 0), sample(90, 1)
    holed = current.copy()
    holed.loc[::2, "feature_0"] = np.nan
    verdicts = {v.feature: v for v in KolmogorovSmirnov(0.05).detect(reference, holed)}
    expected = ks_2samp(reference["feature_0"], current["feature_0"][1::2])
    assert verdicts["feature_0"].p_value == expected.pvalue


class TestReport:
    def report(self, drifted: int, *, of: int = 10, threshold: float = 0.3) -> DriftReport:
        current = sample(200, 1, dict.fromkeys(NAMES[:drifted], 5.0))[NAMES[:of]]
        verdicts = KolmogorovSmirnov(1e-6).detect(sample(200, 0)[NAMES[:of]], current)
        return DriftReport(
            detector="scipy-ks", reference_rows=12_000, current_rows=1_096, features=verdicts, threshold=threshold
        )

    @pytest.mark.parametrize(("count", "drifted"), [(0, False), (2, False), (3, False), (4, True), (10, True)])
    def test_more_than_the_threshold_is_drift(self, count: int, drifted: bool) -> None:
        report = self.report(count)
        assert report.score == count / 10
        assert report.drifted is drifted

    def test_the_sentence_names_verdict_figures_and_the_worst_features(self) -> None:
        report = self.report(5)
        worst = ", ".join(verdict.feature for verdict in report.features[:3])
        assert report.sentence() == (
            f"drift: 50% of 10 features drifted (threshold 30%), {worst} most; "
            "detector scipy-ks, 1,096 rows against 12,000"
        )
        assert self.report(0).sentence() == (
            "no drift: 0% of 10 features drifted (threshold 30%); detector scipy-ks, 1,096 rows against 12,000"
        )

    def test_it_survives_a_journey_as_json(self) -> None:
        report = self.report(3)
        assert DriftReport.model_validate_json(report.model_dump_json()) == report
