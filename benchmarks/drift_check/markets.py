"""Simulated markets other than the usual one, and changes planted in their bars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cryptosentinel.market import simulated
from cryptosentinel.market.bars import PRICES
from drift_check.scoring import DAY, EVERY, Bars

VOLUME = 1.4  # the simulated market's volume goes with this power of its volatility
MARKETS = {
    "as it is": {},
    "clusters of hours": {"_REGIME_VARIANCE": np.ones(3), "_CASCADE": ((2, 0.12), (8, 0.18))},
    "stable": {"_REGIME_VARIANCE": np.ones(3), "_CASCADE": ((2, 0.0),)},
}


@contextmanager
def market(changed: dict[str, Any]) -> Iterator[None]:
    """The simulated market with other constants."""
    before = {name: getattr(simulated, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(simulated, name, value)
        simulated._skeleton.cache_clear()
        yield
    finally:
        for name, value in before.items():
            setattr(simulated, name, value)
        simulated._skeleton.cache_clear()


def changed(bars: Bars, at: int, factor: np.ndarray, volume: float) -> Bars:
    """From bar `at` on, log returns are so many times as large, and volume that to a power."""
    logs = np.log(bars[list(PRICES)].to_numpy())
    before = np.concatenate([logs[:1, 3], logs[:-1, 3]])
    times = np.ones(len(bars))
    times[at:] = factor[: len(bars) - at]
    moves = (logs - before[:, None]) * times[:, None]
    close = logs[0, 3] + np.concatenate([[0.0], np.cumsum(moves[1:, 3])])
    after = bars.copy()
    after[list(PRICES)] = np.exp(np.concatenate([close[:1], close[:-1]])[:, None] + moves)
    after["volume"] = bars["volume"] * times**volume
    return after


def plants() -> dict[str, tuple[np.ndarray, float, int, int]]:
    """What is planted: factors, power of the volume, how long it is looked for, every so many bars."""
    days = 3 * DAY
    climb = 2 ** (np.arange(1, days + 1) / days)
    return {
        "doubled at once": (np.full(days, 2.0), VOLUME, 72, EVERY),
        "doubled at once, same volume": (np.full(days, 2.0), 0.0, 72, EVERY),
        "tripled at once": (np.full(days, 3.0), VOLUME, 72, EVERY),
        "doubling in 3 days": (climb, VOLUME, days, 24),
        "tripling in 3 days": (climb ** np.log2(3), VOLUME, days, 24),
    }
