"""The report's tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from cryptosentinel.backtest import page, words
from cryptosentinel.backtest.charts_width import BASELINE_NAMES
from cryptosentinel.backtest.models import BacktestFigures, Part
from cryptosentinel.backtest.records import Training
from cryptosentinel.backtest.scoring import SERVED
from cryptosentinel.bundle import BLEND, RANDOM_WALK

_ACCOUNTS = {"every": "every direction", "top_tenth": "the tenth most certain", "hold": "buy and hold"}
_CONTESTANTS = {SERVED: "as served", BLEND: "blend, not shrunk", RANDOM_WALK: "the price stays"}


def spread(figures: BacktestFigures) -> str:
    """Pinball loss of the model and the baselines."""
    losses, gains = figures.spread.pinball_bp, figures.spread.gains
    rows = [("this model", words.number(losses["model"], 3), "", "")]
    rows += [
        (
            BASELINE_NAMES[base],
            words.number(losses[base], 3),
            words.percent(gain.share, 2, sign=True),
            words.t_value(gain.t),
        )
        for base, gain in gains.items()
    ]
    return page.table(("volatility", "pinball loss, bp", "model is lower by", "t"), rows, ours=0)


def league(figures: BacktestFigures, currency: str) -> str:
    """Every point forecast, best first."""
    rows, served = figures.point.league, "(the price stays)" if figures.point.zero else "(shrunk)"
    return page.table(
        (
            "point forecast",
            "RMSE, bp",
            f"RMSE, {currency.upper()}",
            "skill",
            "Clark-West t",
            "signs right",
            "forecasts",
        ),
        [
            (
                _CONTESTANTS.get(row.name, words.name(row.name))
                + (f" {served}" if row.name == SERVED else " (rule)" if _is_rule(row.name, row.kind) else ""),
                words.number(row.rmse_bp, 3),
                words.money(row.rmse),
                words.percent(row.skill, 3, sign=True),
                words.t_value(row.clark_west_t),
                words.percent(row.accuracy),
                words.number(row.rows),
            )
            for row in rows
        ],
        ours=next((number for number, row in enumerate(rows) if row.name == SERVED), None),
    )


def last_blocks(trainings: Sequence[Training]) -> str:
    """The candidates' skill on what each training kept for its figures; empty where none was noted."""
    skills: dict[str, list[float]] = {}
    for training in trainings:
        for name, figures in training.candidates.items():
            if "skill" in figures:
                skills.setdefault(name, []).append(figures["skill"])
    if not skills:
        return ""
    return page.table(
        ("candidate", "median skill", "worst", "best", "above zero", "trainings"),
        [
            (
                words.name(name),
                *(words.percent(reach(values), 3, sign=True) for reach in (statistics.median, min, max)),
                f"{sum(value > 0 for value in values)}",
                f"{len(values)}",
            )
            for name, values in sorted(skills.items(), key=lambda item: (-statistics.median(item[1]), item[0]))
        ],
    )


def direction(figures: BacktestFigures) -> str:
    """The figures of `p_up`."""
    side = figures.direction
    return page.table(
        ("p(up)", ""),
        [
            ("directions right", words.percent(side.accuracy.value, 2)),
            ("its 95% interval", words.interval(side.accuracy)),
            ("the more frequent direction", words.percent(side.majority, 2)),
            ("forecasts with a direction", words.percent(side.stated)),
            ("Brier score (a coin: 0.2500)", words.number(side.brier, 4)),
            ("Brier skill against the trailing base rate", words.percent(side.brier_skill.share, 3, sign=True)),
            ("its t", words.t_value(side.brier_skill.t)),
            ("log loss (a coin: 0.6931)", words.number(side.log_loss, 4)),
            ("calibration error, points", words.points(side.calibration_error, 2)),
            ("of a perfect forecaster, mean", words.points(side.perfect_error, 2)),
            ("of a perfect forecaster, 95% below", words.points(side.perfect_error_95, 2)),
        ],
    )


def groups(figures: BacktestFigures) -> str:
    """By volatility, regime and familiarity."""
    named = [
        *(("", part) for part in figures.terciles),
        *(("regime: ", part) for part in figures.regimes),
        *(("", part) for part in figures.familiarity if part.rows < figures.rows),
    ]
    return _parts("part", [("all forecasts", figures.overall), *((kind + part.name, part) for kind, part in named)])


def months(figures: BacktestFigures) -> str:
    """By month."""
    return _parts("month", [(part.name, part) for part in figures.months])


def hours(figures: BacktestFigures) -> str:
    """By hour of day."""
    return _parts("hour", [(f"{part.name}:00", part) for part in figures.hours])


def gate(trainings: Sequence[Training]) -> str:
    """Every training and what the gate said."""
    return page.table(
        ("trained (UTC)", "gate", "weight", "forecasts with", "rows", "out of fold", "last block"),
        [
            (
                words.moment(training.made_at),
                "● promoted" if training.gate.promote else "✕ refused",
                _weight(training),
                words.name(training.gate.champion),
                words.number(training.training_rows),
                words.number(training.oof_rows),
                words.number(training.last_block_rows),
            )
            for training in trainings
        ],
        texts=(0, 1, 2, 3),
        notes=["; ".join(training.gate.reasons) for training in trainings],
    )


def _weight(training: Training) -> str:
    estimated, spoken = words.percent(training.weight, 0), words.percent(training.spoken_weight, 0)
    return spoken if spoken == estimated else f"{spoken} ({estimated} estimated)"


def accounts(figures: BacktestFigures) -> str:
    """What each account came to."""
    return page.table(
        (
            "traded on",
            "cost, bp",
            "1 became",
            "a year",
            "Sharpe",
            "± SE",
            "deepest fall",
            "round trips a day",
            "invested",
        ),
        [
            (
                _ACCOUNTS[account.name],
                words.number(account.cost_bp),
                words.money(account.growth),
                words.percent(account.annual_return, sign=True),
                words.number(account.sharpe, 2),
                words.number(account.sharpe_se, 2),
                words.percent(account.drawdown),
                words.number(account.round_trips_a_day, 1),
                words.percent(account.invested, 0),
            )
            for account in figures.strategy.accounts
        ],
    )


def limits(figures: BacktestFigures) -> str:
    """Every check."""
    return page.table(
        ("figure", "", "is", "must be"),
        [
            (check.title, words.mark(check.passed), words.checked(check), words.short_limit(check))
            for check in figures.checks
        ],
        texts=(0, 1),
    )


def _parts(first: str, named: Iterable[tuple[str, Part]]) -> str:
    heads = (first, "forecasts", "in 80%", "in 95%", "pinball, bp", "below constant", "below EWMA", "below HAR")
    return page.table(
        (*heads, "point skill", "directions right", "majority", "Brier skill"),
        [
            (
                name,
                words.number(part.rows),
                words.percent(part.covered_80),
                words.percent(part.covered_95),
                words.number(part.pinball_bp, 3),
                *(words.percent(part.below[base], sign=True) for base in BASELINE_NAMES),
                words.percent(part.skill, 3, sign=True),
                f"{words.percent(part.accuracy.value)} ({words.interval(part.accuracy)})",
                words.percent(part.majority),
                words.percent(part.brier_skill, 2, sign=True),
            )
            for name, part in named
        ],
    )


def _is_rule(name: str, kind: str) -> bool:
    return kind == "baseline" and name not in _CONTESTANTS
