"""Reads a Parquet or CSV file as bars: finds the columns, tells the unit of the times, and says exactly what is wrong.

It does not know intervals or clocks (`file` does) and cleans nothing (`cleaning` does).
"""

from __future__ import annotations

import gzip
import re
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC
from pathlib import Path

import numpy as np
import pandas as pd

from cryptosentinel.errors import MarketDataError
from cryptosentinel.market.bars import PRICES, TIMESTAMP_DTYPE

# By preference, in lower case with _ between words. Prices may also be called `open_price` or `price_open`.
_TIME_NAMES = ("open_time", "opentime", "timestamp", "unix_timestamp", "unix", "ts", "epoch", "time", "t", "datetime",
               "date_time", "date", "__index_level_0__")  # fmt: skip
_PRICE_NAMES = {name: (name, name[0], f"{name}_price", f"price_{name}", f"{name}price") for name in PRICES}
_VOLUME_NAMES = ("volume", "vol", "v", "base_volume", "volume_base", "volume_traded")
# `Volume BTC` is what we want, `Volume USDT` is not.
_QUOTE_CURRENCIES = {"usd", "usdt", "usdc", "busd", "fdusd", "eur", "gbp", "jpy", "quote", "currency"}
# A CSV without header is taken for an exchange's download, which begins with these.
_HEADERLESS = ("open_time", *PRICES, "volume")
# Times as numbers. Between the years 2000 and 2100 the ranges of the units do not touch, so each number tells its own.
_UNITS = {"seconds": 1e3, "milliseconds": 1.0, "microseconds": 1e-3, "nanoseconds": 1e-6}
_EARLIEST_MS, _LATEST_MS = 946_684_800_000, 4_102_444_800_000


def read_table(path: Path) -> pd.DataFrame:
    """The columns `timestamp` (UTC, milliseconds), `open, high, low, close, volume` of a file, ordered by time.

    The file is Parquet, or CSV, plain or gzipped (its separator one of ``, ; tab |``). Times are Arrow timestamps, ISO
    8601 text (UTC where it does not say), or numbers since the Unix epoch: seconds, milliseconds, microseconds or
    nanoseconds, told apart by their size, row by row. Missing numbers become NaN, and so does all volume where the file
    has none.

    Raises:
        MarketDataError: the file cannot be read as bars; the message names the file, the column, and the line or row.
    """
    if path.is_dir():
        raise MarketDataError(f"{path} is a folder.", remedy="Name a Parquet or CSV file.")
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise MarketDataError(f"Cannot read {path}: {error.strerror or error}.") from error
    if not magic:
        raise MarketDataError(f"{path} is empty.")
    if magic == b"PAR1":
        frame, where = _read_parquet(path), "row"
    elif path.suffix.lower() in {".parquet", ".pq"}:
        raise MarketDataError(f"{path} is not a Parquet file: it begins with {magic!r}.")
    else:
        frame, where = _read_csv(path, zipped=magic[:2] == b"\x1f\x8b"), "line"
    if frame.empty:
        raise MarketDataError(f"{path} has no rows.")

    def locate(row: int) -> str:
        return f"{path}, {where} {row:,}"

    table = pd.DataFrame({"timestamp": _times(frame["timestamp"], locate)})
    for name in (*PRICES, "volume"):
        table[name] = _numbers(frame[name], locate) if name in frame else np.nan
    return table.sort_values("timestamp", kind="stable", ignore_index=True)


def _read_parquet(path: Path) -> pd.DataFrame:
    """The columns we want under our names, by row (from 1)."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = _find_columns(file.schema_arrow.names, path)
            frame = file.read(list(columns)).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise MarketDataError(f"{path} is truncated or damaged: {first_line}") from error
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame.rename(columns=columns)


def _read_csv(path: Path, *, zipped: bool) -> pd.DataFrame:
    """The columns we want under our names, by line (the header is line 1)."""
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig") if zipped else path.open(encoding="utf-8-sig") as stream:
            header = stream.readline().strip()
        separator = max(",;\t|", key=header.count)
        names = [name.strip().strip('"') for name in header.split(separator)]
        has_header = not all(re.fullmatch(r"-?[\d.]+([eE][-+]?\d+)?", name) for name in names)
        if not has_header:
            names = [*_HEADERLESS, *(f"column {number}" for number in range(7, len(names) + 1))][: len(names)]
        columns = _find_columns(names, path)
        with warnings.catch_warnings():
            # pandas only warns of lines longer than the header, whose columns it would shift.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path,
                sep=separator,
                header=0 if has_header else None,
                names=names,
                index_col=False,
                encoding="utf-8-sig",
                compression="gzip" if zipped else None,
                skip_blank_lines=False,  # so that a row's number tells its line
                low_memory=False,
            )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.ParserWarning, EOFError, OSError) as error:
        raise MarketDataError(f"{path} cannot be read as CSV: {str(error).strip()}") from error
    frame.index = pd.RangeIndex(1 + has_header, len(frame) + 1 + has_header)
    return frame[list(columns)].rename(columns=columns).dropna(how="all")


def _find_columns(names: Sequence[str], path: Path) -> dict[str, str]:
    """Which of a file's columns is which of ours: {name in the file: our name}."""
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") if name[:2] != "__" else name, name)
    wanted = {"timestamp": _TIME_NAMES, **_PRICE_NAMES}
    found = {}
    for ours, candidates in wanted.items():
        match = next((name for name in candidates if name in plain), None)
        if match is None:
            raise MarketDataError(
                f"{path} has no column for '{ours}': looked for {', '.join(candidates)}; it has {', '.join(names)}.",
                remedy="Rename the column, or name another file.",
            )
        found[plain[match]] = ours
    of_base = (name for name in plain if name.startswith("volume_") and name[7:] not in _QUOTE_CURRENCIES)
    volume = next((name for name in (*_VOLUME_NAMES, *of_base) if name in plain), None)
    if volume is not None:
        found[plain[volume]] = "volume"
    return found


def _numbers(column: pd.Series, locate: Callable[[int], str]) -> pd.Series:
    """A column as floats; what is missing is NaN, what is no number an error."""
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = numbers.isna() & column.notna()
    if wrong.any():
        row = wrong.idxmax()
        raise MarketDataError(f"{locate(row)}: '{column.name}' is not a number: {column[row]!r}.")
    return numbers.astype("float64")


def _times(column: pd.Series, locate: Callable[[int], str]) -> pd.Series:
    """A column of timestamps, text or numbers as UTC times."""
    if pd.api.types.is_datetime64_any_dtype(column):
        times = pd.to_datetime(column, utc=True)
    else:
        numbers = pd.to_numeric(column, errors="coerce")
        times = _from_epoch(numbers)
        text = column[numbers.isna()].astype("str").str.removesuffix(" UTC")
        times[text.index] = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    if times.isna().any():
        row = times.isna().idxmax()
        raise MarketDataError(
            f"{locate(row)}: '{column.name}' is not a time between 2000 and 2100: {column[row]!r}.",
            remedy=f"Write ISO 8601 (2025-01-31T12:05:00Z) or {', '.join(_UNITS)} since 1970.",
        )
    return times.dt.floor("ms").astype(TIMESTAMP_DTYPE)


def _from_epoch(numbers: pd.Series) -> pd.Series:
    """Numbers since the epoch as times, each by its own unit; NaT for those that fit none."""
    milliseconds = np.full(len(numbers), np.nan)
    for factor in _UNITS.values():
        scaled = numbers.to_numpy("float64") * factor
        milliseconds = np.where((scaled >= _EARLIEST_MS) & (scaled < _LATEST_MS), scaled, milliseconds)
    known = ~np.isnan(milliseconds)
    times = np.full(len(numbers), np.datetime64("NaT", "ms"))
    times[known] = milliseconds[known].round().astype("int64").astype("datetime64[ms]")
    return pd.Series(pd.DatetimeIndex(times, tz=UTC), index=numbers.index)
