"""The part of a backtest that goes in the order of time: judging, serving, settling, calibrating."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.backtest.folder import BASELINES, BUNDLE, CARD, PARTS, Step, Trained, read_stretch
from cryptosentinel.backtest.records import Promotion, Training
from cryptosentinel.backtest.tape import Tape
from cryptosentinel.bundle import BLEND, BOUNDS, PROBABILITIES, RANDOM_WALK, Bundle, QuantileTable, write_random_walk
from cryptosentinel.config import Settings
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec
from cryptosentinel.forecasting import (
    assemble_bundle,
    evaluate,
    incumbent_on,
    judge,
    next_look,
    part_names,
    read_unseen,
)
from cryptosentinel.forecasting.baselines import POINT, SPREAD, Baseline
from cryptosentinel.forecasting.evaluation import baseline_history
from cryptosentinel.forecasting.looks import past_verdict
from cryptosentinel.forecasting.losses import pinball
from cryptosentinel.forecasting.online import calibrate_rows
from cryptosentinel.market.bars import utc
from cryptosentinel.predicting import Rows, answer_with, forecast_frame, outcomes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """What stays the same all through a backtest."""

    tape: Tape
    spec: FeatureSpec
    settings: Settings
    market: str
    simulated: bool


@dataclass(frozen=True)
class Champion:
    """The bundle that serves: that of a training run, or None's, version 0."""

    path: Path
    number: int | None

    @property
    def version(self) -> int:
        """What it would be in a registry."""
        return 0 if self.number is None else self.number + 1

    @cached_property
    def bundle(self) -> Bundle:
        """Loaded when it is first asked: of a backtest that goes on, most have retired."""
        return Bundle.load(self.path)


def version_0(folder: Path, run: Run) -> Champion:
    """The random walk, which serves until the gate lets a trained bundle through."""
    shutil.rmtree(folder, ignore_errors=True)
    market = run.settings.market
    write_random_walk(
        folder,
        run.spec,
        asset=market.asset,
        currency=market.currency,
        market=run.market,
        simulated=run.simulated,
        horizon_bars=run.settings.forecast.horizon_bars,
    )
    return Champion(folder, None)


def judged(run: Run, place: Path, now: datetime, trained: Trained, champion: Champion, past: list[Step]) -> Step:
    """Evaluates the parts that were trained, asks the gate, and leaves a bundle and its card.

    Where too few rows were there to train on, nothing is asked and the champion goes on, as it would live.

    Args:
        run: the backtest.
        place: the training run's folder, with its parts.
        now: when it was due.
        trained: what came of that.
        champion: that serves until then.
        past: all earlier steps.
    """
    if trained.problem:
        return _untrained(place, now, trained.problem, past)
    settings = run.settings
    rows = run.tape.known_at(now, settings.training.window_days)
    folders = [place / PARTS / name for name in part_names(settings.training)]
    unseen = read_unseen(folders, rows)
    incumbent = incumbent_on(
        unseen.split()[1].rows, run.spec.hash, champion.bundle, champion.version, settings.forecast
    )
    age_s = (now - utc(rows.timestamps[-1])).total_seconds()
    try:
        evaluation = evaluate(folders, unseen, settings.forecast, data_age_s=age_s, incumbent=incumbent)
    except NotEnoughDataError as error:
        return _untrained(place, now, error.message, past)
    verdicts = [step.verdict for step in past if step.verdict is not None]
    gate = judge(evaluation.evidence, next_look(verdicts, evaluation.data.end, settings.gate), settings.gate)
    shutil.rmtree(place / BUNDLE, ignore_errors=True)  # of a start that was killed
    assemble_bundle(
        place / BUNDLE,
        folders=folders,
        evaluation=evaluation,
        gate=gate,
        spec=run.spec,
        settings=settings,
        market=run.market,
        simulated=run.simulated,
    )
    shutil.copyfile(place / BUNDLE / CARD, place / CARD)
    training = Training(
        fold=int(place.name),
        made_at=now,
        training_rows=evaluation.data.training_rows,
        oof_rows=evaluation.data.oof_rows,
        last_block_rows=evaluation.data.holdout_rows,
        weight=evaluation.choices.shrinkage,
        gate=Promotion(
            promote=gate.promote,
            champion=gate.champion,
            look=_looks(past) + gate.look,
            reasons=gate.reasons,
            figures=gate.figures,
        ),
        candidates=evaluation.candidates,
        fit_seconds=trained.seconds,
    )
    verdict = past_verdict(gate, evaluation.data.end)
    return Step(training=training, verdict=verdict, base_rate=evaluation.choices.base_rate)


def _untrained(place: Path, now: datetime, problem: str, past: list[Step]) -> Step:
    training = Training(
        fold=int(place.name),
        made_at=now,
        training_rows=0,
        oof_rows=0,
        last_block_rows=0,
        weight=0.0,
        gate=Promotion(promote=False, champion="none", look=_looks(past), reasons=[f"not trained: {problem}"]),
    )
    return Step(training=training, verdict=None, base_rate=past[-1].base_rate if past else 0.5)


def _looks(past: list[Step]) -> int:
    return sum(step.verdict.look for step in past if step.verdict is not None)


def served(run: Run, champion: Champion, base_rate: float, now: datetime, until: datetime) -> pd.DataFrame:
    """Forecasts at the close of every bar from `now` on and before `until`, with those of the baselines beside them.

    Where the live step abstains, there is none: after a gap, until the volatility is known, and once the champion is
    older than `forecast.max_model_age_days`. Quantiles are the bundle's own still.

    Returns:
        The columns of the forecast log, what `calibrated` needs, and in `attrs` the baselines' own quantiles.
    """
    tape, interval, settings = run.tape, run.spec.interval, run.settings
    which = tape.closed_between(now, until)
    rows = tape.rows.rows(which)
    made_at = pd.DatetimeIndex(rows.timestamps).tz_localize("UTC") + interval.delta
    manifest = champion.bundle.manifest
    asked = np.isfinite(rows.scale)
    if manifest.data_end is not None:
        asked &= made_at - manifest.data_end <= timedelta(days=settings.forecast.max_model_age_days)
    rows, made_at = rows.rows(asked), made_at[asked]
    answer = answer_with(champion.bundle, champion.version, _question(rows, run.spec))
    frame = forecast_frame(answer, rows.close, settings.market.asset, made_at, run.spec)
    models = answer.inference.by_model
    frame["weight"] = manifest.shrinkage if manifest.champion == BLEND else 0.0
    frame["blend_return"] = np.log(models[BLEND] / rows.close) if BLEND in models else np.nan
    frame["p_base"] = base_rate
    frame["fold"] = champion.version - 1
    known = tape.window_at(now, settings.training.window_days)
    history = baseline_history(tape.rows.rows(slice(known.start, which.stop)))
    training, wanted = slice(0, known.stop - known.start), slice(which.start - known.start, None)
    for name, rule in POINT.items():
        if name != RANDOM_WALK:
            frame[name] = _fitted(rule, history, training)[wanted][asked]
    tables = {}
    for name, rule in SPREAD.items():
        sigma = _fitted(rule, history, training)
        scores = history["actual"][training] / sigma[training]
        scores = scores[np.isfinite(scores)]
        tables[name] = (QuantileTable.conformal(scores) if len(scores) else QuantileTable.normal()).values
        frame[f"sigma_{name}"] = sigma[wanted][asked]
    frame.attrs[BASELINES] = tables
    return frame


def _question(rows: Any, spec: FeatureSpec) -> Rows:
    """What a predictor is asked live for these rows."""
    volatility = rows.scale / np.sqrt(rows.horizon_bars)
    features = rows.X.astype(np.float64)
    features[:, rows.names.index(SCALE_FEATURE)] = volatility  # as it was before it became a float32
    # Rows that are not complete are asked as they are: the bundle answers those with the random walk.
    return Rows(rows.close, volatility, features, spec.hash)


def _fitted(rule: Baseline, history: dict[str, Array], training: slice) -> Array:
    """A baseline's answer for all rows; NaN where there is nothing to fit it on."""
    try:
        return rule(history, training)
    except NotEnoughDataError:
        return np.full(len(history["actual"]), np.nan)


def calibrated(run: Run, places: list[Path]) -> pd.DataFrame:
    """Settles all forecasts, and gives each the quantiles that those settled before it teach.

    Args:
        run: the backtest.
        places: folders of the training runs, in order, each with the forecasts that follow it.

    Returns:
        One row a forecast; the newest, whose outcome is not known yet, have none.

    Raises:
        NotEnoughDataError: there are no forecasts.
    """
    stretches = [stretch for place in places if (stretch := read_stretch(place)) is not None and len(stretch)]
    if not stretches:
        raise NotEnoughDataError("Forecasts", have=0, need=1, remedy="The market has no bars between start and end.")
    lengths = [len(stretch) for stretch in stretches]
    tables = {name: np.array([stretch.attrs[BASELINES][name] for stretch in stretches]) for name in SPREAD}
    frame = pd.concat(stretches, ignore_index=True)
    frame.attrs.clear()
    del stretches  # eight years of them are half a gigabyte
    _settle(run, frame)
    price = frame["price"].to_numpy(np.float64)
    actual = np.log(frame["actual_price"].to_numpy(np.float64) / price)
    made_at = frame["made_at"].dt.tz_localize(None).to_numpy()
    horizon = run.settings.forecast.horizon_bars * run.spec.interval.delta

    def issued(mean: Array, sigma: Array, own: Array) -> Array:
        table = calibrate_rows(own, made_at, (actual - mean) / sigma, horizon, run.settings.forecast)
        quantiles: Array = mean[:, None] + sigma[:, None] * table
        return quantiles

    mean = np.log(frame["predicted_price"].to_numpy(np.float64) / price)
    sigma = frame["sigma"].to_numpy(np.float64)
    own = (np.log(frame[list(BOUNDS)].to_numpy(np.float64) / price[:, None]) - mean[:, None]) / sigma[:, None]
    quantiles = issued(mean, sigma, own)
    frame[list(BOUNDS)] = price[:, None] * np.exp(quantiles)
    frame["actual_return"] = actual
    frame["pinball"] = pinball(actual, quantiles, PROBABILITIES) * 1e4
    for name, table in tables.items():
        own = np.repeat(table, lengths, axis=0)
        quantiles = issued(np.zeros(len(frame)), frame.pop(f"sigma_{name}").to_numpy(np.float64), own)
        frame[f"pinball_{name}"] = pinball(actual, quantiles, PROBABILITIES) * 1e4
    return frame


def _settle(run: Run, frame: pd.DataFrame) -> None:
    """Writes down what became of each forecast, as settling does live, and when that could be known."""
    columns = ["made_at", "target_at", "price", "predicted_price", "direction", "actual_price"]
    settled = outcomes(frame[columns], run.tape.bars(), run.spec.interval, run.settings.forecast, now=run.tape.end)
    found = settled.set_index("made_at").reindex(frame["made_at"])
    for name in ("outcome", "actual_price", "error", "settled_at"):
        frame[name] = found[name].array
    frame["settled_at"] = frame["settled_at"].mask(frame["actual_price"].notna(), frame["target_at"])
