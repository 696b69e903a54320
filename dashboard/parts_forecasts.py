"""Pieces of the page of forecasts: what is asked for, the table to open one from, and the one that is open."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from cryptosentinel.predicting import ENOUGH_OUTCOMES, PENDING
from cryptosentinel.workspace import Workspace
from dashboard import parts, shell, text
from dashboard.charts import forecasts as charts
from dashboard.charts.base import CONFIG
from dashboard.charts.price import error_chart
from dashboard.data.forecasts import (
    ORDERS,
    STATES,
    Choice,
    Chosen,
    History,
    Kind,
    Opened,
    Period,
    choose,
    export,
    in_order,
    read_history,
    read_opened,
    shares_over_time,
)
from dashboard.data.home import forecast_table
from dashboard.shell import Table
from dashboard.text import name, plain, price
from dashboard.zone import Zone

OF: tuple[Table, ...] = ("forecasts", "bars")
PERIODS = {"24h": 1, "7d": 7, "30d": 30, "90d": 90, "All": None, "Dates": None}
ROWS = 100
# More errors than a week's cannot be seen one by one.
MANY = 2_016
VIEWS = {
    "Price": "Actual prices, and the bands that they were forecast to be in",
    "Error": "Actual prices against their forecasts, and the bands",
    "Hits": "How often prices were in their bands and directions right, over time",
}
# Which forecast is open, by when it was made; in the link as the filters are.
OPEN = "made"
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
    figure = shell.read(_figure, view, period, now, choice, shell.zone(), of=OF)
    if figure is None:
        parts.aside(
            "Too few of these forecasts have an actual price for that: shares over time take two stretches of "
            f"{ENOUGH_OUTCOMES} outcomes that do not overlap."
            if view == "Hits"
            else "None of these forecasts has an actual price yet."
        )
        return
    st.plotly_chart(figure, key="over-time", config=CONFIG, alt=VIEWS[view])


def _figure(workspace: Workspace, view: str, period: Period, now: datetime, choice: Choice, zone: Zone) -> Any:
    rows = history(period, now).rows
    asked = rows[choice.of(rows) & rows["actual_price"].notna()]
    if asked.empty:
        return None
    interval = workspace.spec.interval
    if view == "Hits":
        shares = shares_over_time(asked)
        return charts.over_time(shares, zone) if len(shares) > 1 else None
    if view == "Error":
        return error_chart(asked.tail(MANY), interval, zone)
    # All of them are the line; what the filters leave of them is marked on it.
    marked = asked if len(asked) <= charts.MANY_MARKS or choice != Choice() else asked.head(0)
    settled = rows[rows["actual_price"].notna()]
    return charts.against_actual(settled, marked, interval, workspace.settings.market.currency, zone)


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
        _open(times[row])


def _open(made_at: pd.Timestamp) -> None:
    st.query_params[OPEN] = f"{made_at.tz_convert('UTC'):%Y-%m-%dT%H:%MZ}"


def asked_for(rows_of: History, asked: Chosen) -> datetime:
    """When the forecast that is open was made: the one that the link names, else the newest whose price is known."""
    try:
        made_at = datetime.fromisoformat(st.query_params.get(OPEN, ""))
        return made_at.replace(tzinfo=made_at.tzinfo or UTC)
    except ValueError:
        rows = rows_of.rows.iloc[np.sort(asked.positions)]
        known = rows[rows["actual_price"].notna()]
        newest: datetime = (known if len(known) else rows)["made_at"].iloc[-1].to_pydatetime()
        return newest


def ordered(rows_of: History, asked: Chosen) -> np.ndarray:
    """Positions of what is asked for, in the order that a viewer wants."""
    return in_order(rows_of, asked, ask_order())


def browse(rows_of: History, asked: Chosen, made_at: datetime) -> None:
    """To the forecasts before and after the open one, of those that are asked for."""
    times = rows_of.rows["made_at"].iloc[np.sort(asked.positions)].reset_index(drop=True)
    before, after = times[times < made_at], times[times > made_at]
    for label, icon, beyond, at in (
        ("Earlier", ":material/chevron_left:", before, -1),
        ("Later", ":material/chevron_right:", after, 0),
    ):
        there = [] if beyond.empty else [beyond.iloc[at]]
        st.button(label, icon=icon, on_click=_open, args=there, disabled=not there, type="tertiary")


def opened(made_at: datetime, now: datetime) -> None:
    """The forecast that was made then, and what came of it."""
    one = shell.read(read_opened, made_at, now, of=OF)
    if one is None:
        parts.aside(f"No forecast was made at {shell.zone().told(made_at, now)}.")
        return
    _opened(one)


def _opened(one: Opened) -> None:
    forecast, zone = one.forecast, shell.zone()
    made, target = (forecast[name] for name in ("made_at", "target_at"))
    figure = charts.fan(forecast, one.bars, shell.market().spec.interval, shell.market().settings.market.currency, zone)
    st.plotly_chart(figure, key="fan", config=CONFIG, alt="The forecast's bands, and the bars that came")
    predicted, actual = forecast["predicted_price"], forecast["actual_price"]
    if pd.isna(forecast["outcome"]):
        came = f"{text.PENDING}: its time is {zone.told(target, made)}"
    elif pd.isna(actual):
        came = f"{text.OUTCOMES[forecast['outcome']]}: no price came in time"
    else:
        came = (
            f"{text.OUTCOMES[forecast['outcome']]}: actual {price(actual)}, {text.change(actual / predicted - 1)} off"
        )
    unwritten = "" if one.written else ", not written yet"
    parts.aside(
        plain(
            f"Made {zone.told(made, target)} at {price(forecast['price'])} for {zone.told(target, made)}: "
            f"{price(predicted)}, {text.DIRECTIONS[forecast['direction']]}, chance of a rise "
            f"{text.odds(forecast['p_up'])}. {came}{unwritten}."
        )
    )
    by_model = json.loads(forecast["by_model"])
    if by_model:
        said = pd.DataFrame({"Model": map(name, by_model), "Forecast": by_model.values()})
        said["Actual - forecast"] = actual - said["Forecast"]
        digits = text.decimals(predicted)
        st.dataframe(
            said.sort_values("Forecast", ignore_index=True),
            hide_index=True,
            placeholder="",
            column_config={
                "Forecast": st.column_config.NumberColumn(format="accounting" if digits == 2 else f"%.{digits}f"),
                "Actual - forecast": st.column_config.NumberColumn(format=f"%+.{digits}f"),
            },
            alt="What each model said",
        )


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
