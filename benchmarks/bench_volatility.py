"""How few trees forecast volatility as well as many do: a request for one row pays for each condition of each tree.

    python benchmarks/bench_volatility.py choose BARS.parquet [NAME ...] [--days 90 365] [--start 2019-01-01]
    python benchmarks/bench_volatility.py test BARS.parquet NAME [NAME ...] [--days 90 365]

`BARS.parquet` holds 5-minute bars from 2017-10 to 2025-06. A training run's own rows, split, gap, thinning and seed:
models are fitted on a window of 90 days (the default) or of 365 and forecast its last block (18 or 28 days), which they
were not fitted on; the next window ends a block later, so that every row of a period is forecast once. The forecast is
the one that is served, the geometric mean of the trees and the ridge regression.

- `choose` looks at forecasts before 2022-07 alone. A size passes where its QLIKE is at most 0.5% above that of the
  present trees and not significantly above (Diebold-Mariano, 5%); of those that pass with all windows the one with the
  fewest conditions is chosen.
- `test` does the same from 2022-07 on, and holds the pinball loss, too, to be not significantly above.

Losses: QLIKE (Patton 2011), v / s - ln(v / s) - 1, v being the mean of the two measures of variance that the models are
fitted on, and s the squared forecast times the mean v / s of the 30 days settled before; the root mean square error of
the logarithm of volatility; the pinball loss of the nine quantiles as issued, with the library's online calibration.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from cryptosentinel.bundle import BOUNDS, PROBABILITIES, QuantileTable
from cryptosentinel.config import Settings
from cryptosentinel.features import FeatureSpec, compute_features
from cryptosentinel.forecasting.blocks import issued_quantiles
from cryptosentinel.forecasting.candidates import Setup
from cryptosentinel.forecasting.dataset import Dataset, lay_out, make_dataset
from cryptosentinel.forecasting.losses import pinball
from cryptosentinel.forecasting.significance import diebold_mariano, mean_interval
from cryptosentinel.forecasting.training import thinning_step
from cryptosentinel.forecasting.volatility import VOLATILITY_MODELS, volatility_target
from cryptosentinel.market.bars import Interval, make_bars

INTERVAL, HORIZON, SETTLING = Interval("5m"), 6, timedelta(days=30)
PRESENT = "200 of 5"
# The fewer the trees, the more each must say, and the less it should draw at random.
_LEAVES = {"grow_policy": "lossguide", "max_depth": 0}
SIZES: dict[str, dict[str, Any]] = {
    PRESENT: {},
    "another seed": {"random_state": 1},
    "100 of 5": {"n_estimators": 100, "learning_rate": 0.08},
    "60 of 5": {"n_estimators": 60, "learning_rate": 0.12},
    "150 of 4": {"n_estimators": 150, "max_depth": 4, "learning_rate": 0.07},
    "100 of 4": {"n_estimators": 100, "max_depth": 4, "learning_rate": 0.1},
    "60 of 4": {"n_estimators": 60, "max_depth": 4, "learning_rate": 0.15},
    "120 of 3": {"n_estimators": 120, "max_depth": 3, "learning_rate": 0.12},
    "80 of 3": {"n_estimators": 80, "max_depth": 3, "learning_rate": 0.15},
    "100 of 5, nine tenths": {"n_estimators": 100, "learning_rate": 0.08, "subsample": 0.9},
    "100 of 4, four fifths": {"n_estimators": 100, "max_depth": 4, "learning_rate": 0.1, "subsample": 0.8},
    "200 of 9 leaves": _LEAVES | {"max_leaves": 9},
    "150 of 11 leaves, four fifths": _LEAVES
    | {"max_leaves": 11, "n_estimators": 150, "learning_rate": 0.07, "subsample": 0.8},
    "least gain 3": {"gamma": 3.0},
}
PERIODS = {"choose": ("2019-01-01", "2022-07-01"), "test": ("2022-07-01", "2025-07-01")}
MARGIN, LEVEL = 0.005, 0.05


@dataclass(frozen=True)
class Forecasts:
    """Of the rows of a period: those rows, the logarithm of volatility by size, and their mean number of conditions."""

    rows: Dataset
    logs: dict[str, np.ndarray]
    conditions: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=PERIODS)
    parser.add_argument("bars", type=Path)
    parser.add_argument("sizes", nargs="*", metavar="NAME", help=f"of {', '.join(SIZES)}; all")
    parser.add_argument("--days", nargs="+", type=float, default=[90.0, 365.0])
    parser.add_argument("--start", help="of the forecasts that are measured")
    given = parser.parse_args()
    if unknown := set(given.sizes) - SIZES.keys():
        parser.error(f"no such size: {', '.join(sorted(unknown))}")
    begin = time.process_time()
    names = [PRESENT, *(given.sizes or [name for name in SIZES if name != PRESENT])]
    start, end = given.start or PERIODS[given.what][0], PERIODS[given.what][1]
    rows = dataset(given.bars, max(given.days), start, end)
    fine = set(names)
    for days in given.days:
        made = forecasts(rows, days, names, start)
        print(f"Windows of {days:g} days, forecasts from {start} to {end}\n")
        fine &= {name for name, good in report(made, np.datetime64(start, "ms"), given.what == "test") if good}
        print(f"\n({time.process_time() - begin:.0f} s of processor)\n", flush=True)
    print(f"Pass with all windows: {', '.join(sorted(fine, key=made.conditions.__getitem__))}")


def dataset(path: Path, days: float, start: str, end: str) -> Dataset:
    """The complete rows that models of the period are fitted on and measured on; nothing after it is read."""
    bars = pd.read_parquet(path)
    times = pd.to_datetime(bars["timestamp"], unit="ms", utc=True)
    first = pd.Timestamp(start, tz="UTC") - timedelta(days=days + 60)
    kept = ((times >= first) & (times < pd.Timestamp(end, tz="UTC"))).to_numpy()
    prices = {name: bars[name].to_numpy()[kept] for name in ("open", "high", "low", "close", "volume")}
    bars = make_bars("bitcoin", "file", times[kept], **prices)
    spec = FeatureSpec(INTERVAL)
    return make_dataset(bars, compute_features(bars, spec), spec, HORIZON).complete()


def forecasts(rows: Dataset, days: float, names: Sequence[str], start: str) -> Forecasts:
    """What models of each window say of its last block, put together; it begins a settling time before the period."""
    settings = Settings().training
    step = timedelta(days=min(days * settings.holdout_share, settings.holdout_days))
    end = np.datetime64(start, "ms") - np.timedelta64(SETTLING)
    blocks = []
    while end < rows.timestamps[-1]:
        end += np.timedelta64(step)
        first = np.searchsorted(rows.timestamps, end - np.timedelta64(timedelta(days=days)))
        window = rows.rows(slice(int(first), int(np.searchsorted(rows.timestamps, end))))
        blocks.append(last_block(window, names, end - np.timedelta64(step)))
    times = np.concatenate([block[0] for block in blocks])
    return Forecasts(
        rows.rows(np.isin(rows.timestamps, times)),
        {name: np.concatenate([block[1][name] for block in blocks]) for name in names},
        {name: float(np.mean([block[2][name] for block in blocks])) for name in names},
    )


def last_block(
    window: Dataset, names: Sequence[str], start: np.datetime64
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, int]]:
    """A training run's last block from a time on: its rows' times, each size's forecasts, and its conditions."""
    settings = Settings().training
    fold = lay_out(window, settings).last
    training = window.rows(fold.train)
    training = training.rows(slice(None, None, thinning_step(len(training), settings)))
    block = window.rows(fold.test)
    block = block.rows(block.timestamps >= start)
    setup, target = Setup("default", len(training), settings.seed, 1), volatility_target(training)
    with threadpool_limits(limits=1):
        linear = VOLATILITY_MODELS["volatility_linear"](setup, training.names).fit(training.X, target)
        beside, logs, conditions = linear.predict(block.X), {}, {}
        for name in names:
            trees: Any = VOLATILITY_MODELS["volatility_trees"](setup, training.names)
            trees.set_params(**SIZES[name])
            logs[name] = (trees.fit(training.X, target).predict(block.X) + beside) / 2
            conditions[name] = sum(not row.startswith("leaf") for row in nodes(trees))
    return block.timestamps, logs, conditions


def nodes(trees: Any) -> Iterator[str]:
    """A line a node of a fitted model."""
    for tree in trees.get_booster().get_dump():
        yield from (line.split(":", 1)[1] for line in tree.splitlines())


def qlike(rows: Dataset, log: np.ndarray) -> np.ndarray:
    """A row's loss; the level is that of the outcomes known when it was made."""
    ratio = np.exp(2 * (volatility_target(rows) - log))
    made_at = rows.timestamps + np.timedelta64(INTERVAL.delta)
    targets = made_at + np.timedelta64(rows.horizon)
    first = np.searchsorted(targets, made_at - np.timedelta64(SETTLING), side="right")
    last = np.searchsorted(targets, made_at, side="right")
    total = np.concatenate([[0.0], np.cumsum(ratio)])
    known = last > first
    level = np.ones(len(ratio))
    level[known] = (total[last] - total[first])[known] / (last - first)[known]
    return ratio / level - np.log(ratio / level) - 1


def report(made: Forecasts, start: np.datetime64, quantiles_too: bool) -> Iterator[tuple[str, bool]]:
    """Prints a table; yields each size, and whether it passes with this window."""
    rows = made.rows
    scored = rows.timestamps >= start
    end = " pinball, bp | difference | 95% | p (worse) | 80% hold | 95% hold |" if quantiles_too else ""
    print(f"| trees | conditions | QLIKE | difference | 95% | p (worse) | log RMSE |{end}")
    print("|---|" + "---:|" * (12 if quantiles_too else 6))
    losses: dict[str, tuple[np.ndarray, ...]] = {}
    for name, log in made.logs.items():
        losses[name] = (qlike(rows, log)[scored],)
        error = np.sqrt(np.mean((log - volatility_target(rows))[scored] ** 2))
        cells = [name, f"{made.conditions[name]:,.0f}"]
        more, p_value = compare(losses[PRESENT][0], losses[name][0], cells, 1)
        good = more <= MARGIN and p_value >= LEVEL
        cells.append(f"{error:.4f}")
        if quantiles_too:
            table, settings = QuantileTable.normal(), Settings().forecast
            quantiles = issued_quantiles(rows, np.zeros(len(rows)), np.exp(log), table, settings)
            losses[name] += (pinball(rows.y, quantiles, PROBABILITIES)[scored],)
            _, p_value = compare(losses[PRESENT][1], losses[name][1], cells, 1e4)
            good &= p_value >= LEVEL
            for level in (80, 95):
                low, high = (quantiles[scored, BOUNDS.index(f"{side}_{level}")] for side in ("lower", "upper"))
                cells.append(f"{((low <= rows.y[scored]) & (rows.y[scored] <= high)).mean():.2%}")
        print("| " + " | ".join(cells) + " |", flush=True)
        yield name, good


def compare(before: np.ndarray, after: np.ndarray, cells: list[str], unit: float) -> tuple[float, float]:
    """Adds a loss and how it differs; returns the relative difference and the chance of such a loss without one."""
    test = diebold_mariano(after, before, HORIZON)
    scale = float(before.mean())
    low, high = mean_interval(after - before, HORIZON)
    cells += [f"{after.mean() * unit:.4f}", f"{test.mean / scale:+.3%}"]
    cells += [f"{low / scale:+.3%} to {high / scale:+.3%}", f"{test.p_value:.2g}"]
    return test.mean / scale, test.p_value


if __name__ == "__main__":
    main()
