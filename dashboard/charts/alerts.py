"""When which kind of alert was open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pandas as pd
import plotly.graph_objects as go

from cryptosentinel.market.bars import Interval
from dashboard.charts.base import CRITICAL, DOWN, QUIET, naive, naive_time, new_figure
from dashboard.text import duration, name
from dashboard.zone import UTC_ZONE, Zone

# The line and the fill of a bar by severity: a warning's is hollow, so that they are told apart with any colour vision.
_LOOKS = {"warning": (DOWN, "rgba(217,117,28,.2)"), "critical": (CRITICAL, CRITICAL)}
_ROW = 30


def alert_chart(
    rows: pd.DataFrame,
    kinds: Sequence[str],
    now: datetime,
    interval: Interval,
    days: float,
    zone: Zone = UTC_ZONE,
) -> go.Figure:
    """A row a kind, a bar an alert, from when it was raised to its end, or to now; a ring: it was acknowledged.

    It changes with the data, and with the clock at each bar's close: an open alert's bar grows by then.

    Args:
        rows: alerts, each open at some time of these days.
        kinds: in the order of the rows from the top; alerts of other kinds share a last one.
        now: by the market's clock.
        interval: of the bars.
        days: shown before now.
        zone: of the time axis, by its offset now.
    """
    end = pd.Timestamp(now).ceil(interval.delta)
    start = end - pd.Timedelta(days=days)
    offset = zone.offset(end)
    known = [kind for kind in kinds if kind in set(rows["kind"])]
    labels = rows["kind"].where(rows["kind"].isin(known)).map(name, na_action="ignore").fillna("Other")
    order = [*map(name, known), *(["Other"] if (labels == "Other").any() else [])]
    figure = new_figure(height=96 + _ROW * len(order), zone=zone.label(end))
    for severity in _LOOKS:
        mine = rows["severity"].eq("critical") == (severity == "critical")
        _bars(figure, rows[mine], labels[mine], (start, end), offset, severity)
    seen = rows["acknowledged_at"].notna() & (rows["acknowledged_at"] >= start)
    if seen.any():
        figure.add_scatter(
            x=naive(rows.loc[seen, "acknowledged_at"] + offset),
            y=labels[seen],
            mode="markers",
            name="acknowledged",
            marker={"symbol": "circle", "size": 9, "color": "#ffffff", "line": {"color": QUIET, "width": 2}},
            hovertemplate="acknowledged %{x|%d %b %H:%M}<extra></extra>",
        )
    figure.add_vline(x=naive_time(end + offset), line={"color": QUIET, "width": 1, "dash": "dash"})
    figure.update_layout(barmode="overlay", hovermode="closest", bargap=0.35)
    reach = [naive_time(moment + offset) for moment in (start, end + 0.01 * (end - start))]
    figure.update_xaxes(range=reach, type="date", showgrid=True)
    figure.update_yaxes(
        side="left", categoryorder="array", categoryarray=order[::-1], tickformat=None, range=[-0.6, len(order) - 0.4]
    )
    return figure


def _bars(
    figure: go.Figure,
    rows: pd.DataFrame,
    labels: pd.Series,
    reach: tuple[pd.Timestamp, pd.Timestamp],
    offset: timedelta,
    severity: str,
) -> None:
    start, end = reach
    line, fill = _LOOKS[severity]
    began, ended = rows["raised_at"].clip(lower=start), rows["resolved_at"].fillna(end).clip(upper=end)
    figure.add_bar(
        base=naive(began + offset),
        x=(ended - began).dt.total_seconds() * 1000,
        y=labels,
        orientation="h",
        name=severity,
        # The line keeps a bar of minutes visible among weeks.
        marker={"color": fill, "line": {"color": line, "width": 2}},
        customdata=[_told(row.raised_at, row.resolved_at, end, offset) for row in rows.itertuples()],
        hovertemplate=f"<b>%{{y}}</b>, {severity}<br>%{{customdata}}<extra></extra>",
    )


def _told(began: pd.Timestamp, ended: pd.Timestamp, end: pd.Timestamp, offset: timedelta) -> str:
    def span(shift: timedelta) -> str:
        until = "now" if pd.isna(ended) else f"{ended + shift:%d %b %H:%M}"
        return f"{began + shift:%d %b %H:%M} to {until}"

    lasted = duration((end if pd.isna(ended) else ended) - began)
    return f"{span(offset)}: {lasted}" + (f"<br>{span(timedelta(0))} UTC" if offset else "")
