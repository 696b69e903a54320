"""What the parts said of rows they had not seen is put together row by row, or not at all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.bundle import DIRECTION, RANDOM_WALK, REGIME
from cryptosentinel.errors import PipelineError
from cryptosentinel.forecasting import CANDIDATES, read_unseen
from cryptosentinel.forecasting.dataset import lay_out
from cryptosentinel.forecasting.training import LAST_BLOCK
from cryptosentinel.forecasting.unseen import NOT_ANSWERED, read_parts
from cryptosentinel.forecasting.volatility import VOLATILITY_MODELS
from tests.forecasting.builders import make_dataset, make_settings


def copied(parts: list[Path], folder: Path) -> dict[str, Path]:
    return {part.name: shutil.copytree(part, folder / part.name) for part in parts}


def test_every_row_has_its_own_answers(parts: list[Path]) -> None:
    rows, layout = make_dataset(), lay_out(make_dataset(), make_settings().training)
    unseen = read_unseen(parts, rows)
    expected = np.concatenate([rows.timestamps[fold.test] for fold in (*layout.folds, layout.last)])
    np.testing.assert_array_equal(unseen.rows.timestamps, expected)
    at = np.isin(rows.timestamps, expected)
    np.testing.assert_array_equal(unseen.rows.y, rows.y[at])
    np.testing.assert_array_equal(unseen.rows.X, rows.X[at])
    answers = {**unseen.candidates, DIRECTION: unseen.score}
    assert answers.keys() == {*CANDIDATES, DIRECTION}
    frames = {folder.name: pd.read_parquet(folder / "forecasts.parquet") for folder in parts if folder.name != REGIME}
    for name, frame in frames.items():
        np.testing.assert_array_equal(unseen.block, frame["block"])
        if name in answers:
            np.testing.assert_array_equal(answers[name], frame["forecast"], err_msg=name)
    trees, linear = (frames[name]["forecast"] for name in VOLATILITY_MODELS)
    np.testing.assert_allclose(unseen.sigma, np.sqrt(trees * linear), err_msg="their geometric mean")


def test_the_last_block_is_what_remains_of_the_folds(parts: list[Path]) -> None:
    rows, layout = make_dataset(), lay_out(make_dataset(), make_settings().training)
    before, last = read_unseen(parts, rows).split()
    np.testing.assert_array_equal(last.rows.timestamps, rows.timestamps[layout.last.test])
    assert set(last.block) == {LAST_BLOCK}
    assert set(before.block) == {0, 1}
    assert before.rows.timestamps[-1] < last.rows.timestamps[0]
    assert set(before.regime) == {NOT_ANSWERED}
    assert set(last.regime) <= {0, 1, 2, 3}


def test_the_blend_is_the_mean_of_the_candidates_without_the_random_walk(parts: list[Path]) -> None:
    unseen = read_unseen(parts, make_dataset())
    learners = [values for name, values in unseen.candidates.items() if name != RANDOM_WALK]
    assert len(learners) == len(CANDIDATES) - 1
    np.testing.assert_allclose(unseen.blend, sum(learners) / len(learners))
    alone = replace(unseen, candidates={RANDOM_WALK: unseen.candidates[RANDOM_WALK]})
    assert (alone.blend == 0).all()


def test_the_order_of_the_parts_does_not_matter(parts: list[Path]) -> None:
    left, right = (read_unseen(folders, make_dataset()) for folders in (parts, parts[::-1]))
    assert left.candidates.keys() == right.candidates.keys()
    np.testing.assert_allclose(left.blend, right.blend, rtol=1e-12)
    np.testing.assert_array_equal(left.sigma, right.sigma)


@pytest.mark.parametrize("missing", [DIRECTION, REGIME, RANDOM_WALK, "volatility_linear"])
def test_a_part_that_is_not_there_is_named(missing: str, parts: list[Path]) -> None:
    with pytest.raises(PipelineError, match=f"no trained {missing}"):
        read_unseen([part for part in parts if part.name != missing], make_dataset())


def test_a_folder_without_a_part_is_named(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=f"{tmp_path} holds no trained part"):
        read_parts([*parts, tmp_path])


def test_parts_of_different_rows_are_not_compared(parts: list[Path], tmp_path: Path) -> None:
    copies = copied(parts, tmp_path)
    file = copies["ridge"] / "part.json"
    file.write_text(file.read_text().replace('"bars_version": 3', '"bars_version": 2'))
    with pytest.raises(PipelineError, match="2 different sets of rows"):
        read_unseen(list(copies.values()), make_dataset())


@pytest.mark.parametrize("name", ["ridge", DIRECTION, "volatility_trees", REGIME])
def test_a_part_that_answered_for_other_rows_is_refused(name: str, parts: list[Path], tmp_path: Path) -> None:
    copies = copied(parts, tmp_path)
    file = copies[name] / "forecasts.parquet"
    pd.read_parquet(file).iloc[:-1].to_parquet(file)
    with pytest.raises(PipelineError, match=f"{name} answered for other rows"):
        read_unseen(list(copies.values()), make_dataset())


@pytest.mark.parametrize("which", ["fewer", "others", "none"])
def test_rows_that_the_parts_do_not_know_are_refused(which: str, parts: list[Path]) -> None:
    rows = make_dataset()
    kept = {
        "fewer": slice(0, len(rows) - 1),
        "others": np.arange(len(rows)) != len(rows) - 100,
        "none": slice(0, 0),
    }[which]
    with pytest.raises(PipelineError, match="trained on other rows"):
        read_unseen(parts, rows.rows(kept))
