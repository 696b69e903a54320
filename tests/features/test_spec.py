"""A spec's hash stands for its formulas: whoever changes one must raise SPEC_VERSION."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.features import FEATURES, FeatureSpec, compute_features
from cryptosentinel.market.bars import Interval, make_bars
from tests.builders import FIVE, T0

SPEC = FeatureSpec(FIVE)

HASH = "df3a4dbc2980a4bed21f4b3589b795e6061842226b2d7ef68ce2597d699b08d2"
GOLDEN: dict[str, float] = {
    "sma_5": 115.31569791364,
    "sma_10": 114.86027056764,
    "sma_20": 115.51814189333,
    "ema_5": 115.14557085555,
    "ema_10": 115.14565550424,
    "ema_20": 115.57277475516,
    "price_to_sma_20": -0.0049491598497797,
    "sma_5_to_sma_20": -0.0017524864611862,
    "macd": -0.55594841118904,
    "macd_signal": -0.62464195635058,
    "macd_histogram": 0.06869354516154,
    "macd_to_price": -0.0048365872651659,
    "macd_histogram_to_price": 0.00059761358975165,
    "bollinger_upper": 118.73665170754,
    "bollinger_middle": 115.51814189333,
    "bollinger_lower": 112.29963207911,
    "bollinger_position": 0.41118284815309,
    "bollinger_width": 0.05572301911134,
    "rsi_14": 41.645663138283,
    "momentum_10": 1.2268000615129,
    "roc_10": 0.010787936307527,
    "return": -0.0034338107124088,
    "log_return": -0.0034397197713509,
    "price_lag_1": 115.34248841586,
    "price_lag_2": 115.52603607905,
    "price_lag_3": 115.49445043193,
    "price_lag_5": 114.89283213816,
    "price_lag_10": 113.71962408203,
    "return_lag_1": -0.0015900625886974,
    "return_lag_2": 0.00027344455716472,
    "return_lag_3": 0.0019531682072953,
    "return_lag_5": 0.0040781170062059,
    "return_lag_10": -0.00043082331808461,
    "return_36_to_volatility": -1.2855969019805,
    "return_72_to_volatility": 1.2138646833456,
    "return_288_to_volatility": 1.023695471005,
    "volatility_20": 1.3499720605165,
    "realised_volatility_6": 0.0027559137155095,
    "realised_volatility_12": 0.0025668128349428,
    "realised_volatility_36": 0.0044953807405466,
    "realised_volatility_288": 0.00504374015979,
    "volatility_6_to_288": -0.60439885727217,
    "volatility_36_to_288": -0.11509753460178,
    "log_volatility_6": -5.3154849063039,
    "log_volatility_24": -5.2217832738528,
    "log_volatility_72": -5.1910784555171,
    "log_volatility_288": -5.1613147342246,
    "log_volatility_a_day_ago": -5.0954099110799,
    "absolute_to_root_mean_square_36": 0.83654472643282,
    "log_largest_move_288": -4.2983670948945,
    "parkinson_volatility_12": 0.0042796274116508,
    "garman_klass_volatility_36": 0.0053756451660908,
    "range": 0.0086656680777585,
    "volume_to_usual_1": 1.2400923662227,
    "volume_to_usual_12": 1.1913093073764,
    "close_location_volume_3": 0.062090270661317,
    "close_location_volume_6": 0.30301615647674,
    "close_location_volume_12": 0.3431445461445,
    "close_location_volume_36": 0.05037303405847,
    "signed_volume_6": 0.30498570249082,
    "signed_volume_36": -0.2088865542779,
    "hour": 10.0,
    "day_of_week": 2.0,
    "new_york_minute": 315.0,
    "is_weekend": 0.0,
    "day_sin": 0.442288690219,
    "day_cos": -0.89687274153269,
    "week_sin": 0.82093570533423,
    "week_cos": -0.57102063684896,
}


def deterministic_bars() -> pd.DataFrame:
    n = np.arange(700)
    close = 100 + 0.02 * n + 5 * np.sin(n / 17) + 2 * np.cos(n / 3) + (n % 7) / 10
    opened = np.roll(close, 1)
    opened[0] = 100
    return make_bars(
        "bitcoin",
        "test",
        pd.date_range(T0, periods=len(n), freq=FIVE.delta),
        open=opened,
        high=np.maximum(opened, close) + 0.1 + (n % 3) / 10,
        low=np.minimum(opened, close) - 0.1 - (n % 5) / 10,
        close=close,
        volume=10 + (n % 11) + 4 * np.sin(n / 50),
    )


def test_the_figures_behind_the_hash_are_those_of_its_version() -> None:
    row = compute_features(deterministic_bars(), SPEC)[SPEC.names].iloc[-1]
    changed = [name for name in SPEC.names if GOLDEN.get(name) != pytest.approx(row[name], rel=1e-9, abs=1e-11)]
    assert changed == [], "a formula changed: raise SPEC_VERSION in features/spec.py, then write the new figures here"


def test_the_hash_is_the_one_stores_and_bundles_know() -> None:
    assert SPEC.hash == HASH, "stored features and bundles are of another spec now; if that is meant, write it here"


def test_the_hash_changes_with_interval_order_use_and_warm_up() -> None:
    other = replace(FEATURES[0], feeds_models=not FEATURES[0].feeds_models)
    longer = replace(FEATURES[0], warm_up_bars=99)
    specs = [
        *(FeatureSpec(Interval(name)) for name in ("1m", "5m", "15m", "1h")),
        FeatureSpec(FIVE, FEATURES[1:]),
        FeatureSpec(FIVE, FEATURES[::-1]),
        FeatureSpec(FIVE, (other, *FEATURES[1:])),
        FeatureSpec(FIVE, (longer, *FEATURES[1:])),
    ]
    assert len({spec.hash for spec in specs}) == len(specs)


def test_model_features_are_some_of_all_in_table_order() -> None:
    assert [name for name in SPEC.names if name in SPEC.model_names] == SPEC.model_names
    assert 0 < len(SPEC.model_names) < len(SPEC.names)
