"""What the page of alerts shows: those that are open and past, what is muted, and who has not been told yet."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from cryptosentinel.alerting import RULES, Mute, in_words, read_mutes
from cryptosentinel.market.bars import Interval
from cryptosentinel.workspace import Workspace
from dashboard.data.market import is_recorded
from dashboard.text import EVENTS, SEVERITIES, name

# What is of the market, and nothing to be mended, comes last.
KINDS = tuple(rule.kind for rule in sorted(RULES, key=lambda rule: rule.of_market))


@dataclass(frozen=True)
class Alerts:
    """The alerts of a market at one moment.

    Attributes:
        now: the market's clock: the wall clock, or a recording's newest close.
        clock: the wall clock, by which kinds are muted.
        interval: of the bars.
        rows: all alerts, newest first, with the columns of `storage.ALERTS`.
        mutes: what is muted, by kind.
        deliveries: what somebody was told or is to be told of them, oldest first, without what is said.
    """

    now: datetime
    clock: datetime
    interval: Interval
    rows: pd.DataFrame
    mutes: Mapping[str, Mute]
    deliveries: pd.DataFrame

    @property
    def opened(self) -> pd.DataFrame:
        """Those that are open, `loud_first`."""
        return loud_first(self.rows[self.rows["resolved_at"].isna()], self.mutes)

    @property
    def past(self) -> pd.DataFrame:
        """Those that are over, newest first."""
        return self.rows[self.rows["resolved_at"].notna()].reset_index(drop=True)

    @property
    def waiting(self) -> pd.DataFrame:
        """The deliveries that were not made yet, with the `kind` of their alerts."""
        kinds = self.rows.set_index("alert_id")["kind"]
        rows = self.deliveries[self.deliveries["delivered_at"].isna()]
        return rows.assign(kind=rows["alert_id"].map(kinds).fillna("")).reset_index(drop=True)


def read_alerts(workspace: Workspace, clock: datetime) -> Alerts:
    """Reads what the page of alerts shows.

    Args:
        workspace: the market.
        clock: the wall clock.

    Raises:
        StorageError: the store cannot be read.
    """
    storage, asset, interval = workspace.storage, workspace.settings.market.asset, workspace.spec.interval
    newest = storage.features.last_timestamp(asset) if is_recorded(workspace) else None
    return Alerts(
        now=clock if newest is None else newest + interval.delta,
        clock=clock,
        interval=interval,
        rows=storage.log.read_alerts(asset),
        mutes=read_mutes(storage.log, asset, now=clock),
        deliveries=storage.outbox.read(asset).drop(columns=["body"]),
    )


def loud_first(rows: pd.DataFrame, mutes: Collection[str]) -> pd.DataFrame:
    """Alerts that nobody looks after and that are not muted before the others, of both the critical ones first."""
    quiet = rows["acknowledged_at"].notna() | rows["kind"].isin(list(mutes))
    order = pd.DataFrame({"quiet": quiet, "mild": rows["severity"] != "critical"}).reset_index(drop=True)
    return rows.iloc[order.sort_values(["quiet", "mild"], kind="stable").index].reset_index(drop=True)


def chosen(rows: pd.DataFrame, kinds: Collection[str], severity: str | None, since: datetime) -> pd.DataFrame:
    """The alerts of these kinds (none: of all) and this severity (None: of any) that were open since then."""
    keep = rows["resolved_at"].isna() | (rows["resolved_at"] >= pd.Timestamp(since))
    if kinds:
        keep &= rows["kind"].isin(list(kinds))
    if severity is not None:
        keep &= rows["severity"] == severity
    return rows[keep].reset_index(drop=True)


def typical_length(rows: pd.DataFrame) -> timedelta | None:
    """The median time from the beginning of an alert to its end; None where none of them is over."""
    lengths = (rows["resolved_at"] - rows["raised_at"]).dropna()
    return lengths.median().to_pytimedelta() if len(lengths) else None


def past_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Alerts that are over, as a table for people."""
    return pd.DataFrame(
        {
            "Severity": rows["severity"].map(SEVERITIES).fillna(rows["severity"]),
            "Kind": rows["kind"].map(name),
            "Raised": rows["raised_at"],
            "Over": rows["resolved_at"],
            "Minutes": (rows["resolved_at"] - rows["raised_at"]).dt.total_seconds() / 60,
            "Value": [in_words(row.kind, row.value) for row in rows.itertuples()],
            "Limit": [in_words(row.kind, row.threshold) for row in rows.itertuples()],
            "What": rows["message"],
            "Acknowledged by": rows["acknowledged_by"],
        }
    )


def waiting_table(waiting: pd.DataFrame, mutes: Mapping[str, Mute]) -> pd.DataFrame:
    """Deliveries that were not made yet, as a table for people."""
    answered = waiting["answer"].fillna("").replace("", "nobody has tried yet; the next inference run does")
    return pd.DataFrame(
        {
            "To": waiting["sink"],
            "Kind": waiting["kind"].map(name),
            "That it": waiting["event"].map(EVENTS).fillna(waiting["event"]),
            "Since": waiting["created_at"],
            "Attempts": waiting["attempts"],
            "Why it waits": answered.mask(waiting["kind"].isin(list(mutes)), "its kind is muted"),
        }
    )


def reach(kind: str, value: float, limit: float) -> tuple[float, str]:
    """How far a figure went: as a share of the limit from which on it is critical, at most 1, and in words."""
    critical = limit * next((rule.critical for rule in RULES if rule.kind == kind), 2.0)
    words = f"It was {in_words(kind, value)}; limit {in_words(kind, limit)}"
    if critical > limit:
        words += f", critical above {in_words(kind, critical)}"
    return (min(max(value / critical, 0.0), 1.0) if critical > 0 and math.isfinite(value) else 1.0), words


def told(deliveries: pd.DataFrame, alert_id: str) -> tuple[list[str], list[str]]:
    """Who knows of an alert, and who does not know all yet."""
    mine = deliveries[deliveries["alert_id"] == alert_id]
    waits = mine["delivered_at"].isna()
    return sorted(set(mine.loc[~waits, "sink"])), sorted(set(mine.loc[waits, "sink"]))
