"""How long runs took, a row of the figure for each pipeline; shape and colour say what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cryptosentinel.runs import Kind
from dashboard.charts.base import DOWN, QUIET, UP, naive, naive_time, shifted
from dashboard.zone import Zone

# Sign and colour of each state that a run ends in.
_MARKERS = {"succeeded": ("circle", UP), "failed": ("x", DOWN), "stopped": ("square-open", QUIET)}
# Pixels: of a row, and of its title above it.
_ROW, _BETWEEN = 120, 40
# Of a few runs the axis would else tell milliseconds.
_LEAST_SHOWN = timedelta(minutes=10)


def duration_chart(runs: pd.DataFrame, names: Mapping[Kind, str], zone: Zone) -> go.Figure:
    """See the module.

    Args:
        runs: rows of `data.pipelines.duration_table`, at least one.
        names: what each kind of run is called; only those with runs have a row.
        zone: of the time axis.
    """
    kinds = [kind for kind in names if (runs["kind"] == kind).any()]
    newest = runs["timestamp"].iloc[-1].to_pydatetime()
    label = zone.label(newest)
    figure = make_subplots(
        rows=len(kinds),
        shared_xaxes=True,
        vertical_spacing=_BETWEEN / (_ROW * len(kinds)),
        subplot_titles=[names[kind] for kind in kinds],
    )
    here, named = shifted(runs, zone.offset(newest)), set()
    for row, kind in enumerate(kinds, start=1):
        for state, (symbol, colour) in _MARKERS.items():
            of_it = here[(here["kind"] == kind) & (here["state"] == state)]
            if of_it.empty:
                continue
            figure.add_scatter(
                x=naive(of_it["timestamp"]),
                y=of_it["seconds"],
                mode="markers",
                marker={"symbol": symbol, "color": colour, "size": 8},
                name=state.capitalize(),
                legendgroup=state,
                showlegend=state not in named,
                hovertemplate="%{x|%d %b %H:%M:%S} " + label + f"<br>%{{y:.1f}} s, {state}<extra>{names[kind]}</extra>",
                row=row,
                col=1,
            )
            named.add(state)
    figure.update_layout(
        height=90 + _ROW * len(kinds),
        margin={"l": 8, "r": 8, "t": 56, "b": 8},
        dragmode=False,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yref": "container", "yanchor": "top"},
    )
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    figure.update_xaxes(showgrid=False)
    if here["timestamp"].iloc[-1] - here["timestamp"].iloc[0] < _LEAST_SHOWN:
        first, last = (naive_time(here["timestamp"].iloc[at]) for at in (0, -1))
        figure.update_xaxes(range=[first - _LEAST_SHOWN, last + _LEAST_SHOWN])
    figure.update_xaxes(title=label, row=len(kinds), col=1)
    figure.update_yaxes(side="right", rangemode="tozero", ticksuffix=" s", automargin=True, nticks=4)
    return figure
