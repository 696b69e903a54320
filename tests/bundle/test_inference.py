"""One answer a row, whoever asks with it and from whatever thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from cryptosentinel.bundle import DOWN, FLAT, UP, Bundle, Inference, write_random_walk
from cryptosentinel.bundle.inference import confidences, directions
from tests.features.builders import SPEC
from tests.forecasting.builders import make_dataset, stress_rows


def rows(count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    X = stress_rows(make_dataset(), count, seed).astype(np.float64)
    return X, np.random.default_rng(seed).uniform(1e-4, 1e6, count)


def assert_same(left: Inference, right: Inference) -> None:
    for field in fields(Inference):
        one, other = getattr(left, field.name), getattr(right, field.name)
        pairs = [(one[name], other[name]) for name in one] if isinstance(one, dict) else [(one, other)]
        for a, b in pairs:
            if np.asarray(a).dtype.kind == "f":
                np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=field.name)
            else:
                np.testing.assert_array_equal(a, b, err_msg=field.name)


def pick(answer: Inference, at: int) -> Inference:
    def one(value):
        return {name: column[[at]] for name, column in value.items()} if isinstance(value, dict) else value[[at]]

    return Inference(**{field.name: one(getattr(answer, field.name)) for field in fields(Inference)})


def test_many_rows_are_answered_as_each_alone(bundle: Bundle) -> None:
    X, close = rows()
    X[5] = np.nan
    together = bundle.infer(X, close)
    for at in range(len(X)):
        assert_same(bundle.infer(X[[at]], close[[at]]), pick(together, at))


def test_threads_share_a_bundle(bundle: Bundle) -> None:
    batches = [rows(seed=seed) for seed in range(8)]
    expected = [bundle.infer(*batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for answer, alone in zip(pool.map(lambda batch: bundle.infer(*batch), batches), expected, strict=True):
                assert_same(answer, alone)


def test_no_rows_get_no_answers(bundle: Bundle) -> None:
    X, close = rows()
    answer = bundle.infer(X[:0], close[:0])
    assert answer.predicted_price.shape == answer.regime.shape == (0,)


def test_figures_of_a_row_fit_together(bundle: Bundle) -> None:
    X, close = rows(500)
    answer = bundle.infer(X, close)
    champion = bundle.manifest.champion
    np.testing.assert_allclose(answer.predicted_price, close * np.exp(answer.log_return))
    np.testing.assert_array_equal(answer.predicted_price, answer.by_model[champion])
    np.testing.assert_array_equal(answer.by_model["random_walk"], close)
    bounds = [answer.lower_95, answer.lower_80, answer.predicted_price, answer.upper_80, answer.upper_95]
    assert (np.diff(bounds, axis=0) > 0).all()
    assert ((answer.p_up >= 0) & (answer.p_up <= 1)).all()
    assert ((answer.confidence >= 0.5) & (answer.confidence <= 1)).all()
    assert set(answer.regime) <= set(bundle.manifest.regimes)
    assert (answer.direction == directions(answer.predicted_price - close)).all()
    assert (answer.champion == champion).all()


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf, 1e39])
def test_a_row_that_lacks_what_models_need_gets_the_random_walk_s_answer(unknown: float, bundle: Bundle) -> None:
    X, close = rows(3)
    column = bundle.manifest.features.index("rsi_14")
    X[1, column] = unknown
    answer = bundle.infer(X, close)
    assert answer.champion.tolist() == [bundle.manifest.champion, "random_walk", bundle.manifest.champion]
    assert all(prices[1] == close[1] for prices in answer.by_model.values())
    assert (answer.direction[1], answer.p_up[1], answer.confidence[1], answer.regime[1]) == (FLAT, 0.5, 0.5, "unknown")
    assert answer.lower_95[1] < answer.lower_80[1] < close[1] < answer.upper_80[1] < answer.upper_95[1]
    X[1, column] = 50
    neighbours = bundle.infer(X, close)
    np.testing.assert_array_equal(answer.predicted_price[[0, 2]], neighbours.predicted_price[[0, 2]])


def test_a_row_without_a_known_volatility_has_no_bounds(bundle: Bundle) -> None:
    X, close = rows(2)
    X[0, bundle.manifest.features.index(bundle.manifest.scale_feature)] = np.nan
    answer = bundle.infer(X, close)
    assert answer.predicted_price[0] == close[0]
    assert np.isnan([answer.lower_80[0], answer.upper_80[0], answer.lower_95[0], answer.upper_95[0]]).all()
    assert np.isfinite([answer.lower_80[1], answer.upper_95[1]]).all()


def test_directions_are_the_forecast_s_sign() -> None:
    assert directions(np.array([1e-9, -1e-9, 0.0])).tolist() == [UP, DOWN, FLAT]


def test_confidence_is_the_classifier_s_only_where_it_agrees() -> None:
    direction = np.array([UP, UP, DOWN, DOWN, FLAT])
    confidence = confidences(direction, np.array([0.7, 0.3, 0.3, 0.7, 0.9]))
    assert confidence == pytest.approx([0.7, 0.5, 0.7, 0.5, 0.5])


def test_version_0_answers_that_the_price_stays_within_normal_bounds(tmp_path: Path) -> None:
    write_random_walk(
        tmp_path / "walk", SPEC, asset="bitcoin", currency="usd", market="test", simulated=False, horizon_bars=4
    )
    walk = Bundle.load(tmp_path / "walk")
    X = np.full((2, len(walk.manifest.features)), np.nan)
    X[0, walk.manifest.features.index(walk.manifest.scale_feature)] = 0.001
    answer = walk.infer(X, np.array([100.0, 200.0]))
    assert answer.predicted_price.tolist() == [100, 200]
    assert answer.upper_95[0] == pytest.approx(100 * np.exp(1.95996 * 0.001 * 2), rel=1e-6)
    assert np.isnan(answer.upper_95[1])
    assert answer.champion.tolist() == ["random_walk", "random_walk"]
    assert answer.direction.tolist() == [FLAT, FLAT]
    assert answer.regime.tolist() == ["unknown", "unknown"]
    assert answer.by_model.keys() == {"random_walk"}
