"""What every Plotly figure here shares. Knows no Streamlit; text and grid take the theme's colours.

Colours are of the Okabe-Ito kind, told apart with any colour vision, and dark enough for a white page and light enough
for a black one; what they say is said by shape as well. Plotly reads markup in texts, so texts from data stay out.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboard.text import decimals

UP, DOWN, FORECAST, QUIET = "#2a86d1", "#d9751c", "#9a6bdc", "#8a929e"
CRITICAL = "#c2334d"
FILL_80, FILL_95, FILL_PAST = "rgba(154,107,220,.32)", "rgba(154,107,220,.15)", "rgba(138,146,158,.17)"
# The outcome's sign and colour, as in `text.OUTCOMES`.
MARKERS = {"correct": ("circle", UP), "incorrect": ("x", DOWN), "flat": ("line-ew-open", QUIET)}
CONFIG = {
    "displaylogo": False,
    "modeBarButtons": [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    "scrollZoom": False,
}


Times = NDArray[np.datetime64]
# What interrupts a line.
_NO_TIME, _NO_VALUE = np.array(["NaT"], dtype="datetime64[ms]"), np.array([np.nan])


def shifted(rows: pd.DataFrame, offset: timedelta) -> pd.DataFrame:
    """With times that read in UTC as the clock does there: Plotly knows no zones."""
    times = [name for name in ("timestamp", "made_at", "target_at") if name in rows]
    return rows.assign(**{name: rows[name] + offset for name in times})


def new_figure(height: int, zone: str) -> go.Figure:
    """An empty figure over time; `zone` labels its axis."""
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 36, "b": 8},
        hovermode="x unified",
        dragmode=False,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_xaxes(showgrid=False, hoverformat=f"%d %b %H:%M {zone}", title=zone)
    figure.update_yaxes(side="right", tickformat=",~f", automargin=True)
    return figure


def add_band(
    figure: go.Figure,
    times: pd.Series,
    lower: pd.Series,
    upper: pd.Series,
    gap: timedelta,
    fill: str,
    name: str,
    *,
    rank: int = 5,
) -> None:
    """A filled band; where neighbours are further apart than `gap`, it is interrupted."""
    x, y = [_NO_TIME[:0]], [_NO_VALUE[:0]]
    at, above, below = naive(times), upper.to_numpy(np.float64), lower.to_numpy(np.float64)
    for rows in _runs(times, gap):
        x += [at[rows], at[rows][::-1], _NO_TIME]
        y += [above[rows], below[rows][::-1], _NO_VALUE]
    figure.add_scatter(
        x=np.concatenate(x),
        y=np.concatenate(y),
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=fill,
        name=name,
        legendrank=rank,
        hoverinfo="skip",
    )


def broken_line(times: pd.Series, values: pd.Series, gap: timedelta) -> tuple[Times, NDArray[Any]]:
    """The x and y of a line, interrupted as `add_band` is; behind each stretch there is a point that is none."""
    ends = [rows[-1] + 1 for rows in _runs(times, gap)]
    numbers = pd.api.types.is_numeric_dtype(values)
    y = values.to_numpy(np.float64 if numbers else object)
    nothing = np.array([np.nan if numbers else None], y.dtype)
    return np.insert(naive(times), ends, _NO_TIME[0]), np.insert(y, ends, nothing)


def _runs(times: pd.Series, gap: timedelta) -> list[np.ndarray]:
    """The positions of `times`, split where neighbours are further apart than `gap`."""
    if times.empty:
        return []
    breaks = np.flatnonzero(times.diff().to_numpy() > pd.Timedelta(gap).to_timedelta64())
    return np.split(np.arange(len(times)), breaks)


def number_format(value: float) -> str:
    """D3's format for prices of this size."""
    return f",.{decimals(value)}f"


def naive(times: pd.Series) -> Times:
    """Times as Plotly wants them: it would drop the zone and keep the figures, so they are made UTC's first.

    As an array, which it takes as it is: of Python's times it looks at each one several times.
    """
    found: Times = times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[ms]")
    return found


def in_utc(times: pd.Series, offset: timedelta) -> dict[str, object]:
    """What makes `%{text}` of a trace tell the times in UTC too; nothing where those are shown anyway."""
    return {"text": times.dt.strftime("%d %b %H:%M UTC").tolist() if offset else [""] * len(times)}


def naive_time(time: pd.Timestamp) -> datetime:
    """One time, as `naive`."""
    found: datetime = time.tz_convert("UTC").tz_localize(None).to_pydatetime()
    return found
