"""What pruning buys: upserts and reads at the live edge of a feature table, against plain Delta Lake calls.

    python benchmarks/bench_storage.py [--rows 400000]

Plain means `DeltaTable.merge` on the key alone, and reading the table to keep its tail. Prints medians of five and how
many times slower the plain way is; ratios travel between machines, seconds do not.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from cryptosentinel.storage import DeltaFeatureStore

SPEC = "0123456789ab"
KEY = "t.asset = s.asset AND t.timestamp = s.timestamp"


def rows(count: int, columns: int = 60) -> pd.DataFrame:
    times = pd.date_range("2018-01-01", periods=count, freq="5min", tz="UTC", unit="ms")
    figures = np.random.default_rng(0).normal(size=(count, columns))
    frame = pd.DataFrame(figures, columns=[f"f{i}" for i in range(columns)])
    return pd.concat([pd.DataFrame({"asset": "bitcoin", "timestamp": times}), frame], axis=1)


def median_s(work: Callable[[int], object], repeats: int = 5) -> float:
    durations = []
    for number in range(repeats):
        began = time.perf_counter()
        work(number)
        durations.append(time.perf_counter() - began)
    return statistics.median(durations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    count = parser.parse_args().rows
    frame = rows(count)
    with tempfile.TemporaryDirectory() as folder:
        store, uri = DeltaFeatureStore(folder), f"{folder}/features/{SPEC}"
        load_s = median_s(lambda _: store.write_features(frame.iloc[:-100], SPEC), repeats=1)
        tail = frame.iloc[-500:-100]
        begin = tail["timestamp"].iloc[0]

        def plain_merge(number: int) -> None:
            source = pa.Table.from_pandas(tail.assign(f0=-1.0 - number), preserve_index=False)
            source = source.append_column("month", pc.strftime(source["timestamp"], format="%Y-%m"))
            merge = DeltaTable(uri).merge(source, predicate=KEY, source_alias="s", target_alias="t")
            merge.when_matched_update_all().when_not_matched_insert_all().execute()

        def new_bar(number: int) -> None:
            store.write_features(frame.iloc[-500 + number + 1 : -100 + number + 1], SPEC)

        def plain_tail() -> pd.DataFrame:
            everything = pa.table(DeltaTable(uri).scan()).to_pandas()
            return everything[everything["timestamp"] >= begin]

        figures = {
            "400 rows, all changed": median_s(lambda n: store.write_features(tail.assign(f0=1.0 + n), SPEC)),
            "400 rows, one new": median_s(new_bar),
            "400 rows, none changed": median_s(lambda _: store.write_features(tail, SPEC)),
        }
        read_s = median_s(lambda _: store.read_features("bitcoin", SPEC, begin))
        plain_merge_s, plain_read_s = median_s(plain_merge), median_s(lambda _: plain_tail())
    print(f"{count:,} rows x 60 features; first load {load_s:.1f} s")
    print(f"{'':28}{'here, ms':>10}{'plain, ms':>11}{'ratio':>8}")
    for name, here_s in figures.items():
        print(f"{'upsert ' + name:28}{here_s * 1e3:10.0f}{plain_merge_s * 1e3:11.0f}{plain_merge_s / here_s:8.1f}")
    print(f"{'read the last 400 rows':28}{read_s * 1e3:10.0f}{plain_read_s * 1e3:11.0f}{plain_read_s / read_s:8.1f}")


if __name__ == "__main__":
    main()
