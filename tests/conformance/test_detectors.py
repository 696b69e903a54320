"""What every drift detector keeps to; alibi-detect's is held to it where its environment is (`make test-drift`)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from cryptosentinel.drift import AlibiTabular, Detector, Pair, scipy_ks

NAMES = ["b", "a", "c"]  # in no order


def sample(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    frame = pd.DataFrame(np.random.default_rng(seed).normal(size=(rows, len(NAMES))), columns=NAMES)
    return frame.assign(a=frame["a"] + shift)


@pytest.fixture(params=["scipy", "alibi-detect"])
def detector(request: pytest.FixtureRequest) -> Detector:
    if request.param == "scipy":
        return scipy_ks
    python = os.environ.get("CRYPTOSENTINEL_TEST_DRIFT")
    if not python:
        pytest.skip("alibi-detect has an environment of its own: `make test-drift`")
    return AlibiTabular(Path(python), timeout_s=120, memory_mb=1024)


def test_each_feature_has_scipys_statistic_and_p_value(detector: Detector) -> None:
    pair = Pair(sample(500, 0), sample(40, 1, shift=0.7))
    (table,) = detector([pair]).tables
    assert table.index.tolist() == NAMES
    for name in NAMES:
        expected = ks_2samp(pair.reference[name], pair.current[name], method="asymp")
        # alibi-detect keeps both in single precision.
        assert table.at[name, "statistic"] == np.float32(expected.statistic)
        assert table.at[name, "p_value"] == np.float32(expected.pvalue)


def test_pairs_are_answered_in_order_whatever_their_size(detector: Detector) -> None:
    pairs = [Pair(sample(300, 0), sample(9, 1, shift=shift)) for shift in (0.0, 50.0)]
    pairs.append(Pair(sample(50, 2)[["a"]], sample(300, 3)[["a"]]))
    tables = detector(pairs).tables
    assert [len(table) for table in tables] == [3, 3, 1]
    assert tables[0].at["a", "statistic"] < 1
    assert tables[1].at["a", "statistic"] == 1


def test_the_same_rows_do_not_differ(detector: Detector) -> None:
    (table,) = detector([Pair(sample(200, 0), sample(200, 0))]).tables
    assert table["statistic"].tolist() == [0.0] * 3
    assert table["p_value"].tolist() == [1.0] * 3


def test_it_says_who_it_is(detector: Detector) -> None:
    answer = detector([Pair(sample(50, 0), sample(20, 1))])
    assert ("alibi-detect" in answer.detector) is isinstance(detector, AlibiTabular)
    assert answer.note == ""
