"""One answer a row, whoever asks with it and from whatever thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import pytest

from cryptosentinel.bundle import (
    BOUNDS,
    DOWN,
    FLAT,
    RANDOM_WALK,
    UP,
    Bundle,
    Inference,
    confidences,
    directions,
    write_random_walk,
)
from tests.features.builders import SPEC
from tests.serving.builders import SCALE_COLUMN, make_rows, make_trained


def rows(count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows like those trained on, but for every tenth, which is far outside."""
    made = make_rows(count, seed=seed)
    assert made.features is not None
    made.features[::10, :SCALE_COLUMN] *= 4
    return made.features, made.close


def raw(bundle: Bundle, X: np.ndarray) -> dict[str, np.ndarray]:
    """What each model says, asked by itself."""
    session = onnxruntime.InferenceSession(bundle.file("inference.onnx"))
    names = [output.name for output in session.get_outputs()]
    answers = session.run(names, {"features": X.astype(np.float32)})
    return {name: np.asarray(answer, dtype=np.float64) for name, answer in zip(names, answers, strict=True)}


def assert_same(left: Inference, right: Inference) -> None:
    for field in fields(Inference):
        one, other = getattr(left, field.name), getattr(right, field.name)
        pairs = [(one[name], other[name]) for name in one] if isinstance(one, dict) else [(one, other)]
        for a, b in pairs:
            np.testing.assert_array_equal(a, b, err_msg=field.name)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_row_s_answer_has_the_same_bits_in_any_company(bundle: Bundle, order: Literal["C", "F"]) -> None:
    X, close = rows()
    X[5] = np.nan
    X = np.asarray(X, order=order)
    together = bundle.infer(X, close)
    for at in range(len(X)):
        for size in (1, 2, 3, 7):
            part = slice(at, at + size)
            assert_same(bundle.infer(X[part], close[part]), together.of(part))


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
    np.testing.assert_allclose(answer.predicted_price, close * np.exp(answer.log_return))
    np.testing.assert_array_equal(answer.by_model[RANDOM_WALK], close)
    assert answer.by_model.keys() == {RANDOM_WALK, "ridge", "random_forest", "blend"}
    assert answer.quantiles.shape == (500, 9)
    assert (np.diff(answer.quantiles, axis=1) > 0).all()
    assert ((answer.p_up >= 0) & (answer.p_up <= 1)).all()
    assert set(answer.regime) <= set(bundle.manifest.regimes)
    assert (answer.direction == directions(answer.p_up)).all()
    np.testing.assert_array_equal(answer.confidence, confidences(answer.p_up))
    assert (answer.champion == "blend").all()


def test_the_forecast_is_the_weighted_mean_of_the_candidates_shrunk(bundle: Bundle) -> None:
    X, close = rows()
    answer, said = bundle.infer(X, close), raw(bundle, X)
    ridge = said["ridge"][:, 0] * X[:, SCALE_COLUMN] * np.sqrt(6)  # it answers in units of the scale
    blend = 0.75 * ridge + 0.25 * said["random_forest"][:, 0]
    # The graph adds up in single precision, the bundle's tables in double.
    np.testing.assert_allclose(np.log(answer.by_model["ridge"] / close), ridge, atol=1e-8)
    np.testing.assert_allclose(np.log(answer.by_model["blend"] / close), blend, atol=1e-8)
    np.testing.assert_allclose(answer.log_return, 0.5 * blend, atol=1e-8)
    assert np.abs(blend).max() > 1e-4


def test_where_the_gate_lets_only_the_random_walk_speak_candidates_are_still_heard(tmp_path: Path) -> None:
    X, close = rows()
    silent = make_trained(tmp_path / "silent", champion=RANDOM_WALK).infer(X, close)
    loud = make_trained(tmp_path / "loud").infer(X, close)
    np.testing.assert_array_equal(silent.predicted_price, close)
    assert (silent.champion == RANDOM_WALK).all()
    for name, prices in loud.by_model.items():
        np.testing.assert_array_equal(silent.by_model[name], prices)
    for name in ("sigma", "p_up", "direction", "confidence", "regime", "dissimilarity"):
        np.testing.assert_array_equal(getattr(silent, name), getattr(loud, name), err_msg=name)


def test_a_bundle_without_a_blend_lists_none(tmp_path: Path) -> None:
    X, close = rows(3)
    answer = make_trained(tmp_path / "none", champion=RANDOM_WALK, blend={}).infer(X, close)
    assert answer.by_model.keys() == {RANDOM_WALK, "ridge", "random_forest"}


def test_sigma_is_the_geometric_mean_of_the_volatility_models(bundle: Bundle) -> None:
    X, close = rows()
    answer, said = bundle.infer(X, close), raw(bundle, X)
    inside = ~answer.outlying
    expected = np.exp((said["calm"][:, 0] + said["wild"][:, 0]) / 2)
    np.testing.assert_allclose(answer.sigma[inside], expected[inside], rtol=1e-6)


def test_quantiles_are_the_table_s_around_the_forecast_in_units_of_sigma(bundle: Bundle) -> None:
    X, close = rows()
    answer = bundle.infer(X, close)
    standardised = (np.log(answer.quantiles / close[:, None]) - answer.log_return[:, None]) / answer.sigma[:, None]
    np.testing.assert_allclose(standardised, np.tile(bundle.quantiles.values, (len(X), 1)), atol=1e-9)
    for column, name in enumerate(BOUNDS):
        np.testing.assert_array_equal(getattr(answer, name), answer.quantiles[:, column])


def test_p_up_is_the_classifier_s_score_calibrated(bundle: Bundle) -> None:
    X, close = rows(200)
    answer, score = bundle.infer(X, close), raw(bundle, X)["direction"][:, 1]
    np.testing.assert_allclose(answer.p_up, np.interp(score, [0.3, 0.7], [0.45, 0.55]), rtol=1e-6)
    assert set(answer.direction) == {UP, DOWN}


def test_an_outlying_row_is_flagged_and_its_intervals_are_widened_by_how_far_off_it_is(bundle: Bundle) -> None:
    X, close = rows(1)
    X[0, :SCALE_COLUMN] = np.sign(X[0, :SCALE_COLUMN])
    steps = np.linspace(0, 12, 200)
    many = np.tile(X, (len(steps), 1))
    many[:, :SCALE_COLUMN] *= steps[:, None]
    answer = bundle.infer(many, np.repeat(close, len(steps)))
    said = raw(bundle, many)
    unwidened = np.exp((said["calm"][:, 0] + said["wild"][:, 0]) / 2)
    assert bundle.domain is not None
    beyond = answer.dissimilarity / bundle.domain.threshold
    np.testing.assert_array_equal(answer.outlying, beyond > 1)
    np.testing.assert_allclose(answer.sigma / unwidened, np.clip(beyond, 1, 3), rtol=1e-5)
    assert answer.outlying.any()
    assert not answer.outlying.all()
    assert beyond.max() > 3
    np.testing.assert_allclose(answer.dissimilarity, bundle.domain.dissimilarity(many), rtol=1e-4)


def test_a_bundle_without_a_domain_flags_nothing(bundle: Bundle) -> None:
    X, close = rows()
    without = Bundle(bundle.path, bundle.manifest, bundle.quantiles, bundle.calibration, None, bundle._models).infer(
        X, close
    )
    assert bundle.infer(X, close).outlying.any()
    assert not without.outlying.any()
    assert (without.dissimilarity == 0).all()


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf, 1e39])
def test_a_row_that_lacks_what_models_need_gets_the_random_walk_s_answer(unknown: float, bundle: Bundle) -> None:
    X, close = rows(3)
    column = bundle.manifest.features.index("rsi_14")
    X[1, column] = unknown
    answer = bundle.infer(X, close)
    assert answer.champion.tolist() == ["blend", RANDOM_WALK, "blend"]
    assert all(prices[1] == close[1] for prices in answer.by_model.values())
    assert (answer.direction[1], answer.p_up[1], answer.confidence[1], answer.regime[1]) == (FLAT, 0.5, 0.5, "unknown")
    assert (answer.dissimilarity[1], answer.outlying[1]) == (0, False)
    assert answer.sigma[1] == X[1, SCALE_COLUMN] * np.sqrt(6)
    assert answer.lower_95[1] < answer.lower_80[1] < close[1] < answer.upper_80[1] < answer.upper_95[1]
    X[1, column] = 50
    neighbours = bundle.infer(X, close)
    np.testing.assert_array_equal(answer.predicted_price[[0, 2]], neighbours.predicted_price[[0, 2]])


def test_a_row_without_a_known_volatility_has_no_bounds(bundle: Bundle) -> None:
    X, close = rows(2)
    X[0, bundle.manifest.features.index(bundle.manifest.scale_feature)] = np.nan
    answer = bundle.infer(X, close)
    assert answer.predicted_price[0] == close[0]
    assert np.isnan(answer.quantiles[0]).all()
    assert np.isnan(answer.sigma[0])
    assert np.isfinite(answer.quantiles[1]).all()


def test_a_direction_is_the_likelier_one_and_none_at_exactly_one_half() -> None:
    assert directions(np.array([0.5 + 1e-12, 0.5 - 1e-12, 0.5, 0.0, 1.0])).tolist() == [UP, DOWN, FLAT, DOWN, UP]


def test_confidence_is_the_probability_that_the_direction_is_right() -> None:
    assert confidences(np.array([0.7, 0.3, 0.5])) == pytest.approx([0.7, 0.7, 0.5])


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
    assert answer.sigma[0] == 0.001 * 2
    assert not answer.outlying.any()
    assert answer.confidence.tolist() == [0.5, 0.5]
