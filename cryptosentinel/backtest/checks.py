"""What each figure is held to, and the verdict in sentences.

The limits are meant for a year; over less, luck moves some figures more than their limit is wide, and over less than
half of one nothing is judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cryptosentinel.backtest.models import Check, Direction, Part, Point, Spread, Strategy
from cryptosentinel.backtest.words import JUDGED_DAYS, count, interval, money, number, percent, t_value

NAN = math.nan
_INFORMATION_T = 1.96
_FULL_MONTH = 0.5  # of a 30-day month's bars: what is left of a month at either end is too little to be judged


def full_months(months: Sequence[Part], bars_per_day: int) -> list[Part]:
    """Those of which enough is there to be judged."""
    return [month for month in months if month.rows >= _FULL_MONTH * 30 * bars_per_day]


def checks(
    overall: Part,
    full: Sequence[Part],
    terciles: Sequence[Part],
    hours: Sequence[Part],
    spread: Spread,
    point: Point,
    direction: Direction,
    *,
    days: float,
    suspect_accuracy: float,
) -> list[Check]:
    """Every figure that has a limit, in the order of the report; `full` are the full months.

    A leak is told from luck over any period.
    """

    def worst(parts: Sequence[Part], figure: Callable[[Part], float]) -> float:
        return max((figure(part) for part in parts), default=NAN)

    def off_80(part: Part) -> float:
        return abs(part.covered_80 - 0.80)

    def off_95(part: Part) -> float:
        return abs(part.covered_95 - 0.95)

    best_month = worst(full, lambda part: -part.below["ewma"])
    made = [
        _check("below_constant", "spread", spread.gains["constant"].share, "at least", 0.08, "fraction"),
        _check("below_ewma", "spread", spread.gains["ewma"].share, "at least", 0.02, "fraction"),
        _check("below_ewma_month", "spread", -best_month, "above", 0.0, "fraction"),
        _check("below_har", "spread", spread.gains["har"].share, "at least", 0.015, "fraction"),
        _check("covered_80", "coverage", off_80(overall), "at most", 0.005, "difference"),
        _check("covered_95", "coverage", off_95(overall), "at most", 0.005, "difference"),
        _check("covered_80_month", "coverage", worst(full, off_80), "at most", 0.02, "difference"),
        _check("covered_95_month", "coverage", worst(full, off_95), "at most", 0.01, "difference"),
        _check("covered_80_tercile", "coverage", worst(terciles, off_80), "at most", 0.015, "difference"),
        _check("covered_95_tercile", "coverage", worst(terciles, off_95), "at most", 0.01, "difference"),
        _check("covered_80_hour", "coverage", worst(hours, off_80), "at most", 0.06, "difference"),
        _check("skill", "point", point.skill, "at least", -0.0002, "fraction", "skill_zero" if point.zero else ""),
        _check("skill_month", "point", -worst(full, lambda part: -part.skill), "at least", -0.0015, "fraction"),
        _check("accuracy", "direction", direction.accuracy.value, "at least", 0.515, "fraction"),
        _check("accuracy_low", "direction", direction.accuracy.low - direction.majority, "above", 0.0, "difference"),
        _check("brier_skill", "direction", direction.brier_skill.share, "above", 0.0, "fraction"),
        _check("brier_t", "direction", direction.brier_skill.t, "at least", 2.0, "t"),
        _check("calibration_error", "direction", direction.calibration_error, "at most", 0.01, "difference"),
        _check("leak", "direction", direction.accuracy.value, "at most", suspect_accuracy, "fraction"),
    ]
    if days >= JUDGED_DAYS:
        return made
    unjudged = {"passed": None, "reason": f"the limit is meant for a year, the period has {count(round(days), 'day')}"}
    leaks = direction.accuracy.low > suspect_accuracy
    return [check if check.name == "leak" and leaks else check.model_copy(update=unjudged) for check in made]


def verdict(
    overall: Part, full: Sequence[Part], spread: Spread, point: Point, direction: Direction, strategy: Strategy
) -> list[str]:
    """Three sentences: the spread, the middle, the side; `full` are the full months."""
    return [_of_spread(overall, full, spread), _of_point(point), _of_direction(direction, strategy)]


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
            "reason": "there is no figure" if math.isnan(value) else "",
        }
    )


def _of_spread(overall: Part, full: Sequence[Part], spread: Spread) -> str:
    ewma, constant = spread.gains["ewma"], spread.gains["constant"]
    known = [month for month in full if math.isfinite(month.below["ewma"])]
    better = sum(month.below["ewma"] > 0 for month in known)
    coverage = (
        f"the 80% intervals held {percent(overall.covered_80)} of the prices, the 95% intervals "
        f"{percent(overall.covered_95)}"
    )
    if not math.isfinite(ewma.share):
        return f"There is nothing yet to hold its intervals against: {coverage}."
    if ewma.t < -_INFORMATION_T:
        return (
            f"EWMA volatility knows better how far the price may move: its pinball loss is lower by "
            f"{percent(-ewma.share)} (t {t_value(-ewma.t)}); {coverage}."
        )
    knows = "It knows how far the price may move"
    if not ewma.t > _INFORMATION_T:  # there may be none
        knows = "Its intervals cannot be told from those of EWMA volatility"
    by_month = f"; better in {better} of {len(known)} months" if len(known) > 1 else ""
    return (
        f"{knows}: its pinball loss is {_beside(ewma.share)} that of EWMA volatility (t {t_value(ewma.t)}{by_month}) "
        f"and {_beside(constant.share)} that of a constant width; {coverage}."
    )


def _beside(share: float) -> str:
    return f"{percent(abs(share))} {'above' if share < 0 else 'below'}"


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
    a_year = math.isfinite(strategy.accounts[0].annual_return)
    made = [
        (account, percent(account.annual_return if a_year else account.growth - 1, 0, sign=True))
        for account in strategy.accounts
    ]
    traded = ", ".join(f"{share} after {number(one.cost_bp)} bp" for one, share in made if one.name == "every")
    hold = next(share for one, share in made if one.name == "hold")
    return (
        f"Its directions are a little better than chance: {figures}; trading on every one of them made {traded} a "
        f"round trip, buying and holding {hold}{', each a year' if a_year else ''}."
    )
