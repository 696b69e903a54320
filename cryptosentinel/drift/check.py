"""The drift step: the newest features against the champion's baseline."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd

from cryptosentinel.bundle import REFERENCE_FILE, read_manifest
from cryptosentinel.config import DriftSettings
from cryptosentinel.drift.detector import Detector, DriftReport
from cryptosentinel.drift.ks import KolmogorovSmirnov
from cryptosentinel.features import FeatureSpec
from cryptosentinel.storage import FeatureStore

# The clock features only say when the window was.
_CLOCK = {"is_weekend", "day_sin", "day_cos", "week_sin", "week_cos"}


def check_drift(
    store: FeatureStore, spec: FeatureSpec, asset: str, bundle: Path, settings: DriftSettings
) -> DriftReport | None:
    """Holds the newest `settings.window_days` of features against the baseline in a bundle.

    Rows are taken one horizon apart, so that neighbours share less than the whole of their history.

    Returns:
        The report; None where the bundle has no baseline (the random walk), or another spec's, or there are no rows.
    """
    manifest = read_manifest(bundle)
    newest = store.last_timestamp(asset, spec.hash)
    if manifest.spec_hash != spec.hash or REFERENCE_FILE not in manifest.files or newest is None:
        return None
    names = [name for name in spec.model_names if name not in _CLOCK]
    reference = pd.read_parquet(bundle / REFERENCE_FILE)[names]
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
