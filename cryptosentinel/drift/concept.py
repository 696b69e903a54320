"""Whether the champion's forecasts still do what they say: wagers against them, on what became of each.

Each forecast says how probable it is that the price ends in each of ten bins (between its nine quantiles), and that it
rises. `CHALLENGERS` are others who say something else of the same forecast, each about one way to go wrong. A wager
multiplies its stake by (the challenger's probability of what came) / (the forecast's own): on average it gains nothing
while the forecasts are right, and grows without bound where the challenger is. What is right has a tolerance, since no
market keeps probabilities to the last digit: the probability that is paid by is the one, within the tolerance, that
pays the challenger least. (Shafer 2021; Waudby-Smith and Ramdas 2024; Arnold, Henzi and Ziegel 2023.)

A model goes wrong at a time that nobody knows. So with every forecast new stakes are laid, and the evidence is what
all of them have come to: Shiryaev and Roberts' sum, an e-detector (Shin, Ramdas and Rinaldo 2024). Forecasts that are
made while an earlier one is open share bars with it, so there is a stream of wagers for each of the `horizon_bars`
positions, in which no two overlap, and the evidence is their mean. A wager whose outcome is not known counts as lost
as far as it can be. That makes the bound hold whenever one looks: the chance that the evidence ever reaches a limit
while the forecasts are right, in a stretch of n horizons, is at most n / limit. docs/drift.md has the proof.

Nothing is kept: the evidence is a function of the forecast log's last `drift.concept.window_days`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.bundle import BOUNDS, PROBABILITIES, UNKNOWN_REGIME
from cryptosentinel.config import ConceptSettings, Settings
from cryptosentinel.storage import Storage

Array = NDArray[np.float64]

# The columns of the forecast log that are read.
CONCEPT_COLUMNS = ("made_at", "target_at", "price", *BOUNDS, "p_up", "regime", "bundle_version", "actual_price")
_NORMAL_SCORES = np.array([NormalDist().inv_cdf(p) for p in PROBABILITIES])
# What is right within: the width by a tenth, the middle by a twentieth of the standard deviation, p_up by 3 points.
WIDTH_TOLERANCE, MIDDLE_TOLERANCE, P_UP_TOLERANCE = 1.1, 0.05, 0.03
# Challengers who say that outcomes are spread so many times as wide as the forecast says.
_SCALES = {"narrow": 2.0, "somewhat narrow": math.sqrt(2), "wide": 0.5}
# Of what is staked, each one's share: most where a model that has turned useless is caught soonest.
SHARES = {
    "middle": 0.45,
    "reversed": 0.05,
    "narrow": 0.2,
    "somewhat narrow": 0.05,
    "wide": 0.05,
    "coin": 0.15,
    "reversed coin": 0.05,
}
# What each says, as the end of a sentence about the forecasts.
CHALLENGERS = {
    "middle": "the price that stays is a better middle than the forecast price",
    "reversed": "prices go the other way than forecast",
    "narrow": "outcomes are spread twice as wide as the intervals say",
    "somewhat narrow": "outcomes are spread 1.4 times as wide as the intervals say",
    "wide": "outcomes are spread half as wide as the intervals say",
    "coin": "rises are a coin's, whatever probability is said",
    "reversed coin": "rises come with the opposite of the probability that is said",
}
# Beyond so many standard deviations a price is as good as outside of the forecast.
_FARTHEST = 6.0
_MOST = 700.0  # as a logarithm, what a float can hold
# Not SciPy's: the dashboard's image has none.
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


@dataclass(frozen=True)
class Concept:
    """What the wagers against one version's forecasts have come to.

    Attributes:
        version: of the bundle.
        settled: forecasts that were wagered on and whose outcome is known.
        evidence: what the stakes of one have become, on average over the streams.
        limit: above it the forecasts are called useless.
        by: the share of each challenger in the evidence.
    """

    version: int
    settled: int
    evidence: float
    limit: float
    by: dict[str, float]

    @property
    def level(self) -> float:
        """The evidence's digits as a share of the limit's: 0 without evidence, above 1 an alarm."""
        return math.log1p(self.evidence) / math.log1p(self.limit)

    @property
    def drifted(self) -> bool:
        """Whether the forecasts are called useless."""
        return self.evidence > self.limit

    @property
    def suspicion(self) -> str:
        """What the challenger says who has gained most."""
        return CHALLENGERS[max(self.by, key=lambda name: self.by[name])]

    def sentence(self) -> str:
        """The verdict for people."""
        verdict = f"do not do what they say: {self.suspicion}" if self.drifted else "do what they say"
        odds = f"evidence against them {_short(self.evidence)}, limit {_short(self.limit)}"
        return f"version {self.version}'s forecasts {verdict} ({odds}; {self.settled:,} settled)"


def _short(value: float) -> str:
    if value < 1e4:
        return f"{value:,.0f}"
    return f"{value / 1e6:,.2f} million" if value < 1e9 else f"10^{math.log10(value):.0f}"


def check_concept(log: pd.DataFrame, version: int, interval: timedelta, settings: ConceptSettings) -> Concept | None:
    """The evidence against a version's forecasts: a function of the log and nothing else.

    Args:
        log: rows of the forecast log with `CONCEPT_COLUMNS`, of the time that is looked at.
        version: whose forecasts count. Those of the random walk in its name, while features were not warm, do not.
        interval: of the bars.
        settings: `window_days` and `false_alarms`.

    Returns:
        None while no forecast of the version is settled.
    """
    rows = log[(log["bundle_version"] == version) & (log["regime"] != UNKNOWN_REGIME)].sort_values("made_at")
    rows = rows[np.isfinite(rows[["price", *BOUNDS, "p_up"]].to_numpy(np.float64)).all(axis=1)]
    known = rows["actual_price"].notna()
    if not known.any():
        return None
    horizon = rows["target_at"].iloc[0] - rows["made_at"].iloc[0]  # a bundle has one
    streams = horizon // interval
    # What was made once the newest known outcome had come is fair still: whatever comes of it, it gains nothing.
    rows = rows[rows["made_at"] < rows.loc[known, "target_at"].max()]
    stream = (rows["made_at"] - pd.Timestamp(0, tz="UTC")) // interval % streams
    stakes = log_stakes(log_gains(rows), stream.to_numpy(np.int64))
    total = float(np.logaddexp.reduce(stakes))
    return Concept(
        version=version,
        settled=int(known.sum()),
        evidence=math.exp(min(total - math.log(streams), _MOST)),
        limit=limit_of(horizon, settings),
        by=dict(zip(CHALLENGERS, np.exp(stakes - total).tolist(), strict=True)),
    )


def limit_of(horizon: timedelta, settings: ConceptSettings) -> float:
    """What the evidence stays below with a chance of 1 - `false_alarms` in every `window_days` of right forecasts."""
    return timedelta(days=settings.window_days) / horizon / settings.false_alarms


def log_stakes(gains: Array, stream: NDArray[np.int64]) -> Array:
    """What the stakes on each challenger have come to, over all streams, as natural logarithms.

    A stake is laid before each forecast, and with it all that is laid goes from forecast to forecast of one stream.

    Args:
        gains: of each forecast's wagers, in the order of time, shape (n, challengers).
        stream: of each forecast, shape (n,).

    Returns:
        Shape (challengers,).
    """
    laid = np.log(list(SHARES.values()))
    streams: dict[int, Array] = {}
    for gain, place in zip(gains, stream.tolist(), strict=True):
        before = streams.get(place)
        streams[place] = gain + (laid if before is None else np.logaddexp(before, laid))
    stakes: Array = np.logaddexp.reduce(list(streams.values()), axis=0)
    return stakes


def log_gains(rows: pd.DataFrame) -> Array:
    """What each challenger's wager on each forecast multiplies its stake by, as a natural logarithm.

    Where the outcome is not known it is the least that it can be.

    Args:
        rows: n forecasts with finite quantiles and `p_up`.

    Returns:
        Shape (n, challengers), in the order of `CHALLENGERS`.
    """
    actual = rows["actual_price"].to_numpy(np.float64)
    bounds = rows[list(BOUNDS)].to_numpy(np.float64)
    price = rows["price"].to_numpy(np.float64)
    unknown = np.isnan(actual)
    ended, rose = (actual[:, None] > bounds).sum(axis=1), (actual > price).astype(np.intp)
    still, own = _normal_score(price, bounds), np.ones(1)
    moved = np.sign(still) * np.minimum(np.abs(still), MIDDLE_TOLERANCE)
    said = rows["p_up"].to_numpy(np.float64) - 0.5
    said = 0.5 + np.sign(said) * np.clip(np.abs(said) - P_UP_TOLERANCE, 0.0, 0.5 - 1e-6)
    gains = {
        "middle": (_of_bins(still, own, moved, own), ended),
        "reversed": (_of_bins(2 * still, own, moved, own), ended),
        **{name: (_of_widths(scale), ended) for name, scale in _SCALES.items()},
        "coin": (_of_sides(np.full_like(said, 0.5), said), rose),
        "reversed coin": (_of_sides(1 - said, said), rose),
    }
    columns = []
    for name in CHALLENGERS:
        table, outcome = gains[name]
        came = np.take_along_axis(np.broadcast_to(table, (len(rows), table.shape[1])), outcome[:, None], axis=1)
        columns.append(np.where(unknown, table.min(axis=1), came[:, 0]))
    return np.column_stack(columns)


def _of_bins(shift: Array, scale: Array, right_shift: Array, right_scale: Array) -> Array:
    """Log gains by bin: a normal distribution on the forecast's own normal plot against the one that is still right."""
    gains: Array = np.log(_bins(shift, scale)) - np.log(_bins(right_shift, right_scale))
    return gains


def _of_widths(scale: float) -> Array:
    """The same where the challenger says that outcomes are spread `scale` times as wide; shape (1, 10)."""
    right = WIDTH_TOLERANCE if scale > 1 else 1 / WIDTH_TOLERANCE
    return _of_bins(np.zeros(1), np.array([scale]), np.zeros(1), np.array([right]))


def _of_sides(challenger: Array, said: Array) -> Array:
    """Log gains where the price does not rise, and where it does, shape (n, 2)."""
    return np.column_stack([np.log((1 - challenger) / (1 - said)), np.log(challenger / said)])


def _bins(shift: Array, scale: Array) -> Array:
    """Probabilities of the ten bins under a normal distribution, where the forecast's own is the standard normal."""
    z = (_NORMAL_SCORES - shift[:, None]) / scale[:, None]
    # Of the two tails the one that is not close to one, so that differences keep their digits.
    tail, outer = _erfc(np.abs(z) / math.sqrt(2)) / 2, np.zeros((len(z), 1))
    beyond, above = np.hstack([outer, tail, outer]), np.hstack([outer, z, outer + 1]) > 0
    low, high = beyond[:, :-1], beyond[:, 1:]
    bins: Array = np.where(above[:, :-1], low - high, np.where(above[:, 1:], 1 - low - high, high - low))
    return bins


def _normal_score(price: Array, bounds: Array) -> Array:
    """Where each price lies on its forecast's normal plot: straight lines between and beyond the nine quantiles.

    Shape (n,); 0, the middle, where the quantiles do not ascend.
    """
    x, y = np.log(bounds), np.log(price)
    rows = np.arange(len(y))
    right = np.clip((y[:, None] > x).sum(axis=1), 1, x.shape[1] - 1)
    low, high = x[rows, right - 1], x[rows, right]
    ascends = (np.diff(x, axis=1) > 0).all(axis=1)
    along = (y - low) / np.where(ascends, high - low, 1.0)
    score = _NORMAL_SCORES[right - 1] + along * (_NORMAL_SCORES[right] - _NORMAL_SCORES[right - 1])
    return np.where(ascends, np.clip(score, -_FARTHEST, _FARTHEST), 0.0)


def champion_concept(storage: Storage, interval: timedelta, settings: Settings, *, now: datetime) -> Concept | None:
    """The evidence against the champion's forecasts, as `check_concept`; another champion begins anew."""
    champion = storage.registry.champion()
    if champion is None:
        return None
    asset, rules = settings.market.asset, settings.drift.concept
    start, end = now - timedelta(days=rules.window_days), now + timedelta(seconds=1)
    log = storage.log.read_forecasts(asset, start, end, columns=CONCEPT_COLUMNS)
    return check_concept(log, champion.version, interval, rules)
