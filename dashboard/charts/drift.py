"""The figures of the page Drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cryptosentinel.drift import DriftReport, Histogram, in_words
from dashboard.charts.base import DOWN, FORECAST, QUIET, UP, in_utc, naive, naive_time, new_figure
from dashboard.data.drift import champions
from dashboard.zone import UTC_ZONE, Zone

_REST, _BASELINE = "rgba(138,146,158,.15)", "rgba(138,146,158,.45)"
_LINES = ((DOWN, "solid"), (UP, "dash"))
# More changes of the champion than these are marked at the bottom only.
_MOST_NAMED = 8
# More points than these touch each other.
_MANY = 300


@dataclass(frozen=True)
class Level:
    """A figure against its limit.

    Attributes:
        name: what it is of, in words.
        value: at most 1 is the whole scale; `limit` is on the same.
        shown: the figure for people.
    """

    name: str
    value: float
    limit: float
    shown: str


def gauge_figure(levels: Sequence[Level], limit_in_words: str) -> go.Figure:
    """A bar a figure, on a scale that ends at 1, with the limit across all of them; above it a bar is hatched."""
    figure = go.Figure()
    names = [level.name for level in levels]
    values = np.array([level.value for level in levels])
    above = values > np.array([level.limit for level in levels])
    figure.add_bar(y=names, x=[1] * len(levels), orientation="h", marker_color=_REST, hoverinfo="skip", width=0.62)
    figure.add_bar(
        y=names,
        x=np.clip(values, 0.004, 1),
        orientation="h",
        width=0.34,
        marker={
            "color": np.where(above, DOWN, UP),
            "pattern": {"shape": np.where(above, "/", "").tolist(), "fgcolor": "#fff", "size": 6},
        },
        hoverinfo="skip",
    )
    limit = levels[0].limit
    figure.add_vline(x=limit, line={"color": FORECAST, "width": 3})
    figure.add_annotation(
        x=limit, y=1, yref="paper", yanchor="bottom", showarrow=False, text=limit_in_words, font_size=12,
        xanchor="right" if limit > 0.6 else "left",
    )  # fmt: skip
    for level in levels:
        figure.add_annotation(x=1, xanchor="right", y=level.name, text=f"<b>{level.shown}</b>", showarrow=False)
    figure.update_layout(
        barmode="overlay",
        showlegend=False,
        height=50 + 52 * len(levels),
        margin={"l": 8, "r": 8, "t": 28, "b": 4},
        dragmode=False,
    )
    figure.update_xaxes(range=[0, 1], visible=False, fixedrange=True)
    figure.update_yaxes(autorange="reversed", ticksuffix="  ", automargin=True, showgrid=False, fixedrange=True)
    return figure


def score_gauge(report: DriftReport) -> go.Figure:
    """The score of each window against the threshold."""
    levels = [
        Level(f"last {in_words(window.hours)}", window.score, report.threshold, f"{window.score:.0%}")
        for window in report.windows
    ]
    return gauge_figure(levels, f" threshold {report.threshold:.0%} ")


def then_and_now(histogram: Histogram, windows: Sequence[str]) -> go.Figure:
    """The baseline as a filled shape, and each window as a line of its own kind over it; shares of rows a bin.

    Args:
        histogram: of a feature.
        windows: what each is called.
    """
    figure = new_figure(340, "")
    edges = np.array(histogram.edges)
    figure.add_bar(
        x=(edges[:-1] + edges[1:]) / 2,
        y=_shares(histogram.baseline),
        width=np.diff(edges),
        name="the baseline",
        marker={"color": _BASELINE, "line_width": 0},
        hovertemplate="%{y:.1f}%",
    )
    for counts, words, (colour, dash) in zip(histogram.windows, windows, _LINES, strict=False):
        shares = _shares(counts)
        figure.add_scatter(
            x=[edges[0], *edges],
            y=[0, *shares, shares[-1]],
            mode="lines",
            line={"color": colour, "width": 2, "dash": dash, "shape": "hv"},
            name=f"the last {words}",
            hovertemplate="%{y:.1f}%",
        )
    figure.update_xaxes(title=histogram.feature, tickformat="~g", hoverformat=".4~g", ticksuffix="")
    figure.update_yaxes(title="of rows", ticksuffix="%", tickformat="~g")
    figure.update_layout(bargap=0)
    return figure


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [100 * count / total for count in counts]


def history_figure(history: pd.DataFrame, zone: Zone = UTC_ZONE) -> go.Figure:
    """Scores over time against the threshold, and when another champion's baseline began to count.

    Args:
        history: as `data.drift.read_history`, at least a row.
        zone: of the time axis.
    """
    end = history["data_end"].iloc[-1]
    offset, label = zone.offset(end), zone.label(end)
    figure = new_figure(340, label)
    times = history["data_end"] + offset
    figure.add_scatter(
        x=naive(times),
        y=100 * history["score"],
        mode="lines",
        line={"color": QUIET, "width": 1.2, "shape": "hv"},
        showlegend=False,
        hoverinfo="skip",
    )
    for drifted, symbol, colour, words in ((False, "circle", UP, "no drift"), (True, "x", DOWN, "drift")):
        rows = history["drifted"].astype(bool) == drifted
        figure.add_scatter(
            x=naive(times[rows]),
            y=100 * history.loc[rows, "score"],
            customdata=history.loc[rows, "bundle_version"],
            mode="markers",
            marker={"symbol": symbol, "color": colour, "size": 9 if drifted else 6 if len(history) < _MANY else 3},
            name=words,
            **in_utc(history.loc[rows, "data_end"], offset),
            hovertemplate="%{y:.0f}%, champion %{customdata} %{text}",
        )
    figure.add_scatter(
        x=naive(times),
        y=100 * history["threshold"],
        mode="lines",
        line={"color": FORECAST, "width": 2, "dash": "dash", "shape": "hv"},
        name="threshold",
        hovertemplate="%{y:.0f}%",
    )
    changes = champions(history)
    figure.add_scatter(
        x=naive(changes["data_end"] + offset),
        y=[0] * len(changes),
        customdata=changes["bundle_version"],
        mode="markers",
        marker={"symbol": "triangle-up", "color": FORECAST, "size": 11},
        name="another champion",
        cliponaxis=False,
        hovertemplate="version %{customdata}",
    )
    if len(changes) <= _MOST_NAMED:
        for at, version in zip(changes["data_end"] + offset, changes["bundle_version"], strict=True):
            time = naive_time(at)
            figure.add_vline(x=time, line={"color": FORECAST, "width": 1, "dash": "dot"})
            figure.add_annotation(x=time, y=1, yref="paper", text=f"version {version}", showarrow=False, xanchor="left")
    # Room for the names of versions above the threshold, and for whole marks at 0.
    top = 130 * max(history["score"].max(), history["threshold"].max(), 0.2)
    figure.update_yaxes(ticksuffix="%", tickformat="~g", range=[-0.03 * top, top], title="of features, by importance")
    figure.update_xaxes(hoverformat=f"%d %b %Y %H:%M {label}")
    return figure
