"""Charts of the middle, the side, the gate and the money."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
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
    """The served point forecast's skill by month; None where it was always that the price stays."""
    if figures.point.zero:
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


def accuracy_by_month(figures: BacktestFigures) -> go.Figure:
    """Share of directions right by month, with its interval, beside the share of the more frequent direction."""
    months = figures.months
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
    independent = np.array([max(one.count / figures.overlap, 1) for one in bins])
    error = 1.96 * np.sqrt(came * (100 - came) / independent)
    p = 100 * rows.p_up[np.isfinite(rows.p_up)]
    low, high = float(np.quantile(p, 0.001)), float(np.quantile(p, 0.999))
    margin = max(0.05 * (high - low), 0.5)
    span = [min(low, said.min()) - margin, max(high, said.max()) + margin]
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
        error_y={"type": "data", "array": error, "color": PURPLE, "thickness": 1.3, "width": 3},
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
    figure.update_yaxes(ticksuffix="%", row=1, col=1)
    figure.update_yaxes(nticks=3, tickformat=",~s", row=2, col=1)
    return figure


def gate_timeline(trainings: Sequence[Training]) -> go.Figure | None:
    """Each training: how much of the blend it believed, and what the gate said; None where there was none."""
    if not trainings:
        return None
    figure = drawing.new_chart(280, hovermode="closest")
    x = drawing.millis(np.array([training.made_at.replace(tzinfo=None) for training in trainings], "datetime64[ms]"))
    weight = np.array([100 * training.weight for training in trainings])
    figure.add_scatter(
        x=x,
        y=weight,
        mode="lines",
        showlegend=False,
        hoverinfo="skip",
        line={"color": QUIET, "width": 1.2, "shape": "hv"},
    )
    for promote, label, symbol, colour in ((True, "promoted", "circle", BLUE), (False, "refused", "x", ORANGE)):
        chosen = [number for number, training in enumerate(trainings) if training.gate.promote == promote]
        figure.add_scatter(
            x=x[chosen],
            y=weight[chosen],
            mode="markers",
            name=label,
            marker={"symbol": symbol, "color": colour, "size": 9},
            customdata=[_hover(trainings[number]) for number in chosen],
            hovertemplate="%{x|%d %b %Y %H:%M UTC}<br>weight %{y:.0f}%<br>%{customdata}<extra></extra>",
        )
    drawing.time_axis(figure)
    figure.update_yaxes(ticksuffix="%", rangemode="tozero")
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
    figure.update_yaxes(type="log", tickformat="~g")
    drawing.time_axis(figure, hoverformat="%a %d %b %Y")
    return figure


def _hover(training: Training) -> str:
    reasons = "; ".join(training.gate.reasons)
    return "<br>".join(escape(line, quote=False) for line in textwrap.wrap(reasons, 60)[:4])
