"""The pipelines: how each did last and when it is next, a button that runs it, what ran before, logs, settings."""

from __future__ import annotations

from functools import partial
from typing import Literal, TypedDict

import streamlit as st

from cryptosentinel.runs import KINDS, Kind, Run
from dashboard import parts, parts_runs, shell
from dashboard.charts.pipelines import duration_chart
from dashboard.data.market import is_recorded
from dashboard.data.pipelines import (
    ABOUT,
    NAMES,
    STATES,
    chosen,
    duration_table,
    read_settings,
    run_table,
    setting_table,
    utc_now,
)
from dashboard.text import plain

# What fits beside the chart.
ROWS = 14
# What runs are filtered by: with those under way the row is too long for a phone.
ENDED = ("succeeded", "failed", "stopped")


def _head() -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.header("Pipelines", anchor=False, width="content")
        here = parts_runs.runs_here()
        if here.url:
            st.link_button(f"Open {here.name}", here.url, icon=":material/open_in_new:")
    refused = shell.may_act().refused
    parts.aside(f"They run on {here.name}." + (f" {plain(refused)}" if refused else ""))
    if problem := parts_runs.recent().problem:
        st.warning(plain(problem), icon=":material/cloud_off:")


def _cards() -> None:
    columns = st.columns(len(KINDS), gap="small")
    for column, kind in zip(columns, KINDS, strict=True):
        with column, st.container(border=True, height="stretch"):
            told = partial(_told, kind)
            parts_runs.asking(kind, explained=f"{ABOUT[kind]}.", above=partial(_title, kind), below=told)


def _title(kind: Kind, run: Run | None) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.subheader(NAMES[kind], anchor=False, width="content")
        parts_runs.badge(run)


def _told(kind: Kind, run: Run | None) -> None:
    last = "" if run is None else f"Last {shell.zone().told(run.began_at, utc_now())}"
    took = "" if run is None or run.under_way else f", took {run.seconds(utc_now()):.1f} s"
    parts.aside(f"{ABOUT[kind]}.  \n{last}{took}{'.' if last else ''} {_next(kind)}")


def _next(kind: Kind) -> str:
    if kind == "drift":
        return "Comes with each training."
    if is_recorded(shell.market()):
        return "The recording has ended: no schedule runs it."
    if parts_runs.runs_here().refusal(kind):
        return "Nothing runs it by its schedule now."
    return f"Next {shell.when(kind)}."


@st.fragment(run_every=shell.REFRESH_S)
@shell.explained
def _history() -> None:
    st.header("History", anchor=False)
    recent = parts_runs.recent().runs
    if not recent:
        st.info("Nothing has run yet. What runs is listed here, with how long it took and what came of it.")
        return
    left, right = st.columns(2)
    kinds = left.pills("Pipelines", KINDS, selection_mode="multi", format_func=NAMES.__getitem__, **_linked("kind"))
    states = right.pills("Outcomes", ENDED, selection_mode="multi", format_func=STATES.__getitem__, **_linked("state"))
    shown, zone = chosen(recent, kinds, states), shell.zone()
    if not shown:
        st.info("No run is like that. Choose other pipelines or outcomes.")
        return
    ended = duration_table(shown)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        if len(ended):
            figure = duration_chart(ended, NAMES, zone)
            parts.chart(figure, "durations", "How long runs took, by pipeline and outcome")
    with right:
        st.dataframe(
            run_table(shown, utc_now()),
            hide_index=True,
            height=560 if len(shown) > ROWS else "content",
            column_config={
                "Began": st.column_config.DatetimeColumn(format="MMM D, HH:mm:ss", timezone=zone.name),
                "Took": st.column_config.NumberColumn(format="%.1f s"),
            },
            alt=f"Runs, the newest first; times in {zone.name}",
        )
    parts_runs.log_of_one([run for run in shown if run.has_log])


def _settings() -> None:
    st.header("Settings in force", anchor=False)
    every = st.toggle("Defaults too", **_linked("defaults"))
    known = shell.read(read_settings, of=())
    table = setting_table([each for each in known if every or each.changed])
    st.dataframe(table, hide_index=True, height="content" if len(table) < 12 else 420, alt="The settings in force")
    parts.aside(f"{sum(each.changed for each in known)} of {len(known)} are changed. Secrets are hidden.")


class _Linked(TypedDict):
    key: str
    bind: Literal["query-params"]


def _linked(key: str) -> _Linked:
    return {"key": key, "bind": "query-params"}


_head()
_cards()
_history()
shell.explained(_settings)()
