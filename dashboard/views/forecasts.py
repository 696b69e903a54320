"""Forecasts: the current one, all those made before, what came of them, and how good they were."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import parts, parts_forecasts, parts_now, parts_opened, parts_record, shell
from dashboard.data.home import Home


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
        parts_now.forecast(home)
    _past(home)


def _past(home: Home) -> None:
    # The last bar that may have closed: what is due then stays the same until the next one.
    now = pd.Timestamp(home.now).floor(home.interval.delta).to_pydatetime()
    st.header("Past forecasts", anchor=False)
    with st.container(horizontal=True, gap="small"):
        period = parts_forecasts.ask_period(now)
        history = parts_forecasts.history(period, now)
        choice = parts_forecasts.ask_choice(history.rows)
    parts_forecasts.remember(period, choice, now)
    if history.rows.empty:
        st.info("No forecast was made in this time.")
        return
    chosen = parts_forecasts.chosen(period, now, choice)
    if not len(chosen.positions):
        st.info("No forecast is as the filters ask.")
        return
    parts_record.record(chosen.accuracy, home.limits.flat_move)
    if choice.outcomes:
        parts.aside("Chosen by what came of them: these figures say nothing of how good the others were.")

    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.header("Forecasts against what came", anchor=False, width="content")
        view = parts_forecasts.ask_view()
    parts_forecasts.over_time(view, period, now, choice)

    left, right = st.columns([3, 2], gap="medium")
    with left:
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.header(f"{len(chosen.positions):,} forecasts", anchor=False, width="content")
            positions = parts_forecasts.ordered(history, chosen)
        parts_forecasts.table(history, positions)
    with right:
        made_at = parts_opened.asked_for(history, chosen)
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.header("One forecast", anchor=False, width="content")
            with st.container(horizontal=True, width="content", gap="small"):
                parts_opened.browse(history, chosen, made_at)
        parts_opened.opened(made_at, now)


live()
parts_forecasts.downloads()
