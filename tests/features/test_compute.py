"""Features know the past alone, and a row's are the same whoever computes it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.features import FEATURES, FeatureSpec, compute_features, compute_target
from cryptosentinel.market.bars import PRICES, Interval, make_bars
from tests.builders import FIVE, make_random_bars
from tests.features.builders import SPEC, differing, one_row, rough_bars, seeing_ahead

properties = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)

PRESSURES = [name for name in SPEC.names if name.startswith(("close_location_volume_", "signed_volume_"))]
LOG_VOLATILITIES = [name for name in SPEC.names if name.startswith("log_volatility_")]


def values(bars: pd.DataFrame, spec: FeatureSpec = SPEC) -> np.ndarray:
    return compute_features(bars, spec)[spec.names].to_numpy(np.float64)


def without(bars: pd.DataFrame, *rows: int) -> pd.DataFrame:
    return bars.drop(index=list(rows)).reset_index(drop=True)


@properties
@given(rough_bars(), st.floats(0, 1), seeds)
def test_what_happens_after_a_bar_changes_no_feature_at_or_before_it(
    bars: pd.DataFrame, where: float, seed: int
) -> None:
    assert seeing_ahead(bars, int(where * (len(bars) - 2)), seed) == []


@properties
@given(rough_bars(), seeds)
def test_a_row_computed_alone_equals_the_row_computed_with_all_of_history(bars: pd.DataFrame, seed: int) -> None:
    batch = values(bars)
    for row in [len(bars) - 1, *np.random.default_rng(seed).integers(0, len(bars), 30)]:
        assert differing(batch[row], one_row(bars, row), 1e-9) == [], f"row {row}"


@pytest.mark.market_data
def test_a_row_of_a_real_market_computed_alone_equals_the_row_computed_with_all_of_history(market_data: Path) -> None:
    rows = pd.read_parquet(market_data / "binance_btcusdt_5m_2017_2025h1.parquet")
    prices = {name: rows[name].to_numpy() for name in (*PRICES, "volume")}
    bars = make_bars("bitcoin", "file", pd.to_datetime(rows["timestamp"], unit="ms", utc=True), **prices)
    batch = values(bars)
    chosen = np.random.default_rng(0).integers(0, len(bars), 400)
    warm = sum(bool(np.isfinite(batch[row]).all()) for row in chosen)
    assert warm > 300
    for row in chosen:
        assert differing(batch[row], one_row(bars, row), 1e-9) == [], f"row {row}"


@properties
@given(seeds, st.floats(-4, 4), st.floats(-3, 3))
def test_prices_and_volumes_in_other_units_change_nothing_that_feeds_a_model(
    seed: int, price: float, volume: float
) -> None:
    bars = make_random_bars(700, seed=seed)
    scaled = bars.copy()
    scaled[list(PRICES)] *= 10.0**price
    scaled["volume"] *= 10.0**volume
    left, right = (compute_features(frame, SPEC)[SPEC.model_names].to_numpy() for frame in (bars, scaled))
    assert differing(left, right, 1e-7, SPEC.model_names) == []


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_feature_has_a_value_from_its_warm_up_on_and_not_before(feature) -> None:
    bars = make_random_bars(SPEC.warm_up_bars + 5)
    column = compute_features(bars, SPEC)[feature.name].to_numpy()
    assert np.isnan(column[: feature.warm_up_bars - 1]).all()
    assert np.isfinite(column[feature.warm_up_bars - 1 :]).all()


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_feature_s_first_value_is_as_right_as_any_later_one(feature) -> None:
    bars = make_random_bars(SPEC.warm_up_bars + 5)
    only = FeatureSpec(FIVE, (feature,))
    full = compute_features(bars, only)[feature.name].iloc[-1]
    alone = compute_features(bars.tail(feature.warm_up_bars), only)[feature.name].iloc[-1]
    assert alone == pytest.approx(full, rel=1e-9, abs=1e-9)


def test_after_a_gap_every_feature_warms_up_anew() -> None:
    whole = make_random_bars(3 * SPEC.warm_up_bars)
    gap = SPEC.warm_up_bars + 10
    bars = without(whole, gap)
    after = values(bars)[gap:]
    np.testing.assert_array_equal(after, values(bars.iloc[gap:]))
    warm = np.array([feature.warm_up_bars for feature in FEATURES])
    assert (np.isnan(after).sum(axis=0) == warm - 1).all()


@properties
@given(seeds, st.floats(1e-3, 1e3))
def test_prices_on_the_other_side_of_a_gap_do_not_matter(seed: int, factor: float) -> None:
    bars = without(make_random_bars(900, seed=seed), 350)
    other = bars.copy()
    other.loc[:349, list(PRICES)] *= factor
    np.testing.assert_array_equal(values(bars)[350:], values(other)[350:])


def test_missing_volume_counts_as_usual_and_as_neither_bought_nor_sold() -> None:
    bars = make_random_bars(700).assign(volume=np.nan)
    row = compute_features(bars, SPEC).iloc[-1]
    assert row[["volume_to_usual_1", "volume_to_usual_12"]].tolist() == pytest.approx([1, 1], abs=1e-12)
    assert (row[PRESSURES] == 0).all()
    assert row[SPEC.model_names].notna().all()


def test_a_market_that_does_not_move_is_neutral() -> None:
    bars = make_random_bars(1_200)
    bars.loc[300:, list(PRICES)] = bars.loc[299, "close"]
    last = compute_features(bars, SPEC).iloc[-1]
    assert last["rsi_14"] == 50
    assert last["bollinger_position"] == 0.5
    assert last["volatility_6_to_288"] == 0
    assert (last[[f"return_{n}_to_volatility" for n in (36, 72, 288)]] == 0).all()
    assert last["absolute_to_root_mean_square_36"] == 0
    quietest = np.log(1e-9) / 2
    assert last["log_largest_move_288"] == pytest.approx(quietest, abs=1e-12)
    assert last[LOG_VOLATILITIES].tolist() == pytest.approx([quietest] * len(LOG_VOLATILITIES), abs=1e-3)
    assert last[SPEC.model_names].notna().all()


def test_a_day_without_trade_after_a_busy_one_is_a_day_without_trade() -> None:
    bars = make_random_bars(1_400)
    bars["volume"] *= 1e6 / 3
    bars.loc[900:, "volume"] = 0.0
    last = compute_features(bars, SPEC).iloc[-1]
    assert last["volume_to_usual_12"] == 1, "there is no usual volume to compare with"
    assert (last[PRESSURES] == 0).all()


@properties
@given(rough_bars())
def test_a_warm_feature_is_a_number_whatever_the_market_does(bars: pd.DataFrame) -> None:
    run = (bars["timestamp"].diff() != FIVE.delta).cumsum()
    age = bars.groupby(run).cumcount().to_numpy() + 1
    for feature, column in zip(FEATURES, values(bars).T, strict=True):
        np.testing.assert_array_equal(np.isfinite(column), age >= feature.warm_up_bars, feature.name)


def test_the_largest_move_is_one_of_either_sign() -> None:
    bars = make_random_bars(700)
    for factor in (1.5, 1 / 1.5):
        moved = bars.assign(**{name: bars[name] * np.where(bars.index < 500, 1.0, factor) for name in PRICES})
        column = compute_features(moved, SPEC)["log_largest_move_288"]
        assert column[500] == pytest.approx(np.log(np.log(1.5)), abs=0.02)
        assert (column[500:] == column[500]).all()


@pytest.mark.parametrize(
    ("interval", "begin", "minutes"),
    [
        ("5m", datetime(2025, 3, 9, 6, 50, tzinfo=UTC), [110, 115, 180, 185]),
        ("5m", datetime(2025, 11, 2, 5, 50, tzinfo=UTC), [110, 115, 60, 65]),
        ("5m", datetime(2025, 7, 1, 3, 50, tzinfo=UTC), [1430, 1435, 0, 5]),
        ("1h", datetime(2025, 3, 9, 5, tzinfo=UTC), [0, 60, 180, 240]),
        ("1h", datetime(2025, 11, 2, 4, tzinfo=UTC), [0, 60, 60, 120]),
    ],
    ids=["spring", "autumn", "midnight", "spring by the hour", "autumn by the hour"],
)
def test_new_york_s_clock_keeps_summer_time(interval, begin: datetime, minutes: list[int]) -> None:
    spec = FeatureSpec(Interval(interval))
    bars = make_random_bars(4, interval=spec.interval, start=begin)
    assert compute_features(bars, spec)["new_york_minute"].tolist() == minutes


def test_one_wild_bar_does_not_colour_the_calm_after_it() -> None:
    bars = make_random_bars(900)
    calm = compute_features(bars, SPEC).iloc[-1]
    bars.loc[400, "high"] *= 1e5
    wild = compute_features(bars, SPEC).iloc[-1]
    pd.testing.assert_series_equal(calm, wild, rtol=1e-12)


def test_no_bars_give_no_rows() -> None:
    frame = compute_features(make_random_bars(1).iloc[:0], SPEC)
    assert frame.empty
    assert list(frame.columns) == ["asset", "timestamp", *SPEC.names]


@pytest.mark.parametrize("interval", ["1m", "5m", "15m", "1h"])
def test_every_interval_has_its_own_grid(interval) -> None:
    spec = FeatureSpec(Interval(interval))
    bars = make_random_bars(spec.warm_up_bars, interval=spec.interval)
    assert compute_features(bars, spec).iloc[-1].notna().all()
    assert compute_features(bars, FeatureSpec(Interval("5m" if interval != "5m" else "1m")))["log_return"].isna().all()


def test_a_target_is_the_log_return_to_the_close_one_horizon_later() -> None:
    bars = make_random_bars(20)
    target = compute_target(bars, FIVE, 6)
    close = bars["close"].to_numpy()
    assert target[3] == pytest.approx(np.log(close[9] / close[3]))
    assert np.isnan(target[-6:]).all()
    assert np.isfinite(target[:-6]).all()


def test_a_target_does_not_reach_over_a_gap() -> None:
    bars = without(make_random_bars(30), 15)
    target = compute_target(bars, FIVE, 6)
    assert np.flatnonzero(np.isnan(target)).tolist() == [*range(9, 15), *range(23, 29)]


def test_bars_before_a_row_do_not_change_its_target() -> None:
    bars = make_random_bars(40)
    other = bars.copy()
    other.loc[:9, list(PRICES)] *= 2
    np.testing.assert_array_equal(compute_target(bars, FIVE, 6)[10:], compute_target(other, FIVE, 6)[10:])


def test_fewer_bars_than_the_horizon_have_no_target() -> None:
    assert np.isnan(compute_target(make_random_bars(6), FIVE, 6)).all()
