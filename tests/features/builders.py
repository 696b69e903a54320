"""Bars as rough as markets make them, and a feature store in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from cryptosentinel.features import FeatureSpec, compute_features
from cryptosentinel.market.bars import PRICES, Interval, make_bars
from cryptosentinel.storage import Written
from tests.builders import FIVE, T0, MemoryStore

SPEC = FeatureSpec(FIVE)


def make_rough_bars(count: int, *, seed: int = 0, price: float = 600.0, interval: Interval = FIVE) -> pd.DataFrame:
    """Clean bars with gaps, flat spells, jumps, calm and wild spells, and with missing and zero volume."""
    noise = np.random.default_rng(seed)
    starts = noise.integers(0, count, 8)
    spells = [
        slice(start, start + int(length)) for start, length in zip(starts, noise.integers(1, 700, 8), strict=True)
    ]
    volatility = np.full(count, 0.001)
    volatility[spells[0]], volatility[spells[1]], volatility[spells[2]] = 0.02, 1e-7, 0.0
    returns = noise.normal(0, 1, count) * volatility
    returns[noise.integers(0, count, 3)] += noise.choice([-0.7, 0.1, 0.5], 3)
    closes = price * np.exp(np.cumsum(returns))
    opens = np.concatenate([[price], closes[:-1]])
    wick = noise.exponential(1, (2, count)) * volatility * noise.choice([0, 1], (2, count))
    wick[:, noise.integers(0, count)] += 1.0
    volume = noise.lognormal(0, 2, count) * noise.choice([1e-3, 1e6])
    volume[spells[3]], volume[spells[4]] = 0.0, np.nan
    volume[noise.random(count) < 0.05] = np.nan
    bars = make_bars(
        "bitcoin",
        "test",
        pd.date_range(T0, periods=count, freq=interval.delta),
        open=opens,
        high=np.maximum(opens, closes) * np.exp(wick[0]),
        low=np.minimum(opens, closes) * np.exp(-wick[1]),
        close=closes,
        volume=volume,
    )
    lost = np.zeros(count, dtype=bool)
    for at in noise.integers(0, count, noise.integers(0, 3)):
        lost[at : at + noise.integers(1, 50)] = True
    lost[-1] = False
    return bars[~lost].reset_index(drop=True)


def rough_bars(count: int = 1_600) -> st.SearchStrategy[pd.DataFrame]:
    """Rough bars at any price level."""
    return st.builds(
        make_rough_bars,
        st.just(count),
        seed=st.integers(0, 2**32 - 1),
        price=st.floats(-4, 6).map(lambda exponent: 10.0**exponent),
    )


def one_row(bars: pd.DataFrame, row: int, spec: FeatureSpec = SPEC) -> np.ndarray:
    """A row's features from no more bars than the spec asks for."""
    window = bars.iloc[max(0, row + 1 - spec.warm_up_bars) : row + 1]
    return compute_features(window, spec)[spec.names].iloc[-1].to_numpy(np.float64)


def differing(left: np.ndarray, right: np.ndarray, tolerance: float, names: Sequence[str] = SPEC.names) -> list[str]:
    """Which features (the last axis) differ by more than `tolerance`: relative above 1, absolute below."""
    close = np.abs(left - right) <= tolerance * np.maximum(1.0, np.abs(left))
    same = close | (np.isnan(left) & np.isnan(right))
    return [name for name, fine in zip(names, np.atleast_2d(same).all(axis=0), strict=True) if not fine]


def seeing_ahead(bars: pd.DataFrame, row: int, seed: int, spec: FeatureSpec = SPEC) -> list[str]:
    """Which features change at or before a row when all that happens after it is something else."""
    columns = [*PRICES, "volume"]
    other = bars.copy()
    other.loc[row + 1 :, columns] = make_rough_bars(3_000, seed=seed, price=7.0)[columns].to_numpy()[
        : len(bars) - row - 1
    ]
    left, right = (compute_features(frame, spec)[spec.names].to_numpy(np.float64)[: row + 1] for frame in (bars, other))
    return differing(left, right, 0.0, spec.names)


class MemoryFeatureStore(MemoryStore):
    """Bars and features in memory; the newest version only."""

    def __init__(self, bars: pd.DataFrame | None = None) -> None:
        super().__init__(bars)
        self.features: dict[str, pd.DataFrame] = {}

    def write_features(self, rows: pd.DataFrame, spec_hash: str) -> Written:
        key = ["asset", "timestamp"]
        stored = self.features.get(spec_hash)
        merged = rows if stored is None else pd.concat([stored, rows]).drop_duplicates(key, keep="last")
        before = (rows.iloc[:0] if stored is None else stored).merge(rows[key], on=key)
        now = rows.merge(before[key], on=key)
        unchanged = int(((before == now) | (before.isna() & now.isna())).all(axis=1).sum())
        self.features[spec_hash] = merged.sort_values(key, ignore_index=True)
        self.writes += 1
        return Written(len(rows) - len(before), len(before) - unchanged, unchanged, self.writes)

    def read_features(
        self,
        asset: str,
        spec_hash: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pd.DataFrame:
        rows = self.features.get(spec_hash)
        if rows is None:
            return pd.DataFrame({"asset": [], "timestamp": pd.to_datetime([], utc=True)})
        wanted = rows["asset"] == asset
        wanted &= True if start is None else rows["timestamp"] >= pd.Timestamp(start)
        wanted &= True if end is None else rows["timestamp"] < pd.Timestamp(end)
        names = SPEC.names if columns is None else list(columns)
        return rows.loc[wanted, ["asset", "timestamp", *names]].reset_index(drop=True)

    def last_timestamp(self, asset: str, spec_hash: str | None = None) -> datetime | None:
        if spec_hash is None:
            return super().last_timestamp(asset)
        rows = self.features.get(spec_hash)
        return None if rows is None or rows.empty else rows["timestamp"].iloc[-1].to_pydatetime()
