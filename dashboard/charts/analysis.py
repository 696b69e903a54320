"""The figures of the page Data analysis."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.base import DOWN, FORECAST, QUIET, UP, in_utc, naive, new_figure, number_format, shifted
from dashboard.data.analysis import Correlations, Price
from dashboard.data.statistics import Distribution, Memory, normal_density
from dashboard.text import UNKNOWN
from dashboard.zone import UTC_ZONE, Zone

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_FOLD = 8
_CLEAR = "rgba(0,0,0,0)"
_BAND = "rgba(138,146,158,.25)"
# The middle lets the page through, so that it is quiet in either theme.
_DIVERGING = [[0, DOWN], [0.5, "rgba(138,146,158,.08)"], [1, UP]]
# More features than these have no room for figures in the cells, or for names on both axes.
_WITH_FIGURES, _WITH_NAMES = 14, 40


def price_figure(price: Price, currency: str, zone: Zone = UTC_ZONE) -> go.Figure:
    """Candles, and the volume of each below."""
    offset, label = zone.offset(price.end), zone.label(price.end)
    utc = price.candles["timestamp"].dt.strftime("%d %b %Y %H:%M UTC") if offset else None
    candles = shifted(price.candles, offset)
    rises = candles["close"] >= candles["open"]
    figure = new_figure(520, label)
    figure.add_candlestick(
        x=naive(candles["timestamp"]),
        **{side: candles[side] for side in ("open", "high", "low", "close")},
        text=utc,
        name="price",
        increasing={"line": {"color": UP, "width": 1.2}, "fillcolor": _CLEAR},
        decreasing={"line": {"color": DOWN, "width": 1.2}, "fillcolor": DOWN},
    )
    # Two traces, as Plotly looks at each colour of an array for longer than at all the rest.
    for chosen, line, fill in ((rises, UP, _CLEAR), (~rises, DOWN, DOWN)):
        figure.add_bar(
            x=naive(candles.loc[chosen, "timestamp"]),
            y=candles.loc[chosen, "volume"],
            yaxis="y2",
            name="volume",
            marker={"color": fill, "line": {"color": line, "width": 1}},
            hovertemplate="%{y:.4s}",
        )
    # Over years, a rise by a tenth is to look alike at every price.
    scale = {"type": "log", "dtick": "D2"} if is_logarithmic(price) else {}
    figure.update_layout(
        showlegend=False,
        barmode="stack",  # else each would leave room for the other, or be as wide as its own neighbours are far
        bargap=0.15,
        yaxis={"domain": [0.27, 1], "title": currency.upper(), "hoverformat": number_format(price.lowest), **scale},
        yaxis2={"domain": [0, 0.2], "side": "right", "title": "volume", "tickformat": "~s", "automargin": True},
        xaxis={"rangeslider_visible": False, "anchor": "y2", "hoverformat": _hover(price, label)},
    )
    return figure


def is_logarithmic(price: Price) -> bool:
    """Whether the price is drawn on a logarithmic axis."""
    return price.highest > _FOLD * price.lowest


def _hover(price: Price, label: str) -> str:
    return f"%d %b %Y {label}" if price.step >= pd.Timedelta("1D") else f"%d %b %Y %H:%M {label}"


def lines_figure(lines: Mapping[str, pd.Series], zone: Zone = UTC_ZONE) -> go.Figure:
    """A panel a feature, one below the other, over the same time.

    Args:
        lines: by feature, by time; at least one.
        zone: of the time axis, as for all here.
    """
    end = max(line.index[-1] for line in lines.values())
    offset, label = zone.offset(end), zone.label(end)
    figure = new_figure(90 + 190 * len(lines), label)
    figure.set_subplots(rows=len(lines), shared_xaxes=True, vertical_spacing=0.12 / len(lines))
    for row, (feature, line) in enumerate(lines.items(), start=1):
        figure.add_scattergl(
            x=naive(line.index.to_series() + offset),
            y=line.astype("float32"),
            mode="lines",
            name=feature,
            line={"color": UP, "width": 1.3},
            connectgaps=False,
            **in_utc(line.index.to_series(), offset),
            hovertemplate="%{y:.5~g} %{text}",
            row=row,
            col=1,
        )
        figure.update_yaxes(title=feature, title_font_size=12, tickformat="~g", side="right", row=row, col=1)
    figure.update_layout(showlegend=False, hoversubplots="axis")
    figure.update_xaxes(showgrid=False, hoverformat=f"%d %b %Y %H:%M {label}", title=None)
    figure.update_xaxes(title=label, row=len(lines), col=1)
    return figure


def correlation_figure(found: Correlations) -> go.Figure:
    """A heat map: blue moves together, orange against each other; figures say so too where there is room."""
    count = len(found.names)
    figure = go.Figure()
    figure.add_heatmap(
        x=found.names,
        y=found.names,
        z=np.round(found.matrix, 3),
        zmin=-1,
        zmax=1,
        colorscale=_DIVERGING,
        texttemplate="%{z:.1f}" if count <= _WITH_FIGURES else None,
        textfont={"size": 10},
        hovertemplate="%{y}<br>%{x}<br>%{z:+.2f}<extra></extra>",
        colorbar={"title": {"text": ""}, "thickness": 10, "tickformat": "+.1~f", "orientation": "h", "y": 1.0},
        xgap=1,
        ygap=1,
    )
    figure.update_layout(height=260 + 22 * count, margin={"l": 8, "r": 8, "t": 60, "b": 8}, dragmode=False)
    figure.update_xaxes(showticklabels=count <= _WITH_NAMES, tickangle=-90, tickfont_size=10, automargin=True)
    figure.update_yaxes(
        showticklabels=count <= _WITH_NAMES, autorange="reversed", tickfont_size=10, automargin=True, ticksuffix=" "
    )
    return figure


def distribution_figure(found: Distribution, unit: str, *, tails: bool) -> go.Figure:
    """A histogram, and the normal distribution of the same moments as a line.

    Args:
        found: what is drawn.
        unit: of its values, e.g. `%`.
        tails: a logarithmic axis, on which the tails are seen.
    """
    figure = new_figure(380, "")
    figure.add_bar(
        x=(found.edges[:-1] + found.edges[1:]) / 2,
        y=found.density,
        width=np.diff(found.edges),
        name="what was",
        marker={"color": UP, "opacity": 0.55, "line_width": 0},
        customdata=100 * found.density * np.diff(found.edges),
        hovertemplate="%{customdata:.2f}% of all",
    )
    x, y = normal_density(found)
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        name="a normal distribution",
        line={"color": DOWN, "width": 2, "dash": "dash"},
        hoverinfo="skip",
    )
    figure.update_xaxes(title=unit, ticksuffix="", hoverformat=".4~g", tickformat="~g")
    figure.update_yaxes(title="density", showticklabels=False, type="log" if tails else "linear")
    if tails:
        drawn = found.density[found.density > 0]
        figure.update_yaxes(range=[np.log10(drawn.min()) - 0.5, np.log10(max(drawn.max(), y.max())) + 0.2])
    return figure


def season_figure(table: pd.DataFrame, measure: str, *, weekdays: bool) -> go.Figure:
    """The mean of each hour, or weekday, with its 95% interval.

    Args:
        table: as `statistics.seasons`, at least a row.
        measure: `return`, `volatility` or `volume`.
        weekdays: the seasons are weekdays, else hours.
    """
    usual, ticks = (0, "+.3~f") if measure == "return" else (1, ".2~f")
    suffix = "%" if measure == "return" else "x"
    figure = new_figure(260, "")
    figure.add_scatter(
        x=[WEEKDAYS[season] for season in table["season"]] if weekdays else table["season"],
        y=table[measure],
        mode="markers",
        marker={"color": UP, "size": 8},
        error_y={
            "array": table[f"{measure}_high"] - table[measure],
            "color": QUIET,
            "thickness": 1.6,
            "width": 3,
        },
        customdata=table[[f"{measure}_low", f"{measure}_high", "count"]],
        hovertemplate=f"%{{y:{ticks}}}{suffix} (%{{customdata[0]:{ticks}}} to %{{customdata[1]:{ticks}}}; "
        "mean of %{customdata[2]})<extra></extra>",
    )
    figure.add_hline(y=usual, line={"color": FORECAST, "width": 1, "dash": "dot"})
    figure.update_yaxes(tickformat=ticks, ticksuffix=suffix, title=None)
    figure.update_xaxes(title=None, hoverformat="", **({} if weekdays else _HOURS))
    figure.update_layout(showlegend=False, margin_t=8, hovermode="closest")
    return figure


_HOURS = {"tickvals": list(range(0, 24, 3)), "ticktext": [f"{hour:02d}:00" for hour in range(0, 24, 3)], "dtick": 3}


def volatility_figure(found: pd.Series, smooth: int, zone: Zone = UTC_ZONE) -> go.Figure:
    """Volatility by when each stretch begins, and the root mean square of the last `smooth` of them."""
    offset, label = zone.offset(found.index[-1]), zone.label(found.index[-1])
    times = naive(found.index.to_series() + offset)
    figure = new_figure(400, label)
    slow = np.sqrt((found**2).rolling(smooth, min_periods=smooth // 2).mean())
    for series, title, line in (
        (found, "each stretch", {"color": QUIET, "width": 1}),
        (slow, f"the last {smooth}", {"color": UP, "width": 2.5}),
    ):
        utc = in_utc(found.index.to_series(), offset if series is found else timedelta(0))
        figure.add_scatter(
            x=times, y=series, mode="lines", name=title, line=line, **utc, hovertemplate="%{y:.0f}% %{text}"
        )
    whole = float(np.sqrt((found**2).mean()))
    figure.add_hline(y=whole, line={"color": FORECAST, "width": 1, "dash": "dot"})
    figure.update_yaxes(ticksuffix="%", tickformat=",.0f", rangemode="tozero", title="a year")
    figure.update_xaxes(hoverformat=f"%d %b %Y %H:%M {label}")
    return figure


def memory_figure(found: Memory, what: str, minutes: float) -> go.Figure:
    """Autocorrelations as stems, and where 95% of them would be without memory.

    Args:
        found: what is drawn.
        what: `returns` or `sizes`.
        minutes: from one lag to the next.
    """
    values, bound = getattr(found, what), getattr(found, f"{what}_bound")
    lags = np.arange(1, len(values) + 1) * minutes / 60
    figure = new_figure(300, "")
    figure.add_scatter(
        x=[*lags, *lags[::-1]],
        y=[*bound, *-bound[::-1]],
        fill="toself",
        fillcolor=_BAND,
        line={"width": 0},
        mode="lines",
        name="95% would be here without memory",
        hoverinfo="skip",
    )
    figure.add_bar(
        x=lags,
        y=values,
        name="autocorrelation",
        marker={"color": np.where(np.abs(values) > bound, UP, QUIET), "line_width": 0},
        hovertemplate="%{y:+.3f}",
    )
    figure.update_xaxes(title="hours between", hoverformat=".3~f", ticksuffix="")
    figure.update_yaxes(tickformat="+.2~f")
    return figure


def told(value: float, digits: int = 3) -> str:
    """A figure of any size in so many digits, as hovering tells it."""
    return UNKNOWN if np.isnan(value) else f"{value:.{digits}g}"
