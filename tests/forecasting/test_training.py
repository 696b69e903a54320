"""Training one part leaves everything that is needed to measure and assemble it, and nothing fitted on the holdout."""

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
from cryptosentinel.forecasting.candidates import Preset, Setup
from tests.forecasting.builders import SNAPSHOT, make_dataset, make_settings


def test_every_candidate_the_direction_and_the_regimes_are_parts() -> None:
    names = part_names(make_settings().training)
    assert sorted(names) == sorted([*CANDIDATES, DIRECTION, REGIME])
    fewer = make_settings(candidates=["ridge", "random_walk"]).training
    assert part_names(fewer) == [DIRECTION, "ridge", "random_walk", REGIME]


@pytest.mark.parametrize(("count", "min_rows"), [(0, 50), (100, 90), (5, 50)])
def test_too_few_rows_are_said_not_trained_on(count: int, min_rows: int, tmp_path: Path) -> None:
    rows = make_dataset().rows(slice(0, count))
    with pytest.raises(NotEnoughDataError, match="The random walk stays champion") as caught:
        train_part("ridge", rows, SNAPSHOT, make_settings(min_rows=min_rows).training, tmp_path / "ridge")
    assert caught.value.need == min_rows
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


def test_the_holdout_is_not_fitted_on(tmp_path: Path) -> None:
    rows = make_dataset()
    cut = len(rows) - int(len(rows) * 0.2) - rows.horizon_bars
    y = rows.y.copy()
    y[cut:] = 7.0
    for name, data in (("as_it_is", rows), ("overwritten", replace(rows, y=y))):
        train_part("xgboost", data, SNAPSHOT, make_settings().training, tmp_path / name)
    left, right = (pd.read_parquet(tmp_path / name / "holdout.parquet") for name in ("as_it_is", "overwritten"))
    np.testing.assert_array_equal(left["forecast"], right["forecast"])
    assert (right["actual"] == 7.0).all()


@pytest.mark.parametrize("preset", ["default", "classic"])
def test_the_default_preset_learns_returns_in_units_of_volatility(preset: Preset, tmp_path: Path) -> None:
    rows = make_dataset()
    training, holdout = rows.split(0.2)
    train_part("ridge", rows, SNAPSHOT, make_settings(preset=preset).training, tmp_path)
    unit = {"default": training.scale, "classic": 1.0}[preset]
    make = CANDIDATES["ridge"].make
    assert make
    answer = make(Setup(preset, len(training), 0, 1)).fit(training.X, training.y / unit).predict(holdout.X)
    forecast = pd.read_parquet(tmp_path / "holdout.parquet")["forecast"]
    np.testing.assert_allclose(forecast, answer * (holdout.scale if preset == "default" else 1.0), rtol=1e-6)


def test_a_part_says_which_rows_it_saw(parts: list[Path]) -> None:
    rows = make_dataset()
    training, holdout = rows.split(0.2)
    part = Part.model_validate_json((parts[0] / "part.json").read_text())
    assert (part.data.training_rows, part.data.holdout_rows) == (len(training), len(holdout))
    assert part.data.start == pd.Timestamp(rows.timestamps[0], tz="UTC")
    assert part.data.holdout_start == pd.Timestamp(holdout.timestamps[0], tz="UTC")
    assert part.data.end == pd.Timestamp(rows.timestamps[-1], tz="UTC")
    assert (part.data.bars_version, part.data.features_version) == (3, 4)


def test_the_reference_is_of_training_rows_in_time_order(parts: list[Path]) -> None:
    training, _ = make_dataset().split(0.2)
    (folder,) = (folder for folder in parts if folder.name == REGIME)
    reference = pd.read_parquet(folder / "reference.parquet")
    assert reference["timestamp"].is_monotonic_increasing
    assert reference["timestamp"].max() <= pd.Timestamp(training.timestamps[-1], tz="UTC")
    assert len(reference) == min(len(training), 5_000)
    assert SCALE_FEATURE in reference
