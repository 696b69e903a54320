"""The price with its forecasts, and their errors."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cryptosentinel.market.bars import Interval
from dashboard.charts.base import (
    DOWN,
    FILL_80,
    FILL_95,
    FILL_PAST,
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
from dashboard.charts.thinning import candle_step, thin_bars
from dashboard.text import decimals, price
from dashboard.zone import UTC_ZONE, Zone

_FAN_STEPS = 12
CANDLES = 600


def price_chart(
    bars: pd.DataFrame,
    forecasts: pd.DataFrame,
    interval: Interval,
    hours: float,
    currency: str,
    zone: Zone = UTC_ZONE,
    *,
    expired: bool = False,
) -> go.Figure:
    """Candles, the newest forecast as a fan to its target, and what was forecast for the time before.

    Over days candles last longer than bars. The figure depends on the data, and on the wall clock only by `expired`:
    Streamlit mounts one that differs in anything anew, and a viewer's zoom would be gone.

    Args:
        bars: by time, at least one.
        forecasts: rows of the forecast log, by `made_at`; the last is a fan if its target is after the newest close.
        interval: of the bars, for what counts as a gap.
        hours: shown before the newest close.
        currency: of the prices, as `market.currency`.
        zone: of the time axis, by its offset at the newest bar: a change of clocks neither folds nor tears it.
        expired: the newest forecast's target has passed by the clock, so that its fan is grey.
    """
    at = bars["timestamp"].iloc[-1]
    offset, label = zone.offset(at), zone.label(at)
    bars, forecasts = shifted(bars, offset), shifted(forecasts, offset)
    figure = new_figure(height=460, zone=label)
    closed_at = bars["timestamp"].iloc[-1] + interval.delta
    start = closed_at - pd.Timedelta(hours=hours)
    newest = forecasts.iloc[-1] if len(forecasts) and forecasts["target_at"].iloc[-1] > closed_at else None
    past = forecasts[forecasts["target_at"].between(start, closed_at)]
    gap, digits = 1.5 * interval.delta, number_format(bars["close"].iloc[-1])

    add_band(figure, past["target_at"], past["lower_80"], past["upper_80"], gap, FILL_PAST, "its 80% band", rank=3)
    x, y = broken_line(past["target_at"], past["predicted_price"], gap)
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        name="past forecast",
        legendrank=2,
        line={"color": QUIET, "width": 1.5, "dash": "dot"},
        hovertemplate=f"%{{y:{digits}}}",
    )
    # As much again to the left, for who drags the chart.
    near = bars[bars["timestamp"] >= start - pd.Timedelta(hours=hours)]
    add_candles(figure, thin_bars(near, CANDLES), candle_step(near, CANDLES) or interval.delta, offset)
    if newest is not None:
        add_fan(figure, newest, expired=expired)
    _price_tag(figure, bars["close"].iloc[-1])
    figure.add_vline(x=naive_time(closed_at), line={"color": QUIET, "width": 1, "dash": "dash"})
    end = closed_at if newest is None else newest["target_at"]
    figure.update_xaxes(range=[naive_time(start), naive_time(end + 0.02 * (end - start))], rangeslider_visible=False)
    figure.update_yaxes(range=_reach(bars[bars["timestamp"] >= start], past, newest), title=currency.upper())
    return figure


def error_chart(forecasts: pd.DataFrame, interval: Interval, zone: Zone = UTC_ZONE) -> go.Figure:
    """How far actual prices lay from their forecasts, in percent of the forecast, against the bands that they had.

    Args:
        forecasts: rows of the forecast log whose actual price is known, by `made_at`, at least one, and not too many
            to see them one by one.
        interval: of the bars, for what counts as a gap.
        zone: as `price_chart`'s.
    """
    at = forecasts["target_at"].iloc[-1]
    offset, label = zone.offset(at), zone.label(at)
    figure = new_figure(height=400, zone=label)
    utc = forecasts["target_at"].dt.strftime(" (%H:%M UTC)" if offset else "")
    forecasts = shifted(forecasts, offset).assign(utc=utc)
    centre = forecasts["predicted_price"]

    def off(values: pd.Series) -> pd.Series:
        return 100 * (values / centre - 1)

    gap, digits = 1.5 * interval.delta, number_format(centre.iloc[-1])
    for level, fill in ((95, FILL_95), (80, FILL_80)):
        lower, upper = off(forecasts[f"lower_{level}"]), off(forecasts[f"upper_{level}"])
        add_band(figure, forecasts["target_at"], lower, upper, gap, fill, f"{level}% band")
    # In words already: rows of mixed values take Plotly ten times as long.
    told = pd.Series(
        [
            f"{row.actual_price:{digits}}, forecast {row.predicted_price:{digits}}{row.utc}"
            for row in forecasts.itertuples()
        ],
        forecasts.index,
    )
    for outcome, (symbol, colour) in MARKERS.items():
        rows = forecasts["outcome"] == outcome
        figure.add_scatter(
            x=naive(forecasts.loc[rows, "target_at"]),
            y=off(forecasts["actual_price"])[rows],
            text=told[rows],
            mode="markers",
            name=outcome,
            marker={"symbol": symbol, "color": colour, "size": 7, "line": {"color": colour, "width": 1.5}},
            hovertemplate="%{y:+.2f}%: %{text}",
        )
    figure.add_hline(y=0, line={"color": FORECAST, "width": 1, "dash": "dot"})
    figure.update_yaxes(ticksuffix="%", tickformat="+.2~f", title="actual - forecast")
    return figure


def add_candles(figure: go.Figure, bars: pd.DataFrame, length: timedelta, offset: timedelta) -> None:
    """Candles of bars that last so long, hollow where the price rose; `offset` is how far times are ahead of UTC."""
    figure.add_candlestick(
        x=naive(bars["timestamp"]),
        **{side: bars[side] for side in ("open", "high", "low", "close")},
        name="price",
        text=(bars["timestamp"] - offset).dt.strftime("%H:%M UTC") if offset else None,
        legendrank=1,
        # A bar ends with its close, where the forecasts begin and are settled; so it stands between its times.
        xperiod=1000 * length.total_seconds(),
        xperiodalignment="middle",
        increasing={"line": {"color": UP, "width": 1.2}, "fillcolor": "rgba(0,0,0,0)"},
        decreasing={"line": {"color": DOWN, "width": 1.2}, "fillcolor": DOWN},
    )


def add_fan(figure: go.Figure, forecast: pd.Series, *, expired: bool = False) -> None:
    """A forecast from its price to its target, with its bands; grey where it is `expired`.

    The bands hold at the target; on the way there they are drawn as wide as a random walk's, by the root of time.
    """
    share = np.linspace(0, 1, _FAN_STEPS + 1)
    made, target = forecast["made_at"], forecast["target_at"]
    times = pd.Series(made + share * (target - made))
    middle = forecast["price"] + share * (forecast["predicted_price"] - forecast["price"])
    fills, colour = ((FILL_PAST, FILL_PAST), QUIET) if expired else ((FILL_95, FILL_80), FORECAST)
    for level, fill in zip((95, 80), fills, strict=True):
        lower, upper = (
            pd.Series(middle + np.sqrt(share) * (forecast[f"{side}_{level}"] - forecast["predicted_price"]))
            for side in ("lower", "upper")
        )
        add_band(figure, times, lower, upper, target - made, fill, f"{level}% band")
    ends = ", ".join(
        f"{level}%: {price(forecast[f'lower_{level}'])} to {price(forecast[f'upper_{level}'])}" for level in (80, 95)
    )
    figure.add_scatter(
        x=naive(pd.Series([made, target])),
        y=[forecast["price"], forecast["predicted_price"]],
        mode="lines+markers",
        name="forecast, its time is past" if expired else "forecast",
        legendrank=4,
        line={"color": colour, "width": 2.5},
        marker={"symbol": ["circle", "diamond"], "size": [1, 9]},
        customdata=["", f" ({ends})"],
        hovertemplate=f"%{{y:{number_format(forecast['price'])}}}%{{customdata}}",
    )


def _price_tag(figure: go.Figure, value: float) -> None:
    """The newest price as a tag on its line, at the end where it hides neither the axis nor the forecast."""
    figure.add_hline(y=value, line={"color": QUIET, "width": 1, "dash": "dot"})
    figure.add_annotation(
        x=0,
        xref="paper",
        xanchor="left",
        yanchor="bottom",
        y=value,
        text=price(value) if decimals(value) > 2 else f"{value:,.1f}",
        showarrow=False,
        bgcolor="#3d4654",
        font={"color": "#ffffff", "size": 12},
        borderpad=3,
    )


def _reach(bars: pd.DataFrame, past: pd.DataFrame, newest: pd.Series | None) -> list[float]:
    """The prices to show, with a margin: Plotly's own choice would begin at the earliest bar, not at the left edge."""
    values = [*bars["low"], *bars["high"], *past["lower_80"], *past["upper_80"]]
    values += [] if newest is None else [newest["lower_95"], newest["upper_95"]]
    low, high = min(values), max(values)
    margin = 0.04 * (high - low)
    return [low - margin, high + margin]
