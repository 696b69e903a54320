"""What the report's charts share: colours, axes, and how a chart becomes text.

The colours are the dashboard's: told apart with any colour vision, dark enough for a white page and light enough for a
black one; what they say is said by shape or sign as well. Text, grid and hover boxes take the page's colours by style
sheet, so a chart follows the reader's light or dark scheme. Times are milliseconds of UTC, numbers of four bytes: the
file stays small. Plotly reads markup in texts, so texts from data come escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.backtest.rows import Array, Times

if TYPE_CHECKING:
    import plotly.graph_objects as go

BLUE, ORANGE, PURPLE, TEAL, QUIET = "#2a86d1", "#d9751c", "#9a6bdc", "#1a9e8f", "#8a929e"
FILL_80, FILL_95, FILL_LIMIT = "rgba(154,107,220,.34)", "rgba(154,107,220,.16)", "rgba(42,134,209,.13)"
GRID = "rgba(138,146,158,.28)"
# Too few below, too many above; nothing in the middle, whatever the page's colour.
DIVERGING = [[0, ORANGE], [0.5, "rgba(138,146,158,.10)"], [1, BLUE]]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"

Single = NDArray[np.float32]


def new_chart(height: int, **layout: Any) -> go.Figure:
    """An empty chart."""
    import plotly.graph_objects as go

    figure = go.Figure(layout={"template": "none"})
    return styled(figure, height, **layout)


def stacked_charts(height: int, shares: list[float], *, shared_x: bool = True, **layout: Any) -> go.Figure:
    """Empty charts above each other; `shares` of the height, from the top."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=len(shares), cols=1, shared_xaxes=shared_x, vertical_spacing=0.09, row_heights=shares)
    return styled(figure, height, **layout)


def styled(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    """Margins, fonts, axes and legend as on every chart."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 4, "r": 4, "t": 30, "b": 4},
        font={"family": FONT, "size": 12.5, "color": "#4b5767"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified",
        dragmode=False,
        bargap=0.28,
        bargroupgap=0.06,
        legend={"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom", "font": {"size": 12.5}},
    )
    figure.update_layout(**layout)
    figure.update_xaxes(showgrid=False, zeroline=False, automargin=True, ticks="outside", tickcolor=GRID, ticklen=4)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True, nticks=6)
    return figure


def time_axis(figure: go.Figure, **options: Any) -> None:
    """Makes the x axes axes of time."""
    figure.update_xaxes(**{"type": "date", "hoverformat": "%a %d %b %Y %H:%M UTC"} | options)


def millis(times: Times) -> Array:
    """Times as a chart takes them."""
    return times.astype("datetime64[ms]").astype(np.float64)


def small(values: Array) -> Single:
    """Numbers in four bytes."""
    return np.asarray(values, dtype=np.float32)


def runs(times: Times, gap: np.timedelta64) -> list[NDArray[np.int64]]:
    """The positions of `times`, split where neighbours are further apart than `gap`."""
    return np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > gap) + 1) if len(times) else []


def broken(times: Times, values: Array, gap: np.timedelta64) -> tuple[Array, Single]:
    """A line that is interrupted where neighbours are further apart than `gap`."""
    pieces = runs(times, gap)
    x = [part for run in pieces for part in (millis(times[run]), [np.nan])]
    y = [part for run in pieces for part in (values[run], [np.nan])]
    return np.concatenate(x), small(np.concatenate(y))


def band(times: Times, lower: Array, upper: Array, gap: np.timedelta64) -> dict[str, Any]:
    """A filled band, interrupted likewise, as what a scatter trace takes."""
    x: list[Any] = []
    y: list[Any] = []
    for run in runs(times, gap):
        x += [millis(times[run]), millis(times[run][::-1]), [np.nan]]
        y += [upper[run], lower[run][::-1], [np.nan]]
    return {
        "x": np.concatenate(x),
        "y": small(np.concatenate(y)),
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "hoverinfo": "skip",
    }


def wilson(shares: Array, independent: Array, colour: str) -> dict[str, Any]:
    """Error bars of shares among so many independent ones, in per cent: the 95% interval of Wilson (1927)."""
    z2 = 1.96**2
    middle = (shares + z2 / (2 * independent)) / (1 + z2 / independent)
    reach = np.sqrt(shares * (1 - shares) / independent + z2 / (4 * independent**2)) * 1.96 / (1 + z2 / independent)
    return {
        "type": "data",
        "array": 100 * np.maximum(middle + reach - shares, 0),
        "arrayminus": 100 * np.maximum(shares - middle + reach, 0),
        "color": colour,
        "thickness": 1.3,
        "width": 3,
    }


def as_json(figure: go.Figure) -> str:
    """The chart for plotly.js, the same for the same chart; nothing in it can end a script element."""
    from plotly.io.json import to_json_plotly

    return str(to_json_plotly({"data": figure.to_dict()["data"], "layout": figure.to_dict()["layout"]}, engine="json"))
