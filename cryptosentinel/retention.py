"""What is deleted because nobody needs it any more, and what stays and why.

Bundles go, versions stay: a version's figures and its verdict are what the gate's next looks are paid by. Rows go where
the settings say so. Every deletion may be killed anywhere; the next one finishes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from cryptosentinel.config import RetentionSettings, Settings
from cryptosentinel.errors import StorageError
from cryptosentinel.forecasting import is_pending, was_champion
from cryptosentinel.storage import ModelRegistry, RegisteredModel, Storage
from cryptosentinel.storage.delta import MONTH, literal
from cryptosentinel.storage.opening import storage_options
from cryptosentinel.storage.rows import count_rows, delete_rows, tables_below

# What a training reads before its window: indicators warm up, baselines look a week back.
_BEFORE_WINDOW = timedelta(days=30)
_CHAMPION = "the champion"


@dataclass(frozen=True)
class Thing:
    """Something that goes, or that stays for a reason.

    Attributes:
        kind: `bundle`, or the table that rows are of.
        name: which, for people.
        bytes: that are free once it is gone; 0 where only `storage.retention_days` later it is known.
        stays: why it stays; empty: it goes.
    """

    kind: str
    name: str
    bytes: int = 0
    stays: str = ""


def prune(
    storage: Storage,
    settings: Settings,
    *,
    now: datetime,
    in_use: Mapping[int, str] | str,
    dry_run: bool = False,
    batch: int = 1,
) -> list[Thing]:
    """Deletes what the settings `retention` do not keep.

    Args:
        storage: the store.
        settings: what is kept, and how old it has to be.
        now: the wall clock's time.
        in_use: versions that serve somewhere, and where; a text says why that is not known, and then no bundle goes.
        dry_run: delete nothing.
        batch: bundles wait until so many may go: each time the table of versions is written anew.

    Returns:
        What went (or would go), and what of the bundles stays.

    Raises:
        StorageError: the store cannot be read or written; what was deleted by then is gone.
    """
    return [
        *_prune_bundles(storage, settings.retention, now, in_use, dry_run, batch),
        *_prune_rows(storage, settings, now, dry_run),
    ]


def _prune_bundles(
    storage: Storage,
    rules: RetentionSettings,
    now: datetime,
    in_use: Mapping[int, str] | str,
    dry_run: bool,
    batch: int,
) -> Iterator[Thing]:
    registry = storage.registry
    sizes, reasons = registry.sizes(), _why_they_stay(storage, rules, now, in_use)
    if len(goes := _free(sizes, reasons)) < batch:
        reasons |= dict.fromkeys(goes, f"they go {batch} at a time")
    elif goes:
        reasons |= _why_elsewhere(registry, goes)
    if (goes := _free(sizes, reasons)) and not dry_run:
        try:
            registry.prune(goes)
        except StorageError:
            champion = registry.champion()
            if champion is None or champion.version not in goes:
                raise
            reasons[champion.version] = _CHAMPION  # since just now
    for version, size in sizes.items():
        yield Thing("bundle", f"version {version}", size, reasons[version])


def _free(sizes: Mapping[int, int], reasons: Mapping[int, str]) -> list[int]:
    return [version for version in sizes if not reasons[version]]


def _why_elsewhere(registry: ModelRegistry, versions: Collection[int]) -> dict[int, str]:
    """Why somebody else still needs their bundles; who is asked may be far away, so only of those that would go."""
    try:
        awaited = registry.awaited()
    except StorageError as error:
        return dict.fromkeys(versions, f"it is not known whether Hopsworks has it: {error.message}")
    return dict.fromkeys(awaited.intersection(versions), "Hopsworks lacks it")


def _why_they_stay(
    storage: Storage, rules: RetentionSettings, now: datetime, in_use: Mapping[int, str] | str
) -> dict[int, str]:
    """By version, why its bundle stays; empty where it goes."""
    registry = storage.registry
    versions, champion = registry.versions(), registry.champion()
    # By number: a figure that is not a number makes a version unequal to itself.
    newest = {model.version for model in versions[-rules.bundles :]}
    former = set([model.version for model in versions if was_champion(model)][-rules.champions :])

    def why(model: RegisteredModel) -> str:
        reasons = [
            _CHAMPION if champion is not None and model.version == champion.version else "",
            "the random walk, which everything falls back to" if model.version == 0 else "",
            f"one of the {rules.bundles} newest" if model.version in newest else "",
            f"one of the last {rules.champions} champions" if model.version in former else "",
            "its registration has not ended" if is_pending(model) else "",
            f"younger than {rules.min_age_days:g} days"
            if now - model.registered_at < timedelta(days=rules.min_age_days)
            else "",
            in_use if isinstance(in_use, str) else in_use.get(model.version, ""),
        ]
        return next(filter(None, reasons), "")

    # What a pruned version still has of files is what was left behind when that was killed.
    return {model.version: why(model) if model.pruned_at is None else "" for model in versions}


def _prune_rows(storage: Storage, settings: Settings, now: datetime, dry_run: bool) -> Iterator[Thing]:
    options = storage_options(settings.storage)
    for table, condition in _conditions(storage, settings, now):
        for uri in tables_below(storage.uri, table, options):
            count = count_rows(uri, options, condition)
            if count and not dry_run:
                delete_rows(uri, options, condition)
            if count:
                yield Thing(table, f"{count:,} rows")


def _conditions(storage: Storage, settings: Settings, now: datetime) -> Iterator[tuple[str, str]]:
    """Which rows of which tables go, in the order in which they may: what a delivery is about, then the delivery."""
    rules = settings.retention
    reads = timedelta(days=settings.training.window_days) + _BEFORE_WINDOW
    by_month = [
        ("bars", rules.bars_days, reads, ""),
        ("features", rules.bars_days, reads, ""),
        ("forecasts", rules.forecasts_days, timedelta(0), " AND outcome IS NOT NULL"),
        ("drift_reports", rules.reports_days, timedelta(0), ""),
    ]
    for table, days, least, only in by_month:
        if days is not None:
            yield table, f"{MONTH} < '{now - max(timedelta(days=days), least):%Y-%m}'{only}"
    if rules.alerts_days is not None:
        asset, before = settings.market.asset, (now - timedelta(days=rules.alerts_days)).isoformat()
        queued, log = storage.outbox.read(asset), storage.log.read_alerts(asset)
        waiting = set(queued.loc[queued["delivered_at"].isna(), "alert_id"])
        goes = (log["resolved_at"] < pd.Timestamp(before)) & ~log["alert_id"].isin(waiting)
        yield "alerts", f"resolved_at < '{before}'{_none_of(waiting)}"
        # Of an alert that stays, they say who knows of it.
        yield "alert_deliveries", f"delivered_at < '{before}'{_none_of(waiting | set(log.loc[~goes, 'alert_id']))}"


def _none_of(alerts: Collection[str]) -> str:
    return f" AND alert_id NOT IN ({', '.join(map(literal, sorted(alerts)))})" if alerts else ""
