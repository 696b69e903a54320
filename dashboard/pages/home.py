"""The first page: the price, the forecast with its uncertainty, how good forecasts have been, what is wrong."""

from __future__ import annotations

from datetime import timedelta

import streamlit as st

from cryptosentinel.predicting import is_outlying, is_widened, measure
from dashboard import parts, shell, text
from dashboard.charts.base import CONFIG
from dashboard.charts.price import error_chart, price_chart
from dashboard.data.home import Home, forecast_table, settled, since

HOURS = (3, 6, 12, 24)
TABLE_ROWS = 36


@st.fragment(run_every=shell.REFRESH_S)
@shell.explained
def live() -> None:
    """The whole page in one piece, so that its parts show the same moment."""
    home = shell.home()
    if home is None:
        st.info(f"No bars yet. The feature pipeline brings them {shell.when('feature')}; forecasts follow.")
        return
    _state(home)
    with st.container(horizontal=True, gap="small"):
        _price(home)
        _forecast(home)
    parts.models(home, shell.zone())
    hours = _chart(home)
    if len(home.forecasts):
        _past(home, hours)


def _state(home: Home) -> None:
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
    if home.expired:
        st.warning(
            f"The newest forecast was for {shell.zone().told(home.forecast['target_at'], home.clock)}, which is past. "
            f"The inference pipeline runs again {shell.when('inference')}.",
            icon=":material/warning:",
        )
    parts.alerts(home.alerts, home.clock, shell.zone())


def _price(home: Home) -> None:
    day = home.quote.change_24h
    parts.card(
        f"Price, {text.plain(shell.market().settings.market.currency.upper())}",
        text.price(home.quote.price),
        "24 h: not known" if day is None else f"{text.arrow(day)} {text.change(day)} in 24 h",
        parts.tone(day or 0),
    )


def _forecast(home: Home) -> None:
    if home.forecast is not None:
        parts.forecast(home, home.forecast, shell.zone())
    elif not home.abstained:
        st.info(f"No forecast yet. The inference pipeline makes the first {shell.when('inference')}.")


def _chart(home: Home) -> int:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.header("Price and forecast", anchor=False, width="content")
        hours = st.segmented_control(
            "Hours shown",
            HOURS,
            default=6,
            required=True,
            format_func=lambda count: f"{count}h",
            key="hours",
            bind="query-params",
            label_visibility="collapsed",
        )
    currency = shell.market().settings.market.currency
    figure = price_chart(home.bars, home.forecasts, home.interval, hours, currency, shell.zone(), expired=home.expired)
    st.plotly_chart(figure, key="price", config=CONFIG, alt="Candlesticks of the price, and the forecast")
    return hours


def _past(home: Home, hours: int) -> None:
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.header("Actual price against forecast", anchor=False)
        recent = settled(since(home.forecasts, "target_at", home.quote.at - timedelta(hours=hours)))
        if recent.empty:
            parts.aside("No forecast for these hours has been settled yet.")
        else:
            figure = error_chart(recent, home.interval, shell.zone())
            st.plotly_chart(figure, key="errors", config=CONFIG, alt="Errors of past forecasts and their bands")
    with right:
        # What is read is that of `RECORD_WINDOW`; a young market has less.
        st.header(f"Record of the last {text.duration(home.now - home.forecasts['made_at'].iloc[0])}", anchor=False)
        parts.record(measure(home.forecasts), home.limits.flat_move)
    st.header("Latest forecasts", anchor=False)
    parts.forecasts(forecast_table(home.forecasts, TABLE_ROWS), text.decimals(home.quote.price), shell.zone())


live()
