"""Baselines: what each rule says, and that none of them looks ahead."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.forecasting.baselines import (
    EWMA_HALF_LIVES,
    HAR_WINDOWS,
    POINT,
    SINGLE_FEATURE,
    SPREAD,
    best_half_life,
)

HORIZON = 6
BASELINES = POINT | SPREAD
FUTURE = ("actual", "realised")
TRAINING = slice(2_100, 5_000)


def make_history(returns: np.ndarray) -> dict[str, np.ndarray]:
    """What a history holds, from 1-bar log returns by the definitions."""
    r = pd.Series(returns)
    past = r.rolling(HORIZON).sum()
    columns = {
        "actual": past.shift(-HORIZON),
        "realised": np.sqrt((r**2).rolling(HORIZON).sum()).shift(-HORIZON),
        "last_return": past,
        "scale": np.sqrt((r**2).rolling(36).sum() * HORIZON / 36),
        SINGLE_FEATURE: pd.Series(np.random.default_rng(9).standard_normal(len(r))),
        **{f"rv_{bars}": np.sqrt((r**2).rolling(bars).mean()) for bars in HAR_WINDOWS},
        **{f"ewma_{bars}": np.sqrt((r**2).ewm(halflife=bars).mean()) for bars in EWMA_HALF_LIVES},
    }
    return {name: np.asarray(column, np.float64) for name, column in columns.items()}


def make_returns(memory_bars: float = 24, count: int = 6_000, seed: int = 0) -> np.ndarray:
    """A market whose log volatility forgets half of itself in so many bars."""
    noise = np.random.default_rng(seed)
    phi = 0.5 ** (1 / memory_bars)
    level = np.zeros(count)
    for t in range(1, count):
        level[t] = phi * level[t - 1] + math.sqrt(1 - phi**2) * noise.standard_normal()
    return 0.001 * np.exp(0.7 * level) * noise.standard_normal(count)


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_answers_for_every_row_that_is_complete(name: str) -> None:
    history = make_history(make_returns())
    answer = BASELINES[name](history, TRAINING)
    assert answer.shape == history["actual"].shape
    assert np.isfinite(answer[2_016:]).all()
    if name in SPREAD:
        assert (answer[2_016:] > 0).all()


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_knows_nothing_of_what_comes_after_its_training(name: str) -> None:
    history = make_history(make_returns())
    blind = {column: values.copy() for column, values in history.items()}
    for column in FUTURE:
        blind[column][TRAINING.stop :] = np.nan
    for values in blind.values():
        values[5_500:] = 7.0
    expected, answer = (BASELINES[name](rows, TRAINING) for rows in (history, blind))
    np.testing.assert_array_equal(answer[:5_500], expected[:5_500])


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_leaves_its_history_as_it_is(name: str) -> None:
    history = make_history(make_returns())
    before = {column: values.copy() for column, values in history.items()}
    BASELINES[name](history, TRAINING)
    for column, values in before.items():
        np.testing.assert_array_equal(history[column], values)


def test_point_rules_say_what_their_names_say() -> None:
    history = make_history(make_returns())
    assert not POINT["random_walk"](history, TRAINING).any()
    np.testing.assert_array_equal(POINT["continued"](history, TRAINING), history["last_return"])
    np.testing.assert_array_equal(POINT["reversed"](history, TRAINING), -history["last_return"])


def test_a_single_feature_is_fitted_in_units_of_volatility() -> None:
    history = make_history(make_returns())
    history["actual"] = 0.3 * history[SINGLE_FEATURE] * history["scale"]
    np.testing.assert_allclose(POINT["single_feature"](history, TRAINING)[36:], history["actual"][36:])


def test_a_feature_that_stands_still_says_nothing() -> None:
    history = make_history(make_returns())
    history[SINGLE_FEATURE] = np.zeros(len(history["actual"]))
    assert not POINT["single_feature"](history, TRAINING)[36:].any()


def test_har_finds_the_coefficients_that_made_the_data() -> None:
    history = make_history(make_returns())
    logs = [np.log(history[f"rv_{bars}"]) for bars in HAR_WINDOWS]
    history["realised"] = np.exp(0.4 + 0.5 * logs[0] + 0.3 * logs[1] + 0.1 * logs[2])
    np.testing.assert_allclose(SPREAD["har"](history, TRAINING)[2_016:], history["realised"][2_016:])


def test_har_is_the_least_squares_fit_in_logarithms() -> None:
    history = make_history(make_returns())
    fitted = np.log(SPREAD["har"](history, TRAINING)[TRAINING])
    error = np.log(history["realised"][TRAINING]) - fitted
    for column in (np.ones(len(error)), *(np.log(history[f"rv_{bars}"][TRAINING]) for bars in HAR_WINDOWS)):
        assert abs(error @ column) < 1e-6 * len(error)


def test_a_market_that_stood_still_for_a_while_does_not_decide_the_fit() -> None:
    returns = make_returns()
    still = returns.copy()
    still[3_000:3_015] = 0.0
    for name in ("har", "ewma"):
        usual, other = (SPREAD[name](make_history(r), TRAINING)[5_100:] for r in (returns, still))
        assert np.abs(np.log(other / usual)).max() < 0.1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BASELINES)
def test_a_market_that_never_moves_gets_an_answer(name: str) -> None:
    history = make_history(np.zeros(6_000))
    history["scale"] = np.full(6_000, 1e-6)
    assert np.isfinite(BASELINES[name](history, TRAINING)[2_016:]).all()


def test_spreads_are_in_the_unit_of_the_return() -> None:
    history = make_history(make_returns())
    for name in ("ewma", "har"):
        sigma = SPREAD[name](history, TRAINING)[TRAINING]
        assert np.mean(np.log(history["realised"][TRAINING] / sigma)) == pytest.approx(0, abs=1e-3)
        assert 0.9 < np.std(history["actual"][TRAINING] / sigma) < 1.6


def test_what_the_market_forgets_fast_is_averaged_over_few_bars() -> None:
    histories = [make_history(make_returns(memory, count=30_000)) for memory in (12, 2_000)]
    fast, slow = (best_half_life(history, slice(2_100, 29_000)) for history in histories)
    assert fast <= 18
    assert slow >= 36


def test_ewma_follows_the_half_life_it_chose() -> None:
    history = make_history(make_returns())
    ratio = SPREAD["ewma"](history, TRAINING) / history[f"ewma_{best_half_life(history, TRAINING)}"]
    np.testing.assert_allclose(ratio[36:], ratio[36])


@pytest.mark.parametrize("name", ["single_feature", "ewma", "har"])
def test_nothing_to_fit_on_is_refused(name: str) -> None:
    history = make_history(make_returns())
    for column in FUTURE:
        history[column][:] = np.nan
    with pytest.raises(NotEnoughDataError, match=name):
        BASELINES[name](history, TRAINING)


@pytest.mark.market_data
def test_real_bitcoin_before_the_test_year_is_averaged_over_12_bars(market_data: Path) -> None:
    bars = pd.read_parquet(market_data / "binance_btcusdt_5m_2017_2025h1.parquet", columns=["timestamp", "close"])
    opened = pd.to_datetime(bars["timestamp"], unit="ms")
    close = bars["close"][(opened >= "2023-07-01") & (opened < "2024-07-01")].to_numpy()
    history = make_history(np.diff(np.log(close)))
    assert best_half_life(history, slice(2_016, len(close) - 1 - HORIZON)) == 12
