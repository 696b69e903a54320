"""One look at everything that is watched: alerts are raised, get worse and end, and what has to be told is queued."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pandas as pd

from cryptosentinel.alerting.delivery import due_deliveries
from cryptosentinel.alerting.engine import next_alerts
from cryptosentinel.alerting.facts import Facts
from cryptosentinel.alerting.handling import read_mutes
from cryptosentinel.alerting.rules import read_rules
from cryptosentinel.alerting.sinks import open_sinks, utc_now
from cryptosentinel.config import MarketSettings, Settings
from cryptosentinel.storage import Storage


def watch(
    storage: Storage, facts: Facts, settings: Settings, *, now: datetime, clock: Callable[[], datetime] = utc_now
) -> pd.DataFrame:
    """Holds the facts against the rules, writes what follows, and queues what has to be told of it; sends nothing.

    Args:
        storage: the store.
        facts: what is known.
        settings: name the asset, the limits, and who is told.
        now: by the market's clock, which a recording has of its own.
        clock: on the wall, by which kinds are muted.

    Returns:
        The alerts that were raised, got worse or ended now.
    """
    asset, sinks = settings.market.asset, open_sinks(settings.alerts)
    stored = storage.log.read_alerts(asset)
    queued = storage.outbox.read(asset) if sinks else pd.DataFrame()
    muted = read_mutes(storage.log, asset, now=clock()) if sinks else {}

    def queue(alerts: pd.DataFrame) -> None:
        nonlocal queued
        due = due_deliveries(alerts, queued, sinks, market_in_words(settings.market), muted=muted, now=now)
        if len(due):
            storage.outbox.add(due)
            queued = pd.concat([queued, due]) if len(queued) else due

    if sinks:
        # Were the last step killed between writing an alert and queueing it, is a sink new, or has a mute ended:
        # nothing is lost.
        queue(_not_told(stored, queued))
    changed = next_alerts(stored, read_rules(facts, settings), asset, settings.alerts, now=now, tick=facts.tick)
    if len(changed):
        storage.log.write_alerts(changed)
        if sinks:
            # As they are stored: another process may have ended one that got worse here.
            written = storage.log.read_alerts(asset)
            queue(written[written["alert_id"].isin(changed["alert_id"])])
    return changed


def _not_told(stored: pd.DataFrame, queued: pd.DataFrame) -> pd.DataFrame:
    """Those that are open, and those that ended of which somebody knows only that they began."""
    known = set(queued["alert_id"]) - set(queued.loc[queued["event"] == "resolved", "alert_id"])
    return stored[stored["resolved_at"].isna() | stored["alert_id"].isin(known)]


def market_in_words(market: MarketSettings) -> str:
    """What is watched, as people are told: `bitcoin/usd 5m (coingecko)`."""
    kind, _, name = market.source.partition(":")
    source = {"exchange": name, "simulated": "SIMULATED"}.get(kind, kind)
    return f"{market.asset}/{market.currency} {market.interval} ({source})"
