"""What the models are and how good: versions, their figures and cards, and what the log says of their forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from cryptosentinel.bundle import Manifest, read_manifest
from cryptosentinel.drift import newest_report
from cryptosentinel.errors import BundleFormatError
from cryptosentinel.predicting import Share, independent_outcomes, share_of
from cryptosentinel.storage import RegisteredModel
from cryptosentinel.workspace import Workspace

CARD_FILE = "MODEL_CARD.md"
# Central intervals that are logged, in percent.
LEVELS = (50, 80, 90, 95)
# Bins of a calibration curve, and how many outcomes that do not overlap one is to have.
MOST_BINS, BIN_OUTCOMES = 10, 10
# Of thousands of versions the newest are shown, of the log the forecasts of so long.
NEWEST_VERSIONS = 200
LOG_WINDOW = timedelta(days=90)


@dataclass(frozen=True)
class Registry:
    """The versions, newest first.

    Attributes:
        versions: the newest `NEWEST_VERSIONS`, and the one that serves.
        champion: the number of the one that serves; None while there is none.
        count: how many there are in all.
    """

    versions: tuple[RegisteredModel, ...]
    champion: int | None
    count: int

    def get(self, version: int) -> RegisteredModel:
        """One of `versions`."""
        return next(model for model in self.versions if model.version == version)


@dataclass(frozen=True)
class Version:
    """A version and what its bundle says of itself.

    Attributes:
        model: what the registry knows.
        manifest: None where the bundle was pruned, or is of an earlier release.
        card: its model card, Markdown; empty where there is none.
    """

    model: RegisteredModel
    manifest: Manifest | None
    card: str

    @property
    def trained(self) -> Manifest | None:
        """The manifest of a bundle that was trained and measured."""
        return self.manifest if self.manifest is not None and self.manifest.data is not None else None

    @property
    def independent(self) -> int:
        """How many outcomes that do not overlap its figures rest on; 0 where none was measured."""
        return round(self.manifest.gate.figures.get("independent_labels", 0)) if self.manifest else 0


@dataclass(frozen=True)
class Reliability:
    """Forecasts of similar probability: how likely they said a rise was on average, and how often the price rose."""

    forecast: float
    rose: Share
    count: int


@dataclass(frozen=True)
class Record:
    """What the settled forecasts of the log say of calibration and coverage.

    Attributes:
        settled: how many.
        since: when the first of them was made; None where there is none.
        reliability: from the lowest probability to the highest.
        covered: by the level in percent, how often the price was within the interval.
    """

    settled: int
    since: datetime | None
    reliability: tuple[Reliability, ...]
    covered: Mapping[int, Share]


def read_registry(workspace: Workspace) -> Registry:
    """The versions; raises `StorageError` where they cannot be read."""
    registry = workspace.storage.registry
    champion, versions = registry.champion(), registry.versions()[::-1]
    serves = None if champion is None else champion.version
    shown = [model for at, model in enumerate(versions) if at < NEWEST_VERSIONS or model.version == serves]
    return Registry(tuple(shown), serves, len(versions))


def read_version(workspace: Workspace, number: int) -> Version:
    """A version with its manifest and card.

    Raises:
        StorageError: there is no such version, or its bundle cannot be had.
        BundleDamagedError: what it says of itself cannot be read.
    """
    model = workspace.storage.registry.get(number)
    if model.pruned_at is not None:
        return Version(model, None, "")
    path = workspace.bundle(number)
    card = path / CARD_FILE
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    try:
        return Version(model, read_manifest(path), text)
    except BundleFormatError:
        return Version(model, None, text)


def read_forecast_times(workspace: Workspace, count: int) -> pd.DataFrame:
    """The newest forecasts, newest first: `made_at`, `target_at` and `bundle_version`."""
    log, asset = workspace.storage.log, workspace.settings.market.asset
    newest = workspace.storage.features.last_timestamp(asset)
    if newest is None:
        return pd.DataFrame()
    start = newest - 2 * count * workspace.spec.interval.delta
    columns = ["made_at", "target_at", "bundle_version"]
    return log.read_forecasts(asset, start, columns=columns).tail(count).iloc[::-1].reset_index(drop=True)


def read_weights(workspace: Workspace) -> tuple[int, dict[str, float]] | None:
    """The version that the newest drift check was of, and each feature's share in what it answers, largest first.

    That is permutation importance (`drift.importances`), measured where the bundle can be asked; None where there was
    no check yet, or it counted all features alike.
    """
    report = newest_report(workspace.storage.log, workspace.settings.market.asset)
    if report is None or not report.weighted:
        return None
    weights = {feature.feature: feature.weight for feature in report.windows[0].features}
    return report.version, dict(sorted(weights.items(), key=lambda item: -item[1]))


def read_record(workspace: Workspace, version: int | None) -> Record:
    """Calibration and coverage of the logged forecasts of the last `LOG_WINDOW`.

    Args:
        workspace: the market.
        version: whose; None: of all versions.
    """
    asset, newest = (
        workspace.settings.market.asset,
        workspace.storage.features.last_timestamp(workspace.settings.market.asset),
    )
    bounds = [f"{side}_{level}" for level in LEVELS for side in ("lower", "upper")]
    columns = ["made_at", "target_at", "price", "actual_price", "p_up", "bundle_version", *bounds]
    start = None if newest is None else newest - LOG_WINDOW
    log = workspace.storage.log.read_forecasts(asset, start, columns=columns)
    log = log[log["actual_price"].notna() & (version is None or log["bundle_version"] == version)]
    return Record(
        settled=len(log),
        since=log["made_at"].iloc[0].to_pydatetime() if len(log) else None,
        reliability=_reliability(log[log["p_up"].notna()]),
        covered={level: _covered(log, level) for level in LEVELS if log[f"lower_{level}"].notna().any()},
    )


def _reliability(log: pd.DataFrame) -> tuple[Reliability, ...]:
    """Bins of about equally many forecasts; those with the same probability stay together."""
    if log.empty:
        return ()
    bins = min(MOST_BINS, max(2, independent_outcomes(log) // BIN_OUTCOMES))
    edges = np.unique(np.quantile(log["p_up"], np.linspace(0, 1, bins + 1)))
    number = np.searchsorted(edges[1:-1], log["p_up"], side="left")
    rose = log["actual_price"] > log["price"]
    return tuple(
        Reliability(float(rows["p_up"].mean()), share_of(rose[rows.index], independent_outcomes(rows)), len(rows))
        for _, rows in log.groupby(number)
    )


def _covered(log: pd.DataFrame, level: int) -> Share:
    known = log[log[f"lower_{level}"].notna()]
    inside = known["actual_price"].between(known[f"lower_{level}"], known[f"upper_{level}"])
    return share_of(inside, independent_outcomes(known))
