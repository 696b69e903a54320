"""The featurize step may run at any moment, any number of times, after any accident: the table ends up right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features import compute_features, featurize
from cryptosentinel.storage import DeltaFeatureStore, FeatureStore
from tests.builders import make_random_bars
from tests.features.builders import SPEC, MemoryFeatureStore, differing, make_rough_bars

ASSET = "bitcoin"


@pytest.fixture(params=["memory", "delta"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    return MemoryFeatureStore() if request.param == "memory" else DeltaFeatureStore(str(tmp_path))


def wrong_features(store: FeatureStore) -> list[str]:
    """Which stored features are not what all stored bars at once would give."""
    rows = store.read_features(ASSET, SPEC.hash)
    expected = compute_features(store.read_bars(ASSET), SPEC)
    assert rows["timestamp"].tolist() == expected["timestamp"].tolist()
    return differing(expected[SPEC.names].to_numpy(np.float64), rows[SPEC.names].to_numpy(np.float64), 2e-9)


def test_a_second_run_writes_nothing(store: FeatureStore) -> None:
    store.write_bars(make_random_bars(900))
    first = featurize(store, SPEC, ASSET)
    version = store.version(SPEC.hash)
    again = featurize(store, SPEC, ASSET)
    assert (first.written.inserted, first.written.updated) == (900, 0)
    assert (again.written.inserted, again.written.updated, again.written.unchanged) == (0, 0, 289)
    if isinstance(store, DeltaFeatureStore):
        assert store.version(SPEC.hash) == version


def test_one_more_bar_is_one_more_row(store: FeatureStore) -> None:
    bars = make_random_bars(901)
    store.write_bars(bars.iloc[:-1])
    featurize(store, SPEC, ASSET)
    store.write_bars(bars.iloc[-1:])
    report = featurize(store, SPEC, ASSET)
    assert (report.written.inserted, report.written.updated) == (1, 0)
    assert report.newest == bars["timestamp"].iloc[-1]
    assert report.newest_is_warm
    assert report.bars_since_gap == SPEC.warm_up_bars
    assert wrong_features(store) == []


def test_a_late_bar_closes_its_gap_in_all_rows_after_it(store: FeatureStore) -> None:
    bars = make_random_bars(1_500)
    store.write_bars(bars.drop(index=200))
    report = featurize(store, SPEC, ASSET)
    assert report.bars_since_gap == SPEC.warm_up_bars
    store.write_bars(bars.iloc[[200]])
    report = featurize(store, SPEC, ASSET, touched_from=bars["timestamp"][200].to_pydatetime())
    assert report.written.inserted == 1
    assert 0 < report.written.updated < SPEC.warm_up_bars
    assert wrong_features(store) == []


def test_a_revised_bar_changes_the_rows_that_see_it(store: FeatureStore) -> None:
    bars = make_random_bars(1_500)
    store.write_bars(bars)
    featurize(store, SPEC, ASSET)
    revised = bars.iloc[[600]].assign(high=bars["high"][600] * 1.01)
    store.write_bars(revised)
    report = featurize(store, SPEC, ASSET, touched_from=bars["timestamp"][600].to_pydatetime())
    assert report.written.inserted == 0
    # The volatility a day ago looks back furthest at the high; every row up to there has it in its 288 bars.
    assert report.written.updated == 279 + 12
    assert wrong_features(store) == []


def test_a_revision_of_the_last_day_is_found_without_being_told(store: FeatureStore) -> None:
    bars = make_random_bars(900)
    store.write_bars(bars)
    featurize(store, SPEC, ASSET)
    store.write_bars(bars.iloc[[700]].assign(close=bars["close"][700] * 1.001))
    assert featurize(store, SPEC, ASSET).written.updated > 0
    assert wrong_features(store) == []


def test_rows_that_a_killed_run_left_out_are_healed(store: FeatureStore) -> None:
    bars = make_random_bars(1_500)
    store.write_bars(bars.drop(index=range(100, 300)))
    featurize(store, SPEC, ASSET)
    store.write_bars(bars.iloc[100:300])  # and killed before it could say which bars it touched
    unhealed = featurize(store, SPEC, ASSET, heal=False)
    assert unhealed.written.inserted == 0
    healed = featurize(store, SPEC, ASSET)
    assert healed.written.inserted == 200
    assert healed.computed_from == bars["timestamp"][100]
    assert wrong_features(store) == []


def test_the_report_says_how_far_the_newest_row_is_from_warm(store: FeatureStore) -> None:
    bars = make_random_bars(600)
    store.write_bars(bars.drop(index=590))
    report = featurize(store, SPEC, ASSET)
    assert not report.newest_is_warm
    assert report.bars_since_gap == 9


def test_without_bars_there_is_nothing_to_compute(store: FeatureStore) -> None:
    with pytest.raises(NotEnoughDataError, match=r"Bars of bitcoin: have 0 rows.*cryptosentinel run feature"):
        featurize(store, SPEC, ASSET)


def test_another_asset_has_rows_of_its_own(tmp_path: Path) -> None:
    store = DeltaFeatureStore(str(tmp_path))
    store.write_bars(make_random_bars(500))
    store.write_bars(make_random_bars(480, seed=1).assign(asset="ethereum"))
    featurize(store, SPEC, ASSET)
    assert featurize(store, SPEC, "ethereum").written.inserted == 480
    assert len(store.read_features(ASSET, SPEC.hash)) == 500


def append(store: MemoryFeatureStore, bars: pd.DataFrame, at: int) -> None:
    store.write_bars(bars.iloc[max(0, at - 3) : at + 1])


def late(store: MemoryFeatureStore, bars: pd.DataFrame, at: int) -> None:
    store.write_bars(bars.iloc[at : at + 5])


def revise(store: MemoryFeatureStore, bars: pd.DataFrame, at: int) -> None:
    store.write_bars(bars.iloc[[at]].assign(close=bars["low"][at], volume=np.nan))


def lose_rows(store: MemoryFeatureStore, bars: pd.DataFrame, at: int) -> None:
    rows = store.features[SPEC.hash]
    store.features[SPEC.hash] = rows[rows["timestamp"] != bars["timestamp"][at]].reset_index(drop=True)


accidents = st.lists(
    st.tuples(st.sampled_from([append, late, revise, lose_rows]), st.integers(0, 899)), min_size=1, max_size=6
)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 899), accidents)
def test_step_by_step_ends_where_all_at_once_does(
    seed: int, begin: int, steps: list[tuple[Callable[..., None], int]]
) -> None:
    bars = make_rough_bars(1_000, seed=seed).head(900).reset_index(drop=True)
    store = MemoryFeatureStore(bars.iloc[:begin])
    featurize(store, SPEC, ASSET)
    for change, at in steps:
        change(store, bars, min(at, len(bars) - 1))
        touched = bars["timestamp"][max(0, min(at, len(bars) - 1) - 3)].to_pydatetime()
        featurize(store, SPEC, ASSET, touched_from=touched)
        assert wrong_features(store) == []
        assert featurize(store, SPEC, ASSET).written.updated == 0


def test_the_day_that_is_always_looked_at_again_ends_at_the_older_of_bars_and_rows() -> None:
    bars = make_random_bars(900)
    store = MemoryFeatureStore(bars)
    featurize(store, SPEC, ASSET)
    assert featurize(store, SPEC, ASSET).computed_from == bars["timestamp"].iloc[-1] - timedelta(days=1)
