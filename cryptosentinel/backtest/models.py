"""The figures of a backtest as records: what the report shows, and what is written beside it as JSON.

Shares and skills are fractions (0.05 is 5%), pinball losses basis points of the log return, a missing figure NaN.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Estimate(_Record):
    """A mean with its 95% interval, which allows for the overlap of labels (Newey-West)."""

    value: float
    low: float
    high: float


class Gain(_Record):
    """How much less is lost than by a baseline, as a share of its loss, and the HAC t of the difference."""

    share: float
    t: float


class Part(_Record):
    """The figures of some of the rows.

    Attributes:
        name: of the month, hour, tercile, regime; `all` for all rows.
        covered_80: share of prices in the 80% interval; likewise `covered_95`.
        pinball_bp: mean over the nine quantiles.
        below: by baseline, how much lower that is, as a share of the baseline's.
        skill: 1 - squared error of the point forecast over the random walk's.
        accuracy: of the stated directions; `majority` is the share of the more frequent one on the same rows.
        brier_skill: of `p_up` against the trailing share of rises.
    """

    name: str
    rows: int
    covered_80: float
    covered_95: float
    pinball_bp: float
    below: dict[str, float]
    skill: float
    accuracy: Estimate
    majority: float
    brier_skill: float


class Spread(_Record):
    """How well the width was known.

    Attributes:
        pinball_bp: of the model and of each baseline.
        gains: over each baseline.
    """

    pinball_bp: dict[str, float]
    gains: dict[str, Gain]


class Contestant(_Record):
    """A row of the league table of point forecasts.

    Attributes:
        kind: `served`, `candidate` or `baseline`.
        rows: that it has a forecast for, and is judged on.
        rmse_bp: of the log return.
        rmse: of the price, in the quote currency.
        skill: 1 - squared error over the random walk's on the same rows.
        clark_west_t: volatility-weighted, against the random walk; NaN for a forecast of zero.
        accuracy: share of its signs that were right, where it has one.
    """

    name: str
    kind: Literal["served", "candidate", "baseline"]
    rows: int
    rmse_bp: float
    rmse: float
    skill: float
    clark_west_t: float
    accuracy: float


class Point(_Record):
    """How well the middle was known.

    Attributes:
        zero: whether every forecast was that the price stays.
        skill: of what was served, after shrinkage, against the random walk.
        mean_weight: of the blend in what was served.
        clark_west_t: volatility-weighted, of the blend before shrinkage; `clark_west_p` is one-sided.
        rmse: of the price, in the quote currency; `rmse_walk` of the random walk.
        league: best RMSE first.
    """

    zero: bool
    skill: float
    mean_weight: float
    clark_west_t: float
    clark_west_p: float
    rmse: float
    rmse_walk: float
    league: list[Contestant]


class ReliabilityBin(_Record):
    """Forecasts of like probability: how many, what they said, what came."""

    count: int
    forecast: float
    observed: float


class Direction(_Record):
    """How well the side was known.

    Attributes:
        stated: share of the rows with a direction; at exactly 0.5 there is none.
        told_from_chance: the accuracy's interval lies above `majority`, and the Brier skill's t is 2 or more.
        calibration_error: mean gap between stated and observed share, over ten bins of equal count.
        perfect_error: what it would be were every probability right (simulated); `perfect_error_95` in 95% of draws.
    """

    stated: float
    accuracy: Estimate
    majority: float
    brier: float
    brier_skill: Gain
    log_loss: float
    calibration_error: float
    perfect_error: float
    perfect_error_95: float
    reliability: list[ReliabilityBin]
    told_from_chance: bool


class Account(_Record):
    """What an account would have come to; see `strategy`.

    Attributes:
        name: `every`, `top_tenth` or `hold`.
        cost_bp: of a round trip.
        growth: final over initial value.
        annual_return: compounded; missing where the period is shorter than 30 days.
        sharpe: annualised, of daily returns, risk-free rate 0; `sharpe_se` its standard error (Lo 2002); missing
            likewise.
        drawdown: the deepest fall from a peak, as a share of it.
        round_trips_a_day: openings and closings of a whole position, by two.
        invested: share of the time with a position.
        values: the account's value by `times` of the strategy's figures, 1 at the start.
    """

    name: Literal["every", "top_tenth", "hold"]
    cost_bp: float
    growth: float
    annual_return: float
    sharpe: float
    sharpe_se: float
    drawdown: float
    round_trips_a_day: float
    invested: float
    values: list[float]


class Strategy(_Record):
    """What acting on the directions would have earned."""

    times: list[datetime]
    accounts: list[Account]


class GateFigures(_Record):
    """What the gate decided over the period; `served` is how many trainings made forecasts."""

    trainings: int
    promoted: int
    served: int


class Check(_Record):
    """A figure and the limit it is held to.

    Attributes:
        section: `spread`, `coverage`, `point` or `direction`.
        unit: of the two: a `fraction` (0.05 is 5%), a `difference` of two (0.05 is 5 points of a hundred), or `t`.
        sense: what `value` must be, relative to `limit`.
        passed: None where that is not judged; then `reason` says why.
    """

    name: str
    title: str
    section: Literal["spread", "coverage", "point", "direction"]
    value: float
    limit: float
    unit: Literal["fraction", "difference", "t"]
    sense: Literal["at least", "at most", "above"]
    passed: bool | None
    reason: str = ""


class BacktestFigures(_Record):
    """Everything that the report says in figures.

    Attributes:
        rows: forecasts whose outcome is known; of `made` in all.
        overlap: how many neighbouring labels share moves, so that `rows / overlap` is the count of independent ones.
        outlying: share of forecasts whose features were unlike those trained on.
        grid: coverage of the 80% interval by weekday (Monday first) and UTC hour, 7 x 24.
    """

    start: datetime
    end: datetime
    days: float
    made: int
    rows: int
    overlap: int
    outlying: float
    verdict: list[str]
    checks: list[Check]
    overall: Part
    months: list[Part]
    hours: list[Part]
    terciles: list[Part]
    regimes: list[Part]
    familiarity: list[Part]
    grid: list[list[float]]
    spread: Spread
    point: Point
    direction: Direction
    strategy: Strategy
    gate: GateFigures
