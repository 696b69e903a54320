"""The market's regimes behind its price, as forecasts named them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.base import DOWN, QUIET, UP, in_utc, naive, new_figure, number_format
from dashboard.data.analysis import Regimes
from dashboard.text import name
from dashboard.zone import UTC_ZONE, Zone

# Regimes by colour, and by the sign that is beside their names wherever they are.
REGIMES = {
    "downtrend": (DOWN, "▼"),
    "uptrend": (UP, "▲"),
    "accumulation": ("#2a9d8f", "═"),
    "distribution": ("#b5a020", "≈"),
    "unknown": (QUIET, "?"),
}


def regime_figure(found: Regimes, currency: str, zone: Zone = UTC_ZONE) -> go.Figure:
    """The price with its regimes behind it, and below how much of the time was in each: a lane a regime, by name."""
    end = found.starts[-1]
    offset, label = zone.offset(end), zone.label(end)
    figure = new_figure(540, label)
    closes = found.closes
    low, high = closes["close"].min(), closes["close"].max()
    margin = 0.04 * (high - low)
    seen = [number for number, row in enumerate(found.shares) if np.nansum(row) > 0]
    leading = np.where(np.isnan(found.shares[0]), -1, np.nan_to_num(found.shares).argmax(axis=0))
    edges = naive(pd.Series(found.starts.append(found.starts[-1:] + found.step) + offset))
    for lane, number in enumerate(seen):
        regime, (colour, sign) = list(REGIMES.items())[number]
        x: list[object] = []
        y: list[object] = []
        for first, last in _runs(leading == number):
            x += [edges[first], edges[first], edges[last], edges[last], None]
            y += [low - margin, high + margin, high + margin, low - margin, None]
        figure.add_scatter(
            x=x,
            y=y,
            fill="toself",
            fillcolor=_faint(colour),
            mode="lines",
            line={"width": 0},
            name=f"{sign} {name(regime)}",
            hoverinfo="skip",
        )
        figure.add_heatmap(
            x=edges,
            y=[lane - 0.05, lane + 0.45],
            z=[100 * found.shares[number]],
            yaxis="y2",
            zmin=0,
            zmax=100,
            colorscale=[[0, "rgba(138,146,158,.1)"], [1, colour]],
            showscale=False,
            name=f"{sign} {name(regime)}",
            hovertemplate="%{z:.0f}% of the time",
        )
        # Above its lane: beside it, it would take half a phone's width.
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=lane - 0.05,
            yref="y2",
            yanchor="bottom",
            text=f"{sign} {name(regime)}",
            showarrow=False,
            font_size=12,
        )
    figure.add_scatter(
        x=naive(closes["timestamp"] + offset),
        y=closes["close"],
        mode="lines",
        name="price",
        line={"color": QUIET, "width": 2},
        **in_utc(closes["timestamp"], offset),
        hovertemplate=f"%{{y:{number_format(high)}}} %{{text}}",
    )
    figure.update_layout(
        yaxis={"domain": [0.36, 1], "title": currency.upper(), "range": [low - margin, high + margin]},
        yaxis2={"domain": [0, 0.3], "range": [len(seen) - 0.5, -0.5], "visible": False, "fixedrange": True},
        showlegend=False,
        xaxis={"anchor": "y2", "range": [edges[0], edges[-1]], "hoverformat": f"%d %b %Y %H:%M {label}"},
    )
    return figure


def _runs(where: np.ndarray) -> list[tuple[int, int]]:
    """The first of each run of true values, and one behind its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], where.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},.17)"
