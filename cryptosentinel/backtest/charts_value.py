"""Charts of the middle, the side, the gate and the money."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from cryptosentinel.backtest import drawing
from cryptosentinel.backtest.charts_width import month_axis, month_names
from cryptosentinel.backtest.drawing import BLUE, ORANGE, PURPLE, QUIET
from cryptosentinel.backtest.models import BacktestFigures
from cryptosentinel.backtest.records import Training
from cryptosentinel.backtest.rows import Rows

if TYPE_CHECKING:
    import plotly.graph_objects as go

_BARS = 48
_COST_LINES = {0.0: "solid", 5.0: "dash", 10.0: "dot"}


def skill_by_month(figures: BacktestFigures) -> go.Figure | None:
    """The served point forecast's skill by month; None where it was always that the price stays, or in one month."""
    if figures.point.zero or len(figures.months) < 2:
        return None
    values = [100 * part.skill for part in figures.months]
    figure = drawing.new_chart(300, showlegend=False)
    figure.add_hline(y=-0.15, line={"color": ORANGE, "width": 1.5, "dash": "dash"})
    figure.add_bar(
        x=month_names(figures),
        y=values,
        marker={
            "color": [BLUE if value >= 0 else ORANGE for value in values],
            "pattern": {"shape": ["" if value >= 0 else "/" for value in values], "size": 5},
        },
        hovertemplate="%{y:+.3f}%<extra></extra>",
    )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    figure.update_yaxes(ticksuffix="%")
    month_axis(figure, figures)
    return figure


def accuracy_by_month(figures: BacktestFigures) -> go.Figure | None:
    """Share of directions right by month, with its interval, beside the share of the more frequent direction."""
    months = figures.months
    if len(months) < 2:
        return None
    x = month_names(figures)
    figure = drawing.new_chart(300)
    figure.add_scatter(
        x=x,
        y=[100 * part.accuracy.value for part in months],
        error_y={
            "type": "data",
            "array": [100 * (part.accuracy.high - part.accuracy.value) for part in months],
            "arrayminus": [100 * (part.accuracy.value - part.accuracy.low) for part in months],
            "color": BLUE,
            "thickness": 1.5,
            "width": 4,
        },
        mode="markers",
        name="directions right, 95% interval",
        marker={"color": BLUE, "size": 9},
        hovertemplate="%{y:.1f}%",
    )
    figure.add_scatter(
        x=x,
        y=[100 * part.majority for part in months],
        mode="markers",
        name="the more frequent direction",
        marker={"symbol": "line-ew", "size": 16, "line": {"color": ORANGE, "width": 2.5}},
        hovertemplate="%{y:.1f}%",
    )
    figure.update_yaxes(ticksuffix="%")
    month_axis(figure, figures)
    return figure


def reliability(figures: BacktestFigures, rows: Rows) -> go.Figure:
    """What came against what was said, and how often it was said."""
    bins = figures.direction.reliability
    said, came = (np.array([100 * getattr(one, name) for one in bins]) for name in ("forecast", "observed"))
    error = drawing.wilson(came / 100, np.array([one.count / figures.overlap for one in bins]), PURPLE)
    p = 100 * rows.p_up[np.isfinite(rows.p_up)]
    low, high = float(np.quantile(p, 0.001)), float(np.quantile(p, 0.999))
    margin = max(0.05 * (high - low), 0.5)
    span = [max(min(low, said.min()) - margin, 0), min(max(high, said.max()) + margin, 100)]
    bottom, top = (came - error["arrayminus"]).min(), (came + error["array"]).max()
    figure = drawing.stacked_charts(400, [0.72, 0.28], hovermode="closest")
    figure.add_scatter(
        x=span,
        y=span,
        mode="lines",
        name="as said",
        line={"color": QUIET, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=said,
        y=came,
        error_y=error,
        customdata=[one.count for one in bins],
        mode="markers",
        name="what came, 95% interval",
        marker={"color": PURPLE, "size": 9},
        hovertemplate="said %{x:.1f}%, came %{y:.1f}% of %{customdata:,} forecasts<extra></extra>",
    )
    counts, edges = np.histogram(p, bins=_BARS, range=(span[0], span[1]))
    figure.add_bar(
        x=(edges[1:] + edges[:-1]) / 2,
        y=counts,
        name="forecasts",
        showlegend=False,
        marker={"color": QUIET},
        hovertemplate="%{y:,} forecasts near %{x:.1f}%<extra></extra>",
        row=2,
        col=1,
    )
    figure.update_xaxes(range=span, ticksuffix="%")
    span_y = [max(min(bottom, span[0]) - margin, 0), min(max(top, span[1]) + margin, 100)]
    figure.update_yaxes(range=span_y, ticksuffix="%", row=1, col=1)
    figure.update_yaxes(nticks=3, tickformat=",~s", row=2, col=1)
    return figure


def gate_timeline(trainings: Sequence[Training], end: datetime) -> go.Figure | None:
    """What served forecasts took of the blend until `end`, and what the gate said of each training; None without any.

    Rings are what a training estimated, where the gate let none of it speak.
    """
    if not trainings:
        return None
    figure = drawing.new_chart(280, hovermode="closest")
    times = [time.replace(tzinfo=None) for time in (*(training.made_at for training in trainings), end)]
    x = drawing.millis(np.array(times, "datetime64[ms]"))
    estimated = np.array([100 * training.weight for training in trainings])
    spoken = np.array([100 * training.spoken_weight for training in trainings])
    promoted = np.array([training.gate.promote for training in trainings])
    newest = np.maximum.accumulate(np.where(promoted, np.arange(len(trainings)), -1))
    weight = np.where(newest >= 0, spoken[newest], 0.0)  # of version 0, nothing
    figure.add_scatter(
        x=x,
        y=np.append(weight, weight[-1]),
        mode="lines",
        name="served",
        hoverinfo="skip",
        line={"color": QUIET, "width": 1.2, "shape": "hv"},
    )
    silent = ~promoted | (spoken < estimated)
    for chosen, label, symbol, colour, y in (
        (promoted, "promoted", "circle", BLUE, weight),
        (~promoted, "refused", "x", ORANGE, weight),
        (silent & (estimated >= 0.5), "estimated; the gate let none of it speak", "circle-open", QUIET, estimated),
    ):
        figure.add_scatter(
            x=x[:-1][chosen],
            y=y[chosen],
            mode="markers",
            name=label,
            marker={"symbol": symbol, "color": colour, "size": 9},
            cliponaxis=False,
            customdata=[_hover(trainings[number]) for number in np.flatnonzero(chosen).tolist()],
            hovertemplate="%{x|%d %b %Y %H:%M UTC}<br>weight %{y:.0f}%<br>%{customdata}<extra></extra>",
        )
    margin = 0.02 * (x[-1] - x[0])
    drawing.time_axis(figure, range=[x[0] - margin, x[-1] + margin])
    figure.update_yaxes(ticksuffix="%", range=[0, max(1.15 * estimated.max(), 10)])
    return figure


def value_of_accounts(figures: BacktestFigures, name: str) -> go.Figure:
    """What one unit became, traded on every direction or on the top tenth, at each cost, beside holding."""
    figure = drawing.new_chart(330)
    x = drawing.millis(np.array([time.replace(tzinfo=None) for time in figures.strategy.times], "datetime64[ms]"))
    for account in figures.strategy.accounts:
        if account.name not in {name, "hold"}:
            continue
        hold = account.name == "hold"
        figure.add_scatter(
            x=x,
            y=drawing.small(np.array(account.values)),
            mode="lines",
            name="buy and hold" if hold else f"{account.cost_bp:g} bp",
            line={
                "color": QUIET if hold else PURPLE,
                "width": 1.4 if hold else 2,
                "dash": "solid" if hold else _COST_LINES.get(account.cost_bp, "dashdot"),
            },
            hovertemplate="%{y:.3g}",
        )
    figure.add_hline(y=1, line={"color": QUIET, "width": 1, "dash": "dash"})
    figure.update_yaxes(type="log", tickformat="~g", title={"text": "value, logarithmic"})
    drawing.time_axis(figure, hoverformat="%a %d %b %Y")
    return figure


def _hover(training: Training) -> str:
    reasons = "; ".join(training.gate.reasons)
    return "<br>".join(escape(line, quote=False) for line in textwrap.wrap(reasons, 60)[:4])
