"""The sections of the report, and the charts that they ask for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from cryptosentinel.backtest import charts_value, charts_width, drawing, page, tables, words
from cryptosentinel.backtest.models import BacktestFigures
from cryptosentinel.backtest.records import BacktestMeta, Training
from cryptosentinel.backtest.rows import Rows
from cryptosentinel.backtest.strategy import FIRST_DAYS, TRAILING_DAYS
from cryptosentinel.config import ForecastSettings

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Sections:
    """Each method is a section as HTML; `charts` are those that they asked for, as JSON, by the id of their place."""

    def __init__(
        self, forecasts: pd.DataFrame, trainings: Sequence[Training], meta: BacktestMeta, figures: BacktestFigures
    ) -> None:
        self.forecasts, self.trainings, self.meta, self.figures = forecasts, trainings, meta, figures
        self.rows = Rows(forecasts, meta.interval, meta.horizon_bars)
        self.charts: dict[str, str] = {}
        self.ahead = words.length(meta.horizon_bars * self.rows.interval.delta)

    def width(self) -> str:
        """How far the price may move."""
        figure, views = charts_width.prices(self.forecasts, self.rows, self.meta.currency)
        buttons = "".join(
            f'<button type="button" aria-pressed="{"false" if number else "true"}" '
            f"data-view='{escape(json.dumps(['prices', view.x, view.y]))}'>{escape(view.label)}</button>"
            for number, view in enumerate(views)
        )
        figures = self.figures
        windows = "7 and 30" if figures.days > charts_width.MONTH_DAYS - 1 else "7"  # a day that began counts
        return (
            "<section><h2>How far the price may move</h2>"
            + page.paragraph(
                "An interval is good if it holds as many prices as it says, always and not only on average, and is "
                "narrow. The pinball loss over nine quantiles measures both; it is least for the true distribution."
            )
            + f'<div class="views" role="group" aria-label="Part of the chart">{buttons}</div>'
            + self._chart(
                "prices",
                figure,
                "",
                f"Each band is where the price was said to be, {self.ahead} before; crosses are prices outside the 95% "
                "interval, which one in twenty should be.",
            )
            + tables.spread(figures)
            + self._chart(
                "widths",
                charts_width.widths(self.rows, self.meta.currency),
                "What was said, and what came",
                "By day: the price; under it the half width of the median 80% interval, and how far from their "
                "forecasts 80% of the prices really came to lie.",
            )
            + self._chart(
                "coverage",
                charts_width.rolling_coverage(self.rows),
                "Coverage over time",
                f"Share of prices in the 80% (above) and 95% intervals (below) over the {windows} days "
                "before. The strip is the limit for a month; luck alone moves a week further.",
            )
            + self._chart(
                "gain",
                charts_width.gain_by_month(figures),
                "By month: pinball loss below the baselines'",
                "All have the same conformal layer; only the volatility differs. Above zero the model is better.",
            )
            + '<div class="two">'
            + self._chart(
                "hours",
                charts_width.coverage_by_hour(figures),
                "Coverage by hour of day (UTC)",
                "With 95% intervals, in which labels that overlap count once. The strip is the limit for the 80% "
                "interval.",
            )
            + self._chart(
                "grid",
                charts_width.coverage_grid(figures, self.rows),
                "80% coverage by weekday and hour (UTC)",
                "Points above (+) or below (−) 80%, signed where it is off by more than two standard errors, as luck "  # noqa: RUF001
                "alone makes one in twenty.",
            )
            + "</div></section>"
        )

    def middle(self) -> str:
        """Where the price goes."""
        point = self.figures.point
        if point.zero:
            said = (
                "Every point forecast was that the price stays where it is. That is a forecast of zero: its skill is "
                "zero by definition and says nothing of the model."
            )
        else:
            said = (
                f"The served forecast is the candidates' mean times a weight learnt before; on average the weight was "
                f"{words.percent(point.mean_weight, 0)}. Without evidence it is zero, and the price is said to stay."
            )
        best = tables.last_blocks(self.trainings)
        return (
            "<section><h2>Where it goes</h2>"
            + page.paragraph(said)
            + tables.league(self.figures, self.meta.currency)
            + self._chart(
                "skill",
                charts_value.skill_by_month(self.figures),
                "By month: skill of the point forecast",
                "1 - squared error over that of saying that the price stays. The dashed line is the limit for a month.",
            )
            + (page.details("The candidates on the last block of each training", best) if best else "")
            + "</section>"
        )

    def side(self) -> str:
        """Which way it goes."""
        side = self.figures.direction
        if not side.stated:
            return f"<section><h2>Which way it goes</h2>{page.paragraph('No direction was stated.')}</section>"
        flat = ForecastSettings.model_validate(self.meta.settings.get("forecast", {})).flat_move
        chance = "" if side.told_from_chance else "The directions cannot be told from chance. "
        return (
            "<section><h2>Which way it goes</h2>"
            + page.paragraph(
                f"{chance}A direction is stated with the probability that the price rises, p(up). It is honest if a "
                "price said to rise with 55% rises 55 times in a hundred, and useful if it is often far from 50%."
            )
            + '<div class="two">'
            + self._chart(
                "reliability",
                charts_value.reliability(self.figures, self.rows),
                "Said and came",
                "Up to ten groups by p(up), as equal in size as equal values allow, and how often the price rose; "
                "labels that overlap count once. Below: how often each p(up) was said.",
            )
            + f"<div>{tables.direction(self.figures)}</div></div>"
            + page.paragraph(
                "Directions right: every stated direction counts, held against the sign of the move, however small. "
                "The column outcome of the forecast log differs: there, moves below "
                f"{words.number(100 * flat)}% are flat, neither right nor wrong.",
                "soft",
            )
            + self._chart(
                "accuracy",
                charts_value.accuracy_by_month(self.figures),
                "By month: directions right",
                f"A month has {30 * self.rows.interval.bars_per_day // self.meta.horizon_bars:,} forecasts that do "
                "not overlap, so its interval is wide.",
            )
            + "</section>"
        )

    def parts(self) -> str:
        """The same figures of parts of the rows."""
        familiar = self.figures.familiarity
        by = (
            "by regime, and by whether the features were like those trained on"
            if len(familiar) > 1
            else f"and by regime. All forecasts were made from {familiar[0].name}"
        )
        return (
            "<section><h2>When it is good, and when it is not</h2>"
            + page.paragraph(
                f"The same figures by the model's own forecast of volatility (a third of the forecasts each), {by}."
            )
            + tables.groups(self.figures)
            + page.details("By month", tables.months(self.figures))
            + page.details("By hour of day (UTC)", tables.hours(self.figures))
            + "</section>"
        )

    def gate(self) -> str:
        """What the gate decided."""
        gate = self.figures.gate
        return (
            "<section><h2>What the gate decided</h2>"
            + page.paragraph(
                f"{words.count(gate.trainings, 'training')}: {gate.promoted} promoted, "
                f"{gate.trainings - gate.promoted} refused. Forecasts were served by {gate.served} of them."
            )
            + self._chart(
                "gate",
                charts_value.gate_timeline(self.trainings, self.meta.end),
                "",
                "How much of a blend was in the forecasts that were served, what became of each training, and in rings "
                "any weight that was estimated but not served.",
            )
            + (page.details("Every training", tables.gate(self.trainings)) if self.trainings else "")
            + "</section>"
        )

    def money(self) -> str:
        """What acting on it would have earned."""
        return (
            "<section><h2>What it would have earned</h2>"
            + page.paragraph(
                f"Long when p(up) is above 50%, short below, held for {self.ahead} without overlap, the account split "
                "equally over all ways to place the decisions. A turn from long to short costs one round trip; "
                "borrowing, funding and slippage are free, which flatters it. Shown so that nobody has to guess; no "
                "advice."
            )
            + '<div class="two">'
            + self._chart(
                "every",
                charts_value.value_of_accounts(self.figures, "every"),
                "On every direction",
                "Value of 1 at the start, on a logarithmic scale, after 0, 5 and 10 bp a round trip.",
            )
            + self._chart(
                "top",
                charts_value.value_of_accounts(self.figures, "top_tenth"),
                "On the tenth that it was most certain of",
                f"As certain as the most certain tenth of the {TRAILING_DAYS} days before; nothing is traded in the "
                f"first {FIRST_DAYS} days, nor until that tenth is reached.",
            )
            + f"</div>{tables.accounts(self.figures)}</section>"
        )

    def _chart(self, name: str, figure: go.Figure | None, title: str, caption: str) -> str:
        """Takes a chart in; where there is nothing to draw, there is no place for it either."""
        if figure is None:
            return ""
        self.charts[name] = drawing.as_json(figure)
        heading = f"<h3>{escape(title)}</h3>" if title else ""
        return (
            f"<figure>{heading}<figcaption>{escape(caption)}</figcaption>"
            f'<div class="chart" id="{name}" role="img" aria-label="{escape(title or caption)}" '
            f'style="height:{figure.layout.height}px"></div></figure>'
        )
