"""Why a forecast is what it is, and how far what forecasts say can be believed."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cryptosentinel.explaining import DESCRIPTIONS, ContributionSum, LocalModel, Subject
from cryptosentinel.predicting import Share
from dashboard.charts.base import DOWN, FORECAST, QUIET, UP
from dashboard.data.insights import Reliability
from dashboard.text import name, share

_ROW = 30
# What LIME's weights are shown in: basis points, and points of a hundred.
_LOCAL = {"log_return": 1e4, "probability": 100.0}


def waterfall(shown: ContributionSum, subject: Subject, features: Mapping[str, float], top: int) -> go.Figure:
    """What features add to an answer and take from it, the largest first, and the others as one; they add up.

    A range starts at the usual one, which its contributions multiply: its axis is logarithmic.

    Args:
        shown: of `cryptosentinel.explaining.contribution_sums`.
        subject: which of them.
        features: the row's values.
        top: how many features to name.
    """
    multiplied = subject == "range"
    named = [(each, value) for each, value in shown.contributions.items() if value][:top]
    rest = sum(shown.contributions.values()) - sum(value for _, value in named)
    others = len(shown.contributions) - len(named)
    steps = [] if multiplied else [("Without this row", shown.base, "what the models answer on average")]
    steps += [(_label(each), value, f"{_described(each)}: {features[each]:.4g}") for each, value in named]
    steps += [(f"{others} others", rest, "all other features together")] if others else []
    total = sum(value for _, value, _ in steps)
    ends = [sum(value for _, value, _ in steps[:count]) for count in range(len(steps) + 1)]
    low, high = min(0.0, *ends), max(ends)
    reach = (high - low) or 1.0
    figure = go.Figure(
        go.Waterfall(
            orientation="h",
            measure=["relative"] * len(steps) + ["total"],
            y=[label for label, _, _ in steps] + ["Together"],
            x=[value for _, value, _ in steps] + [0.0],
            text=[shown.figure(value) for _, value, _ in steps] + [shown.figure(total)],
            textposition="outside",
            cliponaxis=False,
            customdata=[note for _, _, note in steps] + ["all of the above"],
            hovertemplate="%{customdata}<br>%{text}<extra></extra>",
            increasing={"marker": {"color": UP}},
            decreasing={"marker": {"color": DOWN}},
            totals={"marker": {"color": FORECAST}},
            connector={"line": {"color": QUIET, "width": 1, "dash": "dot"}},
        )
    )
    _as_rows(figure, len(steps) + 1)
    # Room for the figures beside the outermost bars.
    figure.update_xaxes(range=[low - 0.34 * reach, high + 0.34 * reach])
    if multiplied:
        step = next((step for step in (0.05, 0.1, 0.25, 0.5) if math.expm1(reach) < 6 * step), 1.0)
        ticks = [count * step for count in range(1, 100) if low - 0.1 * reach <= math.log(count * step) <= high + 0.1]
        figure.update_xaxes(
            tickvals=[math.log(factor) for factor in ticks], ticktext=[f"x{factor:g}" for factor in ticks]
        )
    figure.add_vline(x=0, line={"color": QUIET, "width": 1}, layer="below")
    return figure


def importance_chart(values: Mapping[str, float], top: int) -> go.Figure:
    """How much each of the `top` features matters, as a share of what all matter together; the largest first."""
    whole = sum(values.values()) or 1.0
    shown = {each: value / whole for each, value in list(values.items())[:top] if value}
    figure = _bars(shown, ".1%", " of all", [FORECAST] * len(shown))
    figure.update_xaxes(range=[0, 1.3 * max(shown.values(), default=1.0)], tickformat=".0%")
    return figure


def local_chart(model: LocalModel) -> go.Figure:
    """LIME's weights: what one standard deviation more of a feature would change."""
    weights = {each: weight * _LOCAL[model.unit] for each, weight in model.weights.items() if weight}
    reach = max(map(abs, weights.values()), default=1.0)
    figure = _bars(weights, "+.3f", "", [UP if weight > 0 else DOWN for weight in weights.values()])
    figure.update_xaxes(range=[-1.8 * reach, 1.8 * reach])
    figure.add_vline(x=0, line={"color": QUIET, "width": 1}, layer="below")
    return figure


def calibration_chart(bins: Sequence[Reliability]) -> go.Figure:
    """How often the price rose against how likely a rise was said to be, and how many forecasts said so.

    Args:
        bins: at least one.
    """
    figure = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.8, 0.2], vertical_spacing=0.04)
    said = [each.forecast for each in bins]
    low = min(*said, 0.45) - 0.01
    high = max(*said, 0.55) + 0.01
    _ideal(figure, [low, high], "right probabilities", row=1, col=1)
    _shares(
        figure,
        said,
        [each.rose for each in bins],
        "rose",
        [f"said {each.forecast:.1%}, rose {each.rose.value:.1%} of {each.count:,}" for each in bins],
        row=1,
        col=1,
    )
    figure.add_bar(
        x=said,
        y=[each.count for each in bins],
        name="forecasts",
        marker={"color": QUIET},
        hovertemplate="%{y:,} forecasts<extra></extra>",
        showlegend=False,
        width=(high - low) / 40,
        row=2,
        col=1,
    )
    _square(figure)
    figure.update_xaxes(range=[low, high], tickformat=".0%")
    figure.update_xaxes(title="probability of a rise, as said", row=2, col=1)
    figure.update_yaxes(title="share that rose", row=1, col=1)
    figure.update_yaxes(title="count", tickformat=",d", nticks=3, row=2, col=1)
    return figure


def coverage_chart(logged: Mapping[int, Share], held_out: Mapping[int, Share]) -> go.Figure:
    """How often the price was within an interval against how often it should be.

    Args:
        logged: of the log's forecasts, by level in percent.
        held_out: of the rows before a version served that no model was fitted on.
    """
    figure = go.Figure()
    _ideal(figure, [0.4, 1.0], "right intervals")
    _shares(
        figure,
        [level / 100 for level in logged],
        list(logged.values()),
        "logged forecasts",
        [f"{level}% interval: held {share(each.value)} of logged prices" for level, each in logged.items()],
    )
    # A little to the right, so that neither hides the other.
    _shares(
        figure,
        [level / 100 + 0.006 for level in held_out],
        list(held_out.values()),
        "before it served, unseen rows",
        [f"{level}% interval: held {share(each.value)} of unseen rows" for level, each in held_out.items()],
        symbol="diamond-open",
        colour=UP,
    )
    _square(figure)
    levels = sorted({*logged, *held_out})
    figure.update_xaxes(
        title="should be inside",
        range=[0.44, 1.0],
        tickvals=[level / 100 for level in levels],
        ticktext=[f"{level}%" for level in levels],
    )
    figure.update_yaxes(title="was inside")
    return figure


def _label(feature: str) -> str:
    """A feature on an axis, where a telephone has little room; Plotly reads markup."""
    return html.escape(textwrap.shorten(name(feature), 27, placeholder="…"))


def _described(feature: str) -> str:
    return html.escape(DESCRIPTIONS.get(feature, feature))


def _ideal(figure: go.Figure, ends: list[float], label: str, **place: int) -> None:
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        name=label,
        line={"color": QUIET, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
        **place,
    )


def _shares(
    figure: go.Figure,
    x: Sequence[float],
    shares: Sequence[Share],
    label: str,
    notes: Sequence[str],
    *,
    symbol: str = "circle",
    colour: str = FORECAST,
    **place: int,
) -> None:
    """Shares with their 95% intervals."""
    if not shares:
        return
    intervals = [f"95% interval {each.lower:.0%} to {each.upper:.0%}, {each.independent:,} apart" for each in shares]
    figure.add_scatter(
        x=list(x),
        y=[each.value for each in shares],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [each.upper - each.value for each in shares],
            "arrayminus": [each.value - each.lower for each in shares],
            "thickness": 1.5,
            "width": 4,
        },
        mode="markers+lines" if symbol == "circle" else "markers",
        name=label,
        marker={"symbol": symbol, "size": 9, "color": colour, "line": {"width": 2}},
        line={"color": colour, "width": 1.5},
        customdata=[f"{note}<br>{interval}" for note, interval in zip(notes, intervals, strict=True)],
        hovertemplate="%{customdata}<extra></extra>",
        **place,
    )


def _square(figure: go.Figure) -> None:
    figure.update_layout(
        height=400,
        margin={"l": 8, "r": 8, "t": 36, "b": 8},
        hovermode="closest",
        dragmode=False,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_yaxes(tickformat=".0%", automargin=True)
    figure.update_xaxes(automargin=True)


def _bars(values: Mapping[str, float], form: str, unit: str, colours: Sequence[str]) -> go.Figure:
    """A row a feature, its value written beside the bar."""
    figure = go.Figure(
        go.Bar(
            orientation="h",
            y=[_label(each) for each in values],
            x=list(values.values()),
            text=[f"{value:{form}}" for value in values.values()],
            textposition="outside",
            cliponaxis=False,
            customdata=[_described(each) for each in values],
            hovertemplate=f"%{{customdata}}<br>%{{text}}{unit}<extra></extra>",
            marker={"color": colours},
        )
    )
    _as_rows(figure, len(values))
    return figure


def _as_rows(figure: go.Figure, count: int) -> None:
    """A row a bar, from the top down; as high as it has rows."""
    figure.update_layout(
        height=70 + _ROW * count,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        showlegend=False,
        dragmode=False,
        hovermode="closest",
        bargap=0.25,
        waterfallgap=0.25,
    )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False, ticklabelstandoff=6)
    figure.update_xaxes(zeroline=False, automargin=True)
