"""What each figure is held to, and the verdict in sentences.

The limits are meant for a year; over less, luck moves some figures more than their limit is wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cryptosentinel.backtest.models import Check, Direction, Part, Point, Spread, Strategy
from cryptosentinel.backtest.words import interval, money, number, percent, t_value

NAN = math.nan
_INFORMATION_T = 1.96
_FULL_MONTH = 0.5  # of a 30-day month's bars: what is left of a month at either end is too little to be judged


def checks(
    overall: Part,
    months: Sequence[Part],
    terciles: Sequence[Part],
    hours: Sequence[Part],
    spread: Spread,
    point: Point,
    direction: Direction,
    *,
    bars_per_day: int,
    suspect_accuracy: float,
) -> list[Check]:
    """Every figure that has a limit, in the order of the report."""
    full = [month for month in months if month.rows >= _FULL_MONTH * 30 * bars_per_day]

    def worst(parts: Sequence[Part], figure: Callable[[Part], float]) -> float:
        return max((figure(part) for part in parts), default=NAN)

    def off_80(part: Part) -> float:
        return abs(part.covered_80 - 0.80)

    def off_95(part: Part) -> float:
        return abs(part.covered_95 - 0.95)

    best_month = worst(full, lambda part: -part.below["ewma"])
    return [
        _check("below_constant", "spread", spread.gains["constant"].share, "at least", 0.08, "%"),
        _check("below_ewma", "spread", spread.gains["ewma"].share, "at least", 0.02, "%"),
        _check("below_ewma_month", "spread", -best_month, "above", 0.0, "%"),
        _check("below_har", "spread", spread.gains["har"].share, "at least", 0.015, "%"),
        _check("covered_80", "coverage", off_80(overall), "at most", 0.005, "points"),
        _check("covered_95", "coverage", off_95(overall), "at most", 0.005, "points"),
        _check("covered_80_month", "coverage", worst(full, off_80), "at most", 0.02, "points"),
        _check("covered_95_month", "coverage", worst(full, off_95), "at most", 0.01, "points"),
        _check("covered_80_tercile", "coverage", worst(terciles, off_80), "at most", 0.015, "points"),
        _check("covered_95_tercile", "coverage", worst(terciles, off_95), "at most", 0.01, "points"),
        _check("covered_80_hour", "coverage", worst(hours, off_80), "at most", 0.06, "points"),
        _check("skill", "point", point.skill, "at least", -0.0002, "%", "skill_zero" if point.zero else ""),
        _check("skill_month", "point", -worst(full, lambda part: -part.skill), "at least", -0.0015, "%"),
        _check("accuracy", "direction", direction.accuracy.value, "at least", 0.515, "%"),
        _check("accuracy_low", "direction", direction.accuracy.low - direction.majority, "above", 0.0, "points"),
        _check("brier_skill", "direction", direction.brier_skill.share, "above", 0.0, "%"),
        _check("brier_t", "direction", direction.brier_skill.t, "at least", 2.0, "t"),
        _check("calibration_error", "direction", direction.calibration_error, "at most", 0.01, "points"),
        _check("leak", "direction", direction.accuracy.value, "at most", suspect_accuracy, "%"),
    ]


def verdict(
    overall: Part, months: Sequence[Part], spread: Spread, point: Point, direction: Direction, strategy: Strategy
) -> list[str]:
    """Three sentences: the spread, the middle, the side."""
    return [_of_spread(overall, months, spread), _of_point(point), _of_direction(direction, strategy)]


_TITLES = {
    "below_constant": "Pinball loss below a constant width's",
    "below_ewma": "Pinball loss below EWMA volatility's",
    "below_har": "Pinball loss below HAR volatility's",
    "below_ewma_month": "The same, worst month",
    "covered_80": "80% intervals: off by, whole period",
    "covered_95": "95% intervals: off by, whole period",
    "covered_80_month": "80% intervals: off by, worst month",
    "covered_95_month": "95% intervals: off by, worst month",
    "covered_80_tercile": "80% intervals: off by, worst third by forecast volatility",
    "covered_95_tercile": "95% intervals: off by, worst third by forecast volatility",
    "covered_80_hour": "80% intervals: off by, worst hour of day",
    "skill": "Point forecast's skill against the random walk",
    "skill_zero": "Point forecast's skill (it is a forecast of zero)",
    "skill_month": "The same, worst month",
    "accuracy": "Directions right",
    "accuracy_low": "Lower end of their 95% interval above the more frequent direction",
    "brier_skill": "Brier skill of p(up) against the trailing base rate",
    "brier_t": "t of that skill",
    "calibration_error": "Calibration error of p(up)",
    "leak": "Directions right: more would be called a leak",
}


def _check(name: str, section: str, value: float, sense: str, limit: float, unit: str, title: str = "") -> Check:
    held = {"at least": value >= limit, "at most": value <= limit, "above": value > limit}[sense]
    return Check.model_validate(
        {
            "name": name,
            "title": _TITLES[title or name],
            "section": section,
            "value": value,
            "limit": limit,
            "unit": unit,
            "sense": sense,
            "passed": None if math.isnan(value) else held,
        }
    )


def _of_spread(overall: Part, months: Sequence[Part], spread: Spread) -> str:
    ewma, constant = spread.gains["ewma"], spread.gains["constant"]
    known = [month for month in months if math.isfinite(month.below["ewma"])]
    better = sum(month.below["ewma"] > 0 for month in known)
    coverage = (
        f"the 80% intervals held {percent(overall.covered_80)} of the prices, the 95% intervals "
        f"{percent(overall.covered_95)}"
    )
    if not math.isfinite(ewma.share):
        return f"There is nothing yet to hold its intervals against: {coverage}."
    if ewma.share <= 0:
        return (
            f"EWMA volatility knows better how far the price may move: its pinball loss is lower by "
            f"{percent(-ewma.share)} (t {t_value(-ewma.t)}); {coverage}."
        )
    return (
        f"It knows how far the price may move: its pinball loss is {percent(ewma.share)} below that of EWMA volatility "
        f"(t {t_value(ewma.t)}; better in {better} of {len(known)} months) and {percent(constant.share)} below that of "
        f"a constant width; {coverage}."
    )


def _of_point(point: Point) -> str:
    told = point.clark_west_t > _INFORMATION_T
    learnt = f"Clark-West t {t_value(point.clark_west_t)}"
    if point.zero:
        unsaid = f"what was learnt had nothing to add that could be told from luck ({learnt})"
        silent = f"what was learnt held information ({learnt}), but not enough to be believed"
        return (
            "It says that the price stays where it is: a forecast of zero, with no skill and no harm; "
            f"{silent if told else unsaid}."
        )
    figures = (
        f"{percent(point.skill, 3, sign=True)} skill against saying that it stays (RMSE {money(point.rmse)} against "
        f"{money(point.rmse_walk)}), with {percent(point.mean_weight, 0)} of what was learnt believed on average"
    )
    if point.skill > 0 and told:
        return f"It knows a little of where the price goes: {figures}; there was information in it ({learnt})."
    return f"It knows nothing of where the price goes that can be told from luck: {figures} ({learnt})."


def _of_direction(direction: Direction, strategy: Strategy) -> str:
    accuracy = direction.accuracy
    if not direction.stated:
        return "It states no direction."
    figures = (
        f"{percent(accuracy.value)} were right (95% interval {interval(accuracy)}; always saying the more frequent "
        f"one: {percent(direction.majority)}), Brier skill t {t_value(direction.brier_skill.t)}"
    )
    if not direction.told_from_chance:
        return f"Its directions cannot be told from chance: {figures}."
    every = [account for account in strategy.accounts if account.name == "every"]
    a_year = math.isfinite(every[0].annual_return)
    made = {one.cost_bp: one.annual_return if a_year else one.growth - 1 for one in every}
    money_made = ", ".join(f"{percent(share, 0, sign=True)} after {number(cost)} bp" for cost, share in made.items())
    return (
        f"Its directions are a little better than chance: {figures}; trading on every one of them made {money_made}"
        f"{' a year' if a_year else ''}."
    )
