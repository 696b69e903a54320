"""Alerts: what is wrong now and what to do about it, what was wrong, and who has not been told yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import streamlit as st

from cryptosentinel.workspace import Workspace
from dashboard import parts, parts_alerts, parts_now, shell, text
from dashboard.charts.alerts import alert_chart
from dashboard.data.alerts import (
    KINDS,
    Alerts,
    chosen,
    past_table,
    read_alerts,
    waiting_table,
)

RANGES = {"1 day": 1, "7 days": 7, "30 days": 30, "90 days": 90, "1 year": 365}


@st.fragment(run_every=shell.REFRESH_S)
@shell.explained
def live() -> None:
    """The whole page in one piece, so that its parts show the same moment."""
    alerts = shell.read(_now, of=["clock"])
    top = st.container()
    show, severity, kinds, shown = _filters()
    since = alerts.now - timedelta(days=RANGES[shown])
    with top:
        if alerts.rows.empty:
            st.info(f"No alert was ever raised here. The inference pipeline looks again {shell.when('inference')}.")
        if (home := shell.home()) is not None:
            parts_now.bars(home)
        parts_alerts.figures(alerts, since, shown)
    if show != "Past":
        _opened(alerts, kinds, severity, since)
    among = {"Open": alerts.opened, "Past": alerts.past}.get(show, alerts.rows)
    _timeline(alerts, chosen(among, kinds, severity, since), RANGES[shown])
    if show != "Open":
        _past(alerts, kinds, severity, since)
    _muted(alerts)
    _waiting(alerts)


def _now(workspace: Workspace) -> Alerts:
    return read_alerts(workspace, datetime.now(UTC))


def _filters() -> tuple[str, str | None, list[str], str]:
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        show = st.segmented_control(
            "Show", ["All", "Open", "Past"], default="All", required=True, key="show", bind="query-params"
        )
        severity = st.segmented_control(
            "Severity", ["critical", "warning"], format_func=str.capitalize, key="severity", bind="query-params"
        )
        shown = st.segmented_control(
            "Time", list(RANGES), default="7 days", required=True, key="time", bind="query-params"
        )
        kinds = st.multiselect(
            "Kinds", KINDS, format_func=text.name, key="kinds", bind="query-params", placeholder="All", width=320
        )
    return show, severity, kinds, shown


def _opened(alerts: Alerts, kinds: list[str], severity: str | None, since: datetime) -> None:
    st.header("Open", anchor=False)
    rows = chosen(alerts.opened, kinds, severity, since)
    for first in range(0, len(rows), 2):
        pair = rows.iloc[first : first + 2].itertuples()
        for column, alert in zip(st.columns(2, gap="small"), pair, strict=False):
            with column:
                parts_alerts.opened(alert, alerts)
    if rows.empty:
        chosen_ones = " of what is chosen above" if kinds or severity else ""
        parts.aside(f":material/check_circle: No alert{chosen_ones} is open.")


def _timeline(alerts: Alerts, rows: pd.DataFrame, days: int) -> None:
    st.header("When what was open", anchor=False)
    if rows.empty:
        parts.aside("Nothing was open in this time.")
        return
    figure = alert_chart(rows, KINDS, alerts.now, alerts.interval, days, shell.zone())
    parts.chart(figure, "timeline", "A row a kind of alert, a bar for each time it was open")
    parts.aside("A bar has the severity that its alert came to.")


def _past(alerts: Alerts, kinds: list[str], severity: str | None, since: datetime) -> None:
    st.header("Past", anchor=False)
    rows = chosen(alerts.past, kinds, severity, since)
    if rows.empty:
        parts.aside("None ended in this time.")
        return
    parts_alerts.table(past_table(rows), ("Raised", "Over"), "Alerts that are over, the newest first")


def _muted(alerts: Alerts) -> None:
    st.header("Muted", anchor=False)
    zone = shell.zone()
    for muted in alerts.mutes.values():
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            why = f": {muted.reason}" if muted.reason else "."
            words = (
                f"until {zone.told(muted.until, alerts.clock)}, by {muted.by}, {zone.told(muted.at, alerts.clock)}{why}"
            )
            st.markdown(f"**{text.plain(text.name(muted.kind))}** {text.plain(words)}", width="content")
            parts_alerts.unmuting(muted.kind, "list")
    if not alerts.mutes:
        parts.aside("No kind is muted.")
    parts_alerts.muting()


def _waiting(alerts: Alerts) -> None:
    if alerts.waiting.empty:
        return
    st.header("Still to be told", anchor=False)
    table = waiting_table(alerts.waiting, alerts.mutes)
    parts_alerts.table(table, ("Since",), "What somebody has yet to be told of alerts, the oldest first")
    parts.aside(
        "Who is not told any more by the settings stays in this list, and hears of it once they are told again."
    )


live()
