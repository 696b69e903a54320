"""Small bundles and rows for the tests of the predictor."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cryptosentinel.bundle import (
    DIRECTION,
    ONNX_FILE,
    REGIME,
    Bundle,
    Gate,
    IntervalTable,
    Manifest,
    ModelEntry,
    library_versions,
    merge_onnx,
    to_onnx,
    write_bundle,
    write_random_walk,
)
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec
from cryptosentinel.market.bars import Interval
from cryptosentinel.predicting import Rows

SPEC = FeatureSpec(Interval("5m"))
COUNT = len(SPEC.model_names)
SCALE_COLUMN = SPEC.model_names.index(SCALE_FEATURE)


def make_rows(count: int, *, warm: bool = True, seed: int = 0) -> Rows:
    noise = np.random.default_rng(seed)
    features = noise.normal(size=(count, COUNT))
    features[:, SCALE_COLUMN] = noise.uniform(0.0005, 0.005, count)
    return Rows(
        close=noise.uniform(20_000, 60_000, count),
        volatility=features[:, SCALE_COLUMN],
        features=features if warm else None,
        spec_hash=SPEC.hash,
    )


def instances(count: int) -> list[dict[str, Any]]:
    """`make_rows` in the V1 form."""
    rows = make_rows(count)
    return [
        {"close": close, "features": dict(zip(SPEC.model_names, row, strict=True))}
        for close, row in zip(rows.close.tolist(), rows.features.tolist(), strict=True)
    ]


def make_random_walk(path: Path) -> Bundle:
    write_random_walk(path, SPEC, asset="bitcoin", currency="usd", market="test", simulated=True, horizon_bars=6)
    return Bundle.load(path)


def make_trained(path: Path, *, lean: float = 0.0, seed: int = 0) -> Bundle:
    """A bundle of small models fitted on noise; `lean` is added to the champion's answers, in units of the scale."""
    from sklearn.cluster import KMeans
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
    from sklearn.linear_model import Ridge

    noise = np.random.default_rng(seed)
    X = noise.normal(size=(300, COUNT)).astype(np.float32)
    y = noise.normal(size=300)
    ridge = Ridge().fit(X, y)
    ridge.intercept_ = ridge.intercept_ + lean
    forest = RandomForestRegressor(5, max_depth=3, random_state=seed).fit(X, y * 0.001)
    classifier = GradientBoostingClassifier(n_estimators=5, max_depth=2, random_state=seed).fit(X, y > 0)
    regimes = KMeans(4, n_init=1, random_state=seed).fit(X)
    graphs = {
        "ridge": (to_onnx(ridge, COUNT), "variable"),
        "random_forest": (to_onnx(forest, COUNT), "variable"),
        DIRECTION: (to_onnx(classifier, COUNT), "probabilities"),
        REGIME: (to_onnx(regimes, COUNT), "label"),
    }
    manifest = Manifest(
        created_at=datetime(2025, 1, 1, tzinfo=UTC),
        asset="bitcoin",
        currency="usd",
        market="test",
        simulated=False,
        interval="5m",
        horizon_bars=6,
        spec_hash=SPEC.hash,
        features=SPEC.model_names,
        scale_feature=SCALE_FEATURE,
        champion="ridge",
        models={
            "random_walk": ModelEntry(),
            "ridge": ModelEntry(target="standardised"),
            "random_forest": ModelEntry(target="log_return"),
            DIRECTION: ModelEntry(target="direction"),
            REGIME: ModelEntry(target="regime"),
        },
        regimes=["accumulation", "uptrend", "distribution", "downtrend"],
        gate=Gate(promote=True, reasons=["for a test"]),
        libraries=library_versions(),
    )

    def fill(folder: Path) -> None:
        (folder / ONNX_FILE).write_bytes(merge_onnx(graphs).SerializeToString())

    write_bundle(path, manifest, IntervalTable.normal(), fill)
    return Bundle.load(path)
