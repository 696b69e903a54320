"""A regime's name means the same whatever number the clustering gave it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosentinel.features import SCALE_FEATURE, compute_features
from cryptosentinel.forecasting.regimes import fit_regimes, name_clusters
from cryptosentinel.market.bars import PRICES, make_bars
from tests.features.builders import SPEC
from tests.forecasting.builders import make_dataset

NAMES = ("roc_10", SCALE_FEATURE)
# Where each regime's rows lie: trend in units of volatility, and volatility.
PLANTED = {
    "uptrend": (4.0, 0.002),
    "downtrend": (-4.0, 0.002),
    "accumulation": (0.2, 0.0005),
    "distribution": (-0.2, 0.006),
}


def planted(order: list[str], seed: int = 0, rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), rows)
    trend, volatility = np.array([PLANTED[name] for name in order])[labels].T
    volatility = volatility * noise.uniform(0.9, 1.1, len(labels))
    return np.column_stack([(trend + noise.normal(0, 0.3, len(labels))) * volatility, volatility]).astype("f4"), labels


@given(st.permutations(list(PLANTED)))
def test_a_cluster_is_named_by_its_trend_and_volatility_not_by_its_number(order: list[str]) -> None:
    X, labels = planted(order)
    assert name_clusters(X, labels, NAMES) == order


@pytest.mark.parametrize("seed", range(3))
def test_planted_regimes_are_found_and_named(seed: int) -> None:
    order = list(PLANTED)
    X, labels = planted(order, seed)
    pipeline, names = fit_regimes(X, NAMES, seed)
    assert (np.asarray(names)[pipeline.predict(X)] == np.asarray(order)[labels]).mean() > 0.99


def test_an_empty_cluster_gets_a_name_too() -> None:
    X, labels = planted(list(PLANTED))
    assert sorted(name_clusters(X, np.where(labels == 3, 0, labels), NAMES)) == sorted(PLANTED)


def test_a_refit_with_another_seed_calls_most_rows_the_same() -> None:
    rows = make_dataset()
    answers = []
    for seed in (0, 1, 2):
        pipeline, names = fit_regimes(rows.X, rows.names, seed)
        answers.append(np.asarray(names)[pipeline.predict(rows.X)])
    assert (answers[0] == answers[1]).mean() > 0.8
    assert (answers[0] == answers[2]).mean() > 0.8


@pytest.mark.market_data
def test_a_refit_with_another_seed_calls_the_rows_of_a_real_market_the_same(market_data: Path) -> None:
    rows = pd.read_parquet(market_data / "binance_btcusdt_5m_2017_2025h1.parquet").tail(30_000)
    prices = {name: rows[name].to_numpy() for name in (*PRICES, "volume")}
    bars = make_bars("bitcoin", "file", pd.to_datetime(rows["timestamp"].to_numpy(), unit="ms", utc=True), **prices)
    X = compute_features(bars, SPEC)[SPEC.model_names].dropna().to_numpy(np.float32)
    answers = []
    for seed in (0, 1, 2):
        pipeline, names = fit_regimes(X, tuple(SPEC.model_names), seed)
        answers.append(np.asarray(names)[pipeline.predict(X)])
    assert (answers[0] == answers[1]).mean() > 0.95
    assert (answers[0] == answers[2]).mean() > 0.95


def test_a_refit_on_a_week_more_calls_most_rows_the_same() -> None:
    rows = make_dataset()
    before, after = fit_regimes(rows.X[:1_300], rows.names, 0), fit_regimes(rows.X[300:], rows.names, 0)
    both = rows.X[300:1_300]
    left, right = (np.asarray(names)[pipeline.predict(both)] for pipeline, names in (before, after))
    assert (left == right).mean() > 0.7
