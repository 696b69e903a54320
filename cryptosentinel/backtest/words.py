"""Figures as the report and the terminal write them; what is missing is a dash."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from cryptosentinel.backtest.models import Check, Estimate

UNKNOWN = "–"  # noqa: RUF001
MARKS = {True: "✓ held", False: "✗ missed", None: "· not judged"}
JUDGED_DAYS = 182  # over less, luck moves most figures further than their limit is wide
_A_YEAR_OR_SO = 330
_SIGNS = {"at least": "≥", "at most": "≤", "above": ">"}
_MINUS = "−"  # noqa: RUF001


def percent(value: float, digits: int = 1, *, sign: bool = False) -> str:
    """A fraction in per cent: `8.7%`."""
    return _signed(100 * value, digits, sign) + "%" if math.isfinite(value) else UNKNOWN


def points(value: float, digits: int = 1, *, sign: bool = False) -> str:
    """A difference of shares in points of a hundred: `0.4`."""
    return _signed(100 * value, digits, sign)


def number(value: float, digits: int | None = None) -> str:
    """A figure with this many decimals, thousands set apart; by default with as few as it needs."""
    return f"{value:,g}" if digits is None else _signed(value, digits, sign=False)


def t_value(value: float) -> str:
    """A test statistic: `4.4`."""
    return _signed(value, 1, sign=False)


def money(value: float) -> str:
    """An amount in the quote currency, to about four digits: `312.4`."""
    if not math.isfinite(value):
        return UNKNOWN
    size = math.floor(math.log10(abs(value))) if value else 0
    return _signed(value, min(max(3 - size, 0), 8), sign=False)


def name(identifier: str) -> str:
    """A name from the code as people write it: `random_walk` is `random walk`."""
    return identifier.replace("_", " ")


def interval(estimate: Estimate) -> str:
    """A mean's 95% interval: `51.9` to `53.0%`."""
    if not math.isfinite(estimate.low):
        return UNKNOWN
    return f"{points(estimate.low)}–{percent(estimate.high)}"  # noqa: RUF001


def checked(check: Check) -> str:
    """The figure of a check, in its unit: `0.31 pts`."""
    return _in_unit(check.value, check.unit)


def limit(check: Check) -> str:
    """What a check is held to: `at most 0.50 pts`."""
    return f"{check.sense} {_in_unit(check.limit, check.unit)}"


def short_limit(check: Check) -> str:
    """The same for a table."""
    return f"{_SIGNS[check.sense]} {_in_unit(check.limit, check.unit)}"


def mark(passed: bool | None) -> str:
    """Whether a limit was held, as a sign and words."""
    return MARKS[passed]


def luck(days: float) -> str:
    """What has to be known of the limits of a period that is shorter than they are meant for; empty over a year."""
    if days >= _A_YEAR_OR_SO:
        return ""
    further = (
        f"The limits are meant for a year. Over {count(round(days), 'day')}, luck alone moves some figures further"
    )
    return further + ("." if days >= JUDGED_DAYS else ": they are shown, and not judged.")


def count(number: int, noun: str) -> str:
    """How many: `1 training`, `2 trainings`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def schedule(every_days: float, window_days: float) -> str:
    """When a backtest trains, and on what: `trained every 7 days on the 120 before`."""
    return f"trained every {f'{every_days:g} days' if every_days != 1 else 'day'} on the {window_days:g} before"


def length(time: timedelta) -> str:
    """A length of time: `30 minutes`, `1.5 hours`."""
    minutes = time / timedelta(minutes=1)
    count, unit = (minutes, "minute") if minutes < 90 else (minutes / 60, "hour")
    return f"{count:g} {unit}{'' if count == 1 else 's'}"


def moment(time: datetime) -> str:
    """A time of UTC, to the minute; the reader is told once that it is UTC."""
    return f"{time:%Y-%m-%d %H:%M}"


def _in_unit(value: float, unit: str) -> str:
    if unit == "t":
        return t_value(value)
    if unit == "fraction":
        return percent(value, 2)
    text = points(value, 2)
    return text if text == UNKNOWN else f"{text} pts"


def _signed(value: float, digits: int, sign: bool) -> str:
    if not math.isfinite(value):
        return UNKNOWN
    rounded = round(value, digits) + 0.0  # -0.0 is 0.0
    plus = "+" if sign and rounded > 0 else ""
    return f"{plus}{rounded:,.{digits}f}".replace("-", _MINUS)
