"""Writes the random walk of the default market, which the serving image answers from until it is given a bundle."""

import sys
from pathlib import Path

from cryptosentinel.bundle import write_random_walk
from cryptosentinel.config import load_settings
from cryptosentinel.features import FeatureSpec
from cryptosentinel.market.bars import Interval

settings = load_settings(environ={})
market = settings.market
write_random_walk(
    Path(sys.argv[1]),
    FeatureSpec(Interval(market.interval)),
    asset=market.asset,
    currency=market.currency,
    market=f"{market.asset}-{market.currency}-{market.interval}",
    simulated=False,
    horizon_bars=settings.forecast.horizon_bars,
)
