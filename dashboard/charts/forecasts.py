"""Forecasts against what came: over time, and one of them beside the bars that followed it."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import plotly.graph_objects as go

from cryptosentinel.market.bars import Interval
from dashboard.charts.base import (
    DOWN,
    FILL_80,
    FILL_95,
    FORECAST,
    MARKERS,
    QUIET,
    UP,
    add_band,
    broken_line,
    naive,
    naive_time,
    new_figure,
    number_format,
    shifted,
)
from dashboard.charts.price import add_candles, add_fan
from dashboard.charts.thinning import thin
from dashboard.zone import UTC_ZONE, Zone

POINTS = 1_600
# More marks than this hide the line that they lie on.
MANY_MARKS = 250
# What `over_time` shows: what it is called, the level it should be at, its shape and colour.
SHARES = {
    "covered_95": ("in the 95% band", 95, "diamond", FORECAST),
    "covered_80": ("in the 80% band", 80, "circle", UP),
    "hits": ("direction right", 50, "square", DOWN),
}


def against_actual(
    settled: pd.DataFrame, marked: pd.DataFrame, interval: Interval, currency: str, zone: Zone = UTC_ZONE
) -> go.Figure:
    """The bands that forecasts had for each time, and the price that came.

    Args:
        settled: forecasts whose actual price is known, by `made_at`, at least one; thinned where they are many.
        marked: those of them to mark by their outcome; of many only the largest errors are.
        interval: of the bars, for what counts as a gap.
        currency: of the prices.
        zone: of the time axis, by its offset at the end.
    """
    gap = _gap(settled["target_at"], interval)
    drawn = settled.iloc[thin(settled["target_at"], settled["actual_price"], POINTS)]
    at = settled["target_at"].iloc[-1]
    offset, digits = zone.offset(at), number_format(settled["price"].iloc[-1])
    figure = new_figure(height=400, zone=zone.label(at))
    utc = drawn["target_at"].dt.strftime(" (%H:%M UTC)" if offset else "")
    drawn = shifted(drawn, offset)
    for level, fill in ((95, FILL_95), (80, FILL_80)):
        lower, upper = drawn[f"lower_{level}"], drawn[f"upper_{level}"]
        add_band(figure, drawn["target_at"], lower, upper, gap, fill, f"{level}% band")
    for name, column, line, rank in (
        ("forecast", "predicted_price", {"color": FORECAST, "width": 1.2, "dash": "dot"}, 2),
        ("actual", "actual_price", {"color": QUIET, "width": 1.8}, 1),
    ):
        x, y = broken_line(drawn["target_at"], drawn[column], gap)
        said = broken_line(drawn["target_at"], utc, gap)[1] if name == "actual" else None
        figure.add_scatter(
            x=x,
            y=y,
            customdata=said,
            mode="lines",
            name=name,
            legendrank=rank,
            line=line,
            hovertemplate=f"%{{y:{digits}}}" + ("" if said is None else "%{customdata}"),
        )
    if len(marked) > MANY_MARKS:
        worst = (marked["error"] / marked["price"]).abs().nlargest(MANY_MARKS).index
        marked = marked.loc[marked.index.isin(worst)]
    marked = shifted(marked, offset)
    for outcome, (symbol, colour) in MARKERS.items():
        rows = marked[marked["outcome"] == outcome]
        figure.add_scatter(
            x=naive(rows["target_at"]),
            y=rows["actual_price"],
            mode="markers",
            name=outcome,
            marker={"symbol": symbol, "color": colour, "size": 6, "line": {"color": colour, "width": 1}},
            hoverinfo="skip",
        )
    figure.update_yaxes(title=currency.upper())
    return figure


def over_time(shares: pd.DataFrame, zone: Zone = UTC_ZONE) -> go.Figure:
    """How often prices were in their bands and directions right, stretch by stretch, beside what it should be.

    Args:
        shares: `data.forecasts.shares_over_time`, at least one row.
        zone: as `against_actual`'s.
    """
    at = shares["middle"].iloc[-1]
    figure = new_figure(height=400, zone=zone.label(at))
    times = naive(shares["middle"] + zone.offset(at))
    for name, (called, level, symbol, colour) in SHARES.items():
        value = 100 * shares[name]
        figure.add_scatter(
            x=times,
            y=value,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": 100 * shares[f"{name}_upper"] - value,
                "arrayminus": value - 100 * shares[f"{name}_lower"],
                "width": 3,
                "thickness": 1.2,
            },
            customdata=100 * shares[[f"{name}_lower", f"{name}_upper"]],
            mode="lines+markers",
            name=called,
            line={"color": colour, "width": 1.2, "dash": "dot"},
            marker={"symbol": symbol, "size": 8},
            hovertemplate="%{y:.0f}%, between %{customdata[0]:.0f}% and %{customdata[1]:.0f}%",
        )
        figure.add_hline(y=level, line={"color": colour, "width": 1})
    figure.update_yaxes(ticksuffix="%", tickformat=".0f", title="share")
    return figure


def fan(forecast: pd.Series, bars: pd.DataFrame, interval: Interval, currency: str, zone: Zone = UTC_ZONE) -> go.Figure:
    """One forecast as it was made, the bars before it, and those that came.

    Args:
        forecast: a row of the forecast log, settled or not.
        bars: around it, by time, none is fine.
        interval: of the bars.
        currency: of the prices.
        zone: of the time axis, by its offset when the forecast was made.
    """
    made = forecast["made_at"]
    offset, label = zone.offset(made), zone.label(made)
    figure = new_figure(height=400, zone=label)
    forecast = forecast.copy()
    forecast[["made_at", "target_at"]] = [forecast[name] + offset for name in ("made_at", "target_at")]
    add_candles(figure, shifted(bars, offset), interval.delta, offset)
    add_fan(figure, forecast)
    figure.add_vline(x=naive_time(forecast["made_at"]), line={"color": QUIET, "width": 1, "dash": "dash"})
    if forecast["outcome"] in MARKERS:
        symbol, colour = MARKERS[forecast["outcome"]]
        figure.add_scatter(
            x=[naive_time(forecast["target_at"])],
            y=[forecast["actual_price"]],
            mode="markers",
            name=f"actual: {forecast['outcome']}",
            marker={"symbol": symbol, "color": colour, "size": 13, "line": {"color": colour, "width": 2.5}},
            hovertemplate=f"%{{y:{number_format(forecast['price'])}}}",
        )
    figure.update_xaxes(rangeslider_visible=False)
    figure.update_yaxes(title=currency.upper())
    return figure


def _gap(times: pd.Series, interval: Interval) -> timedelta:
    """How far apart neighbours are still joined: a bar and a half, or, where thinned, what is a few pixels."""
    pixels = 8 * (times.iloc[-1] - times.iloc[0]) / POINTS if len(times) > POINTS else timedelta(0)
    return max(1.5 * interval.delta, pixels)
