"""Models as tables answer what the models answer: trees to the last bit of ONNX Runtime's sums."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler, PolynomialFeatures, StandardScaler
from xgboost import XGBClassifier, XGBRegressor

from cryptosentinel.bundle import DIRECTION, ONNX_FILE, TABLES_FILE, Bundle, compile_tables, compiling, to_onnx
from cryptosentinel.bundle.answering import Models
from cryptosentinel.bundle.manifest import MANIFEST, file_digest
from cryptosentinel.bundle.scoring import TreeSums, WeightedSums
from cryptosentinel.bundle.tables import Tables
from cryptosentinel.errors import BundleDamagedError

FEATURES = 5


def data(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(count, FEATURES)).round(1).astype(np.float32)  # ties, and values that meet thresholds
    return X, (X[:, 0] * X[:, 1] + np.sin(3 * X[:, 2]) + generator.normal(size=count)).astype(np.float64)


def compiled(estimator: Any, name: str = "model") -> Tables:
    tables = compile_tables({name: (estimator, to_onnx(estimator, FEATURES))})
    assert tables is not None
    return Tables.model_validate_json(tables.model_dump_json())  # as a bundle keeps them


def by_onnx(estimator: Any, X: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as a bundle's: several would each sum some of the trees
    session = onnxruntime.InferenceSession(to_onnx(estimator, FEATURES).SerializeToString(), options)
    return session.run(None, {"features": X})[0]


TREES = {
    "forest": lambda size: RandomForestRegressor(5, max_leaf_nodes=size, max_depth=12, random_state=0),
    "boosted": lambda size: GradientBoostingRegressor(n_estimators=5, max_leaf_nodes=size, max_depth=12),
    "xgboost": lambda size: XGBRegressor(n_estimators=5, max_leaves=size, max_depth=12, n_jobs=1),
}


@pytest.mark.parametrize("kind", TREES)
@settings(max_examples=4)
@given(size=st.integers(2, 200), seed=st.integers(0, 99))
def test_trees_of_any_size_sum_to_the_bits_of_onnx_runtime(kind: str, size: int, seed: int) -> None:
    X, y = data(seed)
    estimator = TREES[kind](size).fit(X, y)
    sums = TreeSums([compiled(estimator).trees["model"]])
    asked = np.concatenate([X, data(seed + 1)[0]])
    assert sums(asked)[:, 0].tobytes() == by_onnx(estimator, asked)[:, 0].tobytes()
    assert all(sums(row).tobytes() == said.tobytes() for row, said in zip(asked[:20], sums(asked), strict=False))


def test_a_tree_that_never_splits_answers_its_one_leaf() -> None:
    X, _ = data(0)
    estimator = XGBRegressor(n_estimators=3, n_jobs=1).fit(X, np.full(len(X), 2.5))
    said = TreeSums([compiled(estimator).trees["model"]])(X)
    assert said[:, 0].tobytes() == by_onnx(estimator, X)[:, 0].tobytes()


def test_models_of_different_lengths_do_not_mix() -> None:
    X, y = data(3)
    fitted = [XGBRegressor(n_estimators=count, max_depth=3, n_jobs=1).fit(X, y) for count in (7, 1, 4)]
    said = TreeSums([compiled(estimator).trees["model"] for estimator in fitted])(X)
    for column, estimator in zip(said.T, fitted, strict=True):
        assert column.tobytes() == by_onnx(estimator, X)[:, 0].tobytes()


def test_a_classifier_gives_the_probability_of_a_rise() -> None:
    X, y = data(4)
    estimator = XGBClassifier(n_estimators=5, n_jobs=1).fit(X, y > 0.5)
    models = Models(_session_of(estimator), compiled(estimator, DIRECTION), None)
    probabilities = models.of_rows(X)[DIRECTION]
    assert probabilities == pytest.approx(estimator.predict_proba(X)[:, 1], abs=1e-6)
    assert np.ptp(probabilities) > 0.1


def _session_of(estimator: Any) -> Any:
    class Session:
        def get_outputs(self) -> list[Any]:
            return [type("Output", (), {"name": DIRECTION})]

        def run(self, names: list[str], _: dict[str, Any]) -> list[Any]:
            raise AssertionError(f"asked for {names}")

    return Session()


def _hours() -> Any:
    columns = ColumnTransformer(
        [
            ("scaled", make_pipeline(MinMaxScaler(clip=True), StandardScaler()), [3, 0]),
            ("bins", KBinsDiscretizer(6, encode="onehot-dense", strategy="uniform", subsample=None), [2]),
            ("as it is", "passthrough", [4]),
        ]
    )
    return make_pipeline(columns, Ridge())


LINEAR = {
    "scaled": lambda: make_pipeline(StandardScaler(), Ridge()),
    "clipped": lambda: make_pipeline(MinMaxScaler(clip=True), StandardScaler(), Ridge()),
    "with bins": _hours,
    "bare": Ridge,
}


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_models_answer_as_scikit_learn_does_inside_and_outside_of_what_they_were_fitted_on(kind: str) -> None:
    X, y = data(5)
    estimator = LINEAR[kind]().fit(X, y)
    sums = WeightedSums([compiled(estimator).linear["model"]], [])
    edges = np.float32(estimator[0].transformers_[1][1].bin_edges_[0]) if kind == "with bins" else np.float32([0.0])
    asked = np.concatenate([X, 10 * X, np.repeat(edges[:, None], FEATURES, axis=1)]).astype(np.float64)
    (said,) = sums(sums.scales(asked), asked)
    assert said == pytest.approx(estimator.predict(asked), abs=1e-9)
    assert [sums.of_row(sums.scales(row), row)[0] for row in asked] == said.tolist()


def test_the_nearest_centre_is_the_one_that_scikit_learn_finds() -> None:
    X, _ = data(6)
    estimator = make_pipeline(StandardScaler(), PCA(3), KMeans(4, n_init=1, random_state=0)).fit(X)
    sums = WeightedSums([], [compiled(estimator).clusters["model"]])
    asked = X.astype(np.float64)
    (nearest,) = sums(sums.scales(asked), asked)
    assert (nearest == estimator.predict(X)).all()
    assert len(set(nearest)) == 4
    assert [sums.of_row(sums.scales(row), row)[0] for row in asked] == nearest.tolist()


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(PolynomialFeatures(2), Ridge()),
        make_pipeline(StandardScaler(), MinMaxScaler(clip=True), Ridge()),
        make_pipeline(ColumnTransformer([("some", StandardScaler(), slice(0, 2))]), Ridge()),
        RandomForestRegressor(2, max_leaf_nodes=None, random_state=0),
        MLPRegressor(hidden_layer_sizes=(2,), max_iter=5),
    ],
    ids=["another scaler", "in another order", "columns by slice", "too deep", "no trees"],
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_what_cannot_be_tables_is_left_to_onnx_runtime(estimator: Any) -> None:
    X, y = data(7)
    fitted = estimator.fit(X, y)
    assert compile_tables({"model": (fitted, to_onnx(fitted, FEATURES))}) is None


def test_more_conditions_than_are_quick_to_test_are_left_to_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data(9)
    fitted = RandomForestRegressor(3, max_leaf_nodes=10, random_state=0).fit(X, y)
    models = {"model": (fitted, to_onnx(fitted, FEATURES))}
    monkeypatch.setattr(compiling, "MOST_CONDITIONS", 27)
    assert compile_tables(models) is not None
    monkeypatch.setattr(compiling, "MOST_CONDITIONS", 26)
    assert compile_tables(models) is None


def test_another_classifier_is_left_to_onnx_runtime() -> None:
    X, y = data(8)
    fitted = LogisticRegression().fit(X, y > 0)
    assert compile_tables({DIRECTION: (fitted, to_onnx(fitted, FEATURES))}) is None


def rewritten(bundle: Bundle, path: Path, tables: Tables | None) -> Path:
    """The bundle with other tables, or without."""
    shutil.copytree(bundle.path, path)
    manifest = json.loads((path / MANIFEST).read_text())
    (path / TABLES_FILE).unlink()
    del manifest["files"][TABLES_FILE]
    if tables is not None:
        (path / TABLES_FILE).write_text(tables.model_dump_json())
        manifest["files"][TABLES_FILE] = file_digest(path / TABLES_FILE)
    (path / MANIFEST).write_text(json.dumps(manifest))
    return path


def test_a_bundle_of_an_earlier_release_answers_the_same_without_tables(bundle: Bundle, tmp_path: Path) -> None:
    assert {TABLES_FILE, ONNX_FILE} <= bundle.manifest.files.keys()
    earlier = Bundle.load(rewritten(bundle, tmp_path / "earlier", None))
    X = np.random.default_rng(0).normal(size=(50, len(bundle.manifest.features)))
    now, then = (one.infer(X, np.full(50, 60_000.0)) for one in (bundle, earlier))
    assert now.predicted_price == pytest.approx(then.predicted_price, rel=1e-7)
    assert now.quantiles == pytest.approx(then.quantiles, rel=1e-6)
    assert now.p_up == pytest.approx(then.p_up, abs=1e-5)
    assert (now.regime == then.regime).all()


def test_tables_of_other_models_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    tables = Tables.model_validate_json(bundle.file(TABLES_FILE).read_text())
    fewer = tables.model_copy(update={"trees": dict(list(tables.trees.items())[1:])})
    with pytest.raises(BundleDamagedError, match=f"{TABLES_FILE} is of other models"):
        Bundle.load(rewritten(bundle, tmp_path / "fewer", fewer))


@pytest.mark.parametrize(("field", "change"), [("thresholds", [1.0]), ("first_leaves", [0, 0]), ("conditions", [1])])
def test_tables_that_do_not_fit_together_are_refused(bundle: Bundle, tmp_path: Path, field: str, change: Any) -> None:
    tables = Tables.model_validate_json(bundle.file(TABLES_FILE).read_text())
    name, trees = next(iter(tables.trees.items()))
    wrong = tables.model_copy(update={"trees": tables.trees | {name: trees.model_copy(update={field: change})}})
    with pytest.raises(BundleDamagedError, match=f"{TABLES_FILE} is no Tables"):
        Bundle.load(rewritten(bundle, tmp_path / "wrong", wrong))
