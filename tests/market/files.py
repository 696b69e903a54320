"""Files of bars for tests, and what they are read as."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from cryptosentinel.errors import MarketDataError
from cryptosentinel.market.bars import PRICES, Interval
from cryptosentinel.market.file import FileSource
from tests.builders import FIVE, make_random_bars

BARS = make_random_bars(600)
COLUMNS = ["timestamp", *PRICES, "volume"]
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
MS = BARS["timestamp"].astype("int64")


def table(**changes: object) -> pd.DataFrame:
    return BARS[COLUMNS].assign(timestamp=MS).assign(**changes)


def saved(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path, index=False) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def read(path: Path, interval: Interval = FIVE, **options: object) -> pd.DataFrame:
    return FileSource(path, "bitcoin", interval, **options).bars(*EVER)


def assert_same(bars: pd.DataFrame, expected: pd.DataFrame = BARS) -> None:
    columns = COLUMNS
    pd.testing.assert_frame_equal(bars[columns].reset_index(drop=True), expected[columns].reset_index(drop=True))


def problem(path: Path, interval: Interval = FIVE) -> str:
    with pytest.raises(MarketDataError) as caught:
        read(path, interval)
    assert caught.value.exit_code == 2
    assert str(path) in caught.value.message
    return str(caught.value)
