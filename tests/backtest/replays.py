"""Small backtests of a market of some days, and rehearsals of them, in which nothing is trained any more."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd

from cryptosentinel.backtest import Backtest, Plan, run_backtest, runner, serving
from cryptosentinel.backtest.folder import BUNDLE, PARTS, Step, Trained, place_of, read_step, write_step
from cryptosentinel.backtest.serving import Champion, Run, judged
from cryptosentinel.backtest.workers import train
from cryptosentinel.bundle import Gate
from cryptosentinel.config import GateSettings, Settings, TrainingSettings, load_settings
from cryptosentinel.features import FeatureSpec
from cryptosentinel.forecasting import judge
from cryptosentinel.forecasting.evidence import Evidence
from cryptosentinel.forecasting.looks import Look
from cryptosentinel.market.bars import Interval
from tests.builders import FIVE, T0, make_random_bars

SPEC = FeatureSpec(FIVE)
DAY = timedelta(days=1)
START, END = T0 + 11 * DAY, T0 + 14 * DAY
# Three days are trained on, and a week before them gives features and baselines their history.
BARS = make_random_bars(14 * 288 + 12)


@dataclass
class Recorded:
    """Bars in memory as a source; its clock is the end of the last one."""

    frame: pd.DataFrame = field(default_factory=BARS.copy)
    asset: str = "bitcoin"
    interval: Interval = FIVE
    simulated: bool = False
    name: str = "recorded"

    def now(self) -> datetime:
        return self.frame["timestamp"].iloc[-1].to_pydatetime() + self.interval.delta

    def bars(self, start: datetime, end: datetime) -> pd.DataFrame:
        times = self.frame["timestamp"]
        return self.frame[(times >= pd.Timestamp(start)) & (times < pd.Timestamp(end))].reset_index(drop=True)

    def quote(self) -> Any:
        raise NotImplementedError


def make_settings(**others: Any) -> Settings:
    """Two cheap candidates on three days of rows."""
    training = {"window_days": 3, "folds": 2, "min_rows": 100, "candidates": "random_walk,ridge", "holdout_share": 0.3}
    gate = {"min_independent_labels": 20}
    given = {"training": training, "gate": gate} | {name: others[name] for name in others.keys() - {"training"}}
    return load_settings(environ={}, overrides=given | {"training": training | others.get("training", {})})


def make_plan(start: datetime = START, end: datetime = END, every: timedelta = DAY, **settings: Any) -> Plan:
    return Plan(start, end, every, "recorded", False, make_settings(**settings), "cryptosentinel backtest")


def without_progress(what: str, done: int, total: int) -> None:
    pass


class Inline:
    """Trains in this process, when it is waited for."""

    def __init__(self, folder: Path, settings: TrainingSettings, jobs: int) -> None:
        self.folder, self.settings = folder, settings
        self.asked: dict[int, datetime] = {}

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, number: int, now: datetime) -> None:
        self.asked[number] = now

    def wait(self, number: int) -> Trained:
        return train(self.folder / "tape", place_of(self.folder, number), self.asked[number], self.settings)


def lenient(evidence: Evidence, look: Look, settings: GateSettings) -> Gate:
    """The gate's answer, but for who serves: a bundle does if the champion learnt nothing or has two days less data."""
    them = evidence.served["random_walk"].champion
    promote = them is None or not them.trained or them.age_days > 1.5
    return judge(evidence, look, settings).model_copy(update={"promote": promote})


def replay_inline(
    folder: Path,
    plan: Plan | None = None,
    source: Recorded | None = None,
    *,
    gate: Callable[[Evidence, Look, GateSettings], Gate] = lenient,
    fresh: bool = False,
) -> Backtest:
    """Runs a backtest in this process alone."""
    chosen, market = plan or make_plan(), source or Recorded()
    with patch.object(runner, "Trainers", Inline), patch.object(serving, "judge", gate):
        return run_backtest(market, chosen, folder, jobs=1, progress=without_progress, fresh=fresh)


class _Idle(Inline):
    def wait(self, number: int) -> Trained:
        assert number in self.asked
        (place_of(self.folder, number) / PARTS).mkdir(parents=True, exist_ok=True)
        return Trained(seconds=0.0)


@dataclass(frozen=True)
class Rehearsal:
    """What the training runs of a backtest came to, kept aside, so that it can be played again in no time."""

    stash: Path

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keeps what comes of training runs inside the block."""

        def keep(run: Run, place: Path, *others: Any) -> Step:
            step = judged(run, place, *others)
            shutil.copytree(place / BUNDLE, self.stash / place.name / BUNDLE)
            write_step(self.stash / place.name, step)
            return step

        with patch.object(runner, "judged", keep), patch.object(serving, "judge", lenient):
            yield

    @contextmanager
    def played(self) -> Iterator[list[int]]:
        """Gives back what came of them; yields the numbers of those asked for."""
        played = []

        def recall(
            run: Run, place: Path, now: datetime, trained: Trained, champion: Champion, past: list[Step]
        ) -> Step:
            assert champion.bundle.manifest.horizon_bars, "the champion it is held against is there"
            shutil.rmtree(place / BUNDLE, ignore_errors=True)
            shutil.copytree(self.stash / place.name / BUNDLE, place / BUNDLE)
            step = read_step(self.stash / place.name)
            assert step is not None
            played.append(int(place.name))
            return step

        with patch.object(runner, "judged", recall), patch.object(runner, "Trainers", _Idle):
            yield played

    def play(self, folder: Path, **others: Any) -> Backtest:
        with self.played():
            return run_backtest(Recorded(), make_plan(), folder, jobs=1, progress=without_progress, **others)
