"""All of the platform at a glance, from what is stored: nothing is asked of the market, the predictor or Hopsworks."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from cryptosentinel.alerting import (
    Facts,
    Mute,
    gather_facts,
    market_in_words,
    open_sinks,
    read_mutes,
    read_rules,
    remedy_of,
)
from cryptosentinel.alerting.machinery import next_tick
from cryptosentinel.alerting.rules import RULES
from cryptosentinel.bundle import RANDOM_WALK, read_manifest
from cryptosentinel.drift import champion_concept
from cryptosentinel.errors import CryptoSentinelError
from cryptosentinel.market import FileSource
from cryptosentinel.monitoring.figures import recent_forecasts, waiting_deliveries
from cryptosentinel.predicting import Accuracy, measure
from cryptosentinel.storage import STEPS, Backlog, StepRun, open_run_log

if TYPE_CHECKING:
    from cryptosentinel.workspace import Workspace

Part = Literal["market", "features", "champion", "forecasts", "drift", "alerts", "hopsworks", "runs"]
# Which part of the platform an alert is about; those of the market are no problem of it.
ABOUT: dict[str, Part] = {
    "stale_bars": "market",
    "feature_lag": "features",
    "training_late": "champion",
    "model_expired": "champion",
    "forecast_late": "forecasts",
    "forecast_deviation": "forecasts",
    "coverage_loss": "forecasts",
    "drift": "drift",
    "concept_drift": "drift",
    "feature_store_lag": "hopsworks",
    "run_failed": "runs",
    "run_late": "runs",
}
# Somebody who was not told for so long will not be soon.
_UNTOLD = timedelta(minutes=15)
# A step of a pipeline that did not begin so long after the one before it does not come any more.
_BETWEEN_STEPS = timedelta(minutes=10)
_VERDICT = ["data_end", "checked_at", "score"]
_OF_MARKET = {rule.kind for rule in RULES if rule.of_market}


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and what to do about it."""

    about: Part
    what: str
    remedy: str


@dataclass(frozen=True)
class Champion:
    """The version that the registry's alias points at.

    Attributes:
        what: in words.
        data_end: of the data that it has seen; None for the random walk, which has seen none.
    """

    version: int
    what: str
    registered_at: datetime
    data_end: datetime | None


@dataclass(frozen=True)
class Newest:
    """The newest forecast."""

    made_at: datetime
    target_at: datetime
    price: float
    predicted_price: float
    lower_80: float
    upper_80: float


@dataclass(frozen=True)
class OpenAlert:
    """An alert that is open.

    Attributes:
        acknowledged_by: who looks after it; empty while nobody does.
    """

    kind: str
    severity: str
    raised_at: datetime
    message: str
    acknowledged_by: str


@dataclass(frozen=True)
class PipelineRun:
    """The newest run of a pipeline here, by those of its steps.

    Attributes:
        outcome: of those of its steps that have begun.
        step: the one that failed, or runs, or came last.
        message: why it failed.
        next_at: by its schedule.
    """

    pipeline: str
    outcome: Literal["ok", "failed", "running", "never"]
    step: str
    message: str
    began_at: datetime | None
    ended_at: datetime | None
    next_at: datetime | None


@dataclass(frozen=True)
class Status:
    """See the module. Moments are None where there is nothing yet.

    Attributes:
        market: in words.
        folder: the market's name, as folders and metrics have it.
        as_of: by the market's clock, which a recording has of its own.
        recorded: whether it is a recording, in which nothing can be late.
        bar_closed_at: of the newest bar.
        features_to: when the newest bar that has features closed.
        accuracy: of the forecasts of the last `window_days`.
        due: how many of them could have been settled by now.
        drift_score: of the newest check; None where there was none.
        mutes: kinds of alerts that nobody is told of for a while.
        deliveries_waiting: events of alerts that somebody is still to be told; those of muted kinds do not count.
        told: who is told.
        backlog: what waits for Hopsworks; None where there is none.
    """

    market: str
    folder: str
    store: str
    simulated: bool
    recorded: bool
    as_of: datetime
    bar_closed_at: datetime | None
    features_to: datetime | None
    facts: Facts
    champion: Champion | None
    newest: Newest | None
    window_days: float
    accuracy: Accuracy
    due: int
    drift_score: float | None
    drift_threshold: float
    drift_checked_at: datetime | None
    alerts: tuple[OpenAlert, ...]
    mutes: tuple[Mute, ...]
    deliveries_waiting: int
    told: tuple[str, ...]
    backlog: Backlog | None
    pipelines: tuple[PipelineRun, ...]
    problems: tuple[Problem, ...]

    def record(self) -> dict[str, Any]:
        """For machines: plain values, moments in ISO 8601, null for what is not known."""
        plain: dict[str, Any] = _plain({"ok": not self.problems, **asdict(self)})
        return plain


def read_status(workspace: Workspace) -> Status:
    """Looks at everything that is stored.

    Raises:
        StorageError: the store cannot be read.
    """
    settings, storage, now = workspace.settings, workspace.storage, workspace.source.now()
    asset, delta = settings.market.asset, workspace.spec.interval.delta
    recorded = isinstance(workspace.source, FileSource)
    runs = open_run_log(settings.storage, storage.uri).read()
    champion, problems = _champion(workspace)
    log = recent_forecasts(workspace, now=now)
    concept = champion_concept(storage, delta, settings, now=now)
    facts = gather_facts(
        storage,
        workspace.spec,
        settings,
        concept=concept,
        model_age_days=_days(now - champion.data_end) if champion and champion.data_end else 0.0,
        runs=() if recorded else runs,
        now=now,
    )
    alerts = tuple(
        OpenAlert(
            alert.kind,
            alert.severity,
            alert.raised_at.to_pydatetime(),
            alert.message or "",
            alert.acknowledged_by or "",
        )
        for alert in storage.log.read_alerts(asset, open_only=True).itertuples()
    )
    waiting = waiting_deliveries(workspace)
    step = next((run for run in runs if run.step == "drift"), None)
    drift_checked_at, drift_score = _newest_check(storage.log.read_drift(asset, columns=_VERDICT), step, recorded)
    return Status(
        market=market_in_words(settings.market),
        folder=workspace.market,
        store=storage.uri,
        simulated=workspace.source.simulated,
        recorded=recorded,
        as_of=now,
        bar_closed_at=_plus(storage.features.last_timestamp(asset), delta),
        features_to=_plus(storage.features.last_timestamp(asset, workspace.spec.hash), delta),
        facts=facts,
        champion=champion,
        newest=_newest(log),
        window_days=settings.alerts.coverage_days,
        accuracy=measure(log),
        due=int((log["outcome"].isna() & (log["target_at"] <= pd.Timestamp(now))).sum()),
        drift_score=drift_score,
        drift_threshold=settings.drift.threshold,
        drift_checked_at=drift_checked_at,
        alerts=alerts,
        mutes=tuple(read_mutes(storage.log, asset, now=datetime.now(UTC)).values()),
        deliveries_waiting=len(waiting),
        told=tuple(sink.name for sink in open_sinks(settings.alerts)),
        backlog=storage.backlog(),
        pipelines=tuple(_pipeline_run(name, runs, workspace, datetime.now(UTC)) for name in STEPS),
        problems=(*problems, *_alarming(facts, alerts, workspace), *_untold(waiting)),
    )


def _alarming(facts: Facts, alerts: tuple[OpenAlert, ...], workspace: Workspace) -> list[Problem]:
    """What is over its limit now, and what alerts are open whose figure is not known here."""
    read = {reading.kind: reading for reading in read_rules(facts, workspace.settings)}
    said = {kind: reading.message for kind, reading in read.items() if reading.alarming}
    said |= {alert.kind: alert.message for alert in alerts if alert.kind not in read}
    return [
        Problem(ABOUT.get(kind, "alerts"), message, remedy_of(kind))
        for kind, message in said.items()
        if kind not in _OF_MARKET
    ]


def _untold(waiting: pd.DataFrame) -> list[Problem]:
    late = waiting[waiting["created_at"] < pd.Timestamp(datetime.now(UTC) - _UNTOLD)]
    answers = {row.sink: row.answer or "nobody has tried" for row in late.itertuples()}
    remedy = "`cryptosentinel alerts test` says what is wrong there."
    return [Problem("alerts", f"{sink} was not told of alerts: {why}", remedy) for sink, why in answers.items()]


def _champion(workspace: Workspace) -> tuple[Champion | None, list[Problem]]:
    registered = workspace.storage.registry.champion()
    if registered is None:
        return None, []
    try:
        manifest = read_manifest(workspace.storage.registry.fetch(registered.version, workspace.root / "bundles"))
    except CryptoSentinelError as error:
        what = "it cannot be read"
        problem = Problem("champion", error.message, error.remedy)
        return Champion(registered.version, what, registered.registered_at, None), [problem]
    if manifest.data is None:
        what = "the random walk, which has learnt nothing: the price stays"
    else:
        price = "the price stays" if manifest.champion == RANDOM_WALK else f"price by {manifest.champion}"
        what = f"trained on {manifest.data.training_rows:,} rows; {price}"
    return Champion(registered.version, what, registered.registered_at, manifest.data_end), []


def _newest_check(reports: pd.DataFrame, step: StepRun | None, recorded: bool) -> tuple[datetime | None, float | None]:
    """When drift was last looked for, by a training or by a check alone, and its score; None where it had none.

    A check alone leaves a report and no run of the step; a step that had nothing to compare leaves a run and no report.
    """
    found: list[tuple[datetime, float | None]] = [
        (row.checked_at.to_pydatetime(), row.score) for row in reports.nlargest(1, "checked_at").itertuples()
    ]
    # Runs are told by this machine's clock, reports by the market's. Of one that did not end well no figure is known.
    if step and step.succeeded_at and not (found and (recorded or not step.succeeded)):
        found.append((step.succeeded_at, step.figures.get("drift_score")))
    return max(found, key=lambda check: check[0], default=(None, None))


def _newest(log: pd.DataFrame) -> Newest | None:
    if log.empty:
        return None
    row = log.iloc[-1]
    return Newest(
        made_at=row["made_at"].to_pydatetime(),
        target_at=row["target_at"].to_pydatetime(),
        price=float(row["price"]),
        predicted_price=float(row["predicted_price"]),
        lower_80=float(row["lower_80"]),
        upper_80=float(row["upper_80"]),
    )


def _pipeline_run(name: str, runs: list[StepRun], workspace: Workspace, now: datetime) -> PipelineRun:
    steps = STEPS[name]
    first = next((run for run in runs if run.step == steps[0]), None)
    next_at = next_tick(getattr(workspace.settings.schedules, name), now)
    if first is None:
        return PipelineRun(name, "never", "", "", None, None, next_at)
    present = [run for run in runs if run.step in steps and run.began_at >= first.began_at]
    failed = next((run for run in present if run.ended_at and not run.succeeded), None)
    running = next((run for run in present if run.ended_at is None), None)
    last = failed or running or present[-1]
    ended_at = None if running else max(run.ended_at for run in present if run.ended_at)
    if ended_at and not failed and last.step != steps[-1] and now - ended_at < _BETWEEN_STEPS and not _ends_early(last):
        ended_at = None
    outcome: Literal["ok", "failed", "running"] = "failed" if failed else "ok" if ended_at else "running"
    return PipelineRun(name, outcome, last.name, failed.message if failed else "", first.began_at, ended_at, next_at)


def _ends_early(run: StepRun) -> bool:
    """A training ends after the drift step where it has too few rows."""
    return run.step == "drift" and not run.figures.get("trains", 1.0)


def _plus(moment: datetime | None, delta: timedelta) -> datetime | None:
    return None if moment is None else moment + delta


def _days(age: timedelta) -> float:
    return age / timedelta(days=1)


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(name): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case datetime():
            return value.isoformat()
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
