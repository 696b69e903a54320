"""Forecasts, predictors and a log for tests of predicting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from cryptosentinel.bundle import Bundle, write_random_walk
from cryptosentinel.errors import CryptoSentinelError
from cryptosentinel.features import FeatureSpec
from cryptosentinel.predicting import Answer, BundlePredictor, Rows
from cryptosentinel.storage import FORECASTS, Written
from tests.builders import FIVE, at

SPEC = FeatureSpec(FIVE)


def random_walk(path: Path, *, horizon_bars: int = 6) -> BundlePredictor:
    write_random_walk(
        path, SPEC, asset="bitcoin", currency="usd", market="test", simulated=False, horizon_bars=horizon_bars
    )
    return BundlePredictor(Bundle.load(path), 0)


class FailingPredictor:
    """A predictor that has this to say."""

    def __init__(self, error: CryptoSentinelError) -> None:
        self.error = error

    def infer(self, rows: Rows) -> Answer:
        raise self.error


def forecast(
    made: int,
    *,
    price: float = 100.0,
    predicted: float = 101.0,
    direction: str = "up",
    horizon_bars: int = 6,
    interval_80: tuple[float, float] = (95.0, 105.0),
    interval_95: tuple[float, float] = (90.0, 110.0),
) -> pd.DataFrame:
    """An unsettled forecast, made when bar `made` opens."""
    row = dict.fromkeys(FORECASTS.names) | {
        "forecast_id": f"made-{made}",
        "asset": "bitcoin",
        "made_at": pd.Timestamp(at(made)),
        "target_at": pd.Timestamp(at(made + horizon_bars)),
        "price": price,
        "predicted_price": predicted,
        **dict(zip(("lower_80", "upper_80"), interval_80, strict=True)),
        **dict(zip(("lower_95", "upper_95"), interval_95, strict=True)),
        "direction": direction,
        "p_up": 0.6,
        "confidence": 0.6,
        "regime": "uptrend",
        "champion": "ridge",
        "by_model": json.dumps({"random_walk": price, "ridge": predicted}),
        "bundle_version": 3,
    }
    frame = pd.DataFrame([row], columns=FORECASTS.names)
    return frame.astype({"actual_price": "float64", "error": "float64", "settled_at": "datetime64[ms, UTC]"})


def settled(row: pd.DataFrame, outcome: str, actual: float = float("nan")) -> pd.DataFrame:
    return row.assign(outcome=outcome, actual_price=actual, settled_at=row["target_at"])


class MemoryLog:
    """The forecasts half of a forecast log, in memory."""

    def __init__(self, forecasts: pd.DataFrame) -> None:
        self.rows = forecasts.set_index("forecast_id", drop=False)

    def read_forecasts(self, asset: str, *, unsettled: bool = False) -> pd.DataFrame:
        rows = self.rows[self.rows["outcome"].isna()] if unsettled else self.rows
        return rows.sort_values("made_at").reset_index(drop=True)

    def settle(self, forecasts: pd.DataFrame) -> Written:
        for row in forecasts.itertuples():
            assert self.rows.loc[row.forecast_id, "outcome"] is None, "settled twice"
            for name in ("outcome", "actual_price", "error", "settled_at"):
                self.rows.loc[row.forecast_id, name] = getattr(row, name)
        return Written(0, len(forecasts), 0, 0)


@contextmanager
def counted(predictor: BundlePredictor) -> Iterator[list[Rows]]:
    """What the predictor is asked inside the block."""
    asked: list[Rows] = []
    infer = predictor.infer

    def count(rows: Rows) -> Answer:
        asked.append(rows)
        return infer(rows)

    predictor.infer = count  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        predictor.infer = infer  # type: ignore[method-assign]
