"""The first page: the price, the forecast with its uncertainty, how good forecasts have been, what is wrong."""

from __future__ import annotations

import streamlit as st

from dashboard import parts, parts_home, parts_now, parts_record, shell, text
from dashboard.data.home import Home, forecast_table
from dashboard.parts_home import Drawn

HOURS = {3: "3h", 6: "6h", 12: "12h", 24: "24h", 72: "3d", 168: "7d"}
TABLE_ROWS = 36


@st.fragment(run_every=shell.REFRESH_S)
@shell.explained
def live() -> None:
    """The whole page in one piece, so that its parts show the same moment."""
    home = shell.home()
    if home is None:
        st.info(f"No bars yet. The feature pipeline brings them {shell.when('feature')}; forecasts follow.")
        return
    parts_now.state(home)
    with st.container(horizontal=True, gap="small"):
        _price(home)
        parts_now.forecast(home)
    parts.models(home, shell.zone())
    drawn = _chart(home)
    if len(home.forecasts):
        _past(home, drawn)


def _price(home: Home) -> None:
    day = home.quote.change_24h
    parts.card(
        f"Price, {text.plain(shell.market().settings.market.currency.upper())}",
        text.price(home.quote.price),
        "24 h: not known" if day is None else f"{text.arrow(day)} {text.change(day)} in 24 h",
        parts.tone(day or 0),
    )


def _chart(home: Home) -> Drawn:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.header("Price and forecast", anchor=False, width="content")
        hours = st.segmented_control(
            "Hours shown",
            HOURS,
            default=6,
            required=True,
            format_func=HOURS.__getitem__,
            key="hours",
            bind="query-params",
            label_visibility="collapsed",
        )
    drawn = parts_home.drawn(home, hours)
    parts.chart(drawn.price, "price", "Candlesticks of the price, and the forecast")
    return drawn


def _past(home: Home, drawn: Drawn) -> None:
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.header("Actual price against forecast", anchor=False)
        if drawn.errors is None:
            parts.aside("No forecast for these hours has been settled yet.")
        else:
            parts.chart(drawn.errors, "errors", "Errors of past forecasts and their bands")
    with right:
        # What is read is that of `RECORD_WINDOW`; a young market has less.
        st.header(f"Record of the last {text.duration(home.now - home.forecasts['made_at'].iloc[0])}", anchor=False)
        parts_record.record(drawn.record, home.limits.flat_move)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.header("Latest forecasts", anchor=False, width="content")
        st.page_link("views/forecasts.py", label="All forecasts", icon=":material/arrow_forward:")
    parts.forecasts(
        forecast_table(home.forecasts.iloc[::-1].head(TABLE_ROWS)), text.decimals(home.quote.price), shell.zone()
    )


live()
