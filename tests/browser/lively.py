"""Which simulated market is wild just now: `python -m tests.browser.lively` prints its seed.

Mostly a simulated market is calm, and no alert is open. Pictures are taken of one in which an alert is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from cryptosentinel.config import AlertSettings
from cryptosentinel.features import FeatureSpec, compute_features
from cryptosentinel.market.bars import Interval
from cryptosentinel.market.simulated import SimulatedSource

# For so many bars already: it will not be calm before the pictures are taken.
BARS = 7


def lively_seed(now: datetime) -> int:
    """The first seed whose market is above the limit of `volatility`."""
    return next(seed for seed in count() if calmest(seed, now) > AlertSettings().volatility)


def calmest(seed: int, now: datetime) -> float:
    """The least annualised volatility that a market had at one of the last `BARS` closes."""
    spec = FeatureSpec(Interval("5m"))
    bars = SimulatedSource("bitcoin", spec.interval, seed, now=now).bars(now - timedelta(days=3), now)
    return float(compute_features(bars, spec)["volatility_20"].tail(BARS).min())


if __name__ == "__main__":
    print(lively_seed(datetime.now(UTC)))
