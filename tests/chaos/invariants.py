"""What must be true of the stores whatever happened, read from them as they are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from cryptosentinel.bundle import Bundle
from cryptosentinel.errors import CryptoSentinelError
from cryptosentinel.features import compute_features
from cryptosentinel.market import Source
from cryptosentinel.storage import delta
from cryptosentinel.storage.files import Files, join
from cryptosentinel.workspace import Workspace
from tests.alerting.builders import Request

DAY = timedelta(days=1)
_KEYS = {
    "bars": ("asset", "timestamp"),
    "forecasts": ("forecast_id",),
    "alerts": ("alert_id",),
    "alert_deliveries": ("delivery_id",),
    "alert_mutes": ("asset", "kind"),
    "registry/versions": ("version",),
    "registry/aliases": ("alias",),
}
_ORDER = {"raised": 0, "escalated": 1, "resolved": 2}


@dataclass(frozen=True)
class Violation:
    """What is not as it must be; `rule` names the function below that found it."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


@dataclass(frozen=True)
class Evidence:
    """What is looked at.

    Attributes:
        truth: the source as it is when it does not lie.
        requests: all that the receiver of alerts was sent.
        now: when. By then all that has to be done about anything must have been done.
        unsure: events that may have been told twice: who told them was killed before it could record it.
    """

    workspace: Workspace
    truth: Source
    requests: Sequence[Request]
    now: datetime
    unsure: Collection[str] = ()

    @property
    def asset(self) -> str:
        return self.workspace.settings.market.asset

    def table(self, name: str) -> pd.DataFrame | None:
        """All rows of a table, however often they are there."""
        options = {key: value.get_secret_value() for key, value in self.workspace.settings.storage.options.items()}
        table = delta.open_table(join(self.workspace.storage.uri, name), options)
        return None if table is None else delta.scan(table).to_pandas()


def violations(evidence: Evidence) -> list[Violation]:
    """All that is not as it must be; nothing, if all is well."""
    return [Violation(rule.__name__, what) for rule in RULES for what in rule(evidence)]


def no_key_is_there_twice(evidence: Evidence) -> Iterator[str]:
    features = f"features/{evidence.workspace.spec.hash[:12]}"
    for name, key in (_KEYS | {features: _KEYS["bars"]}).items():
        rows = evidence.table(name)
        if rows is not None and (count := int(rows.duplicated(list(key)).sum())):
            yield f"{count} rows of {name} repeat the key of another"
    forecasts = evidence.table("forecasts")
    if forecasts is not None and (count := int(forecasts.duplicated(["asset", "made_at", "target_at"]).sum())):
        yield f"{count} forecasts answer a question that another one answered"


def no_gap_is_left_that_the_source_could_fill(evidence: Evidence) -> Iterator[str]:
    held = evidence.workspace.storage.features.read_bars(evidence.asset)
    offered = evidence.truth.bars(evidence.now - DAY, evidence.now)
    if len(missing := offered[~offered["timestamp"].isin(held["timestamp"])]):
        yield f"{len(missing)} bars that the source has are not stored, from {missing['timestamp'].iloc[0]} on"


def bars_are_what_the_source_says(evidence: Evidence) -> Iterator[str]:
    held = evidence.workspace.storage.features.read_bars(evidence.asset)
    offered = evidence.truth.bars(evidence.now - DAY, evidence.now)
    both = held.merge(offered, on="timestamp", suffixes=("", "_true"))
    wrong = both[~np.isclose(both["close"], both["close_true"], rtol=1e-9)]
    if len(wrong):
        row = wrong.iloc[0]
        yield f"{len(wrong)} closes are not the source's; at {row['timestamp']} {row['close']}, not {row['close_true']}"


def every_bar_has_its_features(evidence: Evidence) -> Iterator[str]:
    workspace, spec = evidence.workspace, evidence.workspace.spec
    bars = workspace.storage.features.read_bars(evidence.asset)
    rows = workspace.storage.features.read_features(evidence.asset, spec.hash)
    if bars.empty:
        return
    if set(bars["timestamp"]) != set(rows["timestamp"]):
        missing = (~bars["timestamp"].isin(rows["timestamp"])).sum()
        extra = (~rows["timestamp"].isin(bars["timestamp"])).sum()
        yield f"{missing} bars without features, {extra} features without a bar"
        return
    again = compute_features(bars, spec)
    for name in spec.names:
        if not np.allclose(again[name], rows[name], rtol=1e-8, atol=1e-8, equal_nan=True):
            yield f"the feature {name} is not what the bars give"
            return


def every_forecast_is_settled_or_marked(evidence: Evidence) -> Iterator[str]:
    workspace, rules = evidence.workspace, evidence.workspace.settings.forecast
    log = workspace.storage.log.read_forecasts(evidence.asset)
    bars = workspace.storage.features.read_bars(evidence.asset)
    closes = pd.Series(bars["close"].to_numpy(), bars["timestamp"] + workspace.spec.interval.delta)
    is_open = log["outcome"].isna()
    known = log["target_at"].isin(closes.index) & (log["target_at"] < (closes.index.max() if len(closes) else pd.NaT))
    overdue = log["target_at"] + timedelta(seconds=rules.missed_after_s) <= pd.Timestamp(evidence.now)
    if count := int((is_open & (known | overdue)).sum()):
        yield f"{count} forecasts whose price is known, or will not be, have no outcome"
    if count := int((~is_open & ((log["outcome"] == "missed") != log["actual_price"].isna())).sum()):
        yield f"{count} outcomes are called missed and have a price, or the other way round"
    if count := int((~is_open & (log["settled_at"] < log["target_at"])).sum()):
        yield f"{count} forecasts were settled before their time"


def forecasts_are_settled_at_the_price_that_was(evidence: Evidence) -> Iterator[str]:
    workspace = evidence.workspace
    log = workspace.storage.log.read_forecasts(evidence.asset)
    bars = workspace.storage.features.read_bars(evidence.asset)
    closes = pd.Series(bars["close"].to_numpy(), bars["timestamp"] + workspace.spec.interval.delta)
    priced = log[log["actual_price"].notna() & log["target_at"].isin(closes.index)]
    wrong = ~np.isclose(priced["actual_price"], closes.reindex(priced["target_at"]), rtol=1e-9)
    if count := int(wrong.sum()):
        yield f"{count} of {len(priced)} forecasts were settled at another price than is stored"


def there_is_one_champion_and_it_loads(evidence: Evidence) -> Iterator[str]:
    registry, aliases = evidence.workspace.storage.registry, evidence.table("registry/aliases")
    if aliases is not None and len(aliases) > 1:
        yield f"the alias points at {aliases['version'].tolist()}"
    versions = [model.version for model in registry.versions()]
    if versions != list(range(len(versions))):
        yield f"versions are numbered {versions}"
    champion = registry.champion()
    if champion is None:
        yield "there is no champion"
        return
    if champion.verdict.startswith("passed: not champion yet"):
        yield f"the champion's verdict says that it is not: {champion.verdict}"
    try:
        Bundle.load(evidence.workspace.champion_bundle())
    except CryptoSentinelError as error:
        yield f"the champion does not load: {error}"


def alerts_are_delivered_once(evidence: Evidence) -> Iterator[str]:
    storage = evidence.workspace.storage
    log, queued = storage.log.read_alerts(evidence.asset), storage.outbox.read(evidence.asset)
    for kind, count in Counter(log.loc[log["resolved_at"].isna(), "kind"]).items():
        if count > 1:
            yield f"{count} alerts of {kind} are open"
    if count := int(queued["delivered_at"].isna().sum()):
        yield f"{count} deliveries wait"
    wanted = {f"{alert}-raised" for alert in log["alert_id"]}
    wanted |= {f"{alert}-resolved" for alert in log.loc[log["resolved_at"].notna(), "alert_id"]}
    if lost := wanted - set(queued["event_id"]):
        yield f"nobody was to be told of {sorted(lost)}"
    bodies: dict[str, list[bytes]] = {}
    for request in evidence.requests:
        if request.answered < 300:
            bodies.setdefault(request.headers["idempotency-key"], []).append(request.raw)
    ids = {row.delivery_id: row.event_id for row in queued.itertuples()}
    told = {ids.get(key, key): same for key, same in bodies.items()}
    if lost := set(queued["event_id"]) - set(told):
        yield f"never arrived: {sorted(lost)}"
    for event, same in told.items():
        if len(set(same)) > 1:
            yield f"{event} was told in {len(set(same))} versions"
        elif len(same) > 1 and event not in evidence.unsure:
            yield f"{event} was told {len(same)} times"
    events = [json.loads(request.raw) for request in evidence.requests if request.answered < 300]
    for alert in {event["alert_id"] for event in events}:
        order = list(dict.fromkeys(_ORDER[event["event"]] for event in events if event["alert_id"] == alert))
        if order != sorted(order):
            yield f"of {alert} the end was told before the beginning"


def nothing_unfinished_can_be_seen(evidence: Evidence) -> Iterator[str]:
    """Every folder of a bundle that has a version is whole; what is half there has none."""
    workspace = evidence.workspace
    options = {key: value.get_secret_value() for key, value in workspace.settings.storage.options.items()}
    files = Files(workspace.storage.uri, options)
    for model in workspace.storage.registry.versions():
        names = {file.path for file in files.walk(f"bundles/{model.uri.rsplit('/', 1)[-1]}")}
        if not {"manifest.json", "registered.json"} <= names:
            yield f"version {model.version} lacks files: it has {sorted(names)}"


RULES = (
    no_key_is_there_twice,
    no_gap_is_left_that_the_source_could_fill,
    bars_are_what_the_source_says,
    every_bar_has_its_features,
    every_forecast_is_settled_or_marked,
    forecasts_are_settled_at_the_price_that_was,
    there_is_one_champion_and_it_loads,
    alerts_are_delivered_once,
    nothing_unfinished_can_be_seen,
)
