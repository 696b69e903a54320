"""alibi-detect in its own environment, as the check asks it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.config import DriftSettings
from cryptosentinel.drift import AlibiTabular, NoAnswerError, Pair, ask_detector, compare, scipy_ks
from tests.drift.builders import BAR, DAY, baseline_of, features_of, stable_bars


@pytest.fixture
def python() -> Path:
    found = os.environ.get("CRYPTOSENTINEL_TEST_DRIFT")
    if not found:
        pytest.skip("needs alibi-detect's environment: `make test-drift`")
    return Path(found)


def samples(rows: int, features: int) -> Pair:
    random = np.random.default_rng(0)
    reference = pd.DataFrame(random.normal(size=(rows, features)), columns=[f"f{n}" for n in range(features)])
    return Pair(reference, reference * 1.05 + random.normal(size=reference.shape) * 0.1)


def test_it_agrees_with_scipy_on_ten_thousand_rows_of_sixty_features(python: Path) -> None:
    pair = samples(10_000, 60)
    theirs, ours = AlibiTabular(python, 300, 1024)([pair]), scipy_ks([pair])
    pd.testing.assert_frame_equal(theirs.tables[0], ours.tables[0], rtol=0, atol=1e-9)


def test_a_check_says_the_same_through_either(python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = features_of(stable_bars(24, seed=3, monkeypatch=monkeypatch))
    baseline = baseline_of(rows.iloc[: 18 * DAY])
    verdicts = []
    for name in ("scipy", "tabular"):
        settings = DriftSettings(detector=name, python=str(python), timeout_s=300)
        windows, answer = compare(baseline, rows, settings, partial(ask_detector, settings=settings), bar=BAR)
        assert answer.note == ""
        verdicts.append([window.model_dump() for window in windows])
    assert verdicts[0] == verdicts[1]


def test_memory_beyond_the_bound_is_an_error_that_says_so(python: Path) -> None:
    with pytest.raises(NoAnswerError, match="alibi-detect failed"):
        AlibiTabular(python, 300, 100)([samples(10_000, 60)])
