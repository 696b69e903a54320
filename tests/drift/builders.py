"""Markets and baselines for tests of drift."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from cryptosentinel.config import DriftSettings
from cryptosentinel.drift import Baseline, compared, make_baseline
from cryptosentinel.features import FeatureSpec, compute_features
from cryptosentinel.market import simulated
from cryptosentinel.market.bars import PRICES
from cryptosentinel.market.simulated import SimulatedSource
from tests.builders import FIVE

SPEC = FeatureSpec(FIVE)
COMPARED = [feature.name for feature in compared(SPEC)]
BAR = FIVE.delta
DAY = FIVE.bars_per_day
START = datetime(2024, 1, 1, tzinfo=UTC)


def stable_bars(days: int, *, seed: int, monkeypatch) -> pd.DataFrame:
    """The simulated market whose volatility has its hours and weekends, and no level of its own."""
    monkeypatch.setattr(simulated, "_REGIME_VARIANCE", np.ones(3))
    monkeypatch.setattr(simulated, "_CASCADE", ((2, 0.0),))
    simulated._skeleton.cache_clear()
    end = START + timedelta(days=days)
    bars = SimulatedSource("bitcoin", FIVE, seed, now=end).bars(START, end)
    simulated._skeleton.cache_clear()
    return bars


def wilder(bars: pd.DataFrame, at: int, factor: float | np.ndarray) -> pd.DataFrame:
    """From bar `at` on, log returns are so many times as large."""
    logs = np.log(bars[list(PRICES)].to_numpy())
    before = np.concatenate([logs[:1, 3], logs[:-1, 3]])
    times = np.ones(len(bars))
    times[at:] = factor
    moves = (logs - before[:, None]) * times[:, None]
    close = logs[0, 3] + np.concatenate([[0.0], np.cumsum(moves[1:, 3])])
    changed = bars.copy()
    changed[list(PRICES)] = np.exp(np.concatenate([close[:1], close[:-1]])[:, None] + moves)
    return changed


def features_of(bars: pd.DataFrame) -> pd.DataFrame:
    return compute_features(bars, SPEC)[["timestamp", *COMPARED]].dropna().reset_index(drop=True)


def baseline_of(rows: pd.DataFrame, settings: DriftSettings | None = None) -> Baseline:
    """Of every fourth row, as a training on 90 days keeps them."""
    return make_baseline(rows.iloc[::4], compared(SPEC), settings or DriftSettings())
