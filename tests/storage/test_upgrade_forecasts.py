"""A log that an earlier release began is read, and goes on."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pandas.testing import assert_frame_equal

from cryptosentinel.storage import FORECASTS, DeltaForecastLog
from cryptosentinel.storage.keyed import KeyedTable
from tests.storage.builders import forecasts, settled

# The columns of release 0.1.
OLDER = [
    *("forecast_id", "asset", "made_at", "target_at", "price", "predicted_price"),
    *("lower_80", "upper_80", "lower_95", "upper_95"),
    *("direction", "p_up", "confidence", "regime", "champion", "by_model", "bundle_version"),
    *("outcome", "actual_price", "error", "settled_at"),
]
ADDED = [name for name in FORECASTS.names if name not in OLDER]


def begin(folder: Path) -> None:
    """Forecasts 1 and 2, as the earlier release would have logged them."""
    schema = pa.schema([FORECASTS.field(name) for name in OLDER])
    table = KeyedTable(str(folder / "forecasts"), {}, ("forecast_id",), "made_at", statistics=("outcome",))
    table.upsert(forecasts([1, 2])[OLDER].assign(lower_80=99.0), schema)


@pytest.fixture
def log(tmp_path: Path) -> DeltaForecastLog:
    begin(tmp_path)
    return DeltaForecastLog(str(tmp_path))


def commits(folder: Path) -> list[str]:
    return [entry["operation"] for entry in reversed(DeltaTable(str(folder / "forecasts")).history())]


def new_ones(numbers: list[int]) -> pd.DataFrame:
    return forecasts(numbers).assign(sigma=0.003, outlying=[True] + [False] * (len(numbers) - 1))


def test_what_it_did_not_know_is_null_and_reading_changes_nothing(log: DeltaForecastLog, tmp_path: Path) -> None:
    read = log.read_forecasts("bitcoin")
    assert list(read) == FORECASTS.names
    assert read["forecast_id"].tolist() == ["bitcoin-1", "bitcoin-2"]
    assert read["lower_80"].tolist() == [99.0, 99.0]
    assert read[ADDED].isna().all(axis=None)
    assert (read[ADDED].dtypes == DeltaForecastLog(str(tmp_path / "none")).read_forecasts("")[ADDED].dtypes).all()
    chosen = log.read_forecasts("bitcoin", unsettled=True, columns=["outlying", "price", "median"])
    assert list(chosen) == ["outlying", "price", "median"]
    grown = KeyedTable(str(tmp_path / "forecasts"), {}, ("forecast_id",), "made_at", grows_to=FORECASTS).read()
    assert grown is not None
    assert grown.column_names == FORECASTS.names
    assert commits(tmp_path) == ["CREATE TABLE", "WRITE"]


def test_it_is_written_on_and_what_was_there_stays(log: DeltaForecastLog, tmp_path: Path) -> None:
    before = log.read_forecasts("bitcoin")
    assert astuple(log.write_forecasts(new_ones([2, 3, 4])))[:3] == (2, 0, 1)
    read = log.read_forecasts("bitcoin")
    assert list(read) == FORECASTS.names
    assert_frame_equal(read.head(2), before)
    assert read["sigma"].tolist()[2:] == [0.003, 0.003]
    assert read["outlying"].tolist() == [pd.NA, pd.NA, False, False]
    log.write_forecasts(new_ones([5]))
    assert commits(tmp_path) == ["CREATE TABLE", "WRITE", "ADD COLUMN", "WRITE", "WRITE"], "columns are added once"


def test_its_forecasts_are_settled(log: DeltaForecastLog) -> None:
    assert log.settle(settled(log.read_forecasts("bitcoin").head(1))).updated == 1
    read = log.read_forecasts("bitcoin")
    assert read["outcome"].tolist() == ["correct", None]
    assert read[ADDED].isna().all(axis=None)


def test_maintenance_takes_it_as_it_is(log: DeltaForecastLog) -> None:
    log.write_forecasts(new_ones([3]))
    before = log.read_forecasts("bitcoin")
    log.maintain()
    assert_frame_equal(log.read_forecasts("bitcoin"), before)
