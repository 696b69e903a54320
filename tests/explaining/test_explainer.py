"""An explanation says why the bundle answers what it answers, and nothing else."""

from __future__ import annotations

import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.bundle import BACKGROUND_FILE, BLEND, RANDOM_WALK, Bundle, load_native, save_native
from cryptosentinel.bundle.manifest import file_digest
from cryptosentinel.errors import BundleDamagedError, BundleError, UserInputError
from cryptosentinel.explaining import Explainer, Explanation
from tests.explaining.builders import CLOSE, odd_rows, with_manifest
from tests.forecasting.builders import make_dataset
from tests.serving.builders import make_trained

CANDIDATES = ["gradient_boosting", "random_forest", "ridge", "xgboost"]


def warm_row(at: int = 0) -> np.ndarray:
    return make_dataset().X[at].astype(np.float64)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_target_adds_up_to_what_is_served(explainer: Explainer, seed: int) -> None:
    for row in odd_rows(9, seed):
        answer = explainer.bundle.infer(row[None], np.array([CLOSE]))
        explanation = explainer.explain(row, CLOSE)
        targets = explanation.targets
        for target in targets.values():
            assert target.value == pytest.approx(target.base + math.fsum(target.contributions.values()), abs=1e-12)
            assert target.contributions.keys() == set(explainer.bundle.manifest.features)
        assert targets["forecast"].value == explanation.log_return == answer.log_return[0]
        for name in (BLEND, *CANDIDATES):
            assert CLOSE * math.exp(targets[name].value) == pytest.approx(answer.by_model[name][0], rel=1e-12)
        widened = explanation.widening * math.exp(targets["sigma"].value)
        assert widened == pytest.approx(answer.sigma[0], rel=1e-12)
        score = 1 / (1 + math.exp(-targets["p_up"].value))
        assert explainer.bundle.calibration.apply(np.array([score]))[0] == pytest.approx(answer.p_up[0], abs=1e-3)
        assert explanation.outlying == answer.outlying[0]
        assert (explanation.widening > 1) == explanation.outlying


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_bases_are_the_same_whatever_the_row(explainer: Explainer, seed: int) -> None:
    manifest = explainer.bundle.manifest
    column = manifest.features.index(manifest.scale_feature)
    usual = explainer.explain(warm_row(), CLOSE).targets
    bases = []
    for row in odd_rows(6, seed):
        targets, unit = explainer.explain(row, CLOSE).targets, row[column] * math.sqrt(manifest.horizon_bars)
        bases.append([targets["p_up"].base, targets["sigma"].base])
        for name in (BLEND, *CANDIDATES):  # they answer in units of the scale, so that theirs moves with it
            moved = usual[name].base * unit / (warm_row()[column] * math.sqrt(manifest.horizon_bars))
            assert targets[name].base == pytest.approx(moved, abs=1e-6)
    np.testing.assert_allclose(bases, np.broadcast_to(bases[0], np.shape(bases)), atol=2e-5)


def test_contributions_in_the_quote_currency_add_up_to_the_change_of_the_price(explainer: Explainer) -> None:
    for row in odd_rows(30):
        explanation = explainer.explain(row, CLOSE)
        answer = explainer.bundle.infer(row[None], np.array([CLOSE]))
        prices = {name: prices[0] for name, prices in answer.by_model.items()} | {"forecast": answer.predicted_price[0]}
        for name, target in explanation.targets.items():
            if target.unit != "log_return":
                assert target.price_base is target.price_contributions is None
                continue
            assert list(target.price_contributions) == list(target.contributions)
            change = target.price_base + math.fsum(target.price_contributions.values())
            assert change == pytest.approx(prices[name] - CLOSE, abs=1e-9)


def test_the_forecast_is_explained_by_its_share_of_each_candidate(explainer: Explainer) -> None:
    targets = explainer.explain(warm_row(), CLOSE).targets
    for name in explainer.bundle.manifest.features:
        mean = sum(w * targets[model].contributions[name] for model, w in explainer.bundle.manifest.blend.items())
        assert targets[BLEND].contributions[name] == pytest.approx(mean, abs=1e-15)
        assert targets["forecast"].contributions[name] == pytest.approx(0.5 * mean, abs=1e-15)


def test_contributions_come_by_size(explainer: Explainer) -> None:
    for target in explainer.explain(warm_row(), CLOSE).targets.values():
        sizes = np.abs(list(target.contributions.values()))
        assert (np.diff(sizes) <= 0).all()
        assert sizes[0] > 0


def test_where_the_random_walk_is_champion_nothing_moves_the_forecast_and_all_else_is_explained(
    silent_explainer: Explainer, explainer: Explainer
) -> None:
    silent, loud = (each.explain(warm_row(), CLOSE) for each in (silent_explainer, explainer))
    forecast = silent.targets["forecast"]
    assert forecast.base == forecast.value == forecast.price_base == 0
    assert set(forecast.contributions.values()) == set(forecast.price_contributions.values()) == {0.0}
    assert silent.predicted_price == CLOSE
    assert silent.champion == RANDOM_WALK
    assert {name: each for name, each in silent.targets.items() if name != "forecast"} == {
        name: each for name, each in loud.targets.items() if name != "forecast"
    }


def test_version_0_is_explained_by_recent_volatility_alone(walk: Explainer) -> None:
    explanation = walk.explain(warm_row(), CLOSE, lime=True)
    assert set(explanation.targets) == {"forecast", "p_up", "sigma"}
    for name in ("forecast", "p_up"):
        target = explanation.targets[name]
        assert target.base == target.value == 0
        assert not any(target.contributions.values())
    sigma = explanation.targets["sigma"]
    assert math.exp(sigma.value) == pytest.approx(explanation.sigma)
    assert [name for name, each in sigma.contributions.items() if each] == [walk.bundle.manifest.scale_feature]
    assert explanation.lime == {}
    assert walk.importances.rows == 0
    assert walk.importances.targets == {}


def test_where_nothing_moved_version_0_has_no_volatility_to_explain(walk: Explainer) -> None:
    row = warm_row()
    row[walk.bundle.manifest.features.index(walk.bundle.manifest.scale_feature)] = 0.0
    explanation = walk.explain(row, CLOSE)
    assert explanation.sigma == 0
    assert "sigma" not in explanation.targets


def test_without_volatility_models_the_range_is_held_against_its_usual_one(loud: Bundle, tmp_path: Path) -> None:
    models = {n: entry for n, entry in loud.manifest.models.items() if entry.target != "log_volatility"}
    explainer = Explainer(with_manifest(loud, tmp_path / "bundle", models=models))
    sigma = explainer.explain(warm_row(), CLOSE).targets["sigma"]
    scale = pd.read_parquet(loud.file(BACKGROUND_FILE))[loud.manifest.scale_feature]
    assert sigma.base == pytest.approx(np.log(scale * math.sqrt(loud.manifest.horizon_bars)).mean(), abs=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
def test_a_row_that_is_not_warm_is_refused_by_the_name_of_its_feature(explainer: Explainer, value: float) -> None:
    row = warm_row()
    row[explainer.bundle.manifest.features.index("rsi_14")] = value
    with pytest.raises(UserInputError, match="rsi_14"):
        explainer.explain(row, CLOSE)


@pytest.mark.parametrize("close", [0.0, -1.0, math.nan, math.inf, 5e-324, 1e308])
def test_a_close_that_is_no_price_is_refused(explainer: Explainer, close: float) -> None:
    with pytest.raises(UserInputError, match="close"):
        explainer.explain(warm_row(), close)


def test_a_row_of_another_length_is_refused(explainer: Explainer) -> None:
    for row in (warm_row()[:-1], warm_row()[None]):
        with pytest.raises(UserInputError, match="shape"):
            explainer.explain(row, CLOSE)


def test_a_row_without_a_finite_forecast_is_refused(explainer: Explainer) -> None:
    row = warm_row()
    row[explainer.bundle.manifest.features.index(explainer.bundle.manifest.scale_feature)] = 1e30
    with pytest.raises(UserInputError, match="far from any market"):
        explainer.explain(row, CLOSE)


@pytest.mark.parametrize("far", [-44_000.0, -45_250.0, -45_522.0])
def test_a_row_whose_volatility_vanishes_is_refused(explainer: Explainer, far: float) -> None:
    row = warm_row(0)
    row[43] = far
    with pytest.raises(UserInputError, match="far from any market"):
        explainer.explain(row, CLOSE)


def test_a_row_too_far_out_to_draw_around_it_is_refused(explainer: Explainer) -> None:
    row = warm_row(0)
    row[18], row[10] = 3337228618666532.0, 2.6491274355889852e16
    explainer.explain(row, CLOSE)
    with pytest.raises(UserInputError, match="far from any market"):
        explainer.explain(row, CLOSE, lime=True)


@settings(max_examples=150)
@given(st.data())
def test_any_row_is_explained_in_finite_numbers_or_refused(
    explainer: Explainer, walk: Explainer, data: st.DataObject
) -> None:
    row = warm_row(data.draw(st.integers(0, 1_000)))
    for at in data.draw(st.lists(st.integers(0, len(row) - 1), max_size=6)):
        row[at] = data.draw(st.floats())
    close = data.draw(st.floats() | st.floats(1e-3, 1e6))
    for asked in (explainer, walk):
        try:
            explanation = asked.explain(row, close, lime=data.draw(st.integers(0, 19)) == 0)
        except UserInputError:
            continue
        assert Explanation.model_validate_json(explanation.model_dump_json()) == explanation


def test_an_explanation_survives_json(explainer: Explainer) -> None:
    explanation = explainer.explain(warm_row(), CLOSE, lime=True)
    again = Explanation.model_validate_json(explanation.model_dump_json())
    assert again == explanation
    assert list(again.targets[BLEND].contributions) == list(explanation.targets[BLEND].contributions)


def test_threads_share_an_explainer(explainer: Explainer) -> None:
    X = odd_rows(40)
    alone = [explainer.explain(row, CLOSE) for row in X]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda row: explainer.explain(row, CLOSE), X)) == alone


def test_importances_are_the_mean_size_of_contributions(explainer: Explainer) -> None:
    rows = pd.read_parquet(explainer.bundle.file(BACKGROUND_FILE))[explainer.bundle.manifest.features]
    explanations = [explainer.explain(row, CLOSE).targets for row in rows.to_numpy(np.float64)]
    assert explainer.importances.rows == len(rows)
    assert explainer.importances.targets.keys() == explainer.importances.units.keys() == explanations[0].keys()
    for name, sizes in explainer.importances.targets.items():
        assert explainer.importances.units[name] == explanations[0][name].unit
        assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
        for feature, size in sizes.items():
            mean = np.mean([abs(each[name].contributions[feature]) for each in explanations])
            assert size == pytest.approx(mean, rel=1e-4, abs=1e-8)


def test_a_bundle_whose_native_model_is_not_the_one_it_serves_is_not_explained(loud: Bundle, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    ridge = load_native(loud.file("models/ridge.skops"))
    ridge[-1].intercept_ = ridge[-1].intercept_ + 0.01
    wrong = save_native(ridge, other, "ridge")
    files = loud.manifest.files | {"models/ridge.skops": file_digest(wrong)}
    shutil.copytree(loud.path, tmp_path / "copy")
    shutil.copyfile(wrong, tmp_path / "copy" / "models" / "ridge.skops")
    (tmp_path / "copy" / "manifest.json").write_text(
        loud.manifest.model_copy(update={"files": files}).model_dump_json(), encoding="utf-8"
    )
    with pytest.raises(BundleError, match=r"serves .* native models say"):
        Explainer(Bundle.load(tmp_path / "copy"))


def test_a_bundle_without_native_models_is_not_explained(tmp_path: Path) -> None:
    with pytest.raises(BundleDamagedError, match=r"background|native form"):
        Explainer(make_trained(tmp_path / "bundle"))
