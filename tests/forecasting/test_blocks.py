"""The last block, challenger's and champion's, is what the bundles would have said live: no more, no less."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.bundle import BLEND, RANDOM_WALK, Bundle, Calibration, Domain, QuantileTable, write_random_walk
from cryptosentinel.features import SCALE_FEATURE
from cryptosentinel.forecasting import Evaluation, assemble_bundle, incumbent_on, read_unseen
from cryptosentinel.forecasting.blocks import issued_quantiles, last_block
from cryptosentinel.forecasting.dataset import Dataset
from cryptosentinel.forecasting.evidence import Block
from cryptosentinel.forecasting.online import Settled, calibrate
from tests.features.builders import SPEC
from tests.forecasting.builders import evaluate_parts, judge_first, make_dataset, make_settings, train_all

SETTINGS = make_settings(candidates=["ridge", "xgboost", "random_walk"])
WILD = 30  # rows at the end of the last block that are unlike any before


def with_wild_end(rows: Dataset) -> Dataset:
    X = rows.X.copy()
    X[-WILD:, [name != SCALE_FEATURE for name in rows.names]] *= 30.0
    return replace(rows, X=X)


@dataclass(frozen=True)
class Trained:
    """A field whose blend is believed by 40%, its last block, and its bundles: in `walk` the blend may not speak."""

    rows: Dataset
    last: Dataset
    block: Block
    silent: Block
    bundle: Bundle
    walk: Bundle


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("blocks")
    rows = with_wild_end(make_dataset(3_600))  # enough for the classifier to tell rows apart
    folders = train_all(rows, folder, SETTINGS)
    measured = evaluate_parts(folders, rows, SETTINGS)
    table = measured.choices.quantiles[BLEND]
    tables = {BLEND: table, RANDOM_WALK: QuantileTable.conformal(1.1 * np.array(table.values))}
    believed = measured.choices.model_copy(
        update={"shrinkage": 0.4, "calibration": Calibration.identity(), "quantiles": tables}
    )
    last = read_unseen(folders, rows).split()[1]
    domain = Domain.model_validate_json((folder / "regime" / "domain.json").read_text())
    block, silent = (last_block(last, believed, domain, SETTINGS.forecast, name) for name in (BLEND, RANDOM_WALK))
    bundles = {}
    for champion in (BLEND, RANDOM_WALK):
        evaluation = measured.model_copy(update={"choices": believed})
        gate = judge_first(evaluation, SETTINGS).model_copy(update={"champion": champion})
        bundles[champion] = assemble(folder / f"{champion}-bundle", folders, evaluation, gate)
    return Trained(rows, last.rows, block, silent, bundles[BLEND], bundles[RANDOM_WALK])


def assemble(path: Path, folders: list[Path], evaluation: Evaluation, gate) -> Bundle:
    return assemble_bundle(
        path,
        folders=folders,
        evaluation=evaluation,
        gate=gate,
        spec=SPEC,
        settings=SETTINGS,
        market="test",
        simulated=True,
    )


def live_quantiles(bundle: Bundle, rows: Dataset) -> np.ndarray:
    """As the inference pipeline issues them: one row after the other, from what was settled by then."""
    answer = bundle.infer(rows.X.astype(np.float64), rows.close)
    made_at = rows.timestamps + np.timedelta64(rows.interval.delta)
    scores = (rows.y - answer.log_return) / answer.sigma
    issued = np.empty((len(rows), 9))
    for row in range(len(rows)):
        known = made_at[:row] + np.timedelta64(rows.horizon) <= made_at[row]
        before = np.flatnonzero(known)
        misses = {
            name: (rows.y[before] < issued[before, low]) | (rows.y[before] > issued[before, high])
            for name, low, high in (("missed_80", 2, 6), ("missed_95", 0, 8))
        }
        settled = Settled(made_at=made_at[before], scores=scores[before], **misses)
        now = pd.Timestamp(made_at[row], tz="UTC").to_pydatetime()
        table = calibrate(np.array(bundle.quantiles.values), settled, now, rows.horizon, SETTINGS.forecast)
        issued[row] = answer.log_return[row] + answer.sigma[row] * table.quantiles
    return issued


@pytest.mark.parametrize("champion", [BLEND, RANDOM_WALK])
def test_the_challenger_s_block_is_what_its_bundle_says_live(trained: Trained, champion: str) -> None:
    speaks, last = champion == BLEND, trained.last
    block, bundle = (trained.block, trained.bundle) if speaks else (trained.silent, trained.walk)
    answer = bundle.infer(last.X.astype(np.float64), last.close)
    np.testing.assert_allclose(block.weight * block.blend, answer.log_return, atol=1e-5)
    np.testing.assert_allclose(block.blend, np.log(answer.by_model[BLEND] / last.close), atol=1e-5)
    np.testing.assert_allclose(np.log(block.sigma), np.log(answer.sigma), atol=1e-5)
    np.testing.assert_allclose(block.p_up, answer.p_up, atol=1e-5)
    np.testing.assert_array_equal(block.outlying, answer.outlying)
    np.testing.assert_allclose(block.quantiles, live_quantiles(bundle, last), atol=1e-5)
    np.testing.assert_array_equal(block.actual, last.y)
    assert (np.abs(answer.log_return).max() > 1e-5) == speaks, "the blend says something where it may"
    assert np.ptp(answer.p_up) > 1e-3, "and so does the classifier"


def test_rows_unlike_any_trained_on_are_flagged_and_widened_in_both(trained: Trained) -> None:
    block = trained.block
    assert block.outlying[-WILD:].all()
    assert block.outlying[:-WILD].mean() < 0.1
    plain = trained.bundle.infer(trained.last.X[:1].astype(np.float64), trained.last.close[:1]).sigma
    assert block.sigma[-WILD:].min() > 2 * plain[0]


def test_no_model_draws_its_line_on_into_the_absurd(trained: Trained) -> None:
    answer = trained.bundle.infer(trained.last.X.astype(np.float64), trained.last.close)
    for name, price in answer.by_model.items():
        usual, wild = (
            np.abs(np.log(price / trained.last.close)[rows]).max() for rows in (slice(-WILD), slice(-WILD, None))
        )
        assert wild < 10 * max(usual, 1e-5), name
    assert answer.sigma.max() < 10 * np.median(answer.sigma)


def test_quantiles_give_way_to_what_the_rows_teach_and_know_no_future(trained: Trained) -> None:
    rows, block, bundle = trained.last, trained.block, trained.bundle
    mean = block.weight * block.blend
    begin = mean[:, None] + block.sigma[:, None] * np.array(bundle.quantiles.values)
    np.testing.assert_array_equal(block.quantiles[: rows.horizon_bars], begin[: rows.horizon_bars])
    assert (block.quantiles[rows.horizon_bars + 1 :] != begin[rows.horizon_bars + 1 :]).any(axis=1).all()
    changed = replace(rows, y=np.where(np.arange(len(rows)) >= 200, 0.1, rows.y))
    again = issued_quantiles(changed, mean, block.sigma, bundle.quantiles, SETTINGS.forecast)
    known = 200 + rows.horizon_bars  # the first row at which the outcome of row 200 is known
    np.testing.assert_array_equal(again[:known], block.quantiles[:known])
    assert (again[known] != block.quantiles[known]).any()


def trained_until(bundle: Bundle, end: np.datetime64, **changes: object) -> Bundle:
    """The bundle as if its training rows had ended there."""
    assert bundle.manifest.data
    at = pd.Timestamp(end, tz="UTC").to_pydatetime()
    data = bundle.manifest.data.model_copy(update={"training_end": at, "end": at})
    other = copy(bundle)
    other.manifest = bundle.manifest.model_copy(update={"data": data, **changes})
    return other


def incumbent(trained: Trained, bundle: Bundle):
    return incumbent_on(trained.last, SPEC.hash, bundle, 7, SETTINGS.forecast)


def test_a_champion_with_the_same_models_says_what_the_challenger_says(trained: Trained) -> None:
    found = incumbent(trained, trained.bundle)
    assert found
    assert (found.name, found.trained, found.age_days) == ("version 7", True, 0.0)
    for name in ("blend", "sigma", "p_up", "quantiles"):
        np.testing.assert_allclose(getattr(found.block, name), getattr(trained.block, name), atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(found.block.timestamps, trained.block.timestamps)
    assert found.block.weight == 0.4


def test_rows_that_the_champion_was_fitted_on_are_left_out(trained: Trained) -> None:
    end = trained.last.timestamps[99]
    found = incumbent(trained, trained_until(trained.bundle, end))
    assert found
    # The label of its last training row reaches one horizon further.
    assert found.block.timestamps[0] == end + np.timedelta64(trained.last.horizon + timedelta(minutes=5))
    assert found.block.timestamps[-1] == trained.last.timestamps[-1]
    hours = (trained.last.timestamps[-1] - end) / np.timedelta64(1, "h")
    assert found.age_days == pytest.approx(hours / 24)


def test_a_champion_that_has_seen_all_the_rows_is_not_compared(trained: Trained) -> None:
    assert incumbent(trained, trained_until(trained.bundle, trained.last.timestamps[-1])) is None


@pytest.mark.parametrize("change", [{"spec_hash": "other"}, {"horizon_bars": 12}], ids=["spec", "horizon"])
def test_a_champion_of_another_spec_or_horizon_is_not_compared(trained: Trained, change: dict[str, object]) -> None:
    other = trained_until(trained.bundle, trained.rows.timestamps[0], **change)
    assert incumbent(trained, other) is None


def test_a_champion_that_says_the_price_stays_has_no_weight(trained: Trained) -> None:
    found = incumbent(trained, trained.walk)
    assert found
    assert found.block.weight == 0
    assert (found.block.blend == 0).all()
    np.testing.assert_allclose(found.block.sigma, trained.block.sigma, rtol=1e-5)


def test_version_0_answers_for_every_row(trained: Trained, tmp_path: Path) -> None:
    write_random_walk(
        tmp_path / "walk", SPEC, asset="bitcoin", currency="usd", market="test", simulated=True, horizon_bars=6
    )
    found = incumbent_on(trained.last, SPEC.hash, Bundle.load(tmp_path / "walk"), 0, SETTINGS.forecast)
    assert found
    assert (found.name, found.trained, found.age_days) == ("version 0", False, 0.0)
    assert len(found.block) == len(trained.last)
    np.testing.assert_allclose(found.block.sigma, trained.last.scale, rtol=1e-6)
    assert set(found.block.p_up) == {0.5}
    assert not found.block.outlying.any()
