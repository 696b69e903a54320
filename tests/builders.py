"""Small builders that tests of several rooms share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from cryptosentinel.market.bars import COLUMNS, Interval, empty_bars, make_bars
from cryptosentinel.storage.protocols import Written

FIVE = Interval("5m")
T0 = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday


def make_random_bars(
    count: int, *, interval: Interval = FIVE, start: datetime = T0, seed: int = 0, price: float = 600.0
) -> pd.DataFrame:
    """Clean bars of a random walk."""
    noise = np.random.default_rng(seed)
    path = price * np.exp(np.cumsum(noise.normal(0, 0.002, count + 1)))
    opens, closes = path[:-1], path[1:]
    return make_bars(
        "bitcoin",
        "test",
        pd.date_range(start, periods=count, freq=interval.delta),
        open=opens,
        high=np.maximum(opens, closes) * (1 + noise.uniform(0, 0.002, count)),
        low=np.minimum(opens, closes) * (1 - noise.uniform(0, 0.002, count)),
        close=closes,
        volume=noise.uniform(1, 10, count),
    )


class MemoryStore:
    """The bars half of a feature store, in memory."""

    def __init__(self, bars: pd.DataFrame | None = None) -> None:
        self.bars = empty_bars()
        self.writes = 0
        if bars is not None:
            self.write_bars(bars)

    def write_bars(self, bars: pd.DataFrame) -> Written:
        before = self.bars.set_index("timestamp").reindex(bars["timestamp"]).reset_index()[list(COLUMNS)]
        is_new = before["asset"].isna().to_numpy()
        same = ((before == bars.reset_index(drop=True)) | (before.isna() & bars.reset_index(drop=True).isna())).all(
            axis=1
        )
        merged = pd.concat([self.bars, bars]) if len(self.bars) else bars
        self.bars = merged.drop_duplicates("timestamp", keep="last").sort_values("timestamp", ignore_index=True)
        self.writes += 1
        inserted, unchanged = int(is_new.sum()), int(same.sum())
        return Written(inserted, len(bars) - inserted - unchanged, unchanged, self.writes)

    def read_bars(
        self, asset: str, start: datetime | None = None, end: datetime | None = None, *, version: int | None = None
    ) -> pd.DataFrame:
        times = self.bars["timestamp"]
        wanted = self.bars["asset"] == asset
        if start is not None:
            wanted &= times >= pd.Timestamp(start)
        if end is not None:
            wanted &= times < pd.Timestamp(end)
        return self.bars[wanted].reset_index(drop=True)

    def last_timestamp(self, asset: str, spec_hash: str | None = None) -> datetime | None:
        return None if self.bars.empty else self.bars["timestamp"].iloc[-1].to_pydatetime()

    def version(self, spec_hash: str | None = None) -> int:
        return self.writes

    def write_features(self, rows: pd.DataFrame, spec_hash: str) -> Written:
        raise NotImplementedError

    def read_features(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        raise NotImplementedError

    def maintain(self) -> None:
        raise NotImplementedError
