"""Pieces of pages: what Streamlit shows of the frames that `data` reads."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import pandas as pd
import streamlit as st

from dashboard.data import Record
from dashboard.text import OUTCOMES, clock, name, plain, share

Tone = Literal["blue", "orange", "off"]


def tone(move: float) -> Tone:
    """The colour of a move: up, down or none; wherever it is used, a sign says the same."""
    return "blue" if move > 0 else "orange" if move < 0 else "off"


def card(label: str, value: str, note: str, colour: Tone = "off") -> None:
    """A figure with what it is called above and a note below."""
    st.metric(label, value, note, delta_color=colour, delta_arrow="off", border=True, height="stretch")


def aside(sentence: str) -> None:
    """A sentence in grey; `st.caption` is too pale to be read by everybody."""
    st.markdown(f":small[:gray[{sentence}]]")


def alerts(rows: pd.DataFrame, now: datetime) -> None:
    """Open alerts, one below the other."""
    for alert in rows.itertuples():
        critical = alert.severity == "critical"
        (st.error if critical else st.warning)(
            f"**{plain(name(alert.severity))}** since {clock(alert.raised_at, now)} UTC: "
            f"{plain(alert.message or alert.kind)}",
            icon=":material/error:" if critical else ":material/notifications:",
        )


def record(figures: Record) -> None:
    """How forecasts have done, in four figures and a sentence."""
    counts = figures.counts
    cards = (
        ("Settled", f"{counts['settled']:,}", f"of {counts['made']:,} made"),
        ("Direction right", share(figures.hit_rate), f"of {figures.called:,} calls"),
        ("Inside the 80% band", share(figures.covered_80), "should be 80%"),
        ("Inside the 95% band", share(figures.covered_95), "should be 95%"),
    )
    for row in (cards[:2], cards[2:]):
        with st.container(horizontal=True, gap="small"):
            for figure in row:
                card(*figure)
    outcomes = ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in OUTCOMES)
    no_call = " No direction was called: incorrect only means that the price moved."
    aside(f"{outcomes}." + (no_call if counts["incorrect"] and not figures.called else ""))


def forecasts(table: pd.DataFrame, decimals: int) -> None:
    """The rows of `data.forecast_table`; times in UTC."""
    price = st.column_config.NumberColumn(format="accounting" if decimals == 2 else f"%.{decimals}f")
    time = st.column_config.DatetimeColumn(format="MMM D, HH:mm", timezone="UTC")
    st.dataframe(
        table,
        hide_index=True,
        height=420,
        placeholder="",
        column_config={
            **dict.fromkeys(("Forecast", "Actual", "80% from", "80% to", "Price"), price),
            **dict.fromkeys(("For", "Made"), time),
            "Error": st.column_config.NumberColumn(format=f"%+.{decimals}f"),
            "P(rise)": st.column_config.NumberColumn(format="%.0f%%"),
        },
        alt="The latest forecasts and their outcomes; times in UTC",
    )
