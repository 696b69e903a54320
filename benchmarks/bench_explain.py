"""What explaining a bundle's forecasts costs: loading it, SHAP for one row, LIME for one row.

    python benchmarks/bench_explain.py BUNDLE [--rows 300] [--lime-rows 10]

BUNDLE is the folder of a trained bundle, for instance a copy in a server's `bundles`. Rows are those that it was
trained on. Each is explained with all its targets: every candidate, the blend, the direction, the volatility. On a busy
machine wall times say little: processor times are given beside them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from cryptosentinel.bundle import REFERENCE_FILE, Bundle
from cryptosentinel.explaining import Explainer

CLOSE = 100_000.0


def measured(name: str, rows: np.ndarray, ask: Callable[[np.ndarray], object]) -> float:
    """Prints milliseconds a row, and answers their median."""
    wall, processor = [], []
    for row in rows:
        began, worked = time.perf_counter(), time.process_time()
        ask(row)
        processor.append(1e3 * (time.process_time() - worked))
        wall.append(1e3 * (time.perf_counter() - began))
    p50, p99, busy = np.median(wall), np.quantile(wall, 0.99), np.median(processor)
    print(f"{name:<14}{p50:10.3f}{p99:10.3f}{min(wall):10.3f}{busy:14.3f}")
    return float(busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--lime-rows", type=int, default=10)
    chosen = parser.parse_args()
    bundle = Bundle.load(chosen.bundle)
    rows = pd.read_parquet(bundle.file(REFERENCE_FILE))[bundle.manifest.features].to_numpy(np.float64)
    process = psutil.Process()
    for name in ("load, with imports", "load again"):
        before, began, worked = process.memory_info().rss, time.perf_counter(), time.process_time()
        explainer = Explainer(bundle)
        print(
            f"{name}: {time.perf_counter() - began:.1f} s, {time.process_time() - worked:.1f} s of processor, "
            f"{(process.memory_info().rss - before) / 1e6:+.0f} MB (all: {process.memory_info().rss / 1e6:.0f} MB)"
        )
    print(f"{'ms a row':<14}{'p50':>10}{'p99':>10}{'least':>10}{'processor p50':>14}")
    close = np.array([CLOSE])
    infer = measured("Bundle.infer", rows[: chosen.rows], lambda row: bundle.infer(row[None], close))
    shap = measured("SHAP", rows[: chosen.rows], lambda row: explainer.explain(row, CLOSE))
    lime = measured("SHAP and LIME", rows[: chosen.lime_rows], lambda row: explainer.explain(row, CLOSE, lime=True))
    print(f"Of Bundle.infer's processor time: SHAP {shap / infer:.0f} times, with LIME {lime / infer:.0f} times.")


if __name__ == "__main__":
    main()
