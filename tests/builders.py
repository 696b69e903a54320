"""Small builders that tests of several rooms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryptosentinel.bundle import (
    BLEND,
    DIRECTION,
    ONNX_FILE,
    RANDOM_WALK,
    REFERENCE_FILE,
    Bundle,
    Calibration,
    Gate,
    Manifest,
    ModelEntry,
    QuantileTable,
    write_bundle,
)
from cryptosentinel.config import Settings, StorageSettings, load_settings
from cryptosentinel.explaining import Attribution, Explanation, LocalModel
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec, compute_features
from cryptosentinel.market.bars import COLUMNS, Interval, empty_bars, make_bars
from cryptosentinel.storage import Storage, open_storage
from cryptosentinel.storage.protocols import Written

FIVE = Interval("5m")
T0 = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday


def make_random_bars(
    count: int, *, interval: Interval = FIVE, start: datetime = T0, seed: int = 0, price: float = 600.0
) -> pd.DataFrame:
    """Clean bars of a random walk."""
    noise = np.random.default_rng(seed)
    path = price * np.exp(np.cumsum(noise.normal(0, 0.002, count + 1)))
    opens, closes = path[:-1], path[1:]
    return make_bars(
        "bitcoin",
        "test",
        pd.date_range(start, periods=count, freq=interval.delta),
        open=opens,
        high=np.maximum(opens, closes) * (1 + noise.uniform(0, 0.002, count)),
        low=np.minimum(opens, closes) * (1 - noise.uniform(0, 0.002, count)),
        close=closes,
        volume=noise.uniform(1, 10, count),
    )


class MemoryStore:
    """The bars half of a feature store, in memory."""

    def __init__(self, bars: pd.DataFrame | None = None) -> None:
        self.bars = empty_bars()
        self.writes = 0
        if bars is not None:
            self.write_bars(bars)

    def write_bars(self, bars: pd.DataFrame) -> Written:
        before = self.bars.set_index("timestamp").reindex(bars["timestamp"]).reset_index()[list(COLUMNS)]
        is_new = before["asset"].isna().to_numpy()
        same = ((before == bars.reset_index(drop=True)) | (before.isna() & bars.reset_index(drop=True).isna())).all(
            axis=1
        )
        merged = pd.concat([self.bars, bars]) if len(self.bars) else bars
        self.bars = merged.drop_duplicates("timestamp", keep="last").sort_values("timestamp", ignore_index=True)
        self.writes += 1
        inserted, unchanged = int(is_new.sum()), int(same.sum())
        return Written(inserted, len(bars) - inserted - unchanged, unchanged, self.writes)

    def read_bars(
        self,
        asset: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pd.DataFrame:
        times = self.bars["timestamp"]
        wanted = self.bars["asset"] == asset
        if start is not None:
            wanted &= times >= pd.Timestamp(start)
        if end is not None:
            wanted &= times < pd.Timestamp(end)
        return self.bars.loc[wanted, list(columns or COLUMNS)].reset_index(drop=True)

    def last_timestamp(self, asset: str, spec_hash: str | None = None) -> datetime | None:
        return None if self.bars.empty else self.bars["timestamp"].iloc[-1].to_pydatetime()

    def version(self, spec_hash: str | None = None) -> int:
        return self.writes

    def write_features(self, rows: pd.DataFrame, spec_hash: str) -> Written:
        raise NotImplementedError

    def read_features(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        raise NotImplementedError

    def maintain(self) -> None:
        raise NotImplementedError


def at(number: int, interval: Interval = FIVE) -> datetime:
    """When bar `number` opens, and the one before it closes."""
    return T0 + number * interval.delta


def make_closing_bars(closes: Mapping[int, float]) -> pd.DataFrame:
    """Flat bars by number: bar n opens at `at(n)` and closes, at `at(n + 1)`, at its price."""
    prices = np.array(list(closes.values()), dtype=np.float64)
    times = pd.to_datetime([at(number) for number in closes], utc=True)
    return make_bars("bitcoin", "test", times, open=prices, high=prices, low=prices, close=prices, volume=1.0)


def open_delta(folder: Path) -> Storage:
    """A real store."""
    return open_storage(StorageSettings(), root=folder, market="test")


def add_bars(storage: Storage, bars: pd.DataFrame, spec: FeatureSpec) -> None:
    """Stores bars, and the features of all that are stored by then."""
    storage.features.write_bars(bars)
    storage.features.write_features(compute_features(storage.features.read_bars("bitcoin"), spec), spec.hash)


def settings_of(**overrides: object) -> Settings:
    """Settings that no environment has a say in; `market__source` is `market.source`."""
    return load_settings(environ={}, overrides={name.replace("__", "."): value for name, value in overrides.items()})


def make_tiny_bundle(
    path: Path,
    spec: FeatureSpec,
    *,
    log_return: float = 0.001,
    p_up: float = 0.6,
    horizon_bars: int = 6,
    reference: pd.DataFrame | None = None,
) -> Bundle:
    """A bundle that answers `log_return`, by its one candidate, and `p_up` whatever it is asked."""
    from onnx import TensorProto, helper

    count = len(spec.model_names)

    def fill(folder: Path) -> None:
        features = helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, count])
        nodes, weights, answers = [], [], []
        for name, values in {"ridge": [log_return], DIRECTION: [1 - p_up, p_up]}.items():
            width = len(values)
            weights.append(helper.make_tensor(f"{name}/w", TensorProto.FLOAT, [count, width], [0.0] * count * width))
            weights.append(helper.make_tensor(f"{name}/b", TensorProto.FLOAT, [width], values))
            nodes.append(helper.make_node("MatMul", ["features", f"{name}/w"], [f"{name}/product"]))
            nodes.append(helper.make_node("Add", [f"{name}/product", f"{name}/b"], [name]))
            answers.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]))
        graph = helper.make_graph(nodes, "tiny", [features], answers, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        (folder / ONNX_FILE).write_bytes(model.SerializeToString())
        (folder / "MODEL_CARD.md").write_text("# A bundle for tests\n", encoding="utf-8")
        if reference is not None:
            reference.to_parquet(folder / REFERENCE_FILE)

    manifest = Manifest(
        created_at=T0,
        asset="bitcoin",
        currency="usd",
        market="test",
        simulated=False,
        interval=spec.interval.name,
        horizon_bars=horizon_bars,
        spec_hash=spec.hash,
        features=spec.model_names,
        scale_feature=SCALE_FEATURE,
        champion=BLEND,
        blend={"ridge": 1.0},
        shrinkage=1.0,
        models={RANDOM_WALK: ModelEntry(), "ridge": ModelEntry(), DIRECTION: ModelEntry(target="direction")},
        gate=Gate(promote=True, reasons=["for a test"]),
    )
    write_bundle(path, manifest, fill, quantiles=QuantileTable.normal(), calibration=Calibration.identity())
    return Bundle.load(path)


def make_explanation(close: float = 600.0, **changed: Any) -> Explanation:
    """Three features move the forecast, the direction and the range, the others nothing."""
    moving = dict.fromkeys(FeatureSpec(FIVE).model_names, 0.0)
    returns = {**moving, "rsi_14": 0.002, "week_sin": -0.001, SCALE_FEATURE: 0.0005}
    returns = dict(sorted(returns.items(), key=lambda item: -abs(item[1])))
    value = 0.0005 + sum(returns.values())
    per_return = close * np.expm1(value) / value
    target = Attribution(
        unit="log_return",
        base=0.0005,
        value=value,
        contributions=returns,
        price_base=0.0005 * per_return,
        price_contributions={name: each * per_return for name, each in returns.items()},
    )
    other = {"base": 0.0, "value": sum(returns.values()), "contributions": returns}
    fields = {
        "bundle_digest": "d" * 64,
        "asset": "bitcoin",
        "currency": "usd",
        "interval": "5m",
        "horizon_bars": 6,
        "champion": BLEND,
        "shrinkage": 1.0,
        "close": close,
        "predicted_price": close * np.exp(value),
        "log_return": value,
        "sigma": 0.004,
        "lower_80": close * 0.995,
        "upper_80": close * 1.005,
        "lower_95": close * 0.99,
        "upper_95": close * 1.01,
        "p_up": 0.52,
        "direction": "up",
        "confidence": 0.52,
        "regime": "uptrend",
        "dissimilarity": 0.1,
        "outlying": False,
        "widening": 1.0,
        "features": dict.fromkeys(FeatureSpec(FIVE).model_names, 0.25),
        "targets": {
            "forecast": target,
            BLEND: target,
            "p_up": Attribution(unit="log_odds", **other),
            "sigma": Attribution(unit="log_volatility", **other),
        },
    }
    return Explanation.model_validate(fields | changed)


def make_local(unit: str = "log_return", **weights: float) -> LocalModel:
    """A linear model of some features around a row."""
    return LocalModel(unit=unit, weights=weights, intercept=0.0, value=0.0, answer=0.0, r_squared=0.42)
