"""Version 0: the bundle that says "the price stays where it is", so that there is always something to serve."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptosentinel.bundle.calibration import Calibration
from cryptosentinel.bundle.files import write_bundle
from cryptosentinel.bundle.manifest import RANDOM_WALK, Gate, Manifest, ModelEntry, library_versions
from cryptosentinel.bundle.quantiles import QuantileTable
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec

# A fixed date: the same release writes the same bytes, so two first starts register one version 0.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def write_random_walk(
    path: Path, spec: FeatureSpec, *, asset: str, currency: str, market: str, simulated: bool, horizon_bars: int
) -> Manifest:
    """Writes the random-walk bundle: no trained model, intervals from recent volatility."""
    manifest = Manifest(
        created_at=_EPOCH,
        asset=asset,
        currency=currency,
        market=market,
        simulated=simulated,
        interval=spec.interval.name,
        horizon_bars=horizon_bars,
        spec_hash=spec.hash,
        features=spec.model_names,  # as every bundle, so that a caller need not know which one answers
        scale_feature=SCALE_FEATURE,
        champion=RANDOM_WALK,
        models={RANDOM_WALK: ModelEntry()},
        gate=Gate(
            promote=True,
            champion=RANDOM_WALK,
            reasons=["Version 0: the random walk, until a trained bundle passes the gate."],
        ),
        libraries=library_versions(),
    )

    def fill(folder: Path) -> None:
        (folder / "MODEL_CARD.md").write_text(
            f"# Random walk for {asset}\n\n"
            f"This bundle has learnt nothing: it forecasts that the price stays where it is, {horizon_bars} bars of "
            f"{spec.interval.name} ahead.\n"
            "Its intervals are normal quantiles times the realised volatility of the last 36 bars.\n",
            encoding="utf-8",
        )

    return write_bundle(path, manifest, fill, quantiles=QuantileTable.normal(), calibration=Calibration.identity())
