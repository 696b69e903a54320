"""Replays a market: trains on schedule, judges, serves, forecasts every bar, settles, calibrates.

Everything is done by the functions that run live; only, training takes no time here, so that a bundle serves from the
bar it was trained at. What takes long, the fits, is done for several training runs at once in processes of their own;
what depends on what came before (the gate, the champion, the calibration) is done here, in the order of time, so that
the result does not depend on how many processes there are. Each finished step leaves a file, and a backtest that was
stopped goes on from there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from cryptosentinel.backtest import folder as folders
from cryptosentinel.backtest import tape as tapes
from cryptosentinel.backtest.figures import summarise
from cryptosentinel.backtest.folder import BUNDLE, FIGURES, FORECASTS, REPORT, TAPE, VERSION_0, Kept, Step, place_of
from cryptosentinel.backtest.models import BacktestFigures
from cryptosentinel.backtest.records import BacktestMeta, Training
from cryptosentinel.backtest.report import write_figures, write_report
from cryptosentinel.backtest.serving import Champion, Run, calibrated, judged, served, version_0
from cryptosentinel.backtest.tape import Tape
from cryptosentinel.backtest.workers import Trainers
from cryptosentinel.bundle import library_versions
from cryptosentinel.config import Settings
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features import FeatureSpec
from cryptosentinel.forecasting.dataset import lay_out
from cryptosentinel.market import Source

Progress = Callable[[str, int, int], None]

READING, TRAINING, SETTLING = "reading bars", "training and forecasting", "settling and calibrating"


@dataclass(frozen=True)
class Plan:
    """What to replay.

    Attributes:
        start: when the first forecast is made; the first training run is then.
        end: before which the last one is made.
        every: between training runs.
        market: the market's name, for bundles and the report.
        simulated: whether it is invented.
        settings: training, forecast and gate settings, as live.
        command: what to type to get the same figures, for the report.
    """

    start: datetime
    end: datetime
    every: timedelta
    market: str
    simulated: bool
    settings: Settings
    command: str = ""

    def trainings(self) -> list[datetime]:
        """When training runs are due."""
        count = -(-(self.end - self.start) // self.every)
        return [self.start + number * self.every for number in range(count)]


@dataclass(frozen=True)
class Due:
    """A training run to come.

    Attributes:
        now: when.
        rows: complete rows in its window.
        problem: why these are too few; empty where they are not.
    """

    now: datetime
    rows: int
    problem: str


@dataclass(frozen=True)
class Outline:
    """What a backtest would do.

    Attributes:
        due: its training runs.
        forecasts: how many it would make at most.
        kept: what is there already.
    """

    due: list[Due]
    forecasts: int
    kept: Kept


@dataclass(frozen=True)
class Backtest:
    """What came of it.

    Attributes:
        forecasts: one row a bar, ordered, with the columns of the forecast log and those of the baselines.
        trainings: one a training run, in order.
        meta: what was replayed.
    """

    forecasts: pd.DataFrame
    trainings: list[Training]
    meta: BacktestMeta


def outline(source: Source, plan: Plan, folder: Path, *, fresh: bool = False) -> Outline:
    """Says what a backtest would do, and does nothing.

    Raises:
        UserInputError: the folder holds something else.
        NotEnoughDataError: there are no bars, or too few for any training run.
        StoreUnavailableError: the folder could not be written.
    """
    folders.check(folder)
    tape, meta = _recorded(source, plan)
    due = _due(tape, plan)
    forecasts = tape.closed_between(plan.start, plan.end)
    known = int(np.isfinite(tape.rows.scale[forecasts]).sum())
    claimed = not fresh and folders.claimed_by(folder, meta)
    nothing = Kept([None] * len(due), [False] * len(due))
    return Outline(due, known, folders.survey(folder, len(due)) if claimed else nothing)


def run_backtest(
    source: Source, plan: Plan, folder: Path, *, jobs: int, progress: Progress, fresh: bool = False
) -> Backtest:
    """Runs a backtest, or goes on with the one in the folder.

    Args:
        source: who has the bars.
        plan: what to replay.
        folder: for everything that is kept between two starts.
        jobs: processes that train at the same time; the result does not depend on it.
        progress: is told what is being done, how many of them are done, and of how many.
        fresh: start over where the folder holds a backtest, this one or another.

    Raises:
        UserInputError: the folder holds something else, or another process works in it.
        NotEnoughDataError: there are no bars, or too few for any training run.
        PipelineError: a training process was ended from outside.
        StoreUnavailableError: the folder cannot be written.
    """
    folders.check(folder)
    progress(READING, 0, 1)
    tape, meta = _recorded(source, plan)
    _due(tape, plan)
    # Linear algebra on more threads adds up in another order: the report would depend on the machine.
    with folders.held(folder), threadpool_limits(limits=1):
        folders.claim(folder, meta, fresh=fresh)
        folders.sweep(folder)
        tapes.save(tape, folder / TAPE)
        tape = tapes.load(folder / TAPE)
        run = Run(tape, FeatureSpec(source.interval), plan.settings, plan.market, plan.simulated)
        steps = _replay(run, plan, folder, jobs, progress)
        progress(SETTLING, 0, 1)
        forecasts = calibrated(run, [place_of(folder, number) for number in range(len(steps))])
        shutil.rmtree(folder / TAPE)
    return Backtest(forecasts, [step.training for step in steps], meta)


def publish(backtest: Backtest, folder: Path) -> BacktestFigures:
    """Measures a backtest, and writes its forecasts, its figures and its report.

    Raises:
        NotEnoughDataError: too few of its forecasts have an outcome.
        StoreUnavailableError: the folder cannot be written.
    """
    with folders.held(folder), threadpool_limits(limits=1):
        folders.write_frame(backtest.forecasts, folder / FORECASTS)
        figures = summarise(backtest.forecasts, backtest.trainings, backtest.meta)
        with folders.whole(folder / FIGURES) as path:
            write_figures(path, figures)
        with folders.whole(folder / REPORT) as path:
            write_report(path, backtest.forecasts, backtest.trainings, backtest.meta, figures)
    return figures


def _recorded(source: Source, plan: Plan) -> tuple[Tape, BacktestMeta]:
    """The bars of a plan, and what the report says of them."""
    settings, bar = plan.settings, source.interval.delta
    begin = plan.start - timedelta(days=settings.training.window_days)
    # The last forecasts are settled by closes after the end.
    last = min(plan.end + (settings.forecast.horizon_bars + 1) * bar, source.now())
    tape = tapes.record(source, FeatureSpec(source.interval), begin, last, settings.forecast.horizon_bars)
    public = json.loads(settings.public_json())
    meta = BacktestMeta(
        asset=settings.market.asset,
        currency=settings.market.currency,
        market=plan.market,
        simulated=plan.simulated,
        interval=source.interval.name,
        horizon_bars=settings.forecast.horizon_bars,
        start=plan.start,
        end=plan.end,
        settings={name: public[name] for name in ("training", "forecast", "gate")}
        | {"every_days": plan.every / timedelta(days=1)},
        seed=settings.training.seed,
        command=plan.command,
        libraries=library_versions(),
        data_digest=tape.digest,
    )
    return tape, meta


def _due(tape: Tape, plan: Plan) -> list[Due]:
    """When training runs are due, and what there is to train on."""
    due: list[Due] = []
    settings = plan.settings.training
    fault: NotEnoughDataError | None = None
    for now in plan.trainings():
        rows = tape.known_at(now, settings.window_days)
        try:
            lay_out(rows, settings)
        except NotEnoughDataError as error:
            fault = error
            due.append(Due(now, len(rows), error.message))
        else:
            due.append(Due(now, len(rows), ""))
    if fault is not None and all(run.problem for run in due):
        raise NotEnoughDataError(
            "No training run would see enough bars. Complete rows before the last one",
            have=fault.have,
            need=fault.need,
            remedy=f"The bars begin at {tape.begin:%Y-%m-%d %H:%M} UTC: choose a later --start.",
        )
    return due


def _replay(run: Run, plan: Plan, folder: Path, jobs: int, progress: Progress) -> list[Step]:
    """Goes through the training runs in order, and through the forecasts that follow each."""
    times = plan.trainings()
    kept = folders.survey(folder, len(times))
    done, steps = kept.done, list[Step]()
    champion = version_0(folder / VERSION_0, run)
    progress(TRAINING, done, len(times))
    ahead = [number for number, step in enumerate(kept.steps) if step is None]
    with Trainers(folder, plan.settings.training, min(jobs, len(ahead) or 1)) as trainers:
        for number in ahead:
            trainers.ask(number, times[number])
        for number, now in enumerate(times):
            place, step = place_of(folder, number), kept.steps[number]
            finished = step is not None and kept.served[number]
            if step is None:
                step = judged(run, place, now, trainers.wait(number), champion, steps)
                folders.write_step(place, step)
            steps.append(step)
            retired = place / BUNDLE
            if step.promoted:
                retired, champion = champion.path, Champion(place / BUNDLE, number)
            shutil.rmtree(retired, ignore_errors=True)
            if not kept.served[number]:
                until = min(now + plan.every, plan.end)
                folders.write_frame(served(run, champion, step.base_rate, now, until), place / FORECASTS)
            if not finished:
                done += 1
                progress(TRAINING, done, len(times))
    return steps
