"""When schedules may be changed: away from their ticks.

Kubeflow's scheduler looks at each recurring run every 30 s, so a tick may fire half a minute late: a schedule that is
disabled right after a tick loses it, and one that is still there at the next fires beside its successor.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise

from croniter import CroniterError, croniter

from cryptosentinel.errors import UserInputError

# Since the last tick, and until the next.
AFTER = timedelta(seconds=45)
BEFORE = timedelta(seconds=60)
# How far ahead a pause that is long enough is looked for.
_AHEAD = timedelta(hours=1)


def calm_moment(crons: Iterable[str], now: datetime) -> datetime:
    """The first moment from now on that is away from all ticks.

    Where ticks come so often that none within an hour is, it is in the longest pause, in its third quarter.

    Args:
        crons: six fields each, in UTC.
        now: with a time zone.

    Raises:
        UserInputError: a cron expression is none.
    """
    pauses = _pauses(crons, now)
    for begin, end in pauses:
        moment = max(now, begin + AFTER)
        if moment <= end - BEFORE:
            return moment
    begin, end = max(
        (pause for pause in pauses if now <= pause[1] - (pause[1] - pause[0]) / 4),
        key=lambda pause: pause[1] - pause[0],
    )
    return max(now, begin + (end - begin) / 2)


def settled_moment(crons: Iterable[str], now: datetime) -> datetime:
    """The first moment from now on at which the scheduler has seen to the last tick.

    Raises:
        UserInputError: a cron expression is none.
    """
    begin, end = _pauses(crons, now)[0]
    return max(now, begin + min(AFTER, (end - begin) / 2))


def next_tick(cron: str, now: datetime) -> datetime:
    """When a cron expression with six fields comes next.

    Raises:
        UserInputError: it is none.
    """
    tick: datetime = _read(cron, now).get_next(datetime)
    return tick


def _pauses(crons: Iterable[str], now: datetime) -> list[tuple[datetime, datetime]]:
    """From tick to tick, beginning with the pause that is now."""
    ticks = sorted({tick for cron in crons for tick in _ticks(cron, now)})
    return [(begin, end) for begin, end in pairwise(ticks) if end > now]


def _ticks(cron: str, now: datetime) -> Iterable[datetime]:
    """The last tick before now, those of the next hour, and one more."""
    tick: datetime = _read(cron, now + timedelta(microseconds=1)).get_prev(datetime)
    yield tick
    ahead = _read(cron, tick)
    while tick <= now + _AHEAD:
        tick = ahead.get_next(datetime)
        yield tick


def _read(cron: str, start: datetime) -> croniter:
    try:
        return croniter(cron, start, second_at_beginning=True)
    except CroniterError as error:
        raise UserInputError(
            f"The schedule '{cron}' is no cron expression: {error}.",
            remedy="Six fields, seconds first: '0 */5 * * * *' is every five minutes.",
        ) from error
