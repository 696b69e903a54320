"""The report: one HTML file that needs nothing else, the same bytes for the same backtest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd

from cryptosentinel.backtest import page, tables, words
from cryptosentinel.backtest.models import BacktestFigures, Check
from cryptosentinel.backtest.records import BacktestMeta, Training
from cryptosentinel.backtest.sections import Sections


def write_figures(path: Path, figures: BacktestFigures) -> None:
    """Writes the figures as JSON; a missing one is the text NaN."""
    path.write_text(figures.model_dump_json(indent=2) + "\n", encoding="utf-8")


def write_report(
    path: Path, forecasts: pd.DataFrame, trainings: Sequence[Training], meta: BacktestMeta, figures: BacktestFigures
) -> None:
    """Writes the report as one HTML file: style, charts and plotly.js are inside, nothing is fetched.

    Args:
        path: of the file.
        forecasts: what the figures were made from, ordered by `made_at`.
        trainings: the runs behind them.
        meta: what was replayed.
        figures: what `summarise` made of these.
    """
    from plotly.offline import get_plotlyjs

    made = Sections(forecasts, trainings, meta, figures)
    title = f"{meta.asset.capitalize()} {made.ahead} ahead: a backtest"
    sections = [made.width(), made.middle(), made.side(), made.parts(), made.gate(), made.money()]
    body = f"{_head(title, meta, figures)}<main>{''.join(sections)}{_limits(figures)}{_again(meta)}</main>"
    charts = ",".join(f'"{name}":{text}' for name, text in made.charts.items())
    path.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>'
        f"<style>{page.CSS}</style></head>\n<body>{body}"
        "<footer>All times are UTC. Intervals and t values allow for labels that overlap (Newey-West). A forecast "
        "is no advice.</footer>\n"
        "<noscript><p>The charts need JavaScript; every figure is in the tables too.</p></noscript>\n"
        f"<script>{get_plotlyjs()}</script>\n"
        f'<script type="application/json" id="charts">{{{charts}}}</script>\n'
        f"<script>{page.SCRIPT}</script>\n</body></html>\n",
        encoding="utf-8",
    )


def _head(title: str, meta: BacktestMeta, figures: BacktestFigures) -> str:
    """Title, verdict, and the figures that matter most."""
    verdict = "".join(f"<li>{page.claim(sentence)}</li>" for sentence in figures.verdict)
    notes = []
    if meta.simulated:
        notes.append(
            "This market is simulated. The figures show that the machinery works, not that it can forecast one."
        )
    if luck := words.luck(figures.days):
        notes.append(luck)
    missing = figures.made - figures.rows
    facts = (
        f"{words.moment(figures.start)} to {words.moment(figures.end)} UTC · {meta.interval} bars of {meta.market} "
        f"· {figures.rows:,} forecasts with an outcome, {figures.rows // figures.overlap:,} that do not overlap"
        f"{f', {missing:,} without' if missing else ''} · {words.count(figures.gate.trainings, 'training')}, "
        f"{words.schedule(meta.every_days, meta.window_days)}"
    )
    return (
        f'<header><p class="kicker">CryptoSentinel backtest</p><h1>{escape(title)}</h1>'
        f'{page.paragraph(facts, "facts")}<ul class="verdict">{verdict}</ul>'
        f'{"".join(page.paragraph(note, "note") for note in notes)}<dl class="tiles">{_tiles(figures)}</dl></header>'
    )


def _tiles(figures: BacktestFigures) -> str:
    """The key figures, each with the limit it is held to."""
    checks, side = {check.name: check for check in figures.checks}, figures.direction
    zero = ": it is a forecast of zero" if figures.point.zero else " against saying that the price stays"
    off = {level: f"{level}% ± {words.points(checks[f'covered_{level}'].limit)} points" for level in (80, 95)}
    return "".join(
        _tile(checks[name], title, value, limit)
        for name, title, value, limit in (
            ("below_ewma", "Pinball loss below EWMA volatility's", "", ""),
            ("below_constant", "Pinball loss below a constant width's", "", ""),
            ("covered_80", "Prices in the 80% intervals", words.percent(figures.overall.covered_80, 2), off[80]),
            ("covered_95", "Prices in the 95% intervals", words.percent(figures.overall.covered_95, 2), off[95]),
            ("skill", f"Point forecast's skill{zero}", words.percent(figures.point.skill, 3, sign=True), ""),
            (
                "accuracy",
                f"Directions right ({words.interval(side.accuracy)})",
                words.percent(side.accuracy.value),
                "",
            ),
            ("brier_t", "t of the Brier skill of p(up)", "", ""),
            (
                "calibration_error",
                f"Calibration error of p(up), in points (if perfect: {words.points(side.perfect_error, 2)})",
                words.points(side.calibration_error, 2),
                "",
            ),
        )
    )


def _limits(figures: BacktestFigures) -> str:
    """Every figure with its limit."""
    return (
        "<section><h2>What every figure is held to</h2>"
        + page.paragraph("What this project asks of itself over a year. A month counts if half of it is there.")
        + tables.limits(figures)
        + "</section>"
    )


def _again(meta: BacktestMeta) -> str:
    """How to get the same figures."""
    facts = [("seed", str(meta.seed)), ("sha256 of the bars", meta.data_digest or words.UNKNOWN)]
    versions = sorted(meta.libraries.items())
    settings = json.dumps(meta.settings, indent=2, sort_keys=True, ensure_ascii=False)
    return (
        "<section><h2>How to do it again</h2>"
        + page.paragraph("The same bars, settings and seed give the same figures to the last digit.")
        + (page.code(meta.command) if meta.command else "")
        + page.table(("", ""), [*facts, *versions], texts=(0, 1))
        + page.details("Settings", page.code(settings))
        + "</section>"
    )


def _tile(check: Check, title: str, value: str, limit: str) -> str:
    return (
        f'<div class="tile"><dt>{escape(title)}</dt><dd class="big">{escape(value or words.checked(check))}</dd>'
        f'<dd class="limit">{page.marked(words.mark(check.passed))}: {escape(limit or words.limit(check))}</dd></div>'
    )
