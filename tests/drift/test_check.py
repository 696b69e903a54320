"""The drift step: the newest features of a real store against a bundle's baseline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.bundle import REFERENCE_FILE, write_random_walk
from cryptosentinel.config import DriftSettings
from cryptosentinel.drift import DriftReport, check_drift
from cryptosentinel.errors import BundleDamagedError
from cryptosentinel.features import FeatureSpec
from cryptosentinel.storage import Storage
from tests.builders import FIVE, add_bars, make_random_bars, make_tiny_bundle, open_delta

SPEC = FeatureSpec(FIVE)
CLOCK = {"is_weekend", "day_sin", "day_cos", "week_sin", "week_cos", "new_york_minute"}
# Of what looks back for hours, two days hold a handful of values.
SLOW = {name for name in SPEC.model_names if name.endswith(("_to_288", "_to_volatility", "volatility_288"))}
SLOW |= {"log_volatility_72", "log_volatility_a_day_ago", "log_largest_move_288"}
COMPARED = [name for name in SPEC.model_names if name not in CLOCK | SLOW]
TWO_DAYS = 2 * FIVE.bars_per_day
COUNT = 3_000 + TWO_DAYS


def market(folder: Path, *, wilder: float = 1.0, seed: int = 0, count: int = COUNT) -> Storage:
    """A market whose last two days are so much wilder."""
    storage = open_delta(folder / "market")
    bars = make_random_bars(count, seed=seed)
    prices = ["open", "high", "low", "close"]
    logs = np.log(bars[prices])
    base = logs["close"].iloc[-TWO_DAYS - 1]
    bars.loc[bars.index[-TWO_DAYS:], prices] = np.exp(base + wilder * (logs.iloc[-TWO_DAYS:] - base))
    add_bars(storage, bars, SPEC)
    return storage


def baseline(storage: Storage) -> pd.DataFrame:
    """The features before the last two days."""
    rows = storage.features.read_features("bitcoin", SPEC.hash)[SPEC.model_names].iloc[:-TWO_DAYS]
    return rows.dropna().iloc[::3]


def check(storage: Storage, bundle: Path, **settings: float) -> DriftReport | None:
    return check_drift(storage.features, SPEC, "bitcoin", bundle, DriftSettings(**settings))


def trained(folder: Path, storage: Storage) -> Path:
    return make_tiny_bundle(folder / "trained", SPEC, reference=baseline(storage)).path


def test_the_last_days_are_held_against_the_baseline_a_horizon_apart(tmp_path: Path) -> None:
    storage = market(tmp_path)
    report = check(storage, trained(tmp_path, storage))
    assert report is not None
    assert (report.detector, report.threshold) == ("scipy-ks", 0.3)
    assert report.reference_rows == len(baseline(storage))
    assert report.current_rows == TWO_DAYS // 6 + 1
    assert sorted(verdict.feature for verdict in report.features) == sorted(COMPARED)
    half = check(storage, trained(tmp_path / "half", storage), window_days=1.0)
    assert half is not None
    assert half.current_rows == TWO_DAYS // 12 + 1


def test_a_wilder_market_has_drifted_where_volatility_shows(tmp_path: Path) -> None:
    storage = market(tmp_path, wilder=4.0)
    report = check(storage, trained(tmp_path, storage))
    assert report is not None
    assert report.drifted
    drifted = {verdict.feature for verdict in report.features if verdict.drifted}
    assert {"volatility_20", "realised_volatility_36", "range", "parkinson_volatility_12"} <= drifted


def test_a_market_that_goes_on_as_before_has_not_drifted(tmp_path: Path) -> None:
    scores = []
    for seed in range(6):
        storage = market(tmp_path / str(seed), seed=seed)
        report = check(storage, trained(tmp_path / str(seed), storage))
        assert report is not None
        scores.append(report.score)
    assert sum(score > 0.3 for score in scores) == 0, scores


def test_the_random_walk_has_no_baseline(tmp_path: Path) -> None:
    walk = tmp_path / "walk"
    write_random_walk(walk, SPEC, asset="bitcoin", currency="usd", market="test", simulated=False, horizon_bars=6)
    assert check(market(tmp_path, count=TWO_DAYS + 500), walk) is None


def test_another_specs_baseline_says_nothing(tmp_path: Path) -> None:
    storage = market(tmp_path)
    other = FeatureSpec(FIVE, tuple(feature for feature in SPEC.features if feature.name != "rsi_14"))
    bundle = make_tiny_bundle(tmp_path / "other", other, reference=baseline(storage)[other.model_names])
    assert check(storage, bundle.path) is None


def test_without_warm_features_there_is_nothing_to_compare(tmp_path: Path) -> None:
    bundle = trained(tmp_path, market(tmp_path))
    assert check(open_delta(tmp_path / "empty"), bundle) is None
    cold = open_delta(tmp_path / "cold")
    add_bars(cold, make_random_bars(SPEC.warm_up_bars - 1), SPEC)
    assert check(cold, bundle) is None


def test_a_damaged_baseline_is_refused(tmp_path: Path) -> None:
    storage = market(tmp_path)
    bundle = trained(tmp_path, storage)
    (bundle / REFERENCE_FILE).write_bytes((bundle / REFERENCE_FILE).read_bytes()[:1000])
    with pytest.raises(BundleDamagedError, match=REFERENCE_FILE):
        check(storage, bundle)
