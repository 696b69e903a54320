"""A bundle says what it was made of, and answers what its models answer."""

from __future__ import annotations

import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.bundle import (
    DIRECTION,
    RANDOM_WALK,
    REGIME,
    Bundle,
    Calibration,
    load_native,
    save_native,
    write_random_walk,
)
from cryptosentinel.errors import BundleError, StoreConflictError
from cryptosentinel.features import SCALE_FEATURE
from cryptosentinel.forecasting import CANDIDATES, Evaluation, past_verdicts, register_bundle
from cryptosentinel.forecasting.baselines import POINT
from cryptosentinel.forecasting.volatility import VOLATILITY_MODELS
from cryptosentinel.storage import ModelRegistry
from tests.builders import open_delta
from tests.features.builders import SPEC
from tests.forecasting.builders import (
    HORIZON,
    evaluate_parts,
    last_block_of,
    make_bundle,
    make_dataset,
    make_settings,
    train_all,
)


def test_a_bundle_holds_every_part_and_what_was_chosen(bundle: Bundle, evaluation: Evaluation) -> None:
    manifest = bundle.manifest
    assert manifest.candidates == sorted(CANDIDATES)
    assert manifest.models.keys() == {*CANDIDATES, DIRECTION, REGIME, *VOLATILITY_MODELS}
    assert manifest.files.keys() == {
        "MODEL_CARD.md",
        "background.parquet",
        "calibration.json",
        "domain.json",
        "inference.onnx",
        "quantiles.json",
        "reference.parquet",
        "tables.json",
        *(entry.file for entry in manifest.models.values() if entry.file),
    }
    assert manifest.spec_hash == SPEC.hash
    assert (manifest.features, manifest.horizon_bars) == (SPEC.model_names, HORIZON)
    assert manifest.metrics.keys() == {*CANDIDATES, *POINT, "blend", "shrunk", DIRECTION, "spread"}
    assert sorted(manifest.regimes) == ["accumulation", "distribution", "downtrend", "uptrend"]
    assert manifest.settings["preset"] == "default"
    assert (manifest.champion, manifest.shrinkage) == (manifest.gate.champion, evaluation.choices.shrinkage)
    assert manifest.blend == evaluation.choices.blend
    assert bundle.quantiles == evaluation.choices.quantiles[manifest.champion]
    assert bundle.calibration.model_dump() == evaluation.choices.calibration.model_dump()
    assert bundle.domain


def test_nothing_in_a_bundle_is_pickle(bundle: Bundle) -> None:
    for file in bundle.path.rglob("*"):
        if file.is_file():
            assert file.suffix in {".json", ".md", ".onnx", ".parquet", ".skops", ".ubj"}
            with pytest.raises(Exception):  # noqa: B017 (pickle raises anything)
                pickle.loads(file.read_bytes())


def test_the_background_is_a_small_sample_of_the_reference(bundle: Bundle) -> None:
    reference, background = (
        pd.read_parquet(bundle.file(f"{name}.parquet")).set_index("timestamp") for name in ("reference", "background")
    )
    assert 100 <= len(background) <= 400
    pd.testing.assert_frame_equal(background, reference.loc[background.index])


@pytest.mark.parametrize("name", ["ridge", "random_forest", "xgboost", DIRECTION, REGIME, "volatility_trees"])
def test_a_bundle_that_answers_something_else_than_its_models_is_not_made(
    name: str, parts: list[Path], evaluation: Evaluation, tmp_path: Path
) -> None:
    plain = evaluation.choices.model_copy(update={"calibration": Calibration.identity()})
    evaluation = evaluation.model_copy(update={"choices": plain})
    folders = [shutil.copytree(part, tmp_path / part.name) for part in parts]
    folder = tmp_path / name
    training, _ = last_block_of(make_dataset(), make_settings())
    (native,) = (file for file in folder.iterdir() if file.stem == name)
    estimator = load_native(native)
    if name in {"xgboost", DIRECTION, "volatility_trees"}:
        estimator.set_params(n_jobs=1)
    target = training.y > 0 if name == DIRECTION else training.y[::-1] / training.scale
    save_native(estimator.fit(training.X[::-1] ** 2, target), folder, name)
    said = "volatility" if name in VOLATILITY_MODELS else name
    with pytest.raises(BundleError, match=f"The bundle's {said} answers up to .* off the trained model"):
        make_bundle(tmp_path / "bundle", folders, evaluation, make_settings())


def test_the_horizon_is_the_one_that_was_trained_for(parts: list[Path], evaluation: Evaluation, tmp_path: Path) -> None:
    other = make_settings()
    other = other.model_copy(update={"forecast": other.forecast.model_copy(update={"horizon_bars": 12})})
    assert make_bundle(tmp_path / "bundle", parts, evaluation, other).manifest.horizon_bars == HORIZON


def test_a_refused_bundle_with_figures_that_are_none_can_be_kept_and_read(
    parts: list[Path], evaluation: Evaluation, tmp_path: Path
) -> None:
    figures = evaluation.candidates | {"ridge": evaluation.candidates["ridge"] | {"r2": math.nan}}
    evidence = evaluation.evidence.model_copy(update={"weighted_skill": math.nan})
    broken = evaluation.model_copy(update={"candidates": figures, "evidence": evidence})
    bundle = make_bundle(tmp_path / "bundle", parts, broken, make_settings())
    assert not bundle.manifest.gate.promote
    assert math.isnan(bundle.manifest.metrics["ridge"]["r2"])
    assert math.isnan(bundle.manifest.gate.figures["weighted_skill"])


def test_the_bundle_scales_by_the_feature_that_scaled_the_targets(bundle: Bundle) -> None:
    assert bundle.manifest.scale_feature == SCALE_FEATURE
    rows = make_dataset().rows(slice(0, 5))
    cold = rows.X.astype(np.float64)
    cold[:, rows.names.index("rsi_14")] = np.nan
    np.testing.assert_allclose(bundle.infer(cold, rows.close).sigma, rows.scale, rtol=1e-6)


def test_the_bundle_forecasts_what_the_parts_forecast_for_the_last_block(
    parts: list[Path], bundle: Bundle, evaluation: Evaluation
) -> None:
    _, last = last_block_of(make_dataset(), make_settings())
    answer = bundle.infer(last.X.astype(np.float64), last.close)
    logarithms = []
    for part in parts:
        frame = pd.read_parquet(part / "forecasts.parquet")
        expected = frame.loc[frame["block"] == -1, "forecast"].to_numpy()
        if part.name == DIRECTION:
            np.testing.assert_allclose(answer.p_up, evaluation.choices.calibration.apply(expected), atol=1e-5)
        elif part.name == REGIME:
            assert (answer.regime == np.asarray(bundle.manifest.regimes)[expected.astype(int)]).mean() > 0.995
        elif part.name in VOLATILITY_MODELS:
            logarithms.append(np.log(expected))
        else:
            np.testing.assert_allclose(np.log(answer.by_model[part.name] / last.close), expected, atol=1e-6)
    off = np.log(answer.sigma) - np.mean(logarithms, axis=0)
    np.testing.assert_allclose(off[~answer.outlying], 0, atol=1e-5)


def test_the_random_walk_alone_makes_a_bundle_that_knows_the_spread(tmp_path: Path) -> None:
    rows, settings = make_dataset().rows(slice(0, 900)), make_settings(candidates=["random_walk"])
    folders = train_all(rows, tmp_path, settings)
    alone = make_bundle(tmp_path / "bundle", folders, evaluate_parts(folders, rows, settings), settings)
    _, last = last_block_of(rows, settings)
    answer = alone.infer(last.X.astype(np.float64), last.close)
    assert (alone.manifest.champion, alone.manifest.blend, alone.manifest.candidates) == (
        RANDOM_WALK,
        {},
        [RANDOM_WALK],
    )
    np.testing.assert_array_equal(answer.predicted_price, last.close)
    assert answer.sigma.std() > 0
    assert "that it stays where it is" in (alone.path / "MODEL_CARD.md").read_text()


def registry_with_version_0(folder: Path) -> ModelRegistry:
    registry = open_delta(folder).registry
    write_random_walk(
        folder / "walk", SPEC, asset="bitcoin", currency="usd", market="test", simulated=True, horizon_bars=6
    )
    registry.register(folder / "walk", metrics={}, verdict="the random walk")
    return registry


def test_a_bundle_goes_into_the_registry_with_its_verdict_and_is_champion_if_let_through(
    bundle: Bundle, parts: list[Path], evaluation: Evaluation, tmp_path: Path
) -> None:
    registry = registry_with_version_0(tmp_path)
    registered, promoted = register_bundle(registry, bundle)
    assert promoted is bundle.manifest.gate.promote is True
    assert registered.version == 1
    champion = registry.champion()
    assert champion
    assert champion.version == registered.version
    assert registered.metrics["rmse"] == bundle.manifest.metrics[RANDOM_WALK]["rmse"]
    (verdict,) = past_verdicts(registry.versions())
    assert (verdict.data_end, verdict.promoted) == (bundle.manifest.data_end, True)
    other = make_bundle(tmp_path / "other", parts, evaluation, make_settings(), simulated=False)
    successor, promoted = register_bundle(registry, other)
    assert promoted
    assert registry.champion() == successor


def test_a_refused_bundle_is_registered_and_the_champion_stays(
    parts: list[Path], evaluation: Evaluation, tmp_path: Path
) -> None:
    registry = registry_with_version_0(tmp_path)
    old = evaluation.evidence.model_copy(update={"data_age_s": 1e9})
    refused = make_bundle(tmp_path / "bundle", parts, evaluation.model_copy(update={"evidence": old}), make_settings())
    registered, promoted = register_bundle(registry, refused)
    assert not promoted
    assert registered.verdict.startswith("refused: the newest row with an outcome is ")
    champion = registry.champion()
    assert champion
    assert champion.version == 0
    assert not past_verdicts(registry.versions())[0].promoted


def test_somebody_else_s_promotion_meanwhile_stays(bundle: Bundle, tmp_path: Path) -> None:
    registry = open_delta(tmp_path).registry

    class Overtaken:
        """A registry in which another version is promoted between the look at the champion and ours."""

        def __getattr__(self, name: str) -> Any:
            return getattr(registry, name)

        def promote(self, version: int, expected: int | None) -> None:
            raise StoreConflictError("The champion is version 9 by now.")

    registered, promoted = register_bundle(Overtaken(), bundle)  # type: ignore[arg-type]
    assert not promoted
    assert registered in registry.versions()
