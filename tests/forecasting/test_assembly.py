"""A bundle says what it was made of, and answers what its models answer."""

from __future__ import annotations

import math
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.bundle import DIRECTION, REGIME, Bundle, load_native, save_native
from cryptosentinel.errors import BundleError
from cryptosentinel.features import SCALE_FEATURE
from cryptosentinel.forecasting import CANDIDATES, Evaluation, assemble_bundle, evaluate, judge, model_card
from tests.features.builders import SPEC
from tests.forecasting.builders import HORIZON, make_bundle, make_dataset, make_settings


def test_a_bundle_holds_every_part_and_what_explains_it(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.candidates == sorted(CANDIDATES)
    assert manifest.models.keys() == {*CANDIDATES, DIRECTION, REGIME}
    assert manifest.files.keys() == {
        "MODEL_CARD.md",
        "background.parquet",
        "calibration.json",
        "inference.onnx",
        "quantiles.json",
        "reference.parquet",
        *(entry.file for entry in manifest.models.values() if entry.file),
    }
    assert manifest.spec_hash == SPEC.hash
    assert (manifest.features, manifest.horizon_bars) == (SPEC.model_names, HORIZON)
    assert manifest.metrics.keys() - {"blend"} == {*CANDIDATES, DIRECTION}
    assert manifest.champion in manifest.metrics
    assert sorted(manifest.regimes) == ["accumulation", "distribution", "downtrend", "uptrend"]
    assert manifest.settings["preset"] == "default"


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


@pytest.mark.parametrize("name", ["ridge", "random_forest", "xgboost", DIRECTION, REGIME])
def test_a_bundle_that_answers_something_else_than_its_models_is_not_made(
    name: str, parts: list[Path], tmp_path: Path
) -> None:
    folders = [shutil.copytree(part, tmp_path / part.name) for part in parts]
    folder = tmp_path / name
    training, _ = make_dataset().split(0.2)
    (native,) = (file for file in folder.iterdir() if file.stem == name)
    estimator = load_native(native)
    if name == "xgboost":
        estimator.set_params(n_jobs=1)
    target = training.y > 0 if name == DIRECTION else training.y[::-1] / training.scale
    save_native(estimator.fit(training.X[::-1] ** 2, target), folder, name)
    with pytest.raises(BundleError, match=f"The bundle's {name} answers up to .* off the trained model"):
        make_bundle(tmp_path / "bundle", folders, make_settings())


def test_the_horizon_is_the_one_that_was_trained_for(parts: list[Path], tmp_path: Path) -> None:
    other = make_settings().model_copy(
        update={"forecast": make_settings().forecast.model_copy(update={"horizon_bars": 12})}
    )
    assert make_bundle(tmp_path / "bundle", parts, other).manifest.horizon_bars == HORIZON


def test_a_refused_bundle_with_figures_that_are_none_can_be_kept_and_read(parts: list[Path], tmp_path: Path) -> None:
    evaluation = Evaluation.model_validate_json(evaluate(parts).model_dump_json())
    evaluation.candidates["ridge"]["r2"] = math.nan
    bundle = assemble_bundle(
        tmp_path / "bundle",
        folders=parts,
        evaluation=evaluation,
        gate=judge(evaluation),
        spec=SPEC,
        settings=make_settings(),
        market="test",
        simulated=False,
    )
    assert not bundle.manifest.gate.promote
    assert math.isnan(bundle.manifest.metrics["ridge"]["r2"])


def test_a_simulated_market_is_called_one_in_the_model_card(parts: list[Path], bundle: Bundle, tmp_path: Path) -> None:
    card = bundle.file("MODEL_CARD.md").read_text()
    assert "> **Simulated market.**" in card
    real = make_bundle(tmp_path / "real", parts, make_settings(), simulated=False)
    assert "imulated market" not in real.file("MODEL_CARD.md").read_text()


def test_a_model_card_is_markdown_a_person_can_read(parts: list[Path], bundle: Bundle) -> None:
    card = model_card(bundle.manifest, evaluate(parts))
    lines = card.splitlines()
    assert lines[0].startswith("# bitcoin, 30 minutes ahead: ")
    assert [line for line in lines if line.startswith("## ")] == [
        "## On rows that no model was fitted on",
        "## Where it fails",
    ]
    for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
        if line.startswith(("#", "> ")):
            assert before == after == "", f"no blank line around {line!r}"
    table = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table} == {8}
    assert "nan" not in card
    assert "None" not in card
    for reason in bundle.manifest.gate.reasons:
        assert reason in card


def test_the_bundle_scales_by_the_feature_that_scaled_the_targets(bundle: Bundle) -> None:
    _, holdout = make_dataset().split(0.2)
    answer = bundle.infer(holdout.X.astype(np.float64), holdout.close)
    width = np.log(answer.upper_80 / answer.lower_80)
    assert bundle.manifest.scale_feature == SCALE_FEATURE
    table = bundle.quantiles.values
    np.testing.assert_allclose(width / holdout.scale, table[6] - table[2], rtol=1e-5)


def test_the_bundle_forecasts_what_the_parts_forecast_for_the_holdout(parts: list[Path], bundle: Bundle) -> None:
    _, holdout = make_dataset().split(0.2)
    answer = bundle.infer(holdout.X.astype(np.float64), holdout.close)
    for part in parts:
        expected = pd.read_parquet(part / "holdout.parquet")["forecast"].to_numpy()
        if part.name == DIRECTION:
            np.testing.assert_allclose(answer.p_up, expected, atol=1e-6)
        elif part.name == REGIME:
            assert (answer.regime == np.asarray(bundle.manifest.regimes)[expected.astype(int)]).mean() > 0.995
        else:
            np.testing.assert_allclose(np.log(answer.by_model[part.name] / holdout.close), expected, atol=1e-6)
