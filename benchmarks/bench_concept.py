"""How soon the concept test catches forecasts that turn useless, and how often it calls sound ones useless.

    python benchmarks/bench_concept.py power [--runs 1000]
    python benchmarks/bench_concept.py sound [--runs 30000]
    python benchmarks/bench_concept.py replay FORECASTS.parquet [FORECASTS.parquet ...] [--runs 1000]

`power` and `sound` forecast an invented 5-minute market 30 minutes ahead: stochastic volatility (half-life a day),
Student t shocks with 4 degrees of freedom. The sound forecaster knows the volatility, and the true quantiles of what
it scales. Plants spoil its forecasts from one moment on; before that lies a day of sound ones.

- `power`: the share of runs in which each plant is caught by the time that 200 spoilt forecasts are settled, and by
  when nine in ten are.
- `sound`: weeks of sound forecasts; and weeks at the edge of what is called right, where bounds are met exactly: true
  intervals wider by the tolerance, the middle off by it. Counts alarms, with a 95% bound of their rate.
- `replay`: forecasts that a backtest wrote (`cryptosentinel backtest --out FOLDER`): the highest evidence in them as
  they are, and the plants again, from moments drawn from them.

The evidence is the library's, computed for many runs at once; the two are compared at the start.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import lfilter
from scipy.stats import beta

from cryptosentinel.bundle import BOUNDS, PROBABILITIES
from cryptosentinel.config import ConceptSettings
from cryptosentinel.drift.concept import SHARES, WIDTH_TOLERANCE, check_concept, limit_of, log_gains

HORIZON, DAY, WEEK = 6, 288, 2016
BAR = timedelta(minutes=5)
SETTINGS = ConceptSettings()
LIMIT = limit_of(BAR * HORIZON, SETTINGS)
WITHIN, SEEN = 200, 400
START = pd.Timestamp("2024-01-01", tz="UTC")
Plant = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]
PRICED = ["predicted_price", *BOUNDS]


@cache
def quantiles() -> np.ndarray:
    """Of the sum of `HORIZON` shocks, over its standard deviation."""
    draws = np.random.default_rng(0).standard_t(4, (400_000, HORIZON)).sum(axis=1) / np.sqrt(2 * HORIZON)
    return np.quantile(draws, PROBABILITIES)


def market(runs: int, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Sound forecasts, `count` in a row of each run, one run after the other."""
    rho = 0.5 ** (1 / DAY)
    shocks = rng.normal(size=(runs, count)) * np.sqrt(1 - rho**2)
    shocks[:, 0] /= np.sqrt(1 - rho**2)
    sigma = 1e-3 * np.exp(0.5 * lfilter([1], [1, -rho], shocks, axis=1))
    moves = rng.standard_t(4, (runs, count + HORIZON)) / np.sqrt(2)
    path = np.cumsum(np.pad(moves, ((0, 0), (1, 0))), axis=1)
    ahead = (path[:, HORIZON : HORIZON + count] - path[:, :count]).ravel() * sigma.ravel()
    width = sigma.ravel() * np.sqrt(HORIZON)
    made = pd.DatetimeIndex(START + np.tile(np.arange(count), runs) * BAR)
    bounds = 50_000 * np.exp(width[:, None] * quantiles())
    return pd.DataFrame(
        {
            "made_at": made,
            "target_at": made + HORIZON * BAR,
            "price": 50_000.0,
            "predicted_price": 50_000.0,
            **dict(zip(BOUNDS, bounds.T, strict=True)),
            "p_up": 0.5,
            "regime": "uptrend",
            "bundle_version": 1,
            "actual_price": 50_000 * np.exp(ahead),
            "sigma": width,
        }
    )


def moved(rows: pd.DataFrame, by: np.ndarray) -> pd.DataFrame:
    """Forecasts with the price and all bounds moved by a log return."""
    return rows.assign(**{name: rows[name] * np.exp(by) for name in PRICED})


def widened(rows: pd.DataFrame, by: float) -> pd.DataFrame:
    """Forecasts with bounds so many times as far from the price forecast."""
    middle = rows["predicted_price"]
    return rows.assign(**{name: middle * (rows[name] / middle) ** by for name in BOUNDS})


def returns(rows: pd.DataFrame) -> np.ndarray:
    return np.log(rows["actual_price"] / rows["price"]).to_numpy()


def size(rows: pd.DataFrame) -> np.ndarray:
    """The standard deviation of the return that each forecast is of, as it says itself."""
    return np.log(rows["upper_80"] / rows["lower_80"]).to_numpy() / 2.563


def noise(rows: pd.DataFrame, rng: np.random.Generator, share: float = 1.0) -> pd.DataFrame:
    return moved(rows, share * size(rows) * rng.normal(size=len(rows)))


def sided(rows: pd.DataFrame, rng: np.random.Generator, p_up: float) -> pd.DataFrame:
    return rows.assign(p_up=np.where(rng.random(len(rows)) < 0.5, p_up, 1 - p_up))


PLANTS: dict[str, Plant] = {
    "price: noise of the target's own size": noise,
    "price: noise of half that size": lambda rows, rng: noise(rows, rng, 0.5),
    "price: that of half an hour ago": lambda rows, _: moved(rows, -np.roll(returns(rows), HORIZON)),
    "price: half the true move, sign flipped": lambda rows, _: moved(rows, -0.5 * returns(rows)),
    "intervals: a third as wide": lambda rows, _: widened(rows, 1 / 3),
    "intervals: half as wide": lambda rows, _: widened(rows, 0.5),
    "intervals: 0.7 as wide": lambda rows, _: widened(rows, 0.7),
    "intervals: three times as wide": lambda rows, _: widened(rows, 3),
    "intervals: twice as wide": lambda rows, _: widened(rows, 2),
    "p_up: 0.95 or 0.05 at random": lambda rows, rng: sided(rows, rng, 0.95),
    "p_up: 0.9 or 0.1 at random": lambda rows, rng: sided(rows, rng, 0.9),
    "p_up: anything from 0 to 1 at random": lambda rows, rng: rows.assign(p_up=rng.random(len(rows))),
    "p_up: 0.7 or 0.3 at random": lambda rows, rng: sided(rows, rng, 0.7),
    "p_up: 0.55 or 0.45 at random": lambda rows, rng: sided(rows, rng, 0.55),
}


def evidence(gains: np.ndarray, least: np.ndarray | None) -> Iterator[np.ndarray]:
    """The evidence of each run, after one forecast more was settled.

    Args:
        gains: log gains, shape (forecasts, runs, challengers).
        least: what they are at least; None: open wagers are counted as they stand, which is more evidence.
    """
    count, runs, challengers = gains.shape
    stakes, laid = np.zeros((HORIZON, runs, challengers)), np.array(list(SHARES.values()))
    gains = np.exp(gains)
    least = None if least is None else np.exp(least)
    for at in range(count):
        stream = at % HORIZON
        # Beyond this a run is far above the limit.
        stakes[stream] = np.minimum((stakes[stream] + laid) * gains[at], 1e200)
        total = stakes[stream].sum(axis=1)
        for ahead in range(1, HORIZON):
            open_ = stakes[(at + ahead) % HORIZON]
            if least is None:
                total = total + open_.sum(axis=1)
            elif at + ahead < count:
                total = total + ((open_ + laid) * least[at + ahead]).sum(axis=1)
        yield total / HORIZON


def stacked(rows: pd.DataFrame, runs: int) -> np.ndarray:
    """Log gains, shape (forecasts, runs, challengers)."""
    return log_gains(rows).reshape(runs, -1, len(SHARES)).swapaxes(0, 1)


def caught(rows: pd.DataFrame, runs: int, sound: int) -> np.ndarray:
    """After how many spoilt forecasts each run's alarm came; infinite where none did, negative before they began."""
    when = np.full(runs, np.inf)
    gains, least = stacked(rows, runs), stacked(rows.assign(actual_price=np.nan), runs)
    for at, now in enumerate(evidence(gains, least)):
        when[(now > LIMIT) & np.isinf(when)] = at + 1 - sound
    return when


def check_against_the_library(rng: np.random.Generator) -> None:
    rows = noise(market(1, 300, rng), rng)
    for at, now in enumerate(evidence(stacked(rows, 1), stacked(rows.assign(actual_price=np.nan), 1))):
        if at % 97 == 0:
            settled = rows.assign(actual_price=rows["actual_price"].where(rows.index <= at))
            known = settled[settled["made_at"] <= rows["target_at"][at]]
            found = check_concept(known, 1, BAR, SETTINGS)
            assert found is not None
            assert np.isclose(found.evidence, now[0], rtol=1e-9), (at, found, now)


def power(runs: int) -> Iterator[dict[str, object]]:
    for name, plant in PLANTS.items():
        rng = np.random.default_rng(1)
        rows = market(runs, DAY + SEEN, rng)
        spoilt = (np.arange(len(rows)) % (DAY + SEEN)) >= DAY
        yield about(name, caught(pd.concat([rows[~spoilt], plant(rows[spoilt], rng)]).sort_index(), runs, DAY))


def about(name: str, when: np.ndarray) -> dict[str, object]:
    return {
        "plant": name,
        f"caught within {WITHIN}": float(np.mean((when > 0) & (when <= WITHIN))),
        f"within {SEEN}": float(np.mean((when > 0) & (when <= SEEN))),
        "half by": float(np.quantile(when, 0.5, method="higher")),
        "nine in ten by": float(np.quantile(when, 0.9, method="higher")),
        "runs": len(when),
    }


def on_the_edge(rows: pd.DataFrame, _: np.random.Generator) -> pd.DataFrame:
    """As far from right as is still called right, in width; challengers of the width gain nothing on average."""
    return widened(rows, 1 / WIDTH_TOLERANCE)


CALM: dict[str, Plant] = {
    "sound": lambda rows, rng: rows.assign(p_up=np.clip(rng.normal(0.5, 0.05, len(rows)), 0.01, 0.99)),
    "at the edge of right": on_the_edge,
}


def highest(case: str, weeks: int) -> np.ndarray:
    """The highest evidence in each of so many weeks, open wagers counted as they stand."""
    rng, top, left = np.random.default_rng(2), list[np.ndarray](), weeks
    while left > 0:
        runs = min(left, 500)
        rows = CALM[case](market(runs, WEEK, rng), rng)
        top.append(np.max(list(evidence(stacked(rows, runs), None)), axis=0))
        left -= runs
    return np.concatenate(top)


def calm(weeks: int) -> Iterator[dict[str, object]]:
    for case in CALM:
        top = highest(case, weeks)
        alarms = int((top > LIMIT).sum())
        yield {
            "forecasts": case,
            "weeks": weeks,
            "alarms": alarms,
            "rate at most (95%)": float(beta.ppf(0.95, alarms + 1, weeks - alarms)),
            "highest evidence": float(top.max()),
            "limit": LIMIT,
        }


def replayed(path: Path, runs: int) -> Iterator[dict[str, object]]:
    log = pd.read_parquet(path)
    log = log[log["actual_price"].notna() & (log["regime"] != "unknown")].reset_index(drop=True)
    top = np.concatenate(list(evidence(log_gains(log)[:, None, :], None)))  # the stakes of the whole log, not of a week
    yield {
        "log": f"{log['made_at'].min():%Y-%m-%d} to {log['made_at'].max():%Y-%m-%d}",
        "forecasts": len(log),
        "highest evidence": float(top.max()),
        "at": str(log["made_at"][int(top.argmax())]),
        "days above the limit": int(log.loc[top > LIMIT, "made_at"].dt.floor("D").nunique()),
        "limit": LIMIT,
    }
    length = DAY + SEEN
    for name, plant in PLANTS.items():
        rng = np.random.default_rng(3)
        starts = rng.integers(0, len(log) - length, runs)
        rows = log.iloc[(starts[:, None] + np.arange(length)).ravel()].reset_index(drop=True)
        spoilt = (np.arange(len(rows)) % length) >= DAY
        yield about(name, caught(pd.concat([rows[~spoilt], plant(rows[spoilt], rng)]).sort_index(), runs, DAY))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["power", "sound", "replay"])
    parser.add_argument("logs", nargs="*", type=Path)
    parser.add_argument("--runs", type=int)
    options = parser.parse_args()
    check_against_the_library(np.random.default_rng(4))
    begin = time.perf_counter()
    if options.what == "replay":
        results = (line for path in options.logs for line in replayed(path, options.runs or 1000))
    else:
        results = power(options.runs or 1000) if options.what == "power" else calm(options.runs or 30_000)
    for line in results:
        print(json.dumps(line), flush=True)
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
