"""What a training run sees: complete rows, exactly as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features import compute_features, featurize
from cryptosentinel.forecasting import Dataset, enough_rows, load_dataset, take_snapshot
from cryptosentinel.forecasting.dataset import lay_out, make_dataset
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
    moves = np.diff(np.log(closes))
    assert rows.scale[0] == pytest.approx(np.sqrt((moves[WARM - 37 : WARM - 1] ** 2).mean() * HORIZON))
    assert rows.realised[0] == pytest.approx(np.sqrt((moves[WARM - 1 : WARM - 1 + HORIZON] ** 2).sum()))
    assert rows.history["last_return"][0] == pytest.approx(np.log(closes[WARM - 1] / closes[WARM - 1 - HORIZON]))


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
    for name in ("timestamps", "X", "y", "realised", "scale", "close"):
        np.testing.assert_array_equal(getattr(before, name), getattr(again, name))
    for name, values in before.history.items():
        np.testing.assert_array_equal(values, again.history[name])
    assert not np.array_equal(load(store).close[: len(before)], before.close)


def test_without_features_there_is_nothing_to_pin() -> None:
    with pytest.raises(NotEnoughDataError, match="run feature"):
        take_snapshot(MemoryFeatureStore(make_random_bars(5)), SPEC, ASSET, 90)


def test_rows_are_counted_before_anything_is_trained() -> None:
    store = featurized(make_random_bars(800))
    chosen = make_settings(min_rows=100)
    usable, needed = enough_rows(store, SPEC, ASSET, take_snapshot(store, SPEC, ASSET, 90), chosen)
    rows = load(store)
    assert usable == len(rows)
    assert needed == 148  # (100 + 6 of the horizon + 12 of the embargo) / 0.8, rounded up
    assert lay_out(rows.rows(slice(0, needed)), chosen.training).last.train.stop >= 100


def test_history_reaches_back_beyond_the_window() -> None:
    bars = make_random_bars(1_500)
    whole, day = load(featurized(bars)), load(featurized(bars), window_days=1)
    for name, values in day.history.items():
        np.testing.assert_array_equal(values, whole.history[name][-len(day) :], err_msg=name)


def test_some_of_the_rows_are_those_rows_in_every_column() -> None:
    rows = load(featurized(make_random_bars(900)))
    odd = np.arange(len(rows)) % 2 == 1
    picked = rows.rows(odd)
    for name in ("timestamps", "X", "y", "realised", "scale", "close"):
        np.testing.assert_array_equal(getattr(picked, name), getattr(rows, name)[odd], err_msg=name)
    assert picked.history.keys() == rows.history.keys()
    for name, values in picked.history.items():
        np.testing.assert_array_equal(values, rows.history[name][odd], err_msg=name)
    assert (picked.names, picked.interval, picked.horizon_bars) == (rows.names, rows.interval, rows.horizon_bars)


def test_bars_without_features_and_features_without_bars_make_no_rows() -> None:
    bars = make_random_bars(700)
    features = compute_features(bars, SPEC)
    rows = make_dataset(bars.drop(index=[650, 651]), features.drop(index=[600]), SPEC, HORIZON)
    expected = bars["timestamp"].drop(index=[600, 650, 651]).to_numpy("datetime64[ms]")
    np.testing.assert_array_equal(rows.timestamps, expected)
    at = {stamp: number for number, stamp in enumerate(bars["timestamp"].to_numpy("datetime64[ms]"))}
    own = [at[stamp] for stamp in rows.timestamps]
    np.testing.assert_array_equal(rows.X, features[SPEC.model_names].to_numpy(np.float32)[own])
    np.testing.assert_array_equal(rows.close, bars["close"].to_numpy()[own])
