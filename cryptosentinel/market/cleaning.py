"""Cleans bars by the rules of `RULES`, and reports what it did. It drops and corrects; it never fills anything in.

What comes out satisfies: times strictly increasing, on the grid, of finished bars; prices positive and finite, with
``low <= open, close <= high``; volume finite and not negative, or NaN. Cleaning clean bars changes nothing, the order
in which bars come does not matter, and bars that come later change nothing about earlier ones, with one exception: the
very first bars have nothing before them, so a wrong price there is told by the eleven bars that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryptosentinel.market.bars import COLUMNS, PRICES, Interval, utc

# The largest genuine move from a close to a high or low one 5-minute bar later, in Bitcoin from 2017 to 2025, is 19%
# (2020-03-13). Twice that is taken for an error.
MAX_MOVE = 1.5
# Trade that stands still for longer is a halt, not a quiet market.
HALT_AFTER = timedelta(hours=1)
_MIN_HALT_BARS = 4
_JUDGES = 11  # bars that tell whether the first one is wrong
_EXAMPLES = 3
_LISTED_GAPS = 20

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Gap:
    """Bars that are missing between two that are there.

    Attributes:
        after: the timestamp of the last bar before the gap.
        before: the timestamp of the first bar after it.
        missing: how many bars are not there.
    """

    after: datetime
    before: datetime
    missing: int


@dataclass(frozen=True)
class CleaningReport:
    """What cleaning did.

    Attributes:
        bars_in: rows given.
        bars_out: rows returned.
        counts: how many rows each rule of `RULES` hit; rules that hit none are left out.
        examples: the first few rows that each rule hit, as text.
        gaps: what is missing between the bars returned; never filled in.
    """

    bars_in: int
    bars_out: int
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()

    @property
    def missing_bars(self) -> int:
        """How many bars are missing in all gaps."""
        return sum(gap.missing for gap in self.gaps)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: times in ISO 8601, and the first 20 gaps."""
        gaps = [
            {"after": gap.after.isoformat(), "before": gap.before.isoformat(), "missing": gap.missing}
            for gap in self.gaps[:_LISTED_GAPS]
        ]
        return {
            "bars_in": self.bars_in,
            "bars_out": self.bars_out,
            "counts": dict(self.counts),
            "examples": {rule: list(rows) for rule, rows in self.examples.items()},
            "gap_count": len(self.gaps),
            "missing_bars": self.missing_bars,
            "gaps": gaps,
        }

    def summary(self) -> str:
        """One sentence."""
        did = ", ".join(f"{rule.replace('_', ' ')} {count:,}" for rule, count in self.counts.items())
        gaps = f"{len(self.gaps):,} {'gap' if len(self.gaps) == 1 else 'gaps'} ({self.missing_bars:,} bars missing)"
        return f"Kept {self.bars_out:,} of {self.bars_in:,} bars ({did or 'nothing to clean'}); {gaps}."


def combined(reports: Iterable[CleaningReport], gaps: tuple[Gap, ...]) -> CleaningReport:
    """The report of a history that was cleaned piece by piece; `gaps` are those of the whole."""
    total = CleaningReport(0, 0, gaps=gaps)
    for report in reports:
        counts = {name: total.counts.get(name, 0) + report.counts.get(name, 0) for name in RULES}
        total = CleaningReport(
            total.bars_in + report.bars_in,
            total.bars_out + report.bars_out,
            {name: count for name, count in counts.items() if count},
            {**report.examples, **total.examples},
            gaps,
        )
    return total


@dataclass(frozen=True)
class Cleaned:
    """Clean bars and how they came to be clean."""

    bars: pd.DataFrame
    report: CleaningReport


class Outcome(NamedTuple):
    """A rule's answer: the bars after it, and which of those before it were hit."""

    bars: pd.DataFrame
    hit: Mask


Rule = Callable[[pd.DataFrame, Interval, datetime], Outcome]


def clean(bars: pd.DataFrame, interval: Interval, now: datetime) -> Cleaned:
    """Applies every rule of `RULES`, over and over until none finds anything (twice, but for bars that are a mess).

    Args:
        bars: of one asset, with the columns of `bars.COLUMNS`, in any order.
        interval: theirs.
        now: bars that are unfinished at this time are dropped.
    """
    given, now = len(bars), utc(now)
    counts: dict[str, int] = {}
    examples: dict[str, tuple[str, ...]] = {}
    bars = bars[list(COLUMNS)].reset_index(drop=True)
    touched = True
    while touched:
        touched = False
        for name, rule in RULES.items():
            result, hit = rule(bars, interval, now)
            if hit.any():
                touched = True
                counts[name] = counts.get(name, 0) + int(hit.sum())
                examples.setdefault(name, tuple(_as_text(row) for row in bars[hit].head(_EXAMPLES).itertuples()))
            bars = result
    gaps = find_gaps(bars["timestamp"], interval)
    return Cleaned(bars, CleaningReport(given, len(bars), counts, examples, gaps))


def find_gaps(timestamps: pd.Series, interval: Interval) -> tuple[Gap, ...]:
    """The gaps in strictly increasing timestamps on the grid of `interval`."""
    missing = timestamps.diff() // interval.delta - 1
    where = np.flatnonzero(missing > 0)
    return tuple(
        Gap(utc(timestamps.iloc[i - 1]), utc(timestamps.iloc[i]), int(missing.iloc[i])) for i in where.tolist()
    )


def _unfinished(bars: pd.DataFrame, interval: Interval, now: datetime) -> Outcome:
    """A bar whose interval has not passed yet is dropped: its close is not its close."""
    return _drop(bars, bars["timestamp"] > pd.Timestamp(interval.last_complete(now)))


def _off_grid(bars: pd.DataFrame, interval: Interval, now: datetime) -> Outcome:
    """A bar off the grid is dropped: moved back to the grid, it would know what came after its end."""
    del now
    return _drop(bars, bars["timestamp"] != bars["timestamp"].dt.floor(interval.delta))


def _impossible(bars: pd.DataFrame, interval: Interval, now: datetime) -> Outcome:
    """A bar with a price that is missing, infinite or not positive, or with high below low, is dropped."""
    del interval, now
    prices = bars[list(PRICES)].to_numpy()
    possible = (np.isfinite(prices) & (prices > 0)).all(axis=1) & (bars["high"] >= bars["low"])
    return _drop(bars, ~possible)


def _range_widened(bars: pd.DataFrame, interval: Interval, now: datetime) -> Outcome:
    """Where open or close lies outside low to high, the range is widened to hold it; a wild price is an outlier."""
    del interval, now
    high = np.maximum(bars["high"], np.maximum(bars["open"], bars["close"]))
    low = np.minimum(bars["low"], np.minimum(bars["open"], bars["close"]))
    hit = ((high != bars["high"]) | (low != bars["low"])).to_numpy()
    return Outcome(bars.assign(high=high, low=low) if hit.any() else bars, hit)


def _volume_unknown(bars: pd.DataFrame, interval: Interval, now: datetime) -> Outcome:
    """Volume that is negative or infinite becomes NaN, unknown. Zero volume is kept, and so is NaN."""
    del interval, now
    wrong = (bars["volume"] < 0) | np.isinf(bars["volume"])
    return Outcome(bars.assign(volume=bars["volume"].mask(wrong)) if wrong.any() else bars, wrong.to_numpy())


def _reordered(bars: pd.DataFrame, interval: Interval, now: datetime) -> Outcome:
    """Bars are put in the order of time; hit are those that came after a later one.

    Bars of the same time are ordered by volume, then by what else they hold, so that what follows depends on the bars
    and not on how they came.
    """
    del interval, now
    times = bars["timestamp"]
    if times.is_monotonic_increasing and times.is_unique:
        return Outcome(bars, np.zeros(len(bars), dtype=bool))
    ordered = bars.sort_values(["timestamp", "volume", *PRICES, "source"], na_position="first", kind="stable")
    late = times < times.cummax()
    return Outcome(ordered.reset_index(drop=True), late.to_numpy())


def _outliers(bars: pd.DataFrame, interval: Interval, now: datetime) -> Outcome:
    """A bar whose prices are too far from the last accepted close is dropped: an error, not a market.

    Too far is a factor of `MAX_MOVE` up or down after one bar, and more the older the accepted close is: the allowed
    log move grows with the square root of time, as moves of prices do. So a spike is dropped at once, without knowing
    what follows, while a price that really doubled is believed after three bars, and one after a long gap at once.
    0.01 in a market at 600 would be believed after two and a half days of 5-minute bars. The first bar is dropped where
    it is outvoted: too far from most of the bars that follow.
    """
    del now
    keep = np.ones(len(bars), dtype=bool)
    if len(bars) < 2:
        return _drop(bars, ~keep)
    logs = np.log(bars[list(PRICES)].to_numpy())
    times = bars["timestamp"].astype("int64").to_numpy() / (1000 * interval.seconds)  # in bars

    def too_far(row: int | slice, accepted: int | slice) -> Any:
        age = np.maximum(times[row] - times[accepted], 1.0)
        return np.abs(logs[row].T - logs[accepted, -1]).max(axis=0) > np.log(MAX_MOVE) * np.sqrt(age)

    accepted = 0
    while _outvoted([bool(too_far(judge, accepted)) for judge in range(accepted + 1, len(bars))[:_JUDGES]]):
        keep[accepted] = False
        accepted += 1
    # Only a bar that is far from the one before it can be wrong, or the first right one after a wrong one.
    suspects = np.flatnonzero(too_far(slice(accepted + 1, None), slice(accepted, -1))) + accepted + 1
    end = accepted
    for suspect in suspects.tolist():
        if suspect <= end:
            continue
        end = suspect
        while end < len(bars) and too_far(end, suspect - 1):
            keep[end] = False
            end += 1
    return _drop(bars, ~keep)


def _copies(bars: pd.DataFrame, interval: Interval, now: datetime) -> Outcome:
    """Bars of the same time with the same prices and volume are kept once."""
    del interval, now
    hit = bars["timestamp"].duplicated(keep=False).to_numpy()  # much faster than comparing whole rows
    hit[hit] = bars[hit].duplicated(["timestamp", *PRICES, "volume"])
    return _drop(bars, hit)


def _conflicts(bars: pd.DataFrame, interval: Interval, now: datetime) -> Outcome:
    """Of bars of the same time that differ, the one with the most volume is kept: it is the later reading of that bar.

    With the same volume, or none known, it is the one with the highest open, then high, low, close, which means nothing
    but is always the same.
    """
    del interval, now
    return _drop(bars, bars["timestamp"].duplicated(keep="last"))


def _halted(bars: pd.DataFrame, interval: Interval, now: datetime) -> Outcome:
    """Where trade stands still for longer than `HALT_AFTER` (4 bars at least), later bars are dropped: a shut market.

    Standing still is no volume and no range, bar after bar. The first hour is kept, since by then nobody could know; so
    are isolated bars without trade, which are just a quiet market.
    """
    del now
    still = ((bars["volume"] == 0) & (bars["high"] == bars["low"])).to_numpy()
    rows = np.arange(len(bars))
    run = rows - np.maximum.accumulate(np.where(still, -1, rows)) if len(bars) else rows
    return _drop(bars, run > max(HALT_AFTER // interval.delta, _MIN_HALT_BARS))


def _outvoted(against: list[bool]) -> bool:
    """Whether most are against, counting the one that is judged among those that are not."""
    return 2 * sum(against) > len(against) + 1


def _drop(bars: pd.DataFrame, hit: Mask | pd.Series) -> Outcome:
    mask = np.asarray(hit, dtype=bool)
    return Outcome(bars[~mask].reset_index(drop=True) if mask.any() else bars, mask)


def _as_text(row: Any) -> str:
    prices = ", ".join(f"{name} {getattr(row, name):g}" for name in (*PRICES, "volume"))
    return f"{row.timestamp.isoformat()}: {prices}"


#: Every rule by name, in the order in which they apply.
RULES: dict[str, Rule] = {
    "unfinished": _unfinished,
    "off_grid": _off_grid,
    "impossible": _impossible,
    "range_widened": _range_widened,
    "volume_unknown": _volume_unknown,
    "reordered": _reordered,
    "copies": _copies,
    "outliers": _outliers,
    "conflicts": _conflicts,
    "halted": _halted,
}
