"""Forecasts of a champion that is sound or useless, alone and in a store."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.bundle import BOUNDS, PROBABILITIES, Bundle
from cryptosentinel.features import FeatureSpec
from cryptosentinel.storage import Storage
from cryptosentinel.workspace import Workspace, open_workspace, remember
from tests.builders import FIVE, T0, at, make_random_bars, make_tiny_bundle, settings_of
from tests.predicting.builders import forecast

HORIZON = 6
NORMAL = np.array([NormalDist().inv_cdf(p) for p in PROBABILITIES])
SIZE = 0.003
Floats = NDArray[np.float64]
SPEC = FeatureSpec(FIVE)
# Forecasts that were sound, and those after them that are not.
SOUND, SPOILT = 144, 300
NOW = at(SOUND + SPOILT)


def forecasts(
    outcomes: Floats, *, middle: float | Floats = 0.0, width: float = 1.0, p_up: float | Floats = 0.5, version: int = 4
) -> pd.DataFrame:
    """Settled forecasts, one a bar. All in standard deviations of the outcome: a NaN is not known yet."""
    middles = np.broadcast_to(middle, outcomes.shape)
    bounds = 100 * np.exp(SIZE * (middles[:, None] + width * NORMAL))
    made = pd.Series(pd.date_range(T0, periods=len(outcomes), freq=FIVE.delta))
    return pd.DataFrame(
        {
            "made_at": made,
            "target_at": made + HORIZON * FIVE.delta,
            "price": 100.0,
            **dict(zip(BOUNDS, bounds.T, strict=True)),
            "p_up": p_up,
            "regime": "uptrend",
            "bundle_version": version,
            "actual_price": 100 * np.exp(SIZE * outcomes),
        }
    )


def overlapping(count: int, seed: int = 0) -> Floats:
    """Outcomes of normal moves, of which neighbours share five in six."""
    moves = np.random.default_rng(seed).normal(size=count + HORIZON)
    path = np.cumsum(np.concatenate([[0.0], moves]))
    return (path[HORIZON : HORIZON + count] - path[:count]) / math.sqrt(HORIZON)


def market(folder: Path, **settings: object) -> Workspace:
    """A market with a champion that was trained, version 1."""
    chosen = settings_of(home=str(folder), market__source="simulated:3", **settings)
    workspace = open_workspace(chosen, now=NOW)
    remember(workspace)
    register(workspace, 0.001)
    return workspace


def register(workspace: Workspace, log_return: float) -> Bundle:
    """One more version, which is champion."""
    registry = workspace.storage.registry
    bundle = make_tiny_bundle(workspace.root / f"made-{log_return}", SPEC, log_return=log_return)
    before = workspace.champion()
    made = registry.register(bundle.path, metrics={}, verdict="promoted: for a test")
    registry.promote(made.version, expected=before.version)
    return bundle


def spoil(storage: Storage, version: int = 1) -> None:
    """A log of what a version forecast at the close of each stored bar but the newest; its middles turn to noise.

    The prices are those of the bars, which are made where there are none.
    """
    bars = storage.features.read_bars("bitcoin")
    if bars.empty:
        bars = make_random_bars(SOUND + SPOILT)
        storage.features.write_bars(bars)
    path = np.log(bars["close"].to_numpy(np.float64))[-SOUND - SPOILT :]
    ahead = np.append(path[HORIZON:] - path[:-HORIZON], np.full(HORIZON, np.nan))[:-1]
    size = float(np.nanstd(ahead))
    noise = np.random.default_rng(5).normal(size=len(ahead))
    noise[:SOUND] = 0
    rows = forecasts(ahead / size, middle=noise, version=version)
    # From a price of 100 and a spread of SIZE to this market's.
    for name in ("price", "actual_price", *BOUNDS):
        rows[name] = np.exp(path[:-1] + np.log(rows[name].to_numpy(np.float64) / 100) * size / SIZE)
    rows["made_at"] = bars["timestamp"].to_numpy()[-len(path) : -1] + FIVE.delta
    rows["made_at"] = pd.to_datetime(rows["made_at"], utc=True)
    rows["target_at"] = rows["made_at"] + HORIZON * FIVE.delta
    blank = forecast(0).drop(columns=list(rows.columns))
    blank = blank.loc[blank.index.repeat(len(rows))].reset_index(drop=True)
    whole = pd.concat([blank, rows], axis=1)[forecast(0).columns]
    known = whole["actual_price"].notna()
    storage.log.write_forecasts(
        whole.assign(
            forecast_id=[f"{made:%Y%m%dT%H%M}" for made in whole["made_at"]],
            predicted_price=whole["median"],
            sigma=size,
            outcome=np.where(known, "correct", None),
            settled_at=whole["target_at"].where(known),
        )
    )
