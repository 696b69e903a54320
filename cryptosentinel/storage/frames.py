"""Between pandas and Arrow: conversion, and finding what two tables have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

# pandas' own booleans know no null: a column would change its type with what is in it.
_NULLABLE = {pa.bool_(): pd.BooleanDtype()}.get


def to_frame(rows: pa.Table) -> pd.DataFrame:
    """A frame; `rows` must not be used afterwards, since columns are freed as they are converted."""
    # Not split_blocks: its columns would be read-only views.
    return rows.to_pandas(self_destruct=True, types_mapper=_NULLABLE)


def empty(schema: pa.Schema) -> pd.DataFrame:
    """A frame of no rows, typed as a read with rows would be."""
    kinds = [pa.timestamp("ms", tz="UTC") if pa.types.is_timestamp(column.type) else column.type for column in schema]
    table = pa.schema(list(zip(schema.names, kinds, strict=True))).empty_table()
    frame: pd.DataFrame = table.to_pandas(types_mapper=_NULLABLE)
    return frame


def of_records(records: Sequence[Mapping[str, object]], schema: pa.Schema) -> pd.DataFrame:
    """A frame with the columns of `schema`, its times in UTC even where there are none."""
    frame = pd.DataFrame(list(records), columns=schema.names)
    times = [column.name for column in schema if pa.types.is_timestamp(column.type)]
    return frame.assign(**{name: pd.to_datetime(frame[name], utc=True).astype("datetime64[ms, UTC]") for name in times})


def to_arrow(rows: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """The columns of `schema`; NaN becomes null, times are cut to milliseconds."""
    columns = {}
    for column in schema:
        values = rows[column.name]
        if pa.types.is_timestamp(column.type):
            values = pd.to_datetime(values, utc=True).dt.floor("ms")
        columns[column.name] = pa.array(values, type=column.type, from_pandas=True)
    return pa.table(columns, schema=schema)


def month_of(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """The month of each time, as `2025-01`."""
    return pc.strftime(times, format="%Y-%m")


def positions(rows: pa.Table, existing: pa.Table, key: tuple[str, ...]) -> np.ndarray:
    """For each row, where its key is in `existing`; -1 where it is not."""
    left, right = (table.select(list(key)).to_pandas() for table in (rows, existing))
    right["at"] = np.arange(len(right))
    found = left.merge(right, on=list(key), how="left")["at"]
    where: np.ndarray = found.fillna(-1).to_numpy(dtype=np.int64)
    return where


def differs(left: pa.Table, right: pa.Table) -> np.ndarray:
    """Which rows differ; null and NaN are the same, other figures must be equal to the last bit."""
    result = np.zeros(left.num_rows, dtype=bool)
    for name in left.column_names:
        one, other = left[name], right[name]
        both_missing = pc.and_(pc.is_null(one, nan_is_null=True), pc.is_null(other, nan_is_null=True))
        same = pc.or_(pc.fill_null(pc.equal(one, other), False), both_missing)
        result |= ~np.asarray(same)
    return result
