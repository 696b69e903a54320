"""The drift step: the newest features against the champion's baseline."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd

from cryptosentinel.bundle import REFERENCE_FILE, Bundle
from cryptosentinel.config import DriftSettings
from cryptosentinel.drift.detector import Detector, DriftReport
from cryptosentinel.drift.ks import KolmogorovSmirnov
from cryptosentinel.features import Feature, FeatureSpec
from cryptosentinel.storage import FeatureStore

_HOURS = 72  # bars


def check_drift(
    store: FeatureStore, spec: FeatureSpec, asset: str, bundle: Path, settings: DriftSettings
) -> DriftReport | None:
    """Holds the newest `settings.window_days` of features against the baseline in a bundle.

    Rows are taken one horizon apart, so that neighbours share less than the whole of their history.

    Returns:
        The report; None where the bundle has no baseline (the random walk), or another spec's, or there are no rows.

    Raises:
        BundleDamagedError: the bundle is not as it was written.
    """
    champion = Bundle.load(bundle)
    manifest = champion.manifest
    newest = store.last_timestamp(asset, spec.hash)
    if manifest.spec_hash != spec.hash or REFERENCE_FILE not in manifest.files or newest is None:
        return None
    names = [feature.name for feature in spec.features if feature.feeds_models and _is_compared(feature)]
    reference = pd.read_parquet(champion.file(REFERENCE_FILE), columns=names)
    start = newest - timedelta(days=settings.window_days)
    current = store.read_features(asset, spec.hash, start, columns=names)[names].dropna()
    current = current.iloc[:: manifest.horizon_bars]
    if current.empty:
        return None
    detector: Detector = KolmogorovSmirnov(settings.false_discovery_rate)
    return DriftReport(
        detector=detector.name,
        reference_rows=len(reference),
        current_rows=len(current),
        features=detector.detect(reference, current),
        threshold=settings.threshold,
    )


def _is_compared(feature: Feature) -> bool:
    """The calendar only says when the window was, and of what looks back for hours it holds too few values to compare.

    (What has a long warm-up in the other groups is recursive or a ratio, and new with each bar.)
    """
    looks_far_back = feature.group in {"volatility", "returns"} and feature.warm_up_bars >= _HOURS
    return feature.group != "calendar" and not looks_far_back
