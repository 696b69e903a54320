"""What is wrong with a file of bars is said by name: which file, which line or column, what to do."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.market.files import COLUMNS, assert_same, problem, read, saved, table


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    path = saved(table(), tmp_path / "btc.parquet")
    path.write_bytes(path.read_bytes()[:-500])
    assert "truncated" in problem(path)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = saved(table(), tmp_path / "btc.parquet")
    content = bytearray(path.read_bytes())
    content[50:2000] = bytes(1950)
    path.write_bytes(bytes(content))
    assert "damaged" in problem(path)


def test_text_called_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "btc.parquet"
    path.write_text("<html>404</html>")
    assert "not a Parquet file" in problem(path)


@pytest.mark.parametrize("name", ["btc.csv", "btc.parquet"])
def test_an_empty_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    assert "is empty" in problem(path)


@pytest.mark.parametrize("name", ["btc.csv", "btc.parquet"])
def test_a_file_without_rows_is_named(tmp_path: Path, name: str) -> None:
    assert "no rows" in problem(saved(table().head(0), tmp_path / name))


@pytest.mark.parametrize("name", ["btc.csv", "btc.parquet"])
@pytest.mark.parametrize("column", COLUMNS[:-1])
def test_a_missing_column_is_named_with_what_was_looked_for_and_what_is_there(
    tmp_path: Path, name: str, column: str
) -> None:
    message = problem(saved(table().rename(columns={column: "mystery"}), tmp_path / name))
    assert f"no column for '{column}'" in message
    assert f"looked for {'open_time' if column == 'timestamp' else column}" in message
    assert "mystery" in message


@pytest.mark.parametrize("column", COLUMNS[1:])
def test_text_in_numbers_is_named_by_line_column_and_value(tmp_path: Path, column: str) -> None:
    broken = table().astype({column: "object"})
    broken.loc[7, column] = "n/a?"
    message = problem(saved(broken, tmp_path / "btc.csv"))
    assert f"line 9: '{column}' is not a number: 'n/a?'" in message


def test_blank_lines_do_not_shift_line_numbers_and_are_skipped(tmp_path: Path) -> None:
    lines = table().to_csv(index=False).splitlines()
    path = tmp_path / "btc.csv"
    path.write_text("\n".join([*lines[:5], "", "", *lines[5:], "", ""]))
    assert_same(read(path))
    path.write_text("\n".join([*lines[:5], "", "", *lines[5:9], "1736122800000,1,x,1,1,1"]))
    assert "line 12: 'high' is not a number: 'x'" in problem(path)


def test_text_in_numbers_of_a_parquet_file_is_named_by_row(tmp_path: Path) -> None:
    broken = table(close=table()["close"].astype(str))
    assert_same(read(saved(broken, tmp_path / "good.parquet")))
    broken.loc[7, "close"] = "?"
    assert "row 8: 'close' is not a number: '?'" in problem(saved(broken, tmp_path / "btc.parquet"))


@pytest.mark.parametrize("wrong", ["yesterday", "12.06.2025 12:00", "17", "-1", "99999999999999999999", ""])
def test_an_unreadable_time_is_named_by_line(tmp_path: Path, wrong: str) -> None:
    broken = table().astype({"timestamp": "object"})
    broken.loc[7, "timestamp"] = wrong
    message = problem(saved(broken, tmp_path / "btc.csv"))
    assert "line 9: 'timestamp' is not a time" in message
    assert "ISO 8601" in message


def test_an_index_taken_for_time_is_refused(tmp_path: Path) -> None:
    assert "line 2: 'timestamp' is not a time" in problem(saved(table(timestamp=range(600)), tmp_path / "btc.csv"))


def test_a_line_with_too_many_values_is_named(tmp_path: Path) -> None:
    path = saved(table(), tmp_path / "btc.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], lines[4] + ",1", *lines[5:]]))
    assert "line 5" in problem(path)
    path.write_text("\n".join([lines[0], *(f"{line},1" for line in lines[1:])]))
    problem(path)


def test_a_missing_number_is_left_to_cleaning(tmp_path: Path) -> None:
    broken = table()
    broken.loc[7, "close"] = np.nan
    assert np.isnan(read(saved(broken, tmp_path / "btc.csv"))["close"].iloc[7])


def test_a_cut_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "btc.csv.gz"
    path.write_bytes(gzip.compress(table().to_csv(index=False).encode())[:-2000])
    assert "cannot be read as CSV" in problem(path)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "btc.csv"
    path.write_bytes(bytes(range(128, 256)) * 10)
    assert "cannot be read as CSV" in problem(path)


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    assert "is a folder" in problem(tmp_path)
    assert "There is no file" in problem(tmp_path / "none.csv")
    (tmp_path / "file").touch()
    assert "Cannot read" in problem(tmp_path / "file" / "btc.csv")
