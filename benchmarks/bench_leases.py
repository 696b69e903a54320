"""What a lease costs a step, in a store that has seen a day of them.

    python benchmarks/bench_leases.py [--intervals 288]

Prints medians of 40, in milliseconds, on a folder: to take a lease and say that it is done, beside one upsert of one
bar, which a step does anyway; and to find that somebody else has done the work.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import pandas as pd

from cryptosentinel.storage import DeltaFeatureStore, DeltaLeases

START, BAR = pd.Timestamp("2025-01-06", tz="UTC"), pd.Timedelta("5min")
PRICES = dict.fromkeys(("open", "high", "low", "close"), 100.0)


def median_ms(work: Callable[[int], object], repeats: int = 40) -> float:
    durations = []
    for number in range(repeats):
        began = time.perf_counter()
        work(number)
        durations.append(time.perf_counter() - began)
    return statistics.median(durations) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, default=288)
    count = parser.parse_args().intervals
    with tempfile.TemporaryDirectory() as folder:
        leases, store = DeltaLeases(folder), DeltaFeatureStore(folder)

        def take(number: int) -> None:
            with leases.take("ingest", str(number), lost_after_s=20):
                pass

        def store_a_bar(number: int) -> None:
            row = {"asset": "bitcoin", "timestamp": START + number * BAR, **PRICES, "volume": 1.0, "source": "test"}
            store.write_bars(pd.DataFrame([row]))

        for number in range(count):
            take(number)
            store_a_bar(number)
        ours, bar = median_ms(lambda n: take(count + n)), median_ms(lambda n: store_a_bar(count + n))
        elsewhere = median_ms(lambda _: take(count))
    print(f"after {count}: a lease {ours:.0f} ms, one bar stored {bar:.0f} ms, work done elsewhere {elsewhere:.0f} ms")


if __name__ == "__main__":
    main()
