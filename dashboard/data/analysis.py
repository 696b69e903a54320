"""What the page Data analysis shows: short answers from long series of bars, features and forecasts.

Each reader takes how many days to look back from the newest bar (None: all there are), reads the columns it needs and
hands back little; where that is None, or has no rows, there is too little to say anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.market.bars import Interval
from cryptosentinel.predicting import REGIME_WORDS
from cryptosentinel.workspace import Workspace
from dashboard.charts.thinning import candle_step, thin, thin_bars
from dashboard.data.statistics import (
    Array,
    Distribution,
    Memory,
    distribution,
    log_returns,
    memory,
    seasons,
    stamps,
    volatility,
)

CANDLES, POINTS, BUCKETS = 400, 2000, 240
# Correlations are told from so many rows, evenly taken.
SAMPLE = 50_000
RETURN = "return over"
_LAGS = 288
# A feature that is known less often than this share of the others' would cost too many rows.
_OFTEN = 0.25
# Months, as a table's files are of one each.
_STRETCH, _STRETCHES = "M", 16


@dataclass(frozen=True)
class Price:
    """A stretch of the market.

    Attributes:
        candles: as `thin_bars`; `step` is how long each lasts.
        start: when the first bar opens, and `end` when the last one closes.
        bars: how many there are, and `missing` how many more there would be without gaps.
        change: from the first open to the last close.
        volume: in units of the asset.
    """

    candles: pd.DataFrame
    step: timedelta
    start: datetime
    end: datetime
    bars: int
    missing: int
    change: float
    highest: float
    lowest: float
    volume: float


@dataclass(frozen=True)
class Correlations:
    """Pearson's, of each feature with each.

    Attributes:
        names: of the features that vary, and are not much less often known than others.
        matrix: shape (names, names).
        rows: complete rows that were looked at.
    """

    names: list[str]
    matrix: Array
    rows: int


@dataclass(frozen=True)
class Regimes:
    """In which regime the market was, by the forecasts.

    Attributes:
        closes: `close` and, as `timestamp`, when it was, thinned, over the time of the forecasts.
        starts: of the stretches that the time is cut into, each `step` long.
        shares: of each regime (`REGIME_WORDS`) in each stretch's forecasts, shape (regimes, stretches); NaN where a
            stretch has none.
        table: a row a regime: `Regime`, `Means`, `Of the time` and `Typical move` in percent, `Typical stay` as a
            length of time.
    """

    closes: pd.DataFrame
    starts: pd.DatetimeIndex
    step: timedelta
    shares: Array
    table: pd.DataFrame


def read_bars(workspace: Workspace, days: float | None) -> pd.DataFrame:
    """The bars of the last `days` before the newest close."""
    store, asset = workspace.storage.features, workspace.settings.market.asset
    columns = ("timestamp", "open", "high", "low", "close", "volume")  # texts take more memory than all of them
    return store.read_bars(asset, _start(workspace, days), columns=columns)


def _start(workspace: Workspace, days: float | None) -> datetime | None:
    if days is None:
        return None
    newest = workspace.storage.features.last_timestamp(workspace.settings.market.asset)
    return None if newest is None else newest + workspace.spec.interval.delta - timedelta(days=days)


def read_price(workspace: Workspace, days: float | None) -> Price | None:
    """The price and its volume."""
    bars, interval = read_bars(workspace, days), workspace.spec.interval
    if bars.empty:
        return None
    start, end = bars["timestamp"].iloc[0], bars["timestamp"].iloc[-1] + interval.delta
    return Price(
        candles=thin_bars(bars, CANDLES),
        step=candle_step(bars, CANDLES) or interval.delta,
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        bars=len(bars),
        missing=round((end - start) / interval.delta) - len(bars),
        change=bars["close"].iloc[-1] / bars["open"].iloc[0] - 1,
        highest=bars["high"].max(),
        lowest=bars["low"].min(),
        volume=bars["volume"].sum(),
    )


def read_lines(workspace: Workspace, days: float | None, names: tuple[str, ...]) -> dict[str, pd.Series]:
    """Each feature over time, thinned; by time, NaN where it is not known."""
    rows = _features(workspace, days, names)
    times = pd.DatetimeIndex(rows["timestamp"])
    lines = {name: rows[name].set_axis(times) for name in names}
    return {name: line.iloc[thin(times, line, POINTS)] for name, line in lines.items() if line.notna().any()}


def _features(workspace: Workspace, days: float | None, names: tuple[str, ...]) -> pd.DataFrame:
    """All rows of some features."""
    store, asset = workspace.storage.features, workspace.settings.market.asset
    return store.read_features(asset, workspace.spec.hash, _start(workspace, days), columns=names)


def read_correlations(workspace: Workspace, days: float | None, groups: tuple[str, ...]) -> Correlations | None:
    """How the features of some groups move together."""
    names = [feature.name for feature in workspace.spec.features if feature.group in groups]
    values = _sample(workspace, days, tuple(names)) if names else np.empty((0, 0))
    known = np.isfinite(values)
    often = known.sum(axis=0) >= _OFTEN * known.sum(axis=0).max(initial=1)
    values = values[known[:, often].all(axis=1)]
    if len(values) < 3:
        return None
    told = often & (np.ptp(values, axis=0) > 0)
    names = [name for name, is_told in zip(names, told, strict=True) if is_told]
    return Correlations(names, np.atleast_2d(np.corrcoef(values[:, told], rowvar=False)), len(values))


def strongest(found: Correlations, count: int) -> pd.DataFrame:
    """The pairs that move together most, either way: `Correlation`, `Of`, `With`."""
    rows, columns = np.triu_indices(len(found.names), 1)
    values = found.matrix[rows, columns]
    order = np.argsort(-np.abs(values), kind="stable")[:count]
    names = np.array(found.names, dtype=object)
    return pd.DataFrame(
        {"Correlation": values[order], "Of": names[rows[order]], "With": names[columns[order]]},
    )


def _sample(workspace: Workspace, days: float | None, names: tuple[str, ...]) -> Array:
    """Some features' values: at most `SAMPLE` rows, of at most `_STRETCHES` months, evenly taken; shape (n, names).

    A month at a time: all of it at once would not fit into a small server.
    """
    store, asset, spec = workspace.storage.features, workspace.settings.market.asset, workspace.spec
    times = _features(workspace, days, ())["timestamp"]
    if times.empty:
        return np.empty((0, len(names)))
    first, last = times.iloc[0], times.iloc[-1]
    stretches = pd.period_range(first.tz_localize(None), last.tz_localize(None), freq=_STRETCH)
    chosen = stretches[evenly(np.arange(len(stretches)), _STRETCHES)]

    parts = []
    for stretch in chosen:
        start, end = (edge.start_time.tz_localize("UTC") for edge in (stretch, stretch + stretch.freq))
        rows = store.read_features(asset, spec.hash, max(start, first), end, columns=names)
        parts.append(evenly(rows[list(names)].to_numpy(np.float64), SAMPLE // len(chosen)))
    return np.concatenate(parts)


def evenly(values: NDArray[Any], count: int) -> NDArray[Any]:
    """At most `count` of the values or rows, as far apart everywhere."""
    return values if len(values) <= count else values[np.linspace(0, len(values) - 1, count).astype(np.intp)]


def read_distribution(workspace: Workspace, days: float | None, what: str) -> Distribution | None:
    """How a feature is distributed, or, of `return over N`, the log returns over N bars in percent."""
    kind, _, count = what.rpartition(" ")
    if kind == RETURN:
        return distribution(100 * returns_over(read_bars(workspace, days), workspace.spec.interval, int(count)))
    values = _features(workspace, days, (what,))[what].to_numpy(np.float64)
    return distribution(values[np.isfinite(values)])


def returns_over(bars: pd.DataFrame, interval: Interval, count: int) -> Array:
    """Log returns over `count` bars, one after the other, that span no gap."""
    closed = stamps(bars["timestamp"]) + interval.seconds
    ends = closed % (count * interval.seconds) == 0
    moves: Array = np.diff(np.log(bars["close"].to_numpy(np.float64)[ends]))
    whole: Array = moves[np.diff(closed[ends]) == count * interval.seconds]
    return whole


def read_seasons(workspace: Workspace, days: float | None, zone: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hours of the day and days of the week there, as `statistics.seasons`."""
    return seasons(read_bars(workspace, days), workspace.spec.interval, zone)


def read_volatility(workspace: Workspace, days: float | None) -> pd.Series:
    """Realised volatility of stretches of an hour or more, as `statistics.volatility`; its index has their length."""
    bars, interval = read_bars(workspace, days), workspace.spec.interval
    if bars.empty:
        return pd.Series(dtype="float64")
    step = max(candle_step(bars, BUCKETS) or interval.delta, 12 * interval.delta, timedelta(hours=1))
    return volatility(pd.DatetimeIndex(bars["timestamp"]), log_returns(bars, interval), step, interval)


def read_memory(workspace: Workspace, days: float | None) -> Memory | None:
    """Autocorrelations at the lags of a day of 5-minute bars, or of an eighth of the time."""
    bars = read_bars(workspace, days)
    lags = min(_LAGS, len(bars) // 8)
    return memory(log_returns(bars, workspace.spec.interval), lags) if lags else None


def read_regimes(workspace: Workspace, days: float | None) -> Regimes | None:
    """The regimes that forecasts named; None where none did."""
    columns = ["made_at", "regime", "price", "actual_price"]
    start, delta = _start(workspace, days), workspace.spec.interval.delta
    log = workspace.storage.log.read_forecasts(workspace.settings.market.asset, start, columns=columns)
    kinds: NDArray[np.intp] = pd.Index(REGIME_WORDS).get_indexer(log["regime"])
    if not (kinds >= 0).any():
        return None
    first, last = log["made_at"].iloc[0], log["made_at"].iloc[-1]
    step = max(pd.Timedelta(delta), ((last - first) / BUCKETS).ceil(delta))
    place = ((log["made_at"] - first) // step).to_numpy(np.intp)
    counts = np.zeros((len(REGIME_WORDS), place[-1] + 1))
    np.add.at(counts, (kinds[kinds >= 0], place[kinds >= 0]), 1)
    total = counts.sum(axis=0)
    shares = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    store, asset = workspace.storage.features, workspace.settings.market.asset
    bars = store.read_bars(asset, first - delta, last)
    bars = bars.assign(timestamp=bars["timestamp"] + delta)
    return Regimes(
        closes=bars.iloc[thin(bars["timestamp"], bars["close"], POINTS)][["timestamp", "close"]],
        starts=pd.DatetimeIndex([first]).repeat(len(total)) + np.arange(len(total)) * step,
        step=step.to_pytimedelta(),
        shares=shares,
        table=_stays(log, kinds, delta),
    )


def _stays(log: pd.DataFrame, kinds: NDArray[np.intp], delta: timedelta) -> pd.DataFrame:
    """A row a regime, for `Regimes.table`."""
    apart = np.diff(stamps(log["made_at"])) > delta.total_seconds()
    begins = np.append(True, (np.diff(kinds) != 0) | apart)
    lengths = np.diff(np.append(np.flatnonzero(begins), len(kinds)))
    moves = 100 * (log["actual_price"] / log["price"] - 1).abs()
    rows = [
        {
            "Regime": regime,
            "Means": means,
            "Of the time": 100 * (kinds == number).mean(),
            "Typical stay": np.median(lengths[kinds[begins] == number]) * delta,
            "Typical move": moves[kinds == number].dropna().median(),
        }
        for number, (regime, means) in enumerate(REGIME_WORDS.items())
        if (kinds == number).any()
    ]
    return pd.DataFrame(rows)
