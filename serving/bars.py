"""Raw recent bars as rows: checked, then featurized by the code that training uses.

Nothing is mended or filled in: bars that are not as the feature store would hold them are refused, with what to send.
Of each series its last bars count, as many as the features need to be warm; older ones change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.bundle import Manifest
from cryptosentinel.features import FeatureSpec, compute_features
from cryptosentinel.market.bars import PRICES, Interval, make_bars
from serving._kserve import InvalidInput
from serving.asked import Array, Asked, Mask, SpecMismatch, checked_rows, shown
from serving.tracing import span

VALUES = (*PRICES, "volume")
MAX_BARS = 10_000
# Far beyond any market's; within them no formula overflows.
PRICE_RANGE = (1e-18, 1e15)
MAX_VOLUME = 1e24
# How far a client's clock may be ahead of ours.
CLOCK_SKEW = timedelta(seconds=5)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Series:
    """One market's bars as they were sent, in columns of one length.

    Attributes:
        opened_ms: when each bar opens, in milliseconds since 1970.
        values: its open, high, low, close and volume, shape (bars, 5).
        where: begins every sentence about them: empty, or "Series 2: ".
    """

    opened_ms: NDArray[np.int64]
    values: Array
    where: str = ""


def rows_of_bars(sent: Sequence[Series], interval: object, manifest: Manifest, *, now: datetime) -> Asked:
    """One row for the end of each series.

    Args:
        sent: at most `MAX_BARS` bars in all.
        interval: what the client says they are; None where it says nothing.
        manifest: of the bundle that is asked.
        now: the server's time: bars that are not complete yet are refused.

    Raises:
        SpecMismatch: this release computes other features than the bundle needs.
        InvalidInput: the bars cannot be featurized; the message says what to send.
    """
    spec = FeatureSpec(Interval(manifest.interval))
    if spec.hash != manifest.spec_hash:
        raise SpecMismatch(
            f"This server's release computes features {spec.hash[:12]}, and the bundle was built for"
            f" {manifest.spec_hash[:12]}: it cannot featurize bars. Send 'features', or serve a bundle of this release."
        )
    if interval is not None and interval != manifest.interval:
        raise InvalidInput(f"The interval is {shown(interval)}; send bars of '{manifest.interval}'.")
    if (count := sum(len(series.opened_ms) for series in sent)) > MAX_BARS:
        raise InvalidInput(f"There are {count:,} bars; send at most {MAX_BARS:,} a request.")
    last = [_newest(series, spec, now=now) for series in sent]
    with span("featurize"):
        frames = [compute_features(bars, spec).iloc[-1:] for bars in last]
    features = pd.concat(frames)[manifest.features].to_numpy(np.float64)
    close = np.array([bars["close"].iloc[-1] for bars in last])
    made_at = tuple(bars["timestamp"].iloc[-1].to_pydatetime() + spec.interval.delta for bars in last)
    return Asked(checked_rows(close, features, None, manifest, spec_hash=spec.hash), made_at)


def bars_needed(manifest: Manifest) -> int | None:
    """How many bars without a gap one row needs; None where this release computes other features."""
    spec = FeatureSpec(Interval(manifest.interval))
    return spec.warm_up_bars if spec.hash == manifest.spec_hash else None


def milliseconds(time: object) -> int:
    """A time in milliseconds since 1970, from those or from ISO 8601; without a zone it is UTC.

    Raises:
        ValueError: it is neither, or finer than a millisecond.
    """
    if isinstance(time, str):
        read = datetime.fromisoformat(time)
        whole, rest = divmod((read if read.tzinfo else read.replace(tzinfo=UTC)) - EPOCH, timedelta(milliseconds=1))
        if rest:
            raise ValueError("finer than a millisecond")
        return whole
    if isinstance(time, bool) or not isinstance(time, int) or abs(time) >= 2**53:
        raise ValueError("neither text nor milliseconds")
    return time


def _newest(series: Series, spec: FeatureSpec, *, now: datetime) -> pd.DataFrame:
    """The last bars of a series, as many as features need, as a frame."""
    _check_values(series)
    _check_times(series, spec.interval, now=now)
    need, have = spec.warm_up_bars, len(series.opened_ms)
    if have < need:
        raise InvalidInput(
            f"{series.where}There are {have:,} bars; send at least {need:,} of '{spec.interval.name}' without a gap."
        )
    opened_ms, values = series.opened_ms[-need:], series.values[-need:]
    gaps = np.flatnonzero(np.diff(opened_ms) != spec.interval.seconds * 1000)
    if len(gaps):
        after, before = (_shown_time(opened_ms[gaps[-1] + offset]) for offset in (0, 1))
        raise InvalidInput(
            f"{series.where}Bars are missing between {after} and {before}, and {need - 1 - gaps[-1]} follow; send at"
            f" least {need:,} without a gap."
        )
    columns = dict(zip(VALUES, values.T, strict=True))
    return make_bars("asked", "request", pd.to_datetime(opened_ms, unit="ms", utc=True), **columns)


def _check_values(series: Series) -> None:
    prices, volume = series.values[:, :4], series.values[:, 4]
    low, high = PRICE_RANGE
    for column, name in enumerate(PRICES):
        good = (prices[:, column] >= low) & (prices[:, column] <= high)
        _refuse(~good, series, f"'{name}' must be a positive price, a number from {low:g} to {high:g}")
    _refuse(~((volume >= 0) & (volume <= MAX_VOLUME)), series, f"'volume' must be a number from 0 to {MAX_VOLUME:g}")
    opens, highs, lows, closes = prices.T
    _refuse(highs < lows, series, "'high' is below 'low'")
    outside = (np.maximum(opens, closes) > highs) | (np.minimum(opens, closes) < lows)
    _refuse(outside, series, "'open' and 'close' must lie between 'low' and 'high'")


def _check_times(series: Series, interval: Interval, *, now: datetime) -> None:
    opened_ms, step = series.opened_ms, interval.seconds * 1000
    passed = np.diff(opened_ms)
    _refuse(np.append(False, passed == 0), series, "it has the timestamp of the bar before; send each bar once")
    _refuse(np.append(False, passed < 0), series, "it opens before the bar before; send bars in ascending order")
    if len(passed) and passed[0] != step and (passed == passed[0]).all():
        raise InvalidInput(
            f"{series.where}The bars are {passed[0] / 60_000:g} minutes apart; send bars of '{interval.name}'."
        )
    rule = f"its timestamp is not on the grid of '{interval.name}'; send when the bar opens, a multiple of that in UTC"
    _refuse(opened_ms % step != 0, series, rule)
    if not len(opened_ms):
        return
    latest_ms = (now + CLOCK_SKEW - EPOCH) // timedelta(milliseconds=1) - step
    rule = f"it is not complete at {now:%Y-%m-%dT%H:%M:%SZ}, the server's time; send complete bars only"
    _refuse(opened_ms > latest_ms, series, rule)
    _refuse(opened_ms < 0, series, "its timestamp is before 1970; send when the bar opens")


def _refuse(bad: Mask, series: Series, rule: str) -> None:
    if bad.any():
        raise InvalidInput(f"{series.where}Bar {int(np.argmax(bad))}: {rule}.")


def _shown_time(ms: np.int64) -> str:
    return f"{EPOCH + timedelta(milliseconds=int(ms)):%Y-%m-%dT%H:%M:%SZ}"
