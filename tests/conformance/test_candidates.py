"""What every candidate in the table is held to, with every preset, by being listed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest

from cryptosentinel.bundle import load_native, merge_onnx, save_native, to_onnx
from cryptosentinel.forecasting import CANDIDATES, Candidate, Dataset
from cryptosentinel.forecasting.candidates import Preset, Setup, make_direction_classifier, predict_log_return
from cryptosentinel.forecasting.regimes import fit_regimes
from cryptosentinel.forecasting.volatility import VOLATILITY_MODELS, volatility_target
from tests.forecasting.builders import make_dataset, stress_rows

PRESETS: tuple[Preset, ...] = get_args(Preset)
LEARNERS = [candidate for candidate in CANDIDATES.values() if candidate.make]
every_candidate = pytest.mark.parametrize("candidate", LEARNERS, ids=lambda candidate: candidate.name)
every_preset = pytest.mark.parametrize("preset", PRESETS)
ROWS = {"default": 1_200, "classic": 300}  # `classic` is thirty times as dear
COLUMNS = len(make_dataset().names)


def rows_for(preset: Preset) -> Dataset:
    return make_dataset().rows(slice(0, ROWS[preset]))


def fit(candidate: Candidate, preset: Preset, rows: Dataset, seed: int = 0) -> Any:
    assert candidate.make
    y = rows.y / rows.scale if candidate.target(preset) == "standardised" else rows.y
    return candidate.make(Setup(preset, len(rows), seed, threads=1)).fit(rows.X, y)


def scale_of(X: np.ndarray) -> np.ndarray:
    rows = make_dataset()
    return X[:, rows.names.index("realised_volatility_36")].astype(np.float64) * np.sqrt(rows.horizon_bars)


def run(model: Any, X: np.ndarray, output: str) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([output], {"features": X})[0]


@every_preset
@every_candidate
def test_a_candidate_keeps_its_answers_through_onnx_and_through_its_file(
    candidate: Candidate, preset: Preset, tmp_path: Path
) -> None:
    rows = rows_for(preset)
    estimator = fit(candidate, preset, rows)
    X = stress_rows(rows, 10_000)
    forecast = predict_log_return(candidate, preset, estimator, X, scale_of(X))
    assert forecast.shape == (10_000,)
    assert np.isfinite(forecast).all()
    assert np.ptp(forecast) > 0, "it says the same of every row"

    answer = run(to_onnx(estimator, COLUMNS), X, "variable").reshape(-1).astype(np.float64)
    answer = answer * scale_of(X) if candidate.target(preset) == "standardised" else answer
    assert np.abs(answer - forecast).max() <= 1e-5

    path = save_native(estimator, tmp_path, candidate.name)
    np.testing.assert_array_equal(load_native(path).predict(X), estimator.predict(X))


@every_preset
@every_candidate
def test_a_candidate_is_the_same_for_the_same_seed(candidate: Candidate, preset: Preset) -> None:
    rows = rows_for(preset).rows(slice(0, 200))
    first, second = fit(candidate, preset, rows, seed=3), fit(candidate, preset, rows, seed=3)
    np.testing.assert_array_equal(first.predict(rows.X), second.predict(rows.X))


@every_preset
@every_candidate
def test_a_candidate_learns_what_there_is_to_learn(candidate: Candidate, preset: Preset) -> None:
    rows = make_dataset().rows(slice(0, 600 if preset == "classic" else 1_500))
    X = rows.X.copy()
    X[:, 0] = rows.y / rows.scale
    planted = replace(rows, X=X)
    cut = int(len(rows) * 0.7)
    training, later = planted.rows(slice(0, cut - rows.horizon_bars)), planted.rows(slice(cut, None))
    forecast = predict_log_return(candidate, preset, fit(candidate, preset, training), later.X, later.scale)
    assert np.corrcoef(forecast, later.y)[0, 1] > 0.5


def test_the_random_walk_says_that_the_price_stays() -> None:
    walk = CANDIDATES["random_walk"]
    X = make_dataset().X[:5]
    assert walk.make is None
    assert predict_log_return(walk, "default", None, X, scale_of(X)).tolist() == [0, 0, 0, 0, 0]


@every_preset
def test_the_direction_classifier_keeps_its_answers(preset: Preset, tmp_path: Path) -> None:
    rows = rows_for(preset)
    classifier = make_direction_classifier(Setup(preset, len(rows), 0, threads=1)).fit(rows.X, rows.y > 0)
    X = stress_rows(rows, 10_000)
    expected = classifier.predict_proba(X)
    assert np.ptp(expected[:, 1]) > 0, "it says the same of every row"
    np.testing.assert_allclose(run(to_onnx(classifier, COLUMNS), X, "probabilities"), expected, atol=1e-5)
    loaded = load_native(save_native(classifier, tmp_path, "direction"))
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)


@pytest.mark.parametrize("count", [200, 1_300])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_direction_classifier_that_finds_nothing_to_split_on_keeps_its_answers(count: int, share: float) -> None:
    rows = make_dataset().rows(slice(0, count))
    up = np.argsort(np.argsort(rows.y)) >= round(count * (1 - share))
    classifier = make_direction_classifier(Setup("default", count, 0, threads=1)).fit(np.ones_like(rows.X), up)
    expected = classifier.predict_proba(rows.X)
    assert np.ptp(expected[:, 1]) == 0
    assert expected[0, 1] == pytest.approx(share, abs=0.02)
    np.testing.assert_allclose(run(to_onnx(classifier, COLUMNS), rows.X, "probabilities"), expected, atol=1e-5)


@pytest.mark.parametrize("name", VOLATILITY_MODELS)
def test_a_volatility_model_keeps_its_answers_and_stays_within_reason(name: str, tmp_path: Path) -> None:
    rows = make_dataset()
    model = VOLATILITY_MODELS[name](Setup("default", len(rows), 0, threads=1), rows.names)
    model.fit(rows.X, volatility_target(rows))
    X = stress_rows(rows, 10_000)
    expected = model.predict(X)
    assert np.ptp(expected) > 0, "it says the same of every row"
    assert np.ptp(expected) < np.log(100), "the wildest row is not a hundred times as wild as the calmest"
    np.testing.assert_allclose(run(to_onnx(model, COLUMNS), X, "variable").reshape(-1), expected, atol=1e-5)
    np.testing.assert_array_equal(load_native(save_native(model, tmp_path, name)).predict(X), expected)


def test_the_regimes_keep_their_answers(tmp_path: Path) -> None:
    rows = make_dataset()
    pipeline, _ = fit_regimes(rows.X, rows.names, 0)
    X = stress_rows(rows, 10_000)
    expected = pipeline.predict(X)
    assert (run(to_onnx(pipeline, COLUMNS), X, "label").reshape(-1) == expected).mean() >= 0.999
    np.testing.assert_array_equal(load_native(save_native(pipeline, tmp_path, "regime")).predict(X), expected)


def test_models_in_one_graph_answer_as_each_alone() -> None:
    rows = rows_for("default")
    X = stress_rows(rows, 500)
    classifier = make_direction_classifier(Setup("default", len(rows), 0, threads=1)).fit(rows.X, rows.y > 0)
    pipeline, _ = fit_regimes(rows.X, rows.names, 0)
    volatilities = {
        name: make(Setup("default", len(rows), 0, threads=1), rows.names).fit(rows.X, volatility_target(rows))
        for name, make in VOLATILITY_MODELS.items()
    }
    graphs = {
        **{c.name: (to_onnx(fit(c, "default", rows), COLUMNS), "variable") for c in LEARNERS},
        "twin": (to_onnx(fit(CANDIDATES["ridge"], "default", rows), COLUMNS), "variable"),
        **{name: (to_onnx(model, COLUMNS), "variable") for name, model in volatilities.items()},
        "direction": (to_onnx(classifier, COLUMNS), "probabilities"),
        "regime": (to_onnx(pipeline, COLUMNS), "label"),
    }
    alone = {name: run(model, X, output) for name, (model, output) in graphs.items()}
    merged = merge_onnx(graphs)
    assert [value.name for value in merged.graph.input] == ["features"]
    assert [value.name for value in merged.graph.output] == list(graphs)
    for name, expected in alone.items():
        np.testing.assert_array_equal(run(merged, X, name), expected, err_msg=name)


@pytest.mark.parametrize("candidate", ["random_forest", "gradient_boosting"])
def test_a_tree_of_the_default_preset_sees_no_more_than_50_000_rows(candidate: str) -> None:
    make = CANDIDATES[candidate].make
    assert make

    def rows_a_tree(rows: int) -> float:
        settings = make(Setup("default", rows, 0, threads=1)).get_params()
        return rows * settings.get("max_samples", settings.get("subsample"))

    assert rows_a_tree(20_000) < 20_000
    assert rows_a_tree(800_000) == pytest.approx(50_000)
