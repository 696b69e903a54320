"""What the drift check finds, and what it costs.

    python benchmarks/bench_drift.py [--seeds 11:15] [--plants 8] [--only cost,real] [--data FILE] [--json F]

simulated  90 days of the simulated market make a baseline (the first 72 of them, as a training keeps them); then the
           check runs every 30 minutes for 60 days. False alarms are counted as an alert counts them: one begins where
           none was for 6 hours. Then changes are planted at random times: volatility doubles at once, or climbs to the
           double in 3 days, with the volume that comes with it in this market, or without.
real       the same check over a recorded market around 2020-03 and 2022-11, with a new baseline every 7 days.
bound      how often a regression that knows what to look for, fitted to four years, finds a doubling.
cost       10,000 rows of 60 features against 10,000, through alibi-detect's environment and through SciPy.

The simulated market is taken three ways: as it is, where volatility doubles by itself every few weeks; with clusters of
no more than 8 hours; and stable, where volatility has its hours and its weekends, jumps and minutes that differ, but no
level of its own. A seed's results are kept in --json, and a run that is repeated goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from drift_check.markets import MARKETS, changed, market, plants
from drift_check.scoring import (
    APART,
    BAR,
    DAY,
    EVERY,
    SPEC,
    Bars,
    Rows,
    alarms,
    baseline_of,
    features_of,
    held_to_compare,
    scores_along,
)

from cryptosentinel.config import DriftSettings
from cryptosentinel.drift import AlibiTabular, Pair, compare, find_python, scipy_ks
from cryptosentinel.market.bars import PRICES
from cryptosentinel.market.simulated import SimulatedSource

TRAINING, BASELINE, WATCHED = 90 * DAY, 72 * DAY, 60 * DAY
EPISODES = {"2020-03": ("2020-02-01", "2020-04-15"), "2022-11": ("2022-10-10", "2022-12-20")}
# The crash of 12 March 2020; the run on FTX, 8 November 2022.
EVENTS = {"2020-03": ["2020-03-12T10:30Z"], "2022-11": ["2022-11-08T16:00Z"]}


def one_seed(seed: int, count: int, settings: DriftSettings) -> dict[str, Any]:
    """False alarms in 60 days, and the delay (hours; None: not in time) of each planted change."""
    rows, first, bars, skipped = history(seed)
    baseline = baseline_of(rows.iloc[first : first + BASELINE], settings)
    found: dict[str, Any] = {}
    ends = range(first + TRAINING, len(rows), EVERY)
    held_to_compare(baseline, rows, ends[::500], settings)
    scores = scores_along(baseline, rows, ends, settings)
    found["alarms_short"], found["alarms_long"] = (alarms(column, settings.threshold) for column in scores.T)
    found["alarms"] = alarms(scores.max(axis=1), settings.threshold)
    found["share"] = float((scores.max(axis=1) > settings.threshold).mean())
    random = np.random.default_rng(seed)
    whens = random.integers(first + TRAINING + 8 * DAY, len(rows) - 4 * DAY, count)
    back = int(baseline.history / BAR) + DAY + skipped
    for name, (factor, volume, length, every) in plants().items():
        delays = []
        for when in whens:
            part = bars.iloc[when + skipped - back : when + skipped + length].reset_index(drop=True)
            now = features_of(changed(part, back, factor, volume))
            planted = len(now) - length
            looks = range(planted + every - 1, len(now), every)
            hits = np.flatnonzero(scores_along(baseline, now, looks, settings).max(axis=1) > settings.threshold)
            delays.append((looks[hits[0]] + 1 - planted) / 12 if len(hits) else None)
        found[name] = delays
    return found


def renewed(seed: int, settings: DriftSettings) -> dict[str, Any]:
    """False alarms in 60 days with a new baseline every 7 days, as champions follow each other in practice."""
    rows, first, _, _ = history(seed)
    scores = []
    for begin in range(first + TRAINING, len(rows), 7 * DAY):
        known = rows.iloc[begin - TRAINING : begin - TRAINING + BASELINE]
        ends = range(begin, min(begin + 7 * DAY, len(rows)), EVERY)
        scores.append(scores_along(baseline_of(known, settings), rows, ends, settings).max(axis=1))
    both = np.concatenate(scores)
    return {"alarms": alarms(both, settings.threshold), "share": float((both > settings.threshold).mean())}


def history(seed: int) -> tuple[Rows, int, Bars, int]:
    """150 days: the rows, where the 90 of the training begin; the bars, and how many came before the first row."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    until = start + 150 * timedelta(days=1)
    bars = SimulatedSource("bitcoin", SPEC.interval, seed, now=until).bars(start - timedelta(days=4), until)
    rows = features_of(bars)
    return rows, len(rows) - TRAINING - WATCHED, bars, len(bars) - len(rows)


def share_found(delays: list[float | None]) -> float:
    return float(np.mean([delay is not None for delay in delays]))


def simulate(seeds: range, count: int, names: list[str], kept: dict[str, Any], keep: Callable[[], None]) -> None:
    settings = DriftSettings()
    for name, constants in MARKETS.items():
        if name not in names:
            continue
        results = kept.setdefault(name, {})
        with market(constants):
            for seed in seeds:
                if str(seed) not in results:
                    began = time.time()
                    results[str(seed)] = one_seed(seed, count, settings)
                    keep()
                    print(f"  {name}, seed {seed}: {time.time() - began:.0f} s", file=sys.stderr, flush=True)
                if name == "as it is" and "renewed" not in results[str(seed)]:
                    results[str(seed)]["renewed"] = renewed(seed, settings)
                    keep()
        chosen = [results[str(seed)] for seed in seeds]
        months = len(chosen) * 2
        total = [sum(each[kind] for each in chosen) for kind in ("alarms", "alarms_short", "alarms_long")]
        print(
            f"\n{name}: {total[0] / months:.2f} alarms in 30 days ({total[1]} short, {total[2]} long, in {months} "
            f"months; most in one: {max(each['alarms'] for each in chosen) / 2:g}), "
            f"{np.mean([each['share'] for each in chosen]):.2%} of the checks"
        )
        fresh = [each["renewed"] for each in chosen if "renewed" in each]
        if fresh:
            print(
                f"  a new baseline every week: {sum(each['alarms'] for each in fresh) / months:.2f} alarms in 30 days, "
                f"{np.mean([each['share'] for each in fresh]):.2%} of the checks"
            )
        for plant, (_, _, length, _) in plants().items():
            delays = [delay for each in chosen for delay in each[plant]]
            hours = sorted(np.inf if delay is None else delay for delay in delays)
            print(
                f"  {plant:30s} found within {length / 12:g} h: {share_found(delays):4.0%} of {len(delays)}; "
                f"median delay {hours[len(hours) // 2]:.1f} h"
            )


def bound(seeds: Sequence[int] = (200, 201), hours: int = 3) -> None:
    """What a test could do that knows what to look for: the log variance of the next hours, by all that went before.

    A regression on its means over 30 minutes to 30 days and on the season, fitted to four years and measured on three;
    the alarm is where it is exceeded once in 30 days. One look, with the window full of the change.
    """
    days, ahead = 2_600, hours * 12
    for name, constants in MARKETS.items():
        found = []
        with market(constants):
            for seed in seeds:
                until = datetime(2024, 1, 1, tzinfo=UTC)
                bars = SimulatedSource("bitcoin", SPEC.interval, seed, now=until).bars(
                    until - timedelta(days=days), until
                )
                open_, high, low, close = np.log(bars[list(PRICES)].to_numpy()).T
                variance = 0.5 * (high - low) ** 2 - (2 * np.log(2) - 1) * (close - open_) ** 2
                sums = np.concatenate([[0.0], np.cumsum(np.log(np.maximum(variance, 1e-12)))])
                seconds = bars["timestamp"].to_numpy("datetime64[s]").astype(np.int64)
                angle = 2 * np.pi * seconds / 86_400
                weekend = (seconds // 86_400 + 3) % 7 >= 5
                waves = np.column_stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle), weekend])
                seasons = np.vstack([np.zeros(waves.shape[1]), np.cumsum(waves, axis=0)])
                at = np.arange(31 * DAY, len(bars) - ahead, EVERY)
                spans = [6, 12, 36, 72, DAY, 3 * DAY, 7 * DAY, 30 * DAY]
                past = np.column_stack([(sums[at] - sums[at - span]) / span for span in spans])
                when = [(seasons[at + ahead] - seasons[at]) / ahead]
                when += [(seasons[at] - seasons[at - span]) / span for span in (12, 72, DAY)]
                X = np.column_stack([np.ones(len(at)), past, *when])
                y = (sums[at + ahead] - sums[at]) / ahead
                fitted = at < 0.6 * len(bars)
                left = y[~fitted] - X[~fitted] @ np.linalg.lstsq(X[fitted], y[fitted], rcond=None)[0]
                limits = np.linspace(0.2, 3, 281)
                months = len(left) * EVERY / DAY / 30
                limit = next(limit for limit in limits if alarms(left - limit, 0.0) <= months)
                found.append(float((left + np.log(4) > limit).mean()))
        print(
            f"  {name:18s} finds {' and '.join(f'{share:.0%}' for share in found)} of doublings (seeds {list(seeds)})"
        )


def real(path: Path, kept: dict[str, Any], keep: Callable[[], None], every: timedelta) -> None:
    """A recorded market around two breaks, with a new baseline every week from the 90 days before."""
    for name, (start, end) in EPISODES.items():
        if name not in kept:
            kept[name] = watched(path, name, every)
            keep()
        found = kept[name]
        scores = pd.Series([max(pair) for pair in found["scores"]], index=pd.DatetimeIndex(found["times"]))
        flagged = scores > DriftSettings().threshold
        begun = flagged & ~flagged.shift(1, fill_value=False).rolling(f"{APART // 2}h").max().astype(bool)
        print(f"\n{name}: {int(begun.sum())} alarms from {start} to {end}, {flagged.mean():.1%} of the checks")
        for when in scores.index[begun]:
            short, long = found["scores"][scores.index.get_loc(when)]
            print(f"  {when:%Y-%m-%d %H:%M} UTC: short {short:.0%}, long {long:.0%}")
        for event in found["events"]:
            after = scores[pd.Timestamp(event) :]
            hit = after.index[after > DriftSettings().threshold]
            said = f"{(hit[0] - pd.Timestamp(event)) / pd.Timedelta('1h'):.1f} h later" if len(hit) else "never"
            print(f"  {event}: found {said}")


def watched(path: Path, name: str, every: timedelta) -> dict[str, Any]:
    """The scores of both windows, from check to check."""
    settings = DriftSettings()
    start, end = EPISODES[name]
    first, last = pd.Timestamp(start, tz="UTC"), pd.Timestamp(end, tz="UTC")
    bars = pd.read_parquet(path)
    bars["timestamp"] = pd.to_datetime(bars["timestamp"], unit="ms", utc=True)
    bars["asset"] = "bitcoin"
    bars = bars[(bars["timestamp"] >= first - pd.Timedelta("100D")) & (bars["timestamp"] < last)]
    rows = features_of(bars.reset_index(drop=True))
    times = pd.DatetimeIndex(rows["timestamp"])
    at, scores, baseline, made = [], [], None, first
    for when in pd.date_range(first, last, freq=every, inclusive="left"):
        if baseline is None or when - made >= pd.Timedelta("7D"):
            begin, stop = times.searchsorted([when - pd.Timedelta("90D"), when - pd.Timedelta("18D")])
            baseline, made = baseline_of(rows.iloc[begin:stop], settings), when
        end_row = times.searchsorted(when)
        recent = rows.iloc[max(end_row - int(baseline.history / BAR) - 1, 0) : end_row]
        windows, _ = compare(baseline, recent, settings, scipy_ks, bar=BAR)
        if len(windows) == 2:
            at.append(when.isoformat())
            scores.append([window.score for window in windows])
    return {"times": at, "scores": scores, "events": EVENTS[name]}


def worked() -> float:
    """Seconds of processor, of this process and those that it started."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def cost() -> None:
    random = np.random.default_rng(0)
    names = [f"f{number}" for number in range(60)]
    reference = pd.DataFrame(random.normal(size=(10_000, 60)), columns=names)
    pair = Pair(reference, pd.DataFrame(random.normal(size=(10_000, 60)), columns=names))
    python = find_python(DriftSettings())
    asked: list[tuple[str, Any]] = [("scipy", scipy_ks)]
    if python is not None:
        asked.append(("alibi-detect, its start included", AlibiTabular(python, 300, 1024)))
    tables = []
    for name, detector in asked:
        seconds, before = [], worked()
        for _ in range(3):
            began = time.perf_counter()
            tables.append(detector([pair]).tables[0])
            seconds.append(time.perf_counter() - began)
        busy = (worked() - before) / 3
        print(f"  {name:34s} {min(seconds):.2f} s (best of 3; worst {max(seconds):.2f}), {busy:.2f} s of processor")
    memory = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"  most memory: {memory[0]:.0f} MB here, {memory[1]:.0f} MB in alibi-detect's process")
    print(f"  largest difference of the statistics: {(tables[0] - tables[-1])['statistic'].abs().max():g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="11:15", help="of the simulated market, from and up to")
    parser.add_argument("--plants", type=int, default=8, help="of each kind and seed")
    parser.add_argument("--markets", default=",".join(MARKETS))
    parser.add_argument("--only", default="simulated,bound,real,cost")
    parser.add_argument("--quick", action="store_true", help="one seed, 4 plants, the recording twice a day")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/binance_btcusdt_5m_2017_2025h1.parquet"))
    parser.add_argument("--json", type=Path, help="where results are kept, and read again")
    chosen = parser.parse_args()
    kept: dict[str, Any] = json.loads(chosen.json.read_text()) if chosen.json and chosen.json.exists() else {}

    def keep() -> None:
        if chosen.json:
            chosen.json.write_text(json.dumps(kept))

    parts = chosen.only.split(",")
    if "simulated" in parts:
        seeds = range(1, 2) if chosen.quick else range(*map(int, chosen.seeds.split(":")))
        simulate(
            seeds,
            4 if chosen.quick else chosen.plants,
            chosen.markets.split(","),
            kept.setdefault("simulated", {}),
            keep,
        )
    if "real" in parts and chosen.data.exists():
        every = timedelta(hours=12 if chosen.quick else 2)
        real(chosen.data, kept.setdefault(f"real, every {every}", {}), keep, every)
    elif "real" in parts:
        print(f"\nreal: not run, there is no {chosen.data} (--data)")
    if "bound" in parts:
        print("\nthe most that a test of volatility could do at one false alarm in 30 days:")
        bound()
    if "cost" in parts:
        print("\n10,000 rows of 60 features against 10,000:")
        cost()


if __name__ == "__main__":
    main()
