"""The tape: what a training run sees at a time is what it would have seen live, and nothing that came later."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.backtest import tape as tapes
from cryptosentinel.backtest.tape import Tape
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features import featurize
from cryptosentinel.forecasting import Dataset, load_dataset, take_snapshot
from tests.backtest.replays import BARS, DAY, END, SPEC, START, Recorded
from tests.builders import FIVE
from tests.features.builders import MemoryFeatureStore

HORIZON = 6
BEGIN = START - 3 * DAY


def record(source: Recorded | None = None) -> Tape:
    return tapes.record(source or Recorded(), SPEC, BEGIN, END, HORIZON)


TAPE = record()


def assert_same_rows(left: Dataset, right: Dataset) -> None:
    for name in ("timestamps", "X", "y", "realised", "scale", "close"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    assert left.history.keys() == right.history.keys()
    for name, values in left.history.items():
        np.testing.assert_array_equal(values, right.history[name], err_msg=name)
    assert_same_kind(left, right)


def assert_same_kind(left: Dataset, right: Dataset) -> None:
    assert (left.names, left.interval, left.horizon_bars) == (right.names, right.interval, right.horizon_bars)


def test_a_training_run_sees_what_it_would_have_read_from_the_store_at_that_time() -> None:
    now = START + DAY
    store = MemoryFeatureStore(BARS[BARS["timestamp"] < pd.Timestamp(now)])
    featurize(store, SPEC, "bitcoin")
    live = load_dataset(store, SPEC, "bitcoin", take_snapshot(store, SPEC, "bitcoin", 3.0), HORIZON)
    seen = TAPE.known_at(now, 3.0)
    assert len(live) == 3 * 288 - HORIZON
    assert_same_kind(seen, live)
    np.testing.assert_array_equal(seen.timestamps, live.timestamps)
    np.testing.assert_array_equal(seen.close, live.close)
    # Sums that began at other bars end in another digit.
    np.testing.assert_allclose(seen.X, live.X, rtol=2e-7)
    for name in ("y", "realised", "scale"):
        np.testing.assert_allclose(getattr(seen, name), getattr(live, name), rtol=1e-9, err_msg=name)
    # The tape's history is longer, which only the slow averages of the baselines still feel.
    for name, values in seen.history.items():
        np.testing.assert_allclose(values, live.history[name], rtol=0.05, err_msg=name)


@given(minutes=st.integers(0, 3 * 1440))
def test_a_row_is_known_once_its_target_is(minutes: int) -> None:
    now = START + timedelta(minutes=minutes)
    known, window = TAPE.known_at(now, 1.0), now - DAY
    times = pd.DatetimeIndex(TAPE.rows.timestamps).tz_localize("UTC")
    target_at = times + (1 + HORIZON) * FIVE.delta
    expected = times[(times >= window) & (target_at <= now)]
    assert pd.DatetimeIndex(known.timestamps).tz_localize("UTC").equals(expected)


@settings(max_examples=10)
@given(hours=st.integers(0, 71), seed=st.integers(0, 99))
def test_what_comes_later_changes_nothing_that_was_known(hours: int, seed: int) -> None:
    now = START + timedelta(hours=hours)
    other = BARS.copy()
    later = (other["timestamp"] >= pd.Timestamp(now)).to_numpy()
    moved = 1 + np.random.default_rng(seed).uniform(-0.1, 0.1, later.sum())
    other.loc[later, ["open", "high", "low", "close"]] *= moved[:, None]
    assert_same_rows(TAPE.known_at(now, 3.0), record(Recorded(other)).known_at(now, 3.0))


def test_each_bar_is_forecast_from_once() -> None:
    times = pd.DatetimeIndex(TAPE.rows.timestamps).tz_localize("UTC") + FIVE.delta
    first, second = TAPE.closed_between(START, START + DAY), TAPE.closed_between(START + DAY, END)
    assert (times[first][0], times[first][-1]) == (START, START + DAY - FIVE.delta)
    assert (times[second][0], times[second][-1]) == (START + DAY, END - FIVE.delta)


def test_a_tape_in_files_is_the_same_and_is_mapped(tmp_path: Path) -> None:
    tapes.save(TAPE, tmp_path / "tape")
    loaded = tapes.load(tmp_path / "tape")
    assert_same_rows(loaded.rows, TAPE.rows)
    assert loaded.digest == TAPE.digest
    assert isinstance(loaded.rows.X, np.memmap)


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
def test_the_digest_knows_every_price_and_volume(column: str) -> None:
    other = BARS.copy()
    other.loc[3_000, column] = np.nextafter(other.loc[3_000, column], np.inf)
    assert tapes.digest_of(other) != tapes.digest_of(BARS)


def test_the_digest_does_not_know_who_had_the_bars() -> None:
    assert record(Recorded(BARS.assign(source="another"))).digest == TAPE.digest


def test_a_gap_is_no_rows_and_the_features_after_it_warm_up_anew() -> None:
    gap = BARS["timestamp"].between(pd.Timestamp(START), pd.Timestamp(START + timedelta(hours=2)))
    tape = record(Recorded(BARS[~gap].reset_index(drop=True)))
    assert len(tape.rows) == len(TAPE.rows) - gap.sum()
    after = tape.between(START, END)
    assert np.isnan(tape.rows.X[after][0]).any()
    assert np.isnan(tape.rows.y[after.start - HORIZON : after.start]).all()


def test_a_source_without_bars_there_is_an_error_that_says_so() -> None:
    with pytest.raises(NotEnoughDataError, match=r"Bars of recorded from 2030-01-01 to 2030-02-01: have 0 rows"):
        tapes.record(Recorded(), SPEC, START.replace(year=2030, day=1), START.replace(year=2030, month=2, day=1), 6)
