"""What the pipelines would have done in days that have passed: bars, drift checks, trainings, forecasts, alerts.

Each is done by the functions that run live, at its moment and on what was known then (`then.Then`); only, forecasts
are made many at once (`predicting.past`), models are fitted in processes that stay, and tables are written in one go.
A training takes no time: its version serves from the moment it was due.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from cryptosentinel.alerting import Facts, gather_facts, watch
from cryptosentinel.bundle import Bundle
from cryptosentinel.config import AlertSettings, Settings
from cryptosentinel.drift import DriftReport, NotChecked, champion_concept, check_drift, keep_report
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features import FeatureSpec, featurize
from cryptosentinel.forecasting import (
    Snapshot,
    assemble_bundle,
    enough_rows,
    evaluate,
    incumbent_on,
    judge,
    load_dataset,
    next_look,
    part_names,
    past_verdicts,
    read_unseen,
    register_bundle,
    take_snapshot,
    train_part,
)
from cryptosentinel.forecasting.dataset import HISTORY, Dataset
from cryptosentinel.market import ingest
from cryptosentinel.market.bars import Interval
from cryptosentinel.predicting import BundlePredictor, answered, issued, note_detection, settled_in_time
from cryptosentinel.workspace import Workspace, open_workspace
from pipelines.demo.then import OUTCOME, Features, Log, Registry, Then

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """Which days, and what happens in them.

    Attributes:
        start: the first forecast is made after it, the last one at `end`.
        trainings: when models are trained.
        checks: when drift is looked for.
    """

    start: datetime
    end: datetime
    trainings: Sequence[datetime]
    checks: Sequence[datetime]


@dataclass
class History:
    """What was made of a plan."""

    bars: int = 0
    forecasts: int = 0
    settled: int = 0
    versions: list[int] = field(default_factory=list)
    promoted: list[int] = field(default_factory=list)
    drift_reports: int = 0
    alerts: int = 0
    open_alerts: int = 0


def make_history(settings: Settings, plan: Plan, *, jobs: int, progress: Progress) -> History:
    """Fills a market's store with a past.

    Args:
        settings: name a simulated market.
        plan: of which days.
        jobs: processes that fit models at the same time.
        progress: is told what is being done.

    Raises:
        StorageError: the store cannot be read or written.
    """
    settings = _replayed(settings, plan)
    workspace = open_workspace(settings, now=plan.end)
    workspace.champion()
    asset, past = settings.market.asset, timedelta(days=settings.forecast.calibration_days + 1)
    then, made = _gather(workspace, plan, progress), History()
    bars = then.at(plan.end).features.read_bars(asset, plan.start - workspace.spec.interval.delta)
    known = workspace.storage.log.read_forecasts(asset, plan.start - past)
    if (pending := known["outcome"].isna()).any():  # of a demo that goes on: what was not due when it was stopped
        due = settled_in_time(known[pending], bars, workspace.spec.interval, settings.forecast)
        workspace.storage.log.settle(due)
        made.settled, known = len(due), pd.concat([known[~pending], due], ignore_index=True)
    old, forecasts = len(known), known
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pool = stack.enter_context(ProcessPoolExecutor(jobs, mp_context=get_context("spawn")))
        ahead = list(plan.trainings)
        begun = _begin(settings, then, ahead[0], pool, folder) if ahead else None
        for begin, end in pairwise(sorted({plan.start, *ahead, plan.end})):
            if ahead and ahead[0] == begin:
                progress(f"training as of {begin:%a %H:%M}")
                _finish(settings, then, begun, made)
                ahead.pop(0)
            checks = _checks(settings, then, [check for check in plan.checks if begin < check <= end], pool)
            # The next models are fitted while time passes here.
            begun = _begin(settings, then, ahead[0], pool, folder) if ahead else None
            progress(f"forecasts from {begin:%a %H:%M}")
            answers = _answers(workspace, then, begin, end)
            if answers.empty:
                continue
            # With what comes after `end`, too: `issued` and `then` see to it that nobody knows it before its time.
            new = issued(answers, known, bars, workspace.spec.interval, settings.forecast)
            known = forecasts = pd.concat([known, new], ignore_index=True) if len(known) else new
            then.log.hold(forecasts)
            _pass(workspace, then, new, checks, made)
    progress("writing")
    _write(workspace, forecasts.iloc[old:], then.log, made)
    made.bars = len(bars) - 1
    return made


def _replayed(settings: Settings, plan: Plan) -> Settings:
    """Nobody is told of alerts of the past, and trainings are as far apart as the plan says."""
    told = {name: AlertSettings.model_fields[name].get_default() for name in _SINKS}
    apart = max(
        (b - a for a, b in zip(plan.trainings, plan.trainings[1:], strict=False)), default=plan.end - plan.start
    )
    late = max(settings.alerts.training_late_s, 1.5 * apart.total_seconds())
    return settings.model_copy(update={"alerts": settings.alerts.model_copy(update=told | {"training_late_s": late})})


_SINKS = ("webhook_url", "slack_url", "teams_url", "alertmanager_url", "email")


def _gather(workspace: Workspace, plan: Plan, progress: Progress) -> Then:
    """Bars and features into the store, and all of it into memory."""
    settings, spec, store = workspace.settings, workspace.spec, workspace.storage.features
    asset, bar = settings.market.asset, spec.interval.delta
    progress("bars")
    history = timedelta(days=settings.training.window_days) + HISTORY + spec.warm_up_bars * bar
    done = ingest(workspace.source, store, history=history + (plan.end - plan.start))
    progress("features")
    featurize(store, spec, asset, touched_from=done.touched_from, heal=False)
    log, registry = workspace.storage.log, workspace.storage.registry
    return Then(
        Features(
            store.read_bars(asset),
            store.read_features(asset, spec.hash),
            bar,
            (store.version(), store.version(spec.hash)),
        ),
        Log(log.read_alerts(asset), log.read_detections(asset)),
        Registry(workspace.champion(), registry.versions()),
    )


@dataclass(frozen=True)
class _Begun:
    """A training whose parts are being fitted."""

    now: datetime
    rows: Dataset
    folders: list[Path]
    fits: list[Future]


def _begin(settings: Settings, then: Then, now: datetime, pool: ProcessPoolExecutor, folder: Path) -> _Begun | None:
    """Has every part of a training fitted, on what was known then; None where that is too little."""
    workspace = open_workspace(settings, now=now)
    spec, asset = workspace.spec, settings.market.asset
    then.at(now)
    snapshot: Snapshot = take_snapshot(then.features, spec, asset, settings.training.window_days)
    count, needed = enough_rows(then.features, spec, asset, snapshot, settings)
    if count < needed:
        return None
    rows = load_dataset(then.features, spec, asset, snapshot, settings.forecast.horizon_bars)
    place = folder / f"{now:%Y%m%dT%H%M}"
    folders = [place / name for name in part_names(settings.training)]
    fits = [pool.submit(train_part, part.name, rows, snapshot, settings.training, part) for part in folders]
    return _Begun(now, rows, folders, fits)


def _finish(settings: Settings, then: Then, begun: _Begun | None, made: History) -> None:
    """Evaluates what was fitted, asks the gate, registers; a version that passes is champion from then on."""
    if begun is None:
        return
    try:
        for fit in begun.fits:
            fit.result()
    except NotEnoughDataError:
        return  # as live: the champion stays
    workspace = open_workspace(settings, now=begun.now)
    registry = workspace.storage.registry.at(begun.now)
    champion = registry.champion()
    unseen = read_unseen(begun.folders, begun.rows)
    bundle = Bundle.load(registry.fetch(champion.version, workspace.root / "bundles"))
    last = unseen.split()[1].rows
    measured = evaluate(
        begun.folders,
        unseen,
        settings.forecast,
        data_age_s=(begun.now - pd.Timestamp(begun.rows.timestamps[-1], tz="UTC")).total_seconds(),
        incumbent=incumbent_on(last, workspace.spec.hash, bundle, champion.version, settings.forecast),
    )
    look = next_look(past_verdicts(registry.versions()), measured.data.end, settings.gate)
    with tempfile.TemporaryDirectory() as folder:
        assembled = assemble_bundle(
            Path(folder) / "bundle",
            folders=begun.folders,
            evaluation=measured,
            gate=judge(measured.evidence, look, settings.gate),
            spec=workspace.spec,
            settings=settings,
            market=workspace.market,
            simulated=workspace.source.simulated,
        )
        registered, promoted = register_bundle(registry, assembled)
    made.versions.append(registered.version)
    made.promoted += [registered.version] * promoted
    then.registry.champion_now, then.registry.known = registry.champion(), registry.versions()


def _answers(workspace: Workspace, then: Then, begin: datetime, end: datetime) -> pd.DataFrame:
    """What the champion of that time answers at the close of each bar after `begin` and up to `end`."""
    settings, spec = workspace.settings, workspace.spec
    bar, asset = spec.interval.delta, settings.market.asset
    champion = then.registry.champion_now.version
    bundle = Bundle.load(workspace.storage.registry.fetch(champion, workspace.root / "bundles"))
    then.at(end)
    opens = begin - bar + timedelta(milliseconds=1)
    features, bars = then.features.read_features(asset, spec.hash, opens), then.features.read_bars(asset, opens)
    if features.empty:
        return features
    bars = bars[bars["timestamp"].isin(features["timestamp"])]
    return answered(BundlePredictor(bundle, champion), features, bars, spec, settings.forecast)


def _checks(settings: Settings, then: Then, moments: Sequence[datetime], pool: ProcessPoolExecutor) -> dict:
    """Has drift from the present champion looked for at each moment; by moment, the answer to come."""
    if not moments:
        return {}
    workspace = open_workspace(settings, now=moments[0])
    champion = then.registry.champion_now.version
    bundle = workspace.storage.registry.fetch(champion, workspace.root / "bundles")
    return {now: pool.submit(_check, then.at(now).features.copy(), settings, bundle, champion) for now in moments}


def _check(features: Features, settings: Settings, bundle: Path, version: int) -> DriftReport | NotChecked:
    """What a process of the pool does: it is given no spec, which holds functions."""
    spec = FeatureSpec(Interval(settings.market.interval))
    return check_drift(features, spec, settings.market.asset, bundle, settings.drift, version=version)


def _pass(workspace: Workspace, then: Then, forecasts: pd.DataFrame, checks: dict, made: History) -> None:
    """Lets the time pass bar by bar: what the inference step does beside forecasting, and the checks for drift."""
    settings, spec = workspace.settings, workspace.spec
    asset, bar = settings.market.asset, spec.interval.delta
    champion = then.registry.champion_now
    bundle = workspace.storage.registry.fetch(champion.version, workspace.root / "bundles")
    data_end = Bundle.load(bundle).manifest.data_end
    for position in range(len(forecasts)):
        forecast = forecasts.iloc[position]
        now = forecast["made_at"].to_pydatetime()
        then.at(now)
        for check in [check for check in checks if check <= now]:
            found = checks.pop(check).result()
            if isinstance(found, DriftReport):
                keep_report(then.log, found, now=check)
                watch(then, Facts(drift=found.score, tick=str(found.data_end)), settings, now=check)
                made.drift_reports += 1
        concept = champion_concept(then, bar, settings, now=now)
        note_detection(then.log, concept, asset, now=now)
        age = (now - data_end) / timedelta(days=1) if data_end is not None else 0.0
        facts = gather_facts(then, spec, settings, forecast, model_age_days=age, concept=concept, now=now)
        watch(then, facts, settings, now=now)


def _write(workspace: Workspace, forecasts: pd.DataFrame, past: Log, made: History) -> None:
    log = workspace.storage.log
    log.write_forecasts(forecasts.assign(**dict.fromkeys(OUTCOME)))
    settled = forecasts[forecasts["outcome"].notna()]
    if len(settled):
        log.settle(settled)
    if past.reports:
        log.write_drift(pd.concat(past.reports))
    if past.written:
        log.write_alerts(pd.concat(past.written.values()))
    if len(past.detections):
        log.write_detections(past.detections)
    made.forecasts, made.settled = len(forecasts), made.settled + len(settled)
    made.alerts, made.open_alerts = len(past.written), int(past.alerts["resolved_at"].isna().sum())
