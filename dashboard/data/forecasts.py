"""What the page of forecasts shows: those of a period, what came of them, and which of them are asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from cryptosentinel.predicting import ACCURACY_COLUMNS, ENOUGH_OUTCOMES, PENDING, Accuracy, due_outcomes, measure
from cryptosentinel.storage import FORECASTS
from cryptosentinel.workspace import Workspace
from dashboard.text import OUTCOMES

COLUMNS = (*ACCURACY_COLUMNS, "p_up", "confidence", "regime", "champion", "bundle_version", "error")
STATES = ("settled", "pending", "not written")
ORDERS = ("newest", "largest error", "surest")
Kind = Literal["csv", "parquet"]
STRETCHES = 40

_WORDS = {"outcome": [*OUTCOMES, PENDING], "direction": None, "regime": None, "champion": None}
# What of the market is shown around one forecast.
_BEFORE, _AFTER = timedelta(hours=2), timedelta(hours=1)


@dataclass(frozen=True)
class Period:
    """Forecasts with ``start <= made_at < end``; None: from the first, up to the newest."""

    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def last(cls, days: float, now: datetime) -> Period:
        """The last days."""
        return cls(now - timedelta(days=days))

    @classmethod
    def between(cls, first: date, last: date) -> Period:
        """Whole days in UTC, the last one included."""
        start, end = (pd.Timestamp(day, tz="UTC").to_pydatetime() for day in (first, last + timedelta(days=1)))
        return cls(start, end)


@dataclass(frozen=True)
class Choice:
    """Which forecasts of a period are asked for; what is empty asks for all."""

    state: str | None = None
    outcomes: tuple[str, ...] = ()
    regimes: tuple[str, ...] = ()
    bundles: tuple[int, ...] = ()

    def of(self, rows: pd.DataFrame) -> pd.Series:
        """Which of `History.rows` they are."""
        asked = pd.Series(data=True, index=rows.index)
        for name, wanted in (("outcome", self.outcomes), ("regime", self.regimes), ("bundle_version", self.bundles)):
            if wanted:
                asked &= rows[name].isin(wanted)
        match self.state:
            case "settled":
                asked &= rows["outcome"] != PENDING
            case "pending":
                asked &= rows["outcome"] == PENDING
            case "not written":
                asked &= ~rows["written"]
        return asked


@dataclass(frozen=True)
class History:
    """Forecasts of a period.

    Attributes:
        rows: by `made_at`: `COLUMNS`, and `written`: whether the log has what is said. Those that are due have the
            outcome that will be written; the others' is `pending`.
    """

    rows: pd.DataFrame

    @property
    def due(self) -> int:
        """How many have an outcome here that is not written yet."""
        return int((~self.rows["written"]).sum())


def read_history(workspace: Workspace, period: Period, now: datetime) -> History:
    """Reads the forecasts of a period, and settles in memory what is due by the bars.

    Args:
        workspace: the market.
        period: which.
        now: the market's time, for what is due.
    """
    rows = _settled(workspace, period, now, COLUMNS)
    # As categories they take a tenth of the memory, and choosing among them a tenth of the time.
    kinds = {name: pd.CategoricalDtype(words) for name, words in _WORDS.items()}
    return History(rows.astype(kinds).fillna({"outcome": PENDING}))


def _settled(workspace: Workspace, period: Period, now: datetime, columns: Sequence[str]) -> pd.DataFrame:
    storage, asset = workspace.storage, workspace.settings.market.asset
    rows = storage.log.read_forecasts(asset, period.start, period.end, columns=columns).assign(written=True)
    pending = rows[rows["outcome"].isna()]
    due = due_outcomes(
        pending.assign(row=pending.index),
        storage.features,
        asset,
        workspace.spec.interval,
        workspace.settings.forecast,
        now=now,
    )
    if len(due):
        names = [name for name in ("outcome", "actual_price", "error", "settled_at") if name in rows]
        for name in names:
            rows.loc[due["row"], name] = due[name].to_numpy()
        rows.loc[due["row"], "written"] = False
    return rows


@dataclass(frozen=True)
class Chosen:
    """What is asked for, measured.

    Attributes:
        positions: in `History.rows`, newest first.
        accuracy: of them.
    """

    positions: np.ndarray
    accuracy: Accuracy


def choose(history: History, choice: Choice) -> Chosen:
    """The forecasts that are asked for, and how good they were."""
    positions = np.flatnonzero(choice.of(history.rows))
    return Chosen(positions[::-1], measure(history.rows.iloc[positions]))


def in_order(history: History, chosen: Chosen, order: str) -> np.ndarray:
    """Their positions in one of `ORDERS`; among equals, and where there is nothing to order by, newest first."""
    match order:
        case "largest error":
            by = -(history.rows["error"] / history.rows["price"]).abs()
        case "surest":
            by = -history.rows["confidence"]
        case _:
            return chosen.positions
    return chosen.positions[np.argsort(by.to_numpy()[chosen.positions], kind="stable")]


def shares_over_time(rows: pd.DataFrame) -> pd.DataFrame:
    """How good settled forecasts were, in stretches of equal length long enough to tell: `STRETCHES` at most.

    Columns: `middle` (a time), and of `hits`, `covered_80` and `covered_95` the share, its `_lower` and `_upper`.
    """
    settled = rows[rows["actual_price"].notna()]
    if settled.empty:
        return pd.DataFrame()
    enough = measure(settled).covered[80].independent // ENOUGH_OUTCOMES
    times, count = settled["made_at"], min(max(enough, 1), STRETCHES)
    begin, length = times.iloc[0], (times.iloc[-1] - times.iloc[0]) / count
    stretch = (
        np.minimum(((times - begin) / length).to_numpy().astype(int), count - 1) if length else np.zeros(len(times))
    )
    told = []
    for number, part in settled.groupby(stretch):
        accuracy = measure(part)
        shares = {"hits": accuracy.hits} | {f"covered_{level}": share for level, share in accuracy.covered.items()}
        row: dict[str, object] = {"middle": begin + (number + 0.5) * length}
        for name, share in shares.items():
            row |= {name: share.value, f"{name}_lower": share.lower, f"{name}_upper": share.upper}
        told.append(row)
    return pd.DataFrame(told)


@dataclass(frozen=True)
class Opened:
    """One forecast and the market around it.

    Attributes:
        forecast: a row of the log, with the outcome that will be written where it is due.
        written: whether the log has its outcome, if it has one.
        bars: from some time before it was made to some time after its target.
    """

    forecast: pd.Series
    written: bool
    bars: pd.DataFrame


def read_opened(workspace: Workspace, made_at: datetime, now: datetime) -> Opened | None:
    """Reads the forecast that was made then; None where none was."""
    rows = _settled(workspace, Period(made_at, made_at + timedelta(milliseconds=1)), now, FORECASTS.names)
    if rows.empty:
        return None
    forecast = rows.iloc[-1]
    bars = workspace.storage.features.read_bars(
        workspace.settings.market.asset, made_at - _BEFORE, forecast["target_at"] + _AFTER
    )
    return Opened(forecast, bool(forecast["written"]), bars)


def export(workspace: Workspace, period: Period, choice: Choice, now: datetime, kind: Kind) -> bytes:
    """What is asked for as a file: all columns of the log, times in UTC, and `written` as in `History`."""
    rows = _settled(workspace, period, now, FORECASTS.names)
    asked = choice.of(rows.assign(outcome=rows["outcome"].fillna(PENDING)))
    table = pa.Table.from_pandas(rows[asked], preserve_index=False)
    file = io.BytesIO()
    if kind == "csv":
        pyarrow.csv.write_csv(table, file)
    else:
        pyarrow.parquet.write_table(table, file, compression="zstd")
    return file.getvalue()
