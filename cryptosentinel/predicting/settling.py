"""Holding forecasts against what happened."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from cryptosentinel.bundle import DOWN, UP
from cryptosentinel.config import ForecastSettings
from cryptosentinel.market import OVERLAP
from cryptosentinel.market.bars import Interval
from cryptosentinel.storage import FeatureStore, ForecastLog

CORRECT, INCORRECT, FLAT_OUTCOME, MISSED = "correct", "incorrect", "flat", "missed"


def settle_due(
    log: ForecastLog,
    store: FeatureStore,
    asset: str,
    interval: Interval,
    settings: ForecastSettings,
    *,
    now: datetime,
) -> pd.DataFrame:
    """Settles every forecast whose target has passed and whose price is known, and writes the outcomes.

    Returns:
        The forecasts that were settled now.
    """
    settled = due_outcomes(log.read_forecasts(asset, unsettled=True), store, asset, interval, settings, now=now)
    if len(settled):
        log.settle(settled)
    return settled


def due_outcomes(
    pending: pd.DataFrame,
    store: FeatureStore,
    asset: str,
    interval: Interval,
    settings: ForecastSettings,
    *,
    now: datetime,
) -> pd.DataFrame:
    """What `settle_due` would write now of forecasts without an outcome; reads the bars that it takes, writes nothing.

    Returns:
        Those whose target has passed and whose price is known or missed, with their outcomes, as `outcomes`.
    """
    pending = pending[pending["target_at"] <= pd.Timestamp(now)]
    if pending.empty:
        return pending
    margin = timedelta(seconds=settings.settle_tolerance_s) + interval.delta
    bars = store.read_bars(asset, pending["target_at"].min() - margin)
    return outcomes(pending, bars, interval, settings, now=now)


def revise_settled(
    log: ForecastLog,
    store: FeatureStore,
    asset: str,
    interval: Interval,
    settings: ForecastSettings,
    *,
    now: datetime,
) -> pd.DataFrame:
    """Corrects the outcomes of forecasts that were settled at a price which the source has revised since.

    As far back as bars are revised (`market.OVERLAP`). A forecast that was missed stays so, and all keep when they were
    settled.

    Returns:
        The forecasts whose outcome was corrected.
    """
    settled = log.read_forecasts(asset, now - 2 * OVERLAP, now)
    settled = settled[settled["actual_price"].notna() & (settled["target_at"] > pd.Timestamp(now - OVERLAP))]
    if settled.empty:
        return settled
    margin = timedelta(seconds=settings.settle_tolerance_s) + interval.delta
    bars = store.read_bars(asset, settled["target_at"].min() - margin)
    again = outcomes(settled, bars, interval, settings, now=now).set_index("forecast_id")
    before = settled.set_index("forecast_id").reindex(again.index)
    changed = again[again["actual_price"].notna() & (again["actual_price"] != before["actual_price"])].reset_index()
    if len(changed):
        log.revise(changed[list(settled.columns)])
    return changed


def outcomes(
    pending: pd.DataFrame, bars: pd.DataFrame, interval: Interval, settings: ForecastSettings, *, now: datetime
) -> pd.DataFrame:
    """The pending forecasts that can be settled, with their outcomes.

    The actual price is the close nearest to the target, at most `settle_tolerance_s` away; an earlier close only counts
    once a later one is known, lest a forecast be settled before its time. A relative move below `flat_move` is `flat`;
    else the forecast is `correct` if its direction is the move's, which none is that called no direction. A forecast
    whose price does not come within `missed_after_s` (nor within the tolerance) is `missed`.
    """
    closes = pd.DataFrame({"closed_at": bars["timestamp"] + interval.delta, "actual_price": bars["close"]})
    tolerance = pd.Timedelta(seconds=settings.settle_tolerance_s)
    pending = pending.drop(columns=["actual_price"]).sort_values("target_at")
    closes["closed_at"] = closes["closed_at"].astype(pending["target_at"].dtype)
    joined = pd.merge_asof(
        pending, closes, left_on="target_at", right_on="closed_at", direction="nearest", tolerance=tolerance
    )
    newest_close = closes["closed_at"].max() if len(closes) else pd.NaT
    deadline = pd.Timedelta(seconds=max(settings.missed_after_s, settings.settle_tolerance_s))
    overdue = joined["target_at"] + deadline <= pd.Timestamp(now)
    known = joined["actual_price"].notna() & ((joined["target_at"] <= newest_close) | overdue)
    joined.loc[~known, "actual_price"] = np.nan
    joined = joined[known | overdue].copy()

    move = joined["actual_price"] - joined["price"]
    same_side = ((joined["direction"] == UP) & (move > 0)) | ((joined["direction"] == DOWN) & (move < 0))
    joined["outcome"] = np.select(
        [joined["actual_price"].isna(), move.abs() < settings.flat_move * joined["price"], same_side],
        [MISSED, FLAT_OUTCOME, CORRECT],
        INCORRECT,
    )
    joined["error"] = joined["predicted_price"] - joined["actual_price"]
    joined["settled_at"] = pd.Timestamp(now)
    return joined.drop(columns=["closed_at"]).sort_values("made_at", ignore_index=True)
