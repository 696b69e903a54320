"""Pieces of the page of forecasts: what is asked for, drawn over time, as a table to open one from, and as files."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cryptosentinel.predicting import ENOUGH_OUTCOMES, PENDING
from cryptosentinel.workspace import Workspace
from dashboard import parts, shell, text
from dashboard.charts import forecasts as charts
from dashboard.charts.price import error_chart
from dashboard.data.forecasts import (
    ORDERS,
    STATES,
    Choice,
    Chosen,
    History,
    Kind,
    Period,
    choose,
    export,
    in_order,
    read_history,
    shares_over_time,
)
from dashboard.data.home import forecast_table
from dashboard.parts_opened import OF, open_at
from dashboard.text import name, plain
from dashboard.zone import Zone

PERIODS = {"24h": 1, "7d": 7, "30d": 30, "90d": 90, "All": None, "Dates": None}
ROWS = 100
# More errors than a week's cannot be seen one by one.
MANY = 2_016
VIEWS = {
    "Price": "Actual prices, and the bands that they were forecast to be in",
    "Error": "Actual prices against their forecasts, and the bands",
    "Hits": "How often prices were in their bands and directions right, over time",
}
ASKED = "forecasts asked for"


def ask_period(now: datetime) -> Period:
    """The period that a viewer asks for."""
    asked = st.segmented_control("Made in", PERIODS, default="7d", required=True, key="period", bind="query-params")
    if asked != "Dates":
        days = PERIODS[asked]
        return Period() if days is None else Period.last(days, now)
    dates = st.date_input(
        "Made on (UTC)", (now.date() - timedelta(days=6), now.date()), key="dates", bind="query-params", width=240
    )
    return Period.between(dates[0], dates[-1]) if dates else Period()


def ask_choice(rows: pd.DataFrame) -> Choice:
    """Which forecasts of the period a viewer asks for."""

    def several(label: str, options: list[Any], key: str, **named: Any) -> tuple[Any, ...]:
        return tuple(
            st.multiselect(label, options, key=key, bind="query-params", placeholder="Any", width=170, **named)
        )

    state = st.selectbox(
        "Settled",
        STATES,
        index=None,
        placeholder="Any",
        format_func=name,
        key="settled",
        bind="query-params",
        width=140,
    )
    outcomes = several("Outcome", [*text.OUTCOMES, PENDING], "outcome")
    regimes = several("Regime", list(rows["regime"].cat.categories), "regime", format_func=name)
    bundles = several("Bundle", sorted(map(int, rows["bundle_version"].unique()), reverse=True), "bundle")
    return Choice(state, outcomes, regimes, bundles)


def history(period: Period, now: datetime) -> History:
    """`data.forecasts.read_history`, for all viewers."""
    return shell.read(read_history, period, now, of=OF)


def chosen(period: Period, now: datetime, choice: Choice) -> Chosen:
    """What is asked for of the history, for all viewers who ask for it."""
    return shell.read(_chosen, period, now, choice, of=OF)


def _chosen(_: Workspace, period: Period, now: datetime, choice: Choice) -> Chosen:
    return choose(history(period, now), choice)


def over_time(view: str, period: Period, now: datetime, choice: Choice) -> None:
    """One of `VIEWS` of what is asked for."""
    figure, note = shell.read(_drawn, view, period, now, choice, shell.zone(), of=OF)
    if figure is None:
        parts.aside(
            "Too few of these forecasts have an actual price for that: shares over time take two stretches of "
            f"{ENOUGH_OUTCOMES} outcomes that do not overlap."
            if view == "Hits"
            else "None of these forecasts has an actual price yet."
        )
        return
    parts.chart(figure, "over-time", VIEWS[view])
    if note:
        parts.aside(note)


def _drawn(
    workspace: Workspace, view: str, period: Period, now: datetime, choice: Choice, zone: Zone
) -> tuple[go.Figure | None, str]:
    """The figure, None where there is nothing to draw; and what of it was left out, in words."""
    rows = history(period, now).rows
    asked = rows[choice.of(rows) & rows["actual_price"].notna()]
    if asked.empty:
        return None, ""
    interval = workspace.spec.interval
    if view == "Hits":
        shares = shares_over_time(asked)
        return (charts.over_time(shares, zone) if len(shares) > 1 else None), ""
    if view == "Error":
        note = f"The newest {MANY:,} of {len(asked):,}; Hits shows all." if len(asked) > MANY else ""
        return error_chart(asked.tail(MANY), interval, zone), note
    # All of them are the line; what the filters leave of them is marked on it.
    marked = asked if len(asked) <= charts.MANY_MARKS or choice != Choice() else asked.head(0)
    note = (
        f"Marked: the {charts.MANY_MARKS} largest errors of {len(asked):,}." if len(marked) > charts.MANY_MARKS else ""
    )
    settled = rows[rows["actual_price"].notna()]
    return charts.against_actual(settled, marked, interval, workspace.settings.market.currency, zone), note


def ask_order() -> str:
    """In which order the table is."""
    order = st.selectbox(
        "Order of the table",
        ORDERS,
        format_func=lambda order: f"{name(order)} first",
        key="order",
        bind="query-params",
        width=190,
        label_visibility="collapsed",
    )
    return str(order)


def ask_view() -> str:
    """What is shown over time."""
    view = st.segmented_control(
        "Shown over time",
        VIEWS,
        default="Price",
        required=True,
        key="view",
        bind="query-params",
        label_visibility="collapsed",
    )
    return str(view)


def table(rows_of: History, positions: np.ndarray) -> None:
    """A page of them; choosing a row opens that forecast."""
    due = f" {rows_of.due:,} not written yet: told from the bars, written {shell.when('inference')}."
    parts.aside(plain(f"Choose a row to open it.{due if rows_of.due else ''}"))
    pages = max(1, -(-len(positions) // ROWS))
    above = st.container()
    page = st.pagination(pages, key="page", bind="query-params", max_visible_pages=5) if pages > 1 else 1
    rows = rows_of.rows.iloc[positions[(page - 1) * ROWS : page * ROWS]]
    shown = forecast_table(rows)
    shown.loc[~rows["written"].to_numpy(), "Outcome"] += ", not written yet"
    # Named after its rows: what is chosen is a row, and it is not to be another forecast's once there is a newer one.
    key = f"rows-{page}-{hash(tuple(rows['made_at']))}"
    with above:
        parts.forecasts(
            shown,
            text.decimals(rows["price"].iloc[0]),
            shell.zone(),
            key=key,
            selection_mode="single-row",
            on_select=partial(_open_chosen, key, list(rows["made_at"])),
        )


def _open_chosen(key: str, times: list[pd.Timestamp]) -> None:
    for row in st.session_state[key].selection.rows:
        open_at(times[row])


def ordered(rows_of: History, asked: Chosen) -> np.ndarray:
    """Positions of what is asked for, in the order that a viewer wants."""
    return in_order(rows_of, asked, ask_order())


def remember(period: Period, choice: Choice, now: datetime) -> None:
    """What is asked for now, for `downloads`."""
    st.session_state.setdefault(ASKED, {}).update(period=period, choice=choice, now=now)


def downloads() -> None:
    """What is asked for as files, which are made when they are asked for.

    Not for a part that lives: Streamlit registers such a file anew with each run and forgets the one before, so that
    who clicks in that moment would get none. What is asked for by then is therefore looked up with the click.
    """
    asked = st.session_state.get(ASKED)
    if asked is None:  # there is nothing yet
        return
    workspace = shell.market()
    kinds: dict[Kind, tuple[str, str]] = {
        "csv": ("CSV", "text/csv"),
        "parquet": ("Parquet", "application/vnd.apache.parquet"),
    }
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("Download what the filters ask for", width="content")
        for kind, (label, mime) in kinds.items():
            st.download_button(
                label,
                partial(_exported, workspace, asked, kind),
                f"{workspace.settings.market.asset}-forecasts.{kind}",
                mime,
                icon=":material/download:",
                on_click="ignore",
                help="All columns of the log; times are in UTC.",
            )


def _exported(workspace: Workspace, asked: dict[str, Any], kind: Kind) -> bytes:
    return export(workspace, **asked, kind=kind)
