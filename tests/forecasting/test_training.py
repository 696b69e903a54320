"""Training one part leaves all that is needed to measure and assemble it, and nothing fitted on what it is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.bundle import DIRECTION, REGIME
from cryptosentinel.errors import NotEnoughDataError, UserInputError
from cryptosentinel.features import SCALE_FEATURE
from cryptosentinel.forecasting import CANDIDATES, Part, part_names, train_part
from cryptosentinel.forecasting.candidates import Preset, Setup, make_direction_classifier
from cryptosentinel.forecasting.dataset import Dataset, lay_out
from cryptosentinel.forecasting.training import LAST_BLOCK
from cryptosentinel.forecasting.volatility import VOLATILITY_MODELS, volatility_target
from tests.forecasting.builders import SNAPSHOT, last_block_of, make_dataset, make_settings, train_all


def forecasts(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "forecasts.parquet")


def test_every_candidate_the_direction_the_volatility_and_the_regimes_are_parts() -> None:
    names = part_names(make_settings().training)
    assert sorted(names) == sorted([*CANDIDATES, DIRECTION, REGIME, *VOLATILITY_MODELS])
    fewer = make_settings(candidates=["ridge", "random_walk"]).training
    assert part_names(fewer) == [*VOLATILITY_MODELS, DIRECTION, "ridge", "random_walk", REGIME]


@pytest.mark.parametrize(("count", "min_rows", "need"), [(0, 50, 90), (120, 100, 100), (5, 50, 90)])
def test_too_few_rows_are_said_not_trained_on(count: int, min_rows: int, need: int, tmp_path: Path) -> None:
    rows = make_dataset().rows(slice(0, count))
    with pytest.raises(NotEnoughDataError, match="The random walk stays champion") as caught:
        train_part("ridge", rows, SNAPSHOT, make_settings(min_rows=min_rows).training, tmp_path / "ridge")
    assert caught.value.need == need
    assert not (tmp_path / "ridge").exists()


@pytest.mark.parametrize(("sign", "missing"), [(1, "does not rise"), (-1, "price rises"), (0, "price rises")])
def test_a_market_that_moves_one_way_only_has_no_direction_to_learn(sign: int, missing: str, tmp_path: Path) -> None:
    rows = make_dataset()
    one_way = replace(rows, y=sign * (np.abs(rows.y) + 1e-6))
    with pytest.raises(NotEnoughDataError, match=missing):
        train_part(DIRECTION, one_way, SNAPSHOT, make_settings().training, tmp_path)


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"no candidate 'oracle'.*ridge"):
        train_part("oracle", make_dataset(), SNAPSHOT, make_settings().training, tmp_path)


def test_a_part_answers_for_every_fold_and_the_last_block(parts: list[Path]) -> None:
    rows, layout = make_dataset(), lay_out(make_dataset(), make_settings().training)
    for folder in parts:
        answers = forecasts(folder)
        blocks = [] if folder.name == REGIME else list(enumerate(layout.folds))
        for number, fold in [*blocks, (LAST_BLOCK, layout.last)]:
            times = answers.loc[answers["block"] == number, "timestamp"].to_numpy("datetime64[ms]")
            np.testing.assert_array_equal(times, rows.timestamps[fold.test], err_msg=f"{folder.name} {number}")
        assert set(answers["block"]) == {*(number for number, _ in blocks), LAST_BLOCK}
        assert np.isfinite(answers["forecast"]).all()


def overwritten(rows: Dataset, begin: int) -> Dataset:
    """The same rows with other futures from one on."""
    y, realised = rows.y.copy(), rows.realised.copy()
    y[begin:], realised[begin:] = -7.0 * y[begin:] - 0.01, 9.0
    return replace(rows, y=y, realised=realised)


@pytest.mark.parametrize("name", ["xgboost", "ridge", DIRECTION, *VOLATILITY_MODELS])
def test_no_fit_knows_the_future_of_the_rows_it_is_asked_about(name: str, parts: list[Path], tmp_path: Path) -> None:
    rows, settings = make_dataset(), make_settings().training
    layout = lay_out(rows, settings)
    plain = forecasts(next(folder for folder in parts if folder.name == name))
    for block, fold in [(1, layout.folds[1]), (LAST_BLOCK, layout.last)]:
        train_part(name, overwritten(rows, fold.train.stop), SNAPSHOT, settings, tmp_path / str(block))
        again = forecasts(tmp_path / str(block))
        earlier = plain["timestamp"] <= plain.loc[plain["block"] == block, "timestamp"].max()
        np.testing.assert_array_equal(plain.loc[earlier, "forecast"], again.loc[earlier, "forecast"])
        assert block == LAST_BLOCK or not plain["forecast"].equals(again["forecast"]), "later fits do see it"


@pytest.mark.parametrize("count", [200, 500, 1_500])
def test_a_plain_direction_is_learnt_from_a_short_history(count: int) -> None:
    noise = np.random.default_rng(count)
    X = noise.normal(0, 1, (2 * count, 14)).astype(np.float32)
    up = X[:, 3] + noise.normal(0, 1, 2 * count) > 0
    classifier = make_direction_classifier(Setup("default", count, 0, 1)).fit(X[:count], up[:count])
    assert (classifier.predict(X[count:]) == up[count:]).mean() > 0.65, "who knows the signal gets 75%"


def test_what_a_leaf_must_hold_does_not_grow_with_a_long_history() -> None:
    heaviest = {make_direction_classifier(Setup("default", n, 0, 1)).min_child_weight for n in (5_000, 20_000, 10**6)}
    assert heaviest == {100}


@pytest.mark.parametrize("preset", ["default", "classic"])
def test_the_default_preset_learns_returns_in_units_of_volatility_and_no_drift(preset: Preset, tmp_path: Path) -> None:
    rows, settings = make_dataset(), make_settings(preset=preset)
    training, last = last_block_of(rows, settings)
    train_part("ridge", rows, SNAPSHOT, settings.training, tmp_path)
    unit = {"default": training.scale, "classic": 1.0}[preset]
    make = CANDIDATES["ridge"].make
    assert make
    y = training.y / unit
    if preset == "default":
        y = np.clip(y, -5, 5)
        y -= y.mean()
    answer = make(Setup(preset, len(training), 0, 1)).fit(training.X, y).predict(last.X)
    served = forecasts(tmp_path).query("block == @LAST_BLOCK")["forecast"]
    np.testing.assert_allclose(served, answer * (last.scale if preset == "default" else 1.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "feature"), [("volatility_trees", "rsi_14"), ("volatility_linear", "log_volatility_6")]
)
def test_the_volatility_follows_the_one_that_came_true(name: str, feature: str, tmp_path: Path) -> None:
    rows = make_dataset()
    X, wild = rows.X.copy(), np.arange(len(rows)) // 50 % 2
    X[:, rows.names.index(feature)] = wild
    planted = replace(rows, X=X, y=np.zeros(len(rows)), realised=0.001 * 10.0**wild)
    train_part(name, planted, SNAPSHOT, make_settings().training, tmp_path)
    answers = forecasts(tmp_path)
    when = np.isin(rows.timestamps, answers["timestamp"].to_numpy("datetime64[ms]"))
    off = np.log(answers["forecast"].to_numpy()) - volatility_target(planted)[when]
    assert np.median(np.abs(off)) < 0.1
    assert np.abs(off).max() < 1.0


def test_volatility_is_measured_by_the_path_and_by_where_it_leads() -> None:
    rows = make_dataset()
    np.testing.assert_allclose(
        np.exp(volatility_target(rows)), np.sqrt((rows.realised**2 + rows.y**2) / 2), atol=1e-5, rtol=1e-3
    )
    still = replace(rows, y=0 * rows.y, realised=0 * rows.y)
    assert np.isfinite(volatility_target(still)).all()


def test_a_part_says_which_rows_it_saw(parts: list[Path]) -> None:
    rows, settings = make_dataset(), make_settings()
    training, last = last_block_of(rows, settings)
    part = Part.model_validate_json((parts[0] / "part.json").read_text())
    assert (part.data.training_rows, part.data.holdout_rows) == (len(training), len(last))
    assert part.data.oof_rows == sum(
        fold.test.stop - fold.test.start for fold in lay_out(rows, settings.training).folds
    )
    assert part.data.start == pd.Timestamp(rows.timestamps[0], tz="UTC")
    assert part.data.training_end == pd.Timestamp(training.timestamps[-1], tz="UTC")
    assert part.data.holdout_start == pd.Timestamp(last.timestamps[0], tz="UTC")
    assert part.data.end == pd.Timestamp(rows.timestamps[-1], tz="UTC")
    assert (part.data.bars_version, part.data.features_version) == (3, 4)


def test_the_reference_is_of_training_rows_in_time_order(parts: list[Path]) -> None:
    training, _ = last_block_of(make_dataset(), make_settings())
    (folder,) = (folder for folder in parts if folder.name == REGIME)
    reference = pd.read_parquet(folder / "reference.parquet")
    assert reference["timestamp"].is_monotonic_increasing
    assert reference["timestamp"].max() == pd.Timestamp(training.timestamps[-1], tz="UTC")
    assert len(reference) == min(len(training), 5_000)
    assert SCALE_FEATURE in reference


def test_the_same_rows_and_seed_give_the_same_digits_on_one_thread_or_two(tmp_path: Path) -> None:
    candidates = ["random_forest", "xgboost", "ridge", "random_walk"]
    rows = make_dataset().rows(slice(0, 900))
    for threads in (1, 2):
        train_all(rows, tmp_path / str(threads), make_settings(candidates=candidates, threads=threads))
    for one in sorted((tmp_path / "1").iterdir()):
        pd.testing.assert_frame_equal(forecasts(one), forecasts(tmp_path / "2" / one.name), check_exact=True)
        if (one / "domain.json").exists():
            assert (one / "domain.json").read_bytes() == (tmp_path / "2" / one.name / "domain.json").read_bytes()
