"""How things are right now: what several pages say first."""

from __future__ import annotations

import streamlit as st

from cryptosentinel.predicting import is_outlying, is_widened
from dashboard import parts, shell, text
from dashboard.data.home import Home


def bars(home: Home) -> None:
    """How new the bars are."""
    closed = shell.zone().told(home.quote.at, home.clock)
    if home.stale and not home.recorded:
        st.badge(f"STALE: {closed}, {text.duration(home.age)} ago", icon=":material/warning:", color="orange")
    else:
        st.badge(f"Bars to {closed}", icon=":material/schedule:", color="gray")


def state(home: Home) -> None:
    """How old the data is, the open alerts, and what does not go on."""
    closed = shell.zone().told(home.quote.at, home.clock)
    with st.container(horizontal=True, gap="small"):
        if home.recorded:
            st.badge(f"Ends at {closed}", icon=":material/schedule:", color="gray")
        elif home.stale:
            st.badge(f"STALE: {closed}, {text.duration(home.age)} ago", icon=":material/warning:", color="orange")
        else:
            st.badge(f"{closed}, {text.duration(home.age)} ago", icon=":material/schedule:", color="gray")
        if home.forecast is not None and is_outlying(home.forecast):
            st.badge("Unlike anything trained on: range widened", icon=":material/travel_explore:", color="orange")
        if home.forecast is not None and is_widened(home.forecast):
            st.badge("Champion called useless: range widened", icon=":material/warning:", color="orange")
        if home.alerts.empty:
            st.badge("No open alerts", icon=":material/check:", color="gray")
    if home.abstained:
        ticks = (
            f" The feature pipeline runs again {shell.when('feature')}, the training pipeline {shell.when('training')}."
        )
        st.warning(
            f"No forecast can be made now: {text.plain(home.abstained)}.{'' if home.recorded else ticks}",
            icon=":material/warning:",
        )
    if home.forecast is not None and home.expired:
        st.warning(
            f"The newest forecast was for {shell.zone().told(home.forecast['target_at'], home.clock)}, which is past. "
            f"The inference pipeline runs again {shell.when('inference')}.",
            icon=":material/warning:",
        )
    parts.alerts(home.alerts, home.mutes, home.clock, shell.zone())


def forecast(home: Home) -> None:
    """The newest forecast in cards, or when the first one comes."""
    if home.forecast is not None:
        parts.forecast(home, home.forecast, shell.zone())
    elif not home.abstained:
        st.info(f"No forecast yet. The inference pipeline makes the first {shell.when('inference')}.")
