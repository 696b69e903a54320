"""Charts of the spread: prices in their intervals, widths over time, coverage."""

from __future__ import annotations

from calendar import month_abbr
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cryptosentinel.backtest import drawing
from cryptosentinel.backtest.drawing import BLUE, FILL_80, FILL_95, FILL_LIMIT, ORANGE, PURPLE, QUIET, TEAL
from cryptosentinel.backtest.models import BacktestFigures
from cryptosentinel.backtest.rows import Array, Mask, Rows, Times

if TYPE_CHECKING:
    import plotly.graph_objects as go

_DETAIL, _OPENING, _AROUND, _DAY = (np.timedelta64(hours, "h") for hours in (14 * 24, 48, 18, 24))
MONTH_DAYS = 30
_ROLLING_DAYS = {7: (BLUE, "dot"), MONTH_DAYS: (PURPLE, "solid")}
_MONTH_LIMITS = {80: 2.0, 95: 1.0}
_HOUR_LIMIT = 6.0
_MOST_MONTHS = 18
_ENDS = ("lower_95", "lower_80", "upper_80", "upper_95")
_BASELINES = {"constant": (QUIET, ""), "ewma": (BLUE, "/"), "har": (TEAL, ".")}
BASELINE_NAMES = {"constant": "constant width", "ewma": "EWMA", "har": "HAR"}


@dataclass(frozen=True)
class View:
    """A part of the price chart to jump to.

    Attributes:
        label: on its button.
        x: from and to, in milliseconds of UTC; `y` likewise, in prices.
    """

    label: str
    x: tuple[float, float]
    y: tuple[float, float]


def prices(forecasts: pd.DataFrame, rows: Rows, currency: str) -> tuple[go.Figure, list[View]]:
    """Every bar of the last 14 days and of the time around the wildest move, with the intervals; first the last 2 days.

    Args:
        forecasts: all of them, settled or not: the newest intervals reach beyond the last price.
        rows: the settled ones.
        currency: of the prices.
    """
    made = forecasts["made_at"].to_numpy("datetime64[ms]")
    target = forecasts["target_at"].to_numpy("datetime64[ms]")
    end = target[-1]
    wildest = rows.made_at[np.argmax(np.abs(rows.actual))]
    last = made >= end - _DETAIL
    keep: Mask = last | (np.abs(made - wildest) <= _AROUND)
    shown, made, target = forecasts[keep], made[keep], target[keep]

    def column(name: str) -> Array:
        return np.asarray(shown[name].to_numpy(np.float64, na_value=np.nan))

    gap = np.timedelta64(3 * rows.interval.seconds // 2, "s")
    figure = drawing.new_chart(430)
    for level, fill in ((95, FILL_95), (80, FILL_80)):
        lower, upper = column(f"lower_{level}"), column(f"upper_{level}")
        figure.add_scatter(
            **drawing.band(target, lower, upper, gap), fillcolor=fill, name=f"{level}% interval", legendrank=level
        )
    figure.add_scatter(
        x=drawing.millis(target),
        y=drawing.small(column("median")),
        mode="lines",
        name="said",
        showlegend=False,
        line={"width": 0},
        customdata=drawing.small(np.column_stack([column(name) for name in _ENDS])),
        hovertemplate="80% %{customdata[1]:,.6~g} to %{customdata[2]:,.6~g}<br>"
        "95% %{customdata[0]:,.6~g} to %{customdata[3]:,.6~g}<extra>said</extra>",
    )
    x, y = drawing.broken(made, column("price"), gap)
    figure.add_scatter(
        x=x, y=y, mode="lines", name="price", line={"color": BLUE, "width": 1.6}, hovertemplate="%{y:,.6~g}"
    )
    actual = column("actual_price")
    outside = (actual < column("lower_95")) | (actual > column("upper_95"))
    figure.add_scatter(
        x=drawing.millis(target[outside]),
        y=drawing.small(actual[outside]),
        mode="markers",
        name="outside the 95% interval",
        marker={"symbol": "x-thin", "size": 7, "line": {"color": ORANGE, "width": 2}},
        hovertemplate="%{y:,.6~g}",
    )
    begin, days = max(target[0], end - _DETAIL), (end - rows.made_at[0]) / _DAY
    views = [
        _view("last 2 days", end - _OPENING, end, target, column),
        *(
            [_view("last 14 days" if days > 14 else f"all {days:.0f} days", begin, end, target, column)]
            if days > 2.5
            else []
        ),
        _view(f"wildest move, {wildest.astype('datetime64[D]')}", wildest - _AROUND, wildest + _AROUND, target, column),
    ]
    drawing.time_axis(figure, range=list(views[0].x), tickformat="%H:%M<br>%d %b", tickangle=0, nticks=8)
    title = {"text": escape(currency.upper(), quote=False)}
    figure.update_yaxes(range=list(views[0].y), tickformat=",~f", side="right", title=title)
    return figure, views


def _view(label: str, start: np.datetime64, end: np.datetime64, target: Times, column: Callable[[str], Array]) -> View:
    inside = (target >= start) & (target <= end)
    edges = np.concatenate([column(name)[inside] for name in ("lower_95", "upper_95", "actual_price")])
    low, high = float(np.nanmin(edges)), float(np.nanmax(edges))
    margin = 0.04 * (high - low)
    first, last = drawing.millis(np.array([start, end]))
    return View(label, (float(first), float(last)), (low - margin, high + margin))


def widths(rows: Rows, currency: str) -> go.Figure:
    """The price by day, and under it how wide the intervals were beside how far the price really went."""
    day = rows.made_at.astype("datetime64[D]")
    starts = np.flatnonzero(np.append(True, day[1:] != day[:-1]))
    price = rows("price")
    half = 50 * (rows("upper_80") - rows("lower_80")) / price
    miss = 100 * np.abs(rows("actual_price") - rows("predicted_price")) / price
    said = np.array([np.median(part) for part in np.split(half, starts[1:])])
    came = np.array([np.quantile(part, 0.8) for part in np.split(miss, starts[1:])])
    x = drawing.millis(day[starts])
    figure = drawing.stacked_charts(430, [0.42, 0.58])
    figure.add_scatter(
        x=x,
        y=drawing.small(price[starts]),
        mode="lines",
        name="price",
        line={"color": BLUE, "width": 1.6},
        row=1,
        col=1,
    )
    figure.add_scatter(
        x=x,
        y=drawing.small(came),
        mode="markers",
        name="80% of the moves stayed within",
        marker={"color": ORANGE, "size": 5, "symbol": "diamond"},
        hovertemplate="±%{y:.2f}%",
        row=2,
        col=1,
    )
    figure.add_scatter(
        x=x,
        y=drawing.small(said),
        mode="lines",
        name="80% interval said",
        line={"color": PURPLE, "width": 2},
        hovertemplate="±%{y:.2f}%",
        row=2,
        col=1,
    )
    drawing.time_axis(figure, hoverformat="%a %d %b %Y")
    figure.update_yaxes(tickformat=",~f", title={"text": escape(currency.upper(), quote=False)}, row=1, col=1)
    figure.update_yaxes(ticksuffix="%", tickprefix="±", rangemode="tozero", row=2, col=1)
    return figure


def rolling_coverage(rows: Rows) -> go.Figure | None:
    """Coverage of the 7 and 30 days before, by day, as far as there are; None where there are fewer than 8 days."""
    bar = np.timedelta64(rows.interval.seconds, "s")
    day = ((rows.made_at - rows.made_at[0]) // (bar * rows.interval.bars_per_day)).astype(np.int64)
    count = np.append(0, np.bincount(day).cumsum())
    if len(count) < 9:
        return None
    figure = drawing.stacked_charts(430, [0.5, 0.5])
    for row, level in enumerate((80, 95), start=1):
        held = np.append(0, np.bincount(day, weights=rows.covered(level)).cumsum())
        for window, (colour, dash) in _ROLLING_DAYS.items():
            if len(count) <= window:
                continue
            rolled = 100 * (held[window:] - held[:-window]) / np.maximum(count[window:] - count[:-window], 1)
            ends = rows.made_at[0] + np.arange(window, len(count)) * bar * rows.interval.bars_per_day
            figure.add_scatter(
                x=drawing.millis(ends),
                y=drawing.small(rolled),
                mode="lines",
                name=f"{window} days",
                legendgroup=str(window),
                showlegend=level == 80,
                line={"color": colour, "width": 2.2 if window == MONTH_DAYS else 1.4, "dash": dash},
                hovertemplate="%{y:.1f}%",
                row=row,
                col=1,
            )
        limit = _MONTH_LIMITS[level]
        figure.add_hrect(y0=level - limit, y1=level + limit, fillcolor=FILL_LIMIT, line_width=0, row=row, col=1)
        figure.add_hline(y=level, line={"color": QUIET, "width": 1, "dash": "dash"}, row=row, col=1)
    figure.update_yaxes(ticksuffix="%")
    drawing.time_axis(figure, hoverformat="%a %d %b %Y")
    return figure


def coverage_grid(figures: BacktestFigures, rows: Rows) -> go.Figure | None:
    """Coverage of the 80% interval by weekday and hour, in points off; signed beyond luck; None below a week."""
    if figures.days < 7:
        return None
    off = 100 * (np.array(figures.grid) - 0.8)
    count = np.bincount(rows.weekday * 24 + rows.hour, minlength=7 * 24).reshape(7, 24)
    luck = 200 * np.sqrt(0.8 * 0.2 * figures.overlap / np.maximum(count, 1))  # two standard errors
    reach = max(2 * _HOUR_LIMIT, min(float(np.ceil(np.median(luck))), 80))
    sign = np.select([off > luck, off < -luck], ["+", "−"], "")  # noqa: RUF001
    figure = drawing.new_chart(270, hovermode="closest")
    figure.add_heatmap(
        z=drawing.small(off),
        x=[f"{hour:02d}" for hour in range(24)],
        y=["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
        text=sign.tolist(),
        texttemplate="%{text}",
        textfont={"size": 13},
        zmin=-reach,
        zmax=reach,
        colorscale=drawing.DIVERGING,
        xgap=1.5,
        ygap=1.5,
        hovertemplate="%{y} %{x}:00 UTC: %{z:+.1f} points<extra></extra>",
        colorbar={
            "orientation": "h",
            "y": -0.2,
            "yanchor": "top",
            "thickness": 9,
            "len": 0.7,
            "tickvals": [-reach, 0, reach],
            "ticksuffix": " points",
            "tickangle": 0,
        },
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(type="category", ticks="", nticks=12, tickangle=0)
    return figure


def coverage_by_hour(figures: BacktestFigures) -> go.Figure:
    """Coverage of both intervals by hour of day, with their 95% intervals."""
    hours = [part.name for part in figures.hours]
    independent = np.array([part.rows / figures.overlap for part in figures.hours])
    figure = drawing.new_chart(270)
    figure.add_hrect(y0=80 - _HOUR_LIMIT, y1=80 + _HOUR_LIMIT, fillcolor=FILL_LIMIT, line_width=0)
    for level, colour, symbol in ((95, BLUE, "circle"), (80, PURPLE, "diamond")):
        figure.add_hline(y=level, line={"color": QUIET, "width": 1, "dash": "dash"})
        covered = np.array([part.covered_80 if level == 80 else part.covered_95 for part in figures.hours])
        figure.add_scatter(
            x=hours,
            y=100 * covered,
            error_y=drawing.wilson(covered, independent, colour),
            mode="lines+markers",
            name=f"{level}% interval",
            line={"color": colour, "width": 1.4},
            marker={"symbol": symbol, "size": 7},
            hovertemplate="%{y:.1f}%",
        )
    figure.update_yaxes(ticksuffix="%")
    figure.update_xaxes(type="category", nticks=12, tickangle=0)
    return figure


def gain_by_month(figures: BacktestFigures) -> go.Figure | None:
    """How far the pinball loss lay below each baseline's, by month; None where there is one month only."""
    if len(figures.months) < 2:
        return None
    figure = drawing.new_chart(300)
    for base, (colour, pattern) in _BASELINES.items():
        figure.add_bar(
            x=month_names(figures),
            y=[100 * part.below[base] for part in figures.months],
            name=f"below {BASELINE_NAMES[base]}",
            marker={"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "size": 5}},
            hovertemplate="%{y:.1f}%",
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    figure.update_yaxes(ticksuffix="%")
    month_axis(figure, figures)
    return figure


def month_axis(figure: go.Figure, figures: BacktestFigures) -> None:
    """For bars and points at `month_names`; where those are many, only the years are named."""
    figure.update_xaxes(type="category", tickangle=0, tickfont={"size": 11})
    if len(figures.months) > _MOST_MONTHS:
        years = {name: name.partition("<br>")[2].strip() for name in month_names(figures)}
        begins = {name: year for name, year in years.items() if year}
        figure.update_xaxes(tickvals=list(begins), ticktext=list(begins.values()))


def month_names(figures: BacktestFigures) -> list[str]:
    """The months as places on an axis: the year stands under the first of each, a space tells the others apart."""
    names, seen = [], set[str]()
    for part in figures.months:
        year, month = part.name.split("-")
        names.append(f"{month_abbr[int(month)]}<br>{year if year not in seen else ' ' * len(seen)}")
        seen.add(year)
    return names
