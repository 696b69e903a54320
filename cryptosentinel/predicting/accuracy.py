"""How good the settled forecasts were, beside the random walk, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.bundle import DOWN, UP
from cryptosentinel.forecasting.significance import standard_error
from cryptosentinel.predicting.settling import CORRECT, INCORRECT

# What `measure` reads of the log.
COLUMNS = (
    *("made_at", "target_at", "price", "predicted_price", "lower_80", "upper_80", "lower_95", "upper_95"),
    *("direction", "outcome", "actual_price"),
)
PENDING = "pending"


@dataclass(frozen=True)
class Share:
    """A share of outcomes, between the bounds of its 95% interval; NaN where there are none.

    Attributes:
        independent: how many outcomes that do not overlap it rests on.
    """

    value: float
    lower: float
    upper: float
    independent: int


@dataclass(frozen=True)
class Skill:
    """How much less squared error than the random walk's, as a share of it, between the bounds of its 95% interval.

    0: no better than saying that the price stays. NaN where no price is known, or none moved; the interval allows for
    forecasts that overlap, and is infinite where there are too few to tell.
    """

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Accuracy:
    """How good the settled among some forecasts were.

    Attributes:
        counts: by outcome, `pending` among them.
        error: mean absolute error relative to the price the forecast was made at; NaN where none is settled.
        baseline_error: the same of the random walk, which says that the price stays.
        skill: against the random walk.
        hits: of the calls of a rise or a fall that were followed by a move, those that were right; by a coin one half.
        called: how many those calls are.
        covered: of the prices, those within the interval, by its level in percent.
    """

    counts: dict[str, int]
    error: float
    baseline_error: float
    skill: Skill
    hits: Share
    called: int
    covered: dict[int, Share]

    @property
    def made(self) -> int:
        """How many forecasts there are."""
        return sum(self.counts.values())

    @property
    def settled(self) -> int:
        """How many of them have an outcome."""
        return self.made - self.counts.get(PENDING, 0)


def measure(log: pd.DataFrame) -> Accuracy:
    """Measures forecasts of the log (`COLUMNS` of it)."""
    outcome = log["outcome"].fillna(PENDING)
    priced = log[log["actual_price"].notna()]
    # Where no direction was called, incorrect only means that the price moved.
    called = priced[priced["direction"].isin([UP, DOWN]) & priced["outcome"].isin([CORRECT, INCORRECT])]
    price, actual = (priced[name].to_numpy(np.float64) for name in ("price", "actual_price"))
    forecast = priced["predicted_price"].to_numpy(np.float64)
    off, moved = (forecast - actual) / price, (price - actual) / price
    independent = independent_outcomes(priced)
    return Accuracy(
        counts={str(name): int(count) for name, count in outcome.value_counts().items()},
        error=float(np.mean(np.abs(off))) if len(priced) else nan,
        baseline_error=float(np.mean(np.abs(moved))) if len(priced) else nan,
        skill=_skill(off**2, moved**2, independent),
        hits=share_of(called["outcome"] == CORRECT, independent_outcomes(called)),
        called=len(called),
        covered={
            level: share_of(
                priced["actual_price"].between(priced[f"lower_{level}"], priced[f"upper_{level}"]), independent
            )
            for level in (80, 95)
        },
    )


def independent_outcomes(log: pd.DataFrame) -> int:
    """How many forecasts there are if each begins where the one before it ends."""
    ordered = log.sort_values("made_at", kind="stable")
    made, targets = (ordered[name].to_numpy("datetime64[ms]").astype(np.int64) for name in ("made_at", "target_at"))
    # Found for all of them at once: a loop over the rows of 100,000 forecasts takes half a second.
    after = np.maximum(np.searchsorted(made, targets), np.arange(1, len(made) + 1)).tolist()
    count = at = 0
    while at < len(after):
        count, at = count + 1, after[at]
    return count


def wilson(share: float, independent: int) -> tuple[float, float]:
    """The 95% interval of a share among so many independent outcomes (Wilson 1927)."""
    if not independent:
        return nan, nan
    z2 = 1.96**2
    middle = (share + z2 / (2 * independent)) / (1 + z2 / independent)
    reach = 1.96 * math.sqrt(share * (1 - share) / independent + z2 / (4 * independent**2)) / (1 + z2 / independent)
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def share_of(came: pd.Series, independent: int) -> Share:
    """How often something came of forecasts, of which `independent` do not overlap (`independent_outcomes`)."""
    value = float(came.mean()) if len(came) else nan
    return Share(value, *wilson(value, independent), independent)


def _skill(loss: NDArray[np.float64], baseline: NDArray[np.float64], independent: int) -> Skill:
    """1 minus the ratio of mean losses, which are by time; the error of the ratio by the delta method."""
    reference = float(baseline.mean()) if len(baseline) else 0.0
    if reference <= 0:
        return Skill(nan, nan, nan)
    ratio = float(loss.mean()) / reference
    influence = (loss - ratio * baseline) / reference
    reach = 1.96 * standard_error(influence, math.ceil(len(loss) / independent))
    return Skill(1 - ratio, 1 - ratio - reach, 1 - ratio + reach)
