"""The check: the newest features of a real store against a bundle's baseline."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.bundle import REFERENCE_FILE, write_random_walk
from cryptosentinel.config import DriftSettings
from cryptosentinel.drift import DriftReport, NotChecked, check_drift, compare, importances, scipy_ks
from cryptosentinel.errors import BundleDamagedError
from cryptosentinel.features import FeatureSpec
from cryptosentinel.storage import Storage
from tests.builders import FIVE, add_bars, make_random_bars, make_tiny_bundle, open_delta
from tests.drift.builders import BAR, COMPARED, DAY, SPEC, baseline_of, features_of, stable_bars, wilder

HOURS = 12
# Of the baseline, and what comes after it.
KNOWN, NEW = 36 * DAY, 8 * DAY


@pytest.fixture(scope="module")
def market() -> pd.DataFrame:
    """Seed 21: none of those that settings were chosen on (docs/drift.md)."""
    with pytest.MonkeyPatch.context() as patch:
        return stable_bars(44, seed=21, monkeypatch=patch)


def stored(folder: Path, bars: pd.DataFrame) -> Storage:
    storage = open_delta(folder / "market")
    add_bars(storage, bars, SPEC)
    return storage


def baseline(storage: Storage) -> pd.DataFrame:
    """The rows before the new ones, as a training keeps them: with their times, by time."""
    rows = storage.features.read_features("bitcoin", SPEC.hash, columns=SPEC.model_names)
    return rows[["timestamp", *SPEC.model_names]].iloc[:-NEW].dropna().iloc[::4]


def check(storage: Storage, bundle: Path, **settings: float) -> DriftReport | NotChecked:
    settings = {"detector": "scipy", **settings}
    return check_drift(storage.features, SPEC, "bitcoin", bundle, DriftSettings(**settings), version=3)


def trained(folder: Path, storage: Storage) -> Path:
    return make_tiny_bundle(folder / "trained", SPEC, reference=baseline(storage)).path


def reason(found: DriftReport | NotChecked) -> str:
    assert isinstance(found, NotChecked)
    return found.sentence()


def test_both_windows_are_held_against_the_baseline(tmp_path: Path, market: pd.DataFrame) -> None:
    storage = stored(tmp_path, market)
    report = check(storage, trained(tmp_path, storage))
    assert isinstance(report, DriftReport)
    assert (report.detector, report.threshold, report.version, report.asset) == ("scipy-ks", 0.3, 3, "bitcoin")
    assert report.data_end == market["timestamp"].iloc[-1]
    assert report.reference_rows == len(baseline(storage))
    short, long = report.windows
    assert (short.hours, short.rows, short.rate) == (3, 9, 0.007)
    assert (long.hours, long.rows, long.rate) == (72, 216, 0.015)
    assert sorted(each.feature for each in long.features) == sorted(COMPARED)
    # Three hours hold little that is new of what looks back for a day.
    assert {each.feature for each in long.features} - {each.feature for each in short.features} == {
        *("return_36_to_volatility", "return_72_to_volatility", "return_288_to_volatility"),
        *("realised_volatility_288", "volatility_6_to_288", "volatility_36_to_288", "log_volatility_72"),
        *("log_volatility_288", "log_volatility_a_day_ago", "log_largest_move_288"),
    }
    assert not report.drifted
    pictured = {each.feature: each for each in report.histograms}
    assert sorted(pictured) == sorted(COMPARED)
    assert sum(pictured["range"].baseline) == report.reference_rows
    assert [sum(counts) for counts in pictured["range"].windows] == [36, 864]


def test_nothing_is_written(tmp_path: Path, market: pd.DataFrame) -> None:
    storage = stored(tmp_path, market)
    bundle = trained(tmp_path, storage)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    check(storage, bundle)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_market_twice_as_wild_is_found_within_six_hours(market: pd.DataFrame) -> None:
    rows = features_of(market)
    known = baseline_of(rows.iloc[:-NEW])
    for days in (2, 4, 5.5):
        at = len(market) - NEW + round(days * DAY)
        changed = features_of(wilder(market.iloc[: at + 6 * HOURS].reset_index(drop=True), at, 2.0))
        first = len(changed) - 6 * HOURS
        scores = [
            max(window.score for window in compare(known, changed.iloc[:end], DriftSettings(), scipy_ks, bar=BAR)[0])
            for end in range(first, len(changed) + 1, HOURS)
        ]
        assert scores[0] <= 0.3, "before it began"
        assert max(scores) > 0.3, scores


def test_a_volatility_that_climbs_to_the_double_is_found_within_three_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a baseline as long as a training's on 90 days: of 36 days, few stretches of three are apart."""
    market = stable_bars(78, seed=21, monkeypatch=monkeypatch)
    known = baseline_of(features_of(market.iloc[: 72 * DAY]))
    at, length = len(market) - 4 * DAY, 3 * DAY
    climb = 2 ** (np.arange(1, length + 1) / length)
    changed = features_of(wilder(market.iloc[: at + length].reset_index(drop=True), at, climb))
    (_, long), _ = compare(known, changed, DriftSettings(), scipy_ks, bar=BAR)
    assert long.score > 0.3
    (short, _), _ = compare(known, changed.iloc[:-length], DriftSettings(), scipy_ks, bar=BAR)
    assert short.score <= 0.3


def test_a_market_that_goes_on_as_before_is_left_alone(market: pd.DataFrame) -> None:
    rows = features_of(market)
    known = baseline_of(rows.iloc[:-NEW])
    found = []
    for end in range(len(rows) - NEW + DAY, len(rows), 10 * HOURS):
        windows, _ = compare(known, rows.iloc[end - 4 * DAY : end], DriftSettings(), scipy_ks, bar=BAR)
        found.append(max(window.score for window in windows) > 0.3)
    assert sum(found) == 0


def test_a_feature_that_hardly_moved_has_not_drifted_however_sure(market: pd.DataFrame) -> None:
    rows = features_of(wilder(market, len(market) - 3 * DAY, 1.5))
    known = baseline_of(rows.iloc[:-NEW])
    (_, long), _ = compare(known, rows, DriftSettings(), scipy_ks, bar=BAR)
    (_, some), _ = compare(known, rows, DriftSettings(least_distance=0.8), scipy_ks, bar=BAR)
    drifted = {each.feature: each.statistic for each in long.features if each.drifted}
    far = {name for name, statistic in drifted.items() if statistic >= 0.8}
    assert {each.feature for each in some.features if each.drifted} == far
    assert 0 < len(far) < len(drifted)


def test_the_score_is_the_share_of_what_matters(market: pd.DataFrame) -> None:
    rows = features_of(wilder(market, len(market) - 3 * DAY, 2.0))
    known = baseline_of(rows.iloc[:-NEW])
    plain = compare(known, rows, DriftSettings(), scipy_ks, bar=BAR)[0][1]
    assert plain.score == pytest.approx(np.mean([each.drifted for each in plain.features]))
    calm = {each.feature: 1.0 for each in plain.features if not each.drifted}
    assert compare(known, rows, DriftSettings(), scipy_ks, bar=BAR, weights=calm)[0][1].score == 0
    mixed = calm | {each.feature: 3.0 for each in plain.features if each.drifted}
    weighed = compare(known, rows, DriftSettings(), scipy_ks, bar=BAR, weights=mixed)[0][1]
    drifted = sum(each.drifted for each in plain.features)
    assert weighed.score == pytest.approx(3 * drifted / (3 * drifted + len(calm)))


def test_a_short_baseline_shortens_the_windows(market: pd.DataFrame) -> None:
    rows = features_of(market)
    few = baseline_of(rows.iloc[: 5 * DAY])
    assert [window.length for window in few.windows] == [timedelta(hours=3), timedelta(hours=12)]
    # A level is taken out where the baseline shows what it says: in the short window alone.
    assert [window.adjustment.spans for window in few.windows] == [(timedelta(hours=6),), ()]
    whole = baseline_of(rows.iloc[:-NEW])
    assert whole.windows[0].adjustment.spans == (timedelta(hours=6), timedelta(hours=24))
    assert whole.history == timedelta(hours=72)


def test_a_window_that_lacks_rows_is_not_judged(market: pd.DataFrame) -> None:
    rows = features_of(market)
    known = baseline_of(rows.iloc[:-NEW])
    windows, _ = compare(known, rows.iloc[-2 * DAY :], DriftSettings(), scipy_ks, bar=BAR)
    assert [window.hours for window in windows] == [3]
    holes = rows.drop(index=rows.index[-30:-4])
    assert [window.hours for window in compare(known, holes, DriftSettings(), scipy_ks, bar=BAR)[0]] == [72]


def test_the_random_walk_has_no_baseline(tmp_path: Path) -> None:
    walk = tmp_path / "walk"
    write_random_walk(walk, SPEC, asset="bitcoin", currency="usd", market="test", simulated=False, horizon_bars=6)
    assert "has learnt nothing" in reason(check(stored(tmp_path, make_random_bars(600)), walk))


def test_what_cannot_be_compared_is_said(tmp_path: Path, market: pd.DataFrame) -> None:
    storage = stored(tmp_path, market)
    rows = baseline(storage)
    other = FeatureSpec(FIVE, tuple(feature for feature in SPEC.features if feature.name != "rsi_14"))
    bundle = make_tiny_bundle(tmp_path / "other", other, reference=rows[other.model_names])
    assert "other features" in reason(check(storage, bundle.path))
    bundle = make_tiny_bundle(tmp_path / "old", SPEC, reference=rows[SPEC.model_names])
    assert "says not when" in reason(check(storage, bundle.path))
    bundle = make_tiny_bundle(tmp_path / "few", SPEC, reference=rows.iloc[:79])
    assert "79 rows, too few" in reason(check(storage, bundle.path))
    bundle = trained(tmp_path, storage)
    assert "no features" in reason(check(open_delta(tmp_path / "empty"), bundle))
    cold = open_delta(tmp_path / "cold")
    add_bars(cold, make_random_bars(SPEC.warm_up_bars - 1), SPEC)
    assert "too few complete rows" in reason(check(cold, bundle))


def test_a_damaged_baseline_is_refused(tmp_path: Path, market: pd.DataFrame) -> None:
    storage = stored(tmp_path, market)
    bundle = trained(tmp_path, storage)
    (bundle / REFERENCE_FILE).write_bytes((bundle / REFERENCE_FILE).read_bytes()[:1000])
    with pytest.raises(BundleDamagedError, match=REFERENCE_FILE):
        check(storage, bundle)


def test_only_what_a_champions_answers_move_with_matters(tmp_path: Path) -> None:
    """The tiny bundle answers the same for all rows, but for sigma: its scale feature times a constant."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.uniform(0.001, 0.01, (300, len(SPEC.model_names))), columns=SPEC.model_names)
    weights = importances(make_tiny_bundle(tmp_path / "tiny", SPEC), rows)
    assert {name for name, weight in weights.items() if weight > 0} == {"realised_volatility_36"}
    assert sum(weights.values()) == pytest.approx(1)
    assert importances(make_tiny_bundle(tmp_path / "same", SPEC), rows.assign(realised_volatility_36=0.01)) == {}
