"""Pieces of the page of alerts: an open alert, and what can be done about it."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from cryptosentinel import alerting
from cryptosentinel.alerting import remedy_of
from cryptosentinel.errors import UserInputError
from dashboard import shell
from dashboard.data.alerts import KINDS, Alerts, reach, told, typical_length
from dashboard.parts import aside, card, quiet_notes
from dashboard.text import duration, name, plain

# The manual, which has a heading for each kind; the chart's Prometheus rules link to it too.
MANUAL = "https://github.com/cryptosentinel/cryptosentinel/blob/main/docs/operations.md"
LENGTHS = {"1 hour": timedelta(hours=1), "8 hours": timedelta(hours=8), "1 day": timedelta(days=1)}
UNTIL = "until ..."


def figures(alerts: Alerts, since: datetime, shown: str) -> None:
    """How many are open, muted, new, and wait to be told."""
    opened, waiting = alerts.opened, alerts.waiting
    recent = alerts.rows[alerts.rows["raised_at"] >= since]
    length = typical_length(recent)
    seen = int(opened["acknowledged_at"].notna().sum())
    critical = int((opened["severity"] == "critical").sum())
    with st.container(horizontal=True, gap="small"):
        card("Open", str(len(opened)), f"{critical} critical, {seen} acknowledged", explained="One a kind at most.")
        card(
            "Muted kinds",
            str(len(alerts.mutes)),
            "nobody is told of them" if alerts.mutes else "everything is told",
            explained="Alerts of a muted kind are raised and end as ever. What is open when a mute ends is told then.",
        )
        card(
            f"Raised in {shown}",
            f"{len(recent):,}",
            "none is over yet" if length is None else f"half are over in {duration(length)}",
            explained="Those that were raised in this time, open or over, and the median time until they were over.",
        )
        card(
            "To be told",
            str(len(waiting)),
            "nothing waits" if waiting.empty else f"to {plain(', '.join(sorted(set(waiting['sink']))))}",
            explained="What somebody has yet to be told of an alert: that it began, got worse or is over.",
        )


def badge(severity: str) -> None:
    """How bad, by icon, word and colour."""
    if severity == "critical":
        st.badge("Critical", icon=":material/error:", color="red")
    else:
        st.badge(plain(name(severity)), icon=":material/warning:", color="orange")


def opened(alert: Any, alerts: Alerts) -> None:
    """An open alert (a row of `itertuples`): what is wrong, how far, what to do about it, who knows."""
    zone, known = shell.zone(), alert.kind in KINDS
    with st.container(border=True, gap="small", height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            badge(alert.severity)
            st.subheader(plain(name(alert.kind)), anchor=False, width="content")
            lasts = duration(alerts.now - alert.raised_at)
            aside(f"since {zone.told(alert.raised_at, alerts.now)}, {lasts}")
        for icon, note in quiet_notes(alert, alerts.mutes, alerts.clock, zone):
            aside(f"{icon} {plain(note)}")
        st.markdown(plain(alert.message or ""))
        if known:
            share, words = reach(alert.kind, alert.value, alert.threshold)
            st.progress(share, f":small[{plain(words)}]")
            more = f"[More in the manual]({MANUAL}#{alert.kind})"
            st.markdown(f"**What to do.** {plain(remedy_of(alert.kind))} {more}")
        knows, waits = told(alerts.deliveries, alert.alert_id)
        sentences = [
            f"Told: {', '.join(knows)}." if knows else "",
            f"Not told yet: {', '.join(waits)}." if waits else "",
        ]
        aside(plain(" ".join(filter(None, sentences)) or "Nobody was told."))
        with st.container(horizontal=True, gap="small"):
            _acknowledging(alert)
            if alert.kind in alerts.mutes:
                unmuting(alert.kind, "card")
            elif known:
                muting(alert.kind)


def _acknowledging(alert: Any) -> None:
    allowed = shell.may_act()
    if alert.acknowledged_by:
        return
    st.button(
        "Acknowledge",
        key=f"acknowledge-{alert.alert_id}",
        icon=":material/person_check:",
        disabled=not allowed.granted,
        help=plain(allowed.refused) or "Note that you look after it. It stays open; its end is told as ever.",
        on_click=shell.act,
        args=(lambda user: _acknowledge(alert.alert_id, alert.severity, user),),
    )


def _acknowledge(alert_id: str, severity: str, user: str) -> str:
    log, asset = _log()
    rows = alerting.acknowledge(log, asset, alert_id, user, seen=severity, now=datetime.now(UTC))
    by = rows["acknowledged_by"].iloc[0]
    if by is None:
        raise UserInputError("It got worse, or ended, before you acknowledged it: look again.")
    return f"{name(rows['kind'].iloc[0])}: acknowledged by {by}."


def muting(kind: str | None = None) -> None:
    """A button that opens what has to be said to mute a kind; without one, it is to be chosen."""
    allowed, key = shell.may_act(), kind or "any"
    with st.popover(
        "Mute" if kind else "Mute a kind",
        key=f"mute-{key}",
        icon=":material/notifications_off:",
        disabled=not allowed.granted,
        help=plain(allowed.refused) or "Nobody is told of this kind for a while; what is open afterwards is told then.",
    ):
        if kind is None:
            st.selectbox("Kind", KINDS, format_func=name, key="mute-kind")
        length = st.segmented_control("For", [*LENGTHS, UNTIL], default="1 hour", required=True, key=f"mute-for-{key}")
        if length == UNTIL:
            # The same all day, so that what was chosen stays.
            today = datetime.combine(datetime.now(ZoneInfo(shell.zone().name)), time())
            st.datetime_input(
                f"Until, {shell.zone().label(datetime.now(UTC))}",
                value=today + timedelta(days=1, hours=9),
                min_value=today,
                max_value=today + alerting.LONGEST_MUTE,
                key=f"mute-until-{key}",
            )
        st.text_input("Reason", key=f"mute-reason-{key}", max_chars=200, placeholder="for the others; may be empty")
        st.button(
            f"Mute {plain(name(kind))}" if kind else "Mute it",
            key=f"mute-now-{key}",
            type="primary",
            on_click=shell.act,
            args=(lambda user: _mute(kind, user),),
        )


def _mute(kind: str | None, user: str) -> str:
    said, key, now = st.session_state, kind or "any", datetime.now(UTC)
    zone = shell.zone()
    length = said[f"mute-for-{key}"]
    until = (
        said[f"mute-until-{key}"].replace(tzinfo=ZoneInfo(zone.name)).astimezone(UTC)
        if length == UNTIL
        else now + LENGTHS[length]
    )
    log, asset = _log()
    kind = kind or said["mute-kind"]
    alerting.mute(log, asset, kind, until, user, reason=said[f"mute-reason-{key}"], now=now)
    return f"{name(kind)} is muted until {zone.told(until, now)}."


def unmuting(kind: str, place: str) -> None:
    """A button that ends a mute; `place` tells it from another one for the same kind."""
    allowed = shell.may_act()
    st.button(
        "Unmute",
        key=f"unmute-{place}-{kind}",
        icon=":material/notifications_active:",
        disabled=not allowed.granted,
        help=plain(allowed.refused) or "What is open is told by the next inference run.",
        on_click=shell.act,
        args=(lambda user: _unmute(kind, user),),
    )


def _unmute(kind: str, user: str) -> str:
    log, asset = _log()
    was = alerting.unmute(log, asset, kind, user, now=datetime.now(UTC))
    return f"{name(kind)} is not muted any more." if was else f"{name(kind)} was not muted."


def _log() -> tuple[Any, str]:
    market = shell.market()
    return market.storage.log, market.settings.market.asset


def table(rows: pd.DataFrame, times: tuple[str, ...], alt: str) -> None:
    """A table whose columns `times` are shown in the viewer's zone."""
    zone = shell.zone()
    st.dataframe(
        rows,
        hide_index=True,
        height="content" if len(rows) < 10 else 380,
        placeholder="",
        column_config={
            **dict.fromkeys(times, st.column_config.DatetimeColumn(format="MMM D, HH:mm", timezone=zone.name)),
            "Minutes": st.column_config.NumberColumn(format="%d", help="From its beginning to its end"),
            "What": st.column_config.TextColumn(width="large"),
        },
        alt=f"{alt}; times in {zone.name}",
    )
