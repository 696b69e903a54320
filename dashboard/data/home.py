"""What the first page shows, read from the stores into small frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from cryptosentinel.alerting import Mute, read_mutes
from cryptosentinel.config import ForecastSettings
from cryptosentinel.forecasting import past_verdicts
from cryptosentinel.market import Quote
from cryptosentinel.market.bars import Interval
from cryptosentinel.market.quotes import QUOTE_WINDOW, quote_from_bars
from cryptosentinel.predicting import abstention
from cryptosentinel.storage import ModelRegistry, RegisteredModel
from cryptosentinel.workspace import Workspace
from dashboard.data.market import is_recorded
from dashboard.text import DIRECTIONS, OUTCOMES, PENDING, name

RECORD_WINDOW = timedelta(days=7)


@dataclass(frozen=True)
class Home:
    """The market and its forecasts at one moment: what the first page shows.

    Attributes:
        now: the market's clock: the wall clock, or a recording's newest close.
        clock: the wall clock.
        recorded: whether the market is a recording.
        interval: of the bars.
        limits: the settings of forecasts.
        bars: those of the last `RECORD_WINDOW`, by time, at least one.
        quote: the market at the newest close.
        forecasts: those of the last `RECORD_WINDOW`, by `made_at`.
        alerts: the open ones, newest first.
        mutes: the kinds of which nobody is told now.
        model: the version that made the newest forecast; None where there is none, or it left the registry.
        trained: the version trained last, whether it serves or not; None where none was.
        abstained: why no forecast can be made now; empty where one can.
    """

    now: datetime
    clock: datetime
    recorded: bool
    interval: Interval
    limits: ForecastSettings
    bars: pd.DataFrame
    quote: Quote
    forecasts: pd.DataFrame
    alerts: pd.DataFrame
    mutes: Mapping[str, Mute]
    model: RegisteredModel | None
    trained: RegisteredModel | None
    abstained: str

    @property
    def forecast(self) -> pd.Series | None:
        """The newest forecast."""
        return None if self.forecasts.empty else self.forecasts.iloc[-1]

    @property
    def age(self) -> timedelta:
        """How old the newest close is, by the market's clock."""
        return self.now - self.quote.at

    @property
    def learnt_to(self) -> datetime | None:
        """When the data end that the newest forecast's model has seen; None where it has seen none."""
        return _data_end(self.model)

    @property
    def moved_on(self) -> bool:
        """Whether there is a bar that the newest forecast did not know."""
        return self.forecast is not None and self.forecast["made_at"] < self.quote.at

    @property
    def stale(self) -> bool:
        """Whether the bars are older than what may be forecast from."""
        return self.age.total_seconds() > self.limits.max_data_age_s

    @property
    def expired(self) -> bool:
        """Whether the newest forecast's target has passed, so that it says nothing about what is to come."""
        return self.forecast is not None and self.forecast["target_at"] < self.now


def read_home(workspace: Workspace, clock: datetime) -> Home | None:
    """Reads what the first page shows; None while there is no bar.

    Args:
        workspace: the market.
        clock: the wall clock.

    Raises:
        StorageError: a store cannot be read.
    """
    storage, asset, interval = workspace.storage, workspace.settings.market.asset, workspace.spec.interval
    newest = storage.features.last_timestamp(asset)
    if newest is None:
        return None
    closed_at = newest + interval.delta
    recorded = is_recorded(workspace)
    now = closed_at if recorded else clock
    bars = storage.features.read_bars(asset, newest - max(QUOTE_WINDOW, RECORD_WINDOW), closed_at)
    forecasts = storage.log.read_forecasts(asset, now - RECORD_WINDOW)
    champion, newest_model = storage.registry.champion(), storage.registry.newest()
    limits, data_end = workspace.settings.forecast, _data_end(champion)
    return Home(
        now=now,
        clock=clock,
        recorded=recorded,
        interval=interval,
        limits=limits,
        bars=bars,
        quote=quote_from_bars(asset, bars, interval, closed_at),
        forecasts=forecasts,
        alerts=storage.log.read_alerts(asset, open_only=True),
        mutes=read_mutes(storage.log, asset, now=clock),
        model=_maker(storage.registry, int(forecasts["bundle_version"].iloc[-1]), champion) if len(forecasts) else None,
        trained=newest_model if newest_model and newest_model.version else None,
        abstained=abstention(storage.features, workspace.spec, asset, limits, data_end, now=now),
    )


def _maker(registry: ModelRegistry, version: int, champion: RegisteredModel | None) -> RegisteredModel | None:
    if champion is not None and champion.version == version:
        return champion
    return next((model for model in registry.versions() if model.version == version), None)  # of thousands


def _data_end(model: RegisteredModel | None) -> datetime | None:
    verdicts = past_verdicts([model]) if model else []
    return verdicts[0].data_end if verdicts else None


def forecast_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Forecasts as a table for people, in their order.

    Columns: `For`, `Direction`, `Outcome`, `Forecast`, `Actual`, `Actual - forecast`, `80% from`, `80% to`,
    `P(rise)` in percent, `Price then` (when it was made), `Made`, `Regime`, `Model`, `Bundle`, `95% from`, `95% to`.
    """
    return pd.DataFrame(
        {
            "For": rows["target_at"],
            "Direction": rows["direction"].map(DIRECTIONS),
            "Outcome": rows["outcome"].astype(object).map(OUTCOMES).fillna(PENDING),
            "Forecast": rows["predicted_price"],
            "Actual": rows["actual_price"],
            "Actual - forecast": -rows["error"],
            "80% from": rows["lower_80"],
            "80% to": rows["upper_80"],
            "P(rise)": 100 * rows["p_up"],
            "Price then": rows["price"],
            "Made": rows["made_at"],
            "Regime": rows["regime"].map(name),
            "Model": rows["champion"].map(name),
            "Bundle": rows["bundle_version"],
            "95% from": rows["lower_95"],
            "95% to": rows["upper_95"],
        }
    ).reset_index(drop=True)


def since(rows: pd.DataFrame, column: str, start: datetime) -> pd.DataFrame:
    """The rows whose time in `column` is `start` or later."""
    return rows[rows[column] >= pd.Timestamp(start)].reset_index(drop=True)


def settled(rows: pd.DataFrame) -> pd.DataFrame:
    """The forecasts whose actual price is known."""
    return rows[rows["actual_price"].notna()].reset_index(drop=True)
