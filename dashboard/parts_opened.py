"""The forecast of the page of forecasts that is open: which one, the one before and after it, and what came of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cryptosentinel.workspace import Workspace
from dashboard import parts, shell, text
from dashboard.charts.forecasts import fan
from dashboard.data.forecasts import Chosen, History, Opened, read_opened
from dashboard.shell import Table
from dashboard.text import name, plain, price
from dashboard.zone import Zone

OF: tuple[Table, ...] = ("forecasts", "bars")
# When it was made; in the link as the filters are.
OPEN = "made"


def open_at(made_at: pd.Timestamp) -> None:
    """Opens the forecast that was made then."""
    st.query_params[OPEN] = f"{made_at.tz_convert('UTC'):%Y-%m-%dT%H:%MZ}"


def asked_for(rows_of: History, asked: Chosen) -> datetime:
    """When the forecast that is open was made: the one that the link names, else the newest whose price is known."""
    try:
        made_at = datetime.fromisoformat(st.query_params.get(OPEN, ""))
        pd.Timestamp(made_at).as_unit("ns")  # no store knows of other times
        return made_at.replace(tzinfo=made_at.tzinfo or UTC)
    except ValueError:
        rows = rows_of.rows.iloc[np.sort(asked.positions)]
        known = rows[rows["actual_price"].notna()]
        newest: datetime = (known if len(known) else rows)["made_at"].iloc[-1].to_pydatetime()
        return newest


def browse(rows_of: History, asked: Chosen, made_at: datetime) -> None:
    """To the forecasts before and after the open one, of those that are asked for."""
    times = rows_of.rows["made_at"].iloc[np.sort(asked.positions)].reset_index(drop=True)
    before, after = times[times < made_at], times[times > made_at]
    for label, icon, beyond, at in (
        ("Earlier", ":material/chevron_left:", before, -1),
        ("Later", ":material/chevron_right:", after, 0),
    ):
        there = [] if beyond.empty else [beyond.iloc[at]]
        st.button(label, icon=icon, on_click=open_at, args=there, disabled=not there, type="tertiary")


def opened(made_at: datetime, now: datetime) -> None:
    """The forecast that was made then, and what came of it."""
    zone = shell.zone()
    one, figure = shell.read(_drawn, made_at, now, zone, of=OF)
    if one is None:
        parts.aside(plain(f"No forecast was made at {zone.told(made_at, now)}."))
        return
    parts.chart(figure, "fan", "The forecast's bands, and the bars that came")
    _told(one, zone)


def _drawn(workspace: Workspace, made_at: datetime, now: datetime, zone: Zone) -> tuple[Opened | None, go.Figure]:
    one = read_opened(workspace, made_at, now)
    if one is None:
        return None, go.Figure()
    return one, fan(one.forecast, one.bars, workspace.spec.interval, workspace.settings.market.currency, zone)


def _told(one: Opened, zone: Zone) -> None:
    forecast = one.forecast
    made, target = (forecast[name] for name in ("made_at", "target_at"))
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
