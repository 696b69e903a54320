"""Choices are made on forecasts out of fold, on nothing else, and say what those taught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryptosentinel.bundle import PROBABILITIES, RANDOM_WALK
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.forecasting import Evaluation, evaluate, read_unseen
from cryptosentinel.forecasting.choices import choose
from cryptosentinel.forecasting.unseen import Unseen
from tests.forecasting.builders import make_dataset, make_settings


@pytest.fixture(scope="module")
def unseen(parts: list[Path]) -> Unseen:
    return read_unseen(parts, make_dataset())


def with_future(unseen: Unseen, where: np.ndarray, y: np.ndarray) -> Unseen:
    return replace(unseen, rows=replace(unseen.rows, y=np.where(where, y, unseen.rows.y)))


def test_what_happened_in_the_last_block_changes_no_choice(
    unseen: Unseen, parts: list[Path], evaluation: Evaluation
) -> None:
    last = unseen.block == -1
    other = with_future(unseen, last, 10.0 * unseen.blend + 0.02)
    again = evaluate(parts, other, make_settings().forecast, data_age_s=60.0, incumbent=None)
    assert again.choices.model_dump() == evaluation.choices.model_dump()
    assert again.spread["blend"] != evaluation.spread["blend"]
    assert again.evidence.accuracy != evaluation.evidence.accuracy


def test_what_happened_out_of_fold_changes_them(unseen: Unseen) -> None:
    before, _ = unseen.split()
    other = choose(with_future(before, np.full(len(before), True), before.rows.y + 5 * before.blend))
    plain = choose(before)
    assert other.shrinkage > plain.shrinkage
    assert other.quantiles != plain.quantiles
    assert other.calibration.probabilities != plain.calibration.probabilities


def test_every_candidate_but_the_random_walk_has_an_equal_share(unseen: Unseen) -> None:
    choices = choose(unseen.split()[0])
    assert choices.blend.keys() == unseen.candidates.keys() - {RANDOM_WALK}
    assert set(choices.blend.values()) == {0.25}
    assert choices.rows == len(unseen.split()[0])


def test_the_random_walk_alone_is_believed_as_far_as_it_goes(unseen: Unseen) -> None:
    before, _ = unseen.split()
    alone = replace(before, candidates={RANDOM_WALK: before.candidates[RANDOM_WALK]})
    choices = choose(alone)
    assert (choices.blend, choices.shrinkage) == ({}, 0.0)
    assert (choices.mean(alone) == 0).all()


def test_quantiles_are_of_what_is_left_over_in_units_of_sigma(unseen: Unseen) -> None:
    before, _ = unseen.split()
    noise = 0.5 * before.rows.y * before.blend.std() / before.rows.y.std()
    told = 0.6 * before.blend + noise
    choices = choose(with_future(before, np.full(len(before), True), told))
    assert 0 < choices.shrinkage < 1
    left = (told - choices.shrinkage * before.blend) / before.sigma
    for champion, series in {"blend": left, "random_walk": told / before.sigma}.items():
        below = [(series <= value).mean() for value in choices.quantiles[champion].values]
        assert below == pytest.approx(PROBABILITIES, abs=0.005)
    np.testing.assert_allclose(choices.mean(before), choices.shrinkage * before.blend)


def test_probabilities_are_those_of_the_classifier_s_scores(unseen: Unseen) -> None:
    before, _ = unseen.split()
    scores = np.where(before.rows.y > 0, 0.9, 0.1)
    choices = choose(replace(before, score=scores))
    assert choices.calibration.apply(np.array([0.1, 0.9])) == pytest.approx([0, 1], abs=0.02)
    assert choices.base_rate == pytest.approx((before.rows.y > 0).mean())


def test_rows_on_which_a_model_diverged_teach_nothing(unseen: Unseen) -> None:
    before, _ = unseen.split()
    wild = np.arange(len(before)) % 7 == 0
    broken = before.candidates | {"ridge": np.where(wild, np.nan, before.candidates["ridge"])}
    assert choose(replace(before, candidates=broken)).model_dump() == choose(before.pick(~wild)).model_dump()
    everywhere = before.candidates | {"ridge": np.full(len(before), np.inf)}
    with pytest.raises(NotEnoughDataError):
        choose(replace(before, candidates=everywhere))
