"""What every feature in the table is held to, by being listed."""

from __future__ import annotations

import re
from datetime import timedelta

import numpy as np
import pytest

from cryptosentinel.features import FEATURES, SCALE_FEATURE, Feature, compute_features
from tests.builders import T0, make_random_bars
from tests.features.builders import SPEC
from tests.features.reference import REFERENCE

every_feature = pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)


@pytest.fixture(scope="module")
def bars():
    bars = make_random_bars(SPEC.warm_up_bars + 400, seed=5, start=T0 + timedelta(days=3))
    bars.loc[600:640, "volume"] = np.nan
    bars.loc[650:655, "volume"] = 0.0
    return bars


@pytest.fixture(scope="module")
def computed(bars):
    return compute_features(bars, SPEC)


def test_there_is_a_reference_for_every_feature_and_for_nothing_else() -> None:
    assert set(REFERENCE) == set(SPEC.names)


@every_feature
def test_a_feature_equals_its_formula_written_plainly(feature: Feature, bars, computed) -> None:
    expected = REFERENCE[feature.name](bars).to_numpy(np.float64)[feature.warm_up_bars - 1 :]
    np.testing.assert_allclose(
        computed[feature.name].to_numpy()[feature.warm_up_bars - 1 :], expected, rtol=1e-9, atol=1e-9
    )


@every_feature
def test_a_feature_is_described_and_fit_for_a_column(feature: Feature) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", feature.name)
    assert len(feature.description) > 5
    assert feature.warm_up_bars >= 1


@every_feature
def test_a_feature_varies(feature: Feature, computed) -> None:
    assert computed[feature.name].dropna().nunique() > 1


@every_feature
def test_only_features_without_a_unit_feed_models(feature: Feature, bars, computed) -> None:
    other = bars.assign(**{name: bars[name] * 3.7 for name in ("open", "high", "low", "close")})
    moved = not np.allclose(
        compute_features(other, SPEC)[feature.name], computed[feature.name], rtol=1e-7, atol=1e-9, equal_nan=True
    )
    assert not (moved and feature.feeds_models)


def test_the_table_names_each_feature_once_and_has_what_was_promised() -> None:
    assert len(set(SPEC.names)) == len(SPEC.names) >= 45
    assert SCALE_FEATURE in SPEC.model_names
    assert SPEC.warm_up_bars == max(feature.warm_up_bars for feature in FEATURES)
