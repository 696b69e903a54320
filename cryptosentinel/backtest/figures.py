"""A backtest in figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cryptosentinel.backtest import checks
from cryptosentinel.backtest.models import BacktestFigures, GateFigures
from cryptosentinel.backtest.records import BacktestMeta, Training
from cryptosentinel.backtest.rows import Mask, Rows
from cryptosentinel.backtest.scoring import direction, part, parts, point, spread
from cryptosentinel.backtest.strategy import strategy
from cryptosentinel.config import GateSettings
from cryptosentinel.errors import NotEnoughDataError


def summarise(forecasts: pd.DataFrame, trainings: Sequence[Training], meta: BacktestMeta) -> BacktestFigures:
    """Measures a backtest, finished or not.

    Args:
        forecasts: one row a bar, by `made_at`; those without `actual_return` are not settled and count as made only.
        trainings: the runs behind them, in order.
        meta: what was replayed.

    Raises:
        NotEnoughDataError: fewer forecasts are settled than reach over two horizons.
    """
    rows = Rows(forecasts, meta.interval, meta.horizon_bars)
    if rows.count < (need := 2 * meta.horizon_bars):
        raise NotEnoughDataError(
            "Figures of a backtest (settled forecasts)",
            have=rows.count,
            need=need,
            remedy="Let it run longer, or over a longer period.",
        )
    everything: Mask = np.ones(rows.count, dtype=bool)
    overall = part(rows, "all", everything)
    months, hours, terciles = (parts(rows, groups) for groups in (rows.months, rows.hours, rows.terciles))
    full = checks.full_months(months, rows.interval.bars_per_day)
    of_spread, of_point, money = spread(rows), point(rows), strategy(rows)
    of_direction = direction(rows, overall, meta.seed)
    made = forecasts["made_at"]
    days = (made.iloc[-1] - made.iloc[0] + rows.interval.delta) / pd.Timedelta(days=1)
    return BacktestFigures(
        start=made.iloc[0].to_pydatetime(),
        end=made.iloc[-1].to_pydatetime(),
        days=days,
        made=len(forecasts),
        rows=rows.count,
        overlap=meta.horizon_bars,
        outlying=float((rows("outlying") == 1).mean()),
        verdict=checks.verdict(overall, full, of_spread, of_point, of_direction, money),
        checks=checks.checks(
            overall,
            full,
            terciles,
            hours,
            of_spread,
            of_point,
            of_direction,
            days=days,
            suspect_accuracy=GateSettings.model_validate(meta.settings.get("gate", {})).suspect_accuracy,
        ),
        overall=overall,
        months=months,
        hours=hours,
        terciles=terciles,
        regimes=parts(rows, rows.regimes),
        familiarity=parts(rows, rows.familiarity),
        grid=_grid(rows),
        spread=of_spread,
        point=of_point,
        direction=of_direction,
        strategy=money,
        gate=GateFigures(
            trainings=len(trainings),
            promoted=sum(training.gate.promote for training in trainings),
            served=int(forecasts["fold"][forecasts["fold"] >= 0].nunique()),  # -1: version 0
        ),
    )


def _grid(rows: Rows) -> list[list[float]]:
    cell = rows.weekday * 24 + rows.hour
    held = np.bincount(cell, weights=rows.covered(80), minlength=7 * 24)
    count = np.bincount(cell, minlength=7 * 24)
    with np.errstate(invalid="ignore"):
        return [[float(share) for share in day] for day in (held / count).reshape(7, 24)]
