"""What each step has to tell when it has ended: of its run, and of what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import nan

import pandas as pd

from cryptosentinel.monitoring.metrics import Sample
from cryptosentinel.predicting import ACCURACY_COLUMNS, PENDING, measure
from cryptosentinel.storage import StepRun
from cryptosentinel.workspace import Workspace

OUTCOMES = ("correct", "incorrect", "flat", "missed", PENDING)
SEVERITIES = ("warning", "critical")


def of_run(run: StepRun, *, now: datetime) -> Iterator[Sample]:
    """What any step tells of a run that has ended. A failed one leaves what is known of the last good one as it is.

    Args:
        run: of a step.
        now: by the market's clock, which a recording has of its own.
    """
    assert run.ended_at is not None
    yield _step("last_run_timestamp_seconds", _at(run.ended_at))
    yield _step("success", float(run.succeeded))
    yield _step("failures", run.failures)
    yield _step("duration_seconds", run.seconds or 0.0)
    if run.succeeded:
        yield _step("last_success_timestamp_seconds", _at(run.ended_at))
        yield _step("lag_seconds", (now - run.newest).total_seconds() if run.newest else nan)
        for kind, count in run.rows.items():
            yield _step("rows", count, kind=kind)


def of_step(run: StepRun, workspace: Workspace, *, now: datetime) -> Iterator[Sample]:
    """What a step tells besides: of the tables that it writes, and of those that it looks at as the only one."""
    if tell := _TOLD_BY.get(run.step):
        yield from tell(run, workspace, now)


def _of_bars(_run: StepRun, workspace: Workspace, _now: datetime) -> Iterator[Sample]:
    yield Sample("cryptosentinel_newest_bar_timestamp_seconds", _closed_at(workspace))


def _of_features(_run: StepRun, workspace: Workspace, _now: datetime) -> Iterator[Sample]:
    yield Sample("cryptosentinel_newest_features_timestamp_seconds", _closed_at(workspace, workspace.spec.hash))
    if (backlog := workspace.storage.backlog()) is not None:
        yield Sample("cryptosentinel_feature_store_waiting_entries", backlog.entries)
        yield Sample("cryptosentinel_feature_store_waiting_since_timestamp_seconds", _at(backlog.since))


def _of_drift(run: StepRun, _workspace: Workspace, _now: datetime) -> Iterator[Sample]:
    yield Sample("cryptosentinel_drift_score", run.figures.get("drift_score", nan))


def _of_forecasts(run: StepRun, workspace: Workspace, now: datetime) -> Iterator[Sample]:
    storage, settings = workspace.storage, workspace.settings
    asset = settings.market.asset
    if (champion := storage.registry.champion()) is not None:
        yield Sample("cryptosentinel_champion_version", champion.version)
        yield Sample("cryptosentinel_champion_registered_timestamp_seconds", _at(champion.registered_at))
    log = recent_forecasts(workspace, now=now)
    yield Sample("cryptosentinel_newest_forecast_timestamp_seconds", _at(log["made_at"].max()) if len(log) else nan)
    accuracy = measure(log)
    for outcome in OUTCOMES:
        yield Sample("cryptosentinel_forecasts", accuracy.counts.get(outcome, 0), {"outcome": outcome})
    independent = accuracy.covered[80].independent
    yield Sample("cryptosentinel_forecast_independent_outcomes", independent)
    yield Sample("cryptosentinel_forecast_error_ratio", accuracy.error, {"model": "champion"})
    yield Sample("cryptosentinel_forecast_error_ratio", accuracy.baseline_error, {"model": "random_walk"})
    for level, share in accuracy.covered.items():
        yield Sample("cryptosentinel_forecast_coverage_ratio", share.value, {"level": str(level)})
    yield Sample("cryptosentinel_forecast_hit_ratio", accuracy.hits.value)
    yield Sample("cryptosentinel_concept_level", run.figures.get("concept", nan))
    alerts = storage.log.read_alerts(asset, open_only=True)["severity"].value_counts()
    for severity in SEVERITIES:
        yield Sample("cryptosentinel_alerts_open", int(alerts.get(severity, 0)), {"severity": severity})
    waiting = waiting_deliveries(workspace)
    yield Sample("cryptosentinel_deliveries_pending", len(waiting))
    oldest = waiting["created_at"].min() if len(waiting) else None
    yield Sample("cryptosentinel_deliveries_pending_since_timestamp_seconds", _at(oldest))


# Each metric has one owner: two steps that told it would make two series of it.
_TOLD_BY: dict[str, Callable[[StepRun, Workspace, datetime], Iterator[Sample]]] = {
    "ingest": _of_bars,
    "featurize": _of_features,
    "drift": _of_drift,
    "predict": _of_forecasts,
}


def recent_forecasts(workspace: Workspace, *, now: datetime) -> pd.DataFrame:
    """The forecasts of the last `alerts.coverage_days`, with what their accuracy is measured by."""
    settings = workspace.settings
    since = now - timedelta(days=settings.alerts.coverage_days)
    return workspace.storage.log.read_forecasts(settings.market.asset, since, columns=ACCURACY_COLUMNS)


def waiting_deliveries(workspace: Workspace) -> pd.DataFrame:
    """What somebody is still to be told of alerts, of those who are told now, and of what is not muted.

    Who was taken out hears nothing more, and what is muted is to wait.
    """
    from cryptosentinel.alerting import is_muted, open_sinks, read_mutes

    storage, asset = workspace.storage, workspace.settings.market.asset
    queued = storage.outbox.read(asset)
    told = {sink.name for sink in open_sinks(workspace.settings.alerts)}
    waiting = queued[queued["delivered_at"].isna() & queued["sink"].isin(told)]
    return waiting[~is_muted(waiting, read_mutes(storage.log, asset, now=datetime.now(UTC)))]


def _closed_at(workspace: Workspace, spec_hash: str | None = None) -> float:
    newest = workspace.storage.features.last_timestamp(workspace.settings.market.asset, spec_hash)
    return nan if newest is None else _at(newest + workspace.spec.interval.delta)


def _at(moment: datetime | None) -> float:
    """Seconds since 1970; 0 for no moment."""
    return 0.0 if moment is None else moment.timestamp()


def _step(name: str, value: float, **labels: str) -> Sample:
    return Sample(f"cryptosentinel_step_{name}", float(value), labels)
