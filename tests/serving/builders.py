"""Small bundles and rows for the tests of the predictor."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cryptosentinel.bundle import (
    BLEND,
    DIRECTION,
    ONNX_FILE,
    REGIME,
    TABLES_FILE,
    Bundle,
    Calibration,
    DataWindow,
    Gate,
    Manifest,
    ModelEntry,
    QuantileTable,
    compile_tables,
    library_versions,
    merge_onnx,
    save_native,
    to_onnx,
    write_bundle,
    write_random_walk,
)
from cryptosentinel.config import ForecastSettings
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec
from cryptosentinel.forecasting.domain import fit_domain
from cryptosentinel.market.bars import Interval
from cryptosentinel.predicting import Answer, Rows
from serving.asked import Asked, Reply

SPEC = FeatureSpec(Interval("5m"))
COUNT = len(SPEC.model_names)
DATA_END = datetime(2024, 12, 31, 23, 55, tzinfo=UTC)
NOW = datetime(2025, 1, 8, tzinfo=UTC)  # of servers in this process
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


def make_reply(answer: Answer, *made_at: datetime) -> Reply:
    """What is replied with an answer at `NOW`."""
    rows = make_rows(len(answer.inference.log_return))
    return Reply.to(Asked(rows, made_at or None), answer, ForecastSettings(), now=NOW)


def make_random_walk(path: Path, horizon_bars: int = 6) -> Bundle:
    write_random_walk(
        path, SPEC, asset="bitcoin", currency="usd", market="test", simulated=True, horizon_bars=horizon_bars
    )
    return Bundle.load(path)


def make_trained(path: Path, *, lean: float = 0.0, seed: int = 0, **changed: Any) -> Bundle:
    """A bundle of small models fitted on noise, with everything that a bundle can have.

    `lean` is added to one candidate's answers, in units of the scale; `changed` are fields of the manifest.
    """
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
    volatilities = [Ridge().fit(X, level + 0.1 * noise.normal(size=300)) for level in (-6.5, -5.5)]
    regimes = KMeans(4, n_init=1, random_state=seed).fit(X)
    estimators = {"ridge": ridge, "random_forest": forest, "calm": volatilities[0], "wild": volatilities[1]}
    estimators |= {DIRECTION: classifier, REGIME: regimes}
    models = {name: (estimator, to_onnx(estimator, COUNT)) for name, estimator in estimators.items()}
    kept = {DIRECTION: "probabilities", REGIME: "label"}
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
        champion=BLEND,
        blend={"ridge": 0.75, "random_forest": 0.25},
        shrinkage=0.5,
        models={
            "random_walk": ModelEntry(),
            "ridge": ModelEntry(target="standardised", file="models/ridge.skops"),
            "random_forest": ModelEntry(target="log_return"),
            "calm": ModelEntry(target="log_volatility"),
            "wild": ModelEntry(target="log_volatility"),
            DIRECTION: ModelEntry(target="direction"),
            REGIME: ModelEntry(target="regime"),
        },
        regimes=["accumulation", "uptrend", "distribution", "downtrend"],
        data=DataWindow(
            start=datetime(2024, 11, 1, tzinfo=UTC),
            training_end=datetime(2024, 11, 30, 23, tzinfo=UTC),
            holdout_start=datetime(2024, 12, 1, tzinfo=UTC),
            end=DATA_END,
            training_rows=300,
            oof_rows=180,
            holdout_rows=100,
            bars_version=1,
            features_version=1,
        ),
        gate=Gate(promote=True, champion=BLEND, reasons=["for a test"], figures={"clark_west_t": 2.5}, look=True),
        libraries=library_versions(),
    )

    def fill(folder: Path) -> None:
        graphs = {name: (graph, kept.get(name, "variable")) for name, (_, graph) in models.items()}
        (folder / ONNX_FILE).write_bytes(merge_onnx(graphs).SerializeToString())
        tables = compile_tables(models)
        assert tables is not None
        (folder / TABLES_FILE).write_text(tables.model_dump_json(), encoding="utf-8")
        (folder / "models").mkdir()
        save_native(ridge, folder / "models", "ridge")

    write_bundle(
        path,
        manifest.model_copy(update=changed),
        fill,
        quantiles=QuantileTable.conformal(noise.normal(size=999)),
        calibration=Calibration(scores=[0.3, 0.7], probabilities=[0.45, 0.55]),
        domain=fit_domain(X, seed),
    )
    return Bundle.load(path)
