"""What a training run sees: complete rows, exactly as they were, split in time with nothing leaking across."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features import featurize
from cryptosentinel.forecasting import Dataset, enough_rows, load_dataset, take_snapshot
from cryptosentinel.market.bars import PRICES
from cryptosentinel.storage import DeltaFeatureStore
from tests.builders import FIVE, make_random_bars
from tests.features.builders import SPEC, MemoryFeatureStore
from tests.forecasting.builders import make_settings

ASSET, HORIZON = "bitcoin", 6
WARM = max(feature.warm_up_bars for feature in SPEC.features if feature.feeds_models)


def load(store: MemoryFeatureStore | DeltaFeatureStore, window_days: float = 90) -> Dataset:
    return load_dataset(store, SPEC, ASSET, take_snapshot(store, SPEC, ASSET, window_days), HORIZON)


def featurized(bars) -> MemoryFeatureStore:
    store = MemoryFeatureStore(bars)
    featurize(store, SPEC, ASSET)
    return store


def test_rows_are_those_with_every_feature_and_a_target() -> None:
    bars = make_random_bars(800)
    rows = load(featurized(bars))
    assert len(rows) == 800 - (WARM - 1) - HORIZON
    assert (rows.timestamps[0], rows.timestamps[-1]) == tuple(
        bars["timestamp"].iloc[[WARM - 1, -1 - HORIZON]].to_numpy("datetime64[ms]")
    )
    closes = bars["close"].to_numpy()
    np.testing.assert_allclose(rows.y, np.log(closes[WARM - 1 + HORIZON :] / closes[WARM - 1 : -HORIZON]))
    np.testing.assert_array_equal(rows.close, closes[WARM - 1 : -HORIZON])
    squares = np.diff(np.log(closes))[WARM - 37 : WARM - 1] ** 2
    assert rows.scale[0] == pytest.approx(np.sqrt(squares.mean() * HORIZON))


def test_no_row_reaches_over_a_gap() -> None:
    bars = make_random_bars(1_600).drop(index=800).reset_index(drop=True)
    rows = load(featurized(bars))
    assert len(rows) == 1_599 - 2 * (WARM - 1 + HORIZON)


def test_a_bar_without_a_feature_row_leaves_the_others_paired_rightly() -> None:
    store = featurized(make_random_bars(800))
    whole = load(store)
    kept = store.features[SPEC.hash]
    store.features[SPEC.hash] = kept.drop(index=600).reset_index(drop=True)
    rows = load(store)
    at = np.isin(whole.timestamps, rows.timestamps)
    np.testing.assert_array_equal(whole.y[at], rows.y)
    np.testing.assert_array_equal(whole.X[at], rows.X)
    assert len(whole) - HORIZON - 1 <= len(rows) < len(whole)


def test_a_window_is_so_many_days() -> None:
    rows = load(featurized(make_random_bars(1_200)), window_days=1)
    assert len(rows) == FIVE.bars_per_day - HORIZON


def test_a_snapshot_gives_the_same_rows_whatever_happens_afterwards(tmp_path: Path) -> None:
    store = DeltaFeatureStore(str(tmp_path))
    bars = make_random_bars(900)
    store.write_bars(bars.iloc[:800])
    featurize(store, SPEC, ASSET)
    snapshot = take_snapshot(store, SPEC, ASSET, 90)
    before = load_dataset(store, SPEC, ASSET, snapshot, HORIZON)
    revised = bars.copy()
    revised.loc[500:, list(PRICES)] *= 1.5
    store.write_bars(revised)
    featurize(store, SPEC, ASSET, touched_from=bars["timestamp"][500].to_pydatetime())
    store.maintain()
    again = load_dataset(store, SPEC, ASSET, type(snapshot).model_validate_json(snapshot.model_dump_json()), HORIZON)
    for name in ("timestamps", "X", "y", "scale", "close"):
        np.testing.assert_array_equal(getattr(before, name), getattr(again, name))
    assert not np.array_equal(load(store).close[: len(before)], before.close)


def test_without_features_there_is_nothing_to_pin() -> None:
    with pytest.raises(NotEnoughDataError, match="run feature"):
        take_snapshot(MemoryFeatureStore(make_random_bars(5)), SPEC, ASSET, 90)


def test_rows_are_counted_before_anything_is_trained() -> None:
    store = featurized(make_random_bars(800))
    chosen = make_settings(min_rows=100)
    usable, needed = enough_rows(store, SPEC, ASSET, take_snapshot(store, SPEC, ASSET, 90), chosen)
    assert usable == len(load(store))
    assert needed == 133  # (100 + 6) / 0.8, rounded up
    training, _ = load(store).rows(slice(0, needed)).split(chosen.training.holdout_share)
    assert len(training) >= 100


def make_rows(steps: list[int], horizon: int) -> Dataset:
    """Rows at a distance of so many bars from each other."""
    n = len(steps)
    stamps = np.datetime64("2025-01-01", "ms") + np.cumsum(steps) * np.timedelta64(300_000, "ms")
    return Dataset(stamps, np.zeros((n, 1), np.float32), np.zeros(n), np.ones(n), np.ones(n), ("x",), horizon)


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from([1, 1, 1, 1, 2, 50]), min_size=0, max_size=300),
    st.integers(1, 30),
    st.floats(0.01, 0.99),
)
def test_no_target_of_a_training_row_reaches_the_holdout(steps: list[int], horizon: int, share: float) -> None:
    rows = make_rows(steps, horizon)
    training, holdout = rows.split(share)
    assert len(holdout) == int(len(rows) * share)
    assert len(training) == max(len(rows) - len(holdout) - horizon, 0)
    np.testing.assert_array_equal(holdout.timestamps, rows.timestamps[len(rows) - len(holdout) :])
    np.testing.assert_array_equal(training.timestamps, rows.timestamps[: len(training)])
    if len(training) and len(holdout):
        reach = training.timestamps[-1] + horizon * np.timedelta64(timedelta(minutes=5))
        assert reach < holdout.timestamps[0]
