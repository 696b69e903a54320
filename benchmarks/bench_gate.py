"""How often the gate lets luck pass, and how often it hears a signal that is there.

    python benchmarks/bench_gate.py --seeds 200 --jobs 2 [--json figures.jsonl]

Invented 5-minute markets: stochastic volatility (half-life a day), Student t shocks with 4 degrees of freedom, and
features that mean nothing, with half-lives from one bar to a week. In the planted cases one feature is an AR(1) signal
that carries 1% of the variance of the 30-minute return. The candidates, the shrinkage, the evidence and the gate are
those of a training run, with their default settings.

- `noise`: 31 features; 30 days to train on (with the walk-forward folds in them), one look at 30 unseen days.
- `signal ...`: the same; the candidates see the signal alone, so that this is what the gate can hear.
- `signal ... in noise`: they see it among 30 features that mean nothing: what the candidates can find in 30 days.
- `schedule`: the gate is called 48 times a day for 90 days of noise, on the 60 days before each call, half of them
  unseen; counts the markets in which the blend was ever allowed to speak. Models are only fitted when a formal look is
  due, since between looks nothing is judged; every third row is used there (30-minute labels mostly overlap).

`promoted` counts markets in which the gate let the blend say where the price goes; `weight` is the mean of the
shrinkage weights with which it would.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter
from scipy.stats import binomtest, norm
from threadpoolctl import threadpool_limits

from cryptosentinel.bundle import PROBABILITIES
from cryptosentinel.config import Settings
from cryptosentinel.forecasting import training as real
from cryptosentinel.forecasting.candidates import CANDIDATES, predict_log_return
from cryptosentinel.forecasting.dataset import Dataset
from cryptosentinel.forecasting.evidence import Block, Evidence, gather_evidence
from cryptosentinel.forecasting.gate import judge
from cryptosentinel.forecasting.looks import PastVerdict, next_look, past_verdict
from cryptosentinel.forecasting.shrinkage import shrinkage_weight
from cryptosentinel.forecasting.walk_forward import walk_forward
from cryptosentinel.market.bars import Interval

DAY, HORIZON, WARM_UP = 288, 6, 2016
BAR = np.timedelta64(5, "m")
START = np.datetime64("2024-01-01", "ms")
SETTINGS = Settings()
LEARNERS = tuple(name for name, candidate in CANDIDATES.items() if candidate.make)


def autoregressive(rng: np.random.Generator, count: int, half_life: float) -> np.ndarray:
    """An AR(1) series of variance 1."""
    rho = 0.5 ** (1 / half_life)
    shocks = rng.normal(size=count) * math.sqrt(1 - rho**2)
    shocks[0] /= math.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], shocks)


def make_market(
    seed: int, days: int, half_life: float | None = None, features: int = 30, share: float = 0.01
) -> Dataset:
    """Rows of a market with `features` that mean nothing and one more.

    With a half-life (in bars) that one carries `share` of the target's variance, else it means nothing either.
    """
    rng = np.random.default_rng(seed)
    bars = WARM_UP + days * DAY + HORIZON
    volatility = 1e-3 * np.exp(0.5 * autoregressive(rng, bars, DAY))
    shocks = rng.standard_t(4, bars) / math.sqrt(2)
    columns = [autoregressive(rng, bars, life) for life in np.geomspace(1, WARM_UP, features)]
    signal = autoregressive(rng, bars, half_life or 36)
    if half_life:
        rho = 0.5 ** (1 / half_life)
        reach = sum(rho**step for step in range(HORIZON))
        spread = sum(rho ** abs(i - j) for i in range(HORIZON) for j in range(HORIZON))
        # share = strength^2 reach^2 / (HORIZON + strength^2 spread), solved for the strength
        shocks[1:] += math.sqrt(share * HORIZON / (reach**2 - share * spread)) * signal[:-1]
    returns = volatility * shocks
    decay = 0.5 ** (1 / 36)
    variance = lfilter([1 - decay], [1, -decay], returns**2)
    total = np.concatenate([[0.0], np.cumsum(returns)])
    at = np.arange(WARM_UP, bars - HORIZON)
    scale = np.sqrt(variance[at] * HORIZON)
    return Dataset(
        timestamps=START + BAR * (at - WARM_UP),
        X=np.column_stack([*columns, signal])[at].astype(np.float32),
        y=total[at + 1 + HORIZON] - total[at + 1],
        realised=scale,
        scale=scale,
        close=np.ones(len(at)),
        history={},
        names=tuple(str(number) for number in range(features + 1)),
        interval=Interval("5m"),
        horizon_bars=HORIZON,
    )


def every(rows: Dataset, step: int) -> Dataset:
    """Every so many rows."""
    return replace(rows.rows(slice(None, None, step)), horizon_bars=rows.horizon_bars // step)


def blended(rows: Dataset, unseen: Dataset, learners: Sequence[str]) -> np.ndarray:
    """The equal-weight blend, fitted on some rows as a training run does, of other rows."""
    settings = SETTINGS.training
    thinned = real._thinned(rows, settings)
    fitted = {name: real._fit(name, thinned, settings)[0] for name in learners}
    forecasts = [
        predict_log_return(CANDIDATES[name], settings.preset, estimator, unseen.X, unseen.scale)
        for name, estimator in fitted.items()
    ]
    return np.mean(forecasts, axis=0)


def learn_weight(training: Dataset, learners: Sequence[str]) -> tuple[float, np.ndarray]:
    """The shrinkage weight, and quantiles of what is left over in units of the scale, both out of fold."""
    folds = walk_forward(
        training.timestamps,
        folds=SETTINGS.training.folds,
        purge=timedelta(minutes=5 * HORIZON),
        embargo=timedelta(minutes=5 * SETTINGS.training.embargo_bars),
        scheme=SETTINGS.training.scheme,
    )
    tests = [training.rows(fold.test) for fold in folds]
    blend = np.concatenate(
        [blended(training.rows(fold.train), rows, learners) for fold, rows in zip(folds, tests, strict=True)]
    )
    y, scale = (np.concatenate([getattr(rows, name) for rows in tests]) for name in ("y", "scale"))
    weight = shrinkage_weight(y, blend, scale, training.horizon_bars)
    return weight, np.quantile((y - weight * blend) / scale, PROBABILITIES)


def see(unseen: Dataset, blend: np.ndarray, weight: float, quantiles: np.ndarray) -> Evidence:
    """The evidence; whose quantiles are served makes no difference to the question asked here."""
    block = Block(
        timestamps=unseen.timestamps,
        actual=unseen.y,
        sigma=unseen.scale,
        blend=blend,
        weight=weight,
        quantiles=(weight * blend)[:, None] + unseen.scale[:, None] * quantiles,
        p_up=norm.cdf(weight * blend / unseen.scale),
        outlying=np.zeros(len(blend), dtype=bool),
        horizon_bars=unseen.horizon_bars,
    )
    return gather_evidence({"blend": block, "random_walk": block}, data_age_s=0.0, accuracies={})


def one_look(
    seed: int, half_life: float | None = None, features: int = 30, learners: Sequence[str] = LEARNERS
) -> dict[str, Any]:
    """30 days to train on, one look at the 30 days after them."""
    rows = make_market(seed, 60, half_life, features)
    training, unseen = rows.rows(slice(30 * DAY - HORIZON)), rows.rows(slice(30 * DAY, None))
    weight, quantiles = learn_weight(training, learners)
    evidence = see(unseen, blended(training, unseen, learners), weight, quantiles)
    gate = judge(evidence, next_look([], evidence.data_end, SETTINGS.gate), SETTINGS.gate)
    return {
        "promoted": gate.champion == "blend",
        "weight": weight,
        "information_p": evidence.information_p,
        "weighted_skill": evidence.weighted_skill,
        "skill": evidence.skill,
    }


def schedule(seed: int, days: int = 90, learners: Sequence[str] = LEARNERS, thin: int = 3) -> dict[str, Any]:
    """The gate's real schedule on noise: 48 calls a day, each on the 60 days before it."""
    rows = make_market(seed, 60 + days)
    half = 30 * DAY
    past: list[PastVerdict] = []
    looks = []
    for call in range(48 * days):
        end = 2 * half + call * HORIZON
        data_end = rows.timestamps[end - 1].astype(datetime).replace(tzinfo=UTC)
        look = next_look(past, data_end, SETTINGS.gate)
        if not look.due:
            continue
        training = every(rows.rows(slice(end - 2 * half, end - half - HORIZON)), thin)
        unseen = every(rows.rows(slice(end - half, end)), thin)
        weight, quantiles = learn_weight(training, learners)
        evidence = see(unseen, blended(training, unseen, learners), weight, quantiles)
        gate = judge(evidence, look, SETTINGS.gate)
        past.append(past_verdict(gate, data_end))
        looks.append({"number": look.number, "alpha": look.alpha, "p": evidence.information_p})
        if gate.champion == "blend":
            return {"promoted": True, "weight": weight, "looks": looks}
    return {"promoted": False, "weight": 0.0, "looks": looks}


CASES = {
    "noise": one_look,
    "signal, 6 bars": partial(one_look, half_life=6, features=0),
    "signal, 3 hours": partial(one_look, half_life=36, features=0),
    "signal, 6 bars, in noise": partial(one_look, half_life=6),
    "signal, 3 hours, in noise": partial(one_look, half_life=36),
    "schedule": schedule,
}


def run_case(case: str, seed: int) -> dict[str, Any]:
    with threadpool_limits(1):
        return CASES[case](seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; may be given more than once")
    parser.add_argument("--json", type=Path, help="a file that the figures of every seed are added to, one a line")
    chosen = parser.parse_args()
    seeds = range(chosen.seeds)
    print(f"{'':28}{'promoted':>11}{'share':>8}{'95% (Wilson)':>18}{'weight':>8}{'seconds':>9}")
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for case in chosen.case or CASES:
            began, answers = time.perf_counter(), []
            for seed, answer in enumerate(pool.map(partial(run_case, case), seeds)):
                answers.append(answer)
                if chosen.json:
                    with chosen.json.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({"case": case, "seed": seed, **answer}) + "\n")
            weights = [answer["weight"] for answer in answers if answer["promoted"]]
            promoted, weight = len(weights), np.mean(weights) if weights else math.nan
            low, high = binomtest(promoted, len(seeds)).proportion_ci(method="wilson")
            share, interval = f"{promoted / len(seeds):.1%}", f"{low:.1%} to {high:.1%}"
            took_s = time.perf_counter() - began
            print(
                f"{case:28}{promoted:4} of {len(seeds):3}{share:>8}{interval:>18}{weight:8.2f}{took_s:9.0f}", flush=True
            )


if __name__ == "__main__":
    main()
