"""A market that is young, stands still or goes one way ends in a refusal or too few rows, in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.bundle import Bundle, Gate, write_random_walk
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features import compute_features
from cryptosentinel.forecasting import dataset, incumbent_on, read_unseen
from cryptosentinel.market.bars import PRICES
from tests.builders import make_random_bars
from tests.features.builders import SPEC, make_rough_bars
from tests.forecasting.builders import (
    evaluate_parts,
    judge_first,
    make_bundle,
    make_dataset,
    make_settings,
    train_all,
)


def run_all(rows: dataset.Dataset, folder: Path, *candidates: str) -> Gate:
    """From rows to a bundle with a verdict, held against version 0."""
    settings = make_settings(min_rows=50, folds=4, candidates=["random_walk", *candidates])
    folders = train_all(rows, folder, settings)
    write_random_walk(
        folder / "walk", SPEC, asset="bitcoin", currency="usd", market="test", simulated=True, horizon_bars=6
    )
    last = read_unseen(folders, rows).split()[1].rows
    champion = incumbent_on(last, SPEC.hash, Bundle.load(folder / "walk"), 0, settings.forecast)
    evaluation = evaluate_parts(folders, rows, settings, incumbent=champion)
    bundle = make_bundle(folder / "bundle", folders, evaluation, settings)
    assert (bundle.path / "MODEL_CARD.md").read_text().startswith("# bitcoin")
    return judge_first(evaluation, settings)


def rows_of(bars: pd.DataFrame) -> dataset.Dataset:
    return dataset.make_dataset(bars, compute_features(bars, SPEC), SPEC, 6).complete()


def priced(closes: np.ndarray) -> pd.DataFrame:
    bars = make_random_bars(len(closes))
    bars[list(PRICES)] = np.repeat(closes[:, None], len(PRICES), axis=1)
    return bars


@pytest.mark.parametrize("count", [140, 288])
def test_a_day_of_bars_is_trained_on_and_refused_for_want_of_outcomes(count: int, tmp_path: Path) -> None:
    gate = run_all(make_dataset().rows(slice(0, count)), tmp_path, "ridge", "xgboost")
    assert not gate.promote
    assert "unseen outcomes that do not overlap, of 50 needed" in gate.reasons[0]


@pytest.mark.parametrize("count", [0, 1, 17, 60, 120])
def test_hours_of_bars_are_too_few(count: int, tmp_path: Path) -> None:
    with pytest.raises(NotEnoughDataError, match="The random walk stays champion"):
        run_all(make_dataset().rows(slice(0, count)), tmp_path, "ridge")


def test_a_market_that_never_moves_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughDataError, match="until the market moves both ways"):
        run_all(rows_of(priced(np.full(900, 600.0))), tmp_path, "ridge")


def test_a_market_that_only_rises_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughDataError, match="until the market moves both ways"):
        run_all(rows_of(priced(600.0 * np.exp(np.arange(900) * 1e-4))), tmp_path, "ridge")


def test_a_market_that_has_stopped_is_refused(tmp_path: Path) -> None:
    closes = make_random_bars(1_000)["close"].to_numpy().copy()
    closes[800:] = closes[799]
    gate = run_all(rows_of(priced(closes)), tmp_path, "ridge")
    assert not gate.promote


def test_a_market_that_moves_once_in_hours_is_judged(tmp_path: Path) -> None:
    closes = np.repeat(make_random_bars(40)["close"].to_numpy(), 40)
    assert run_all(rows_of(priced(closes)), tmp_path, "ridge").reasons


@pytest.mark.parametrize("seed", range(2))
def test_a_rough_market_is_judged(seed: int, tmp_path: Path) -> None:
    gate = run_all(rows_of(make_rough_bars(2_500, seed=seed)), tmp_path, "ridge", "xgboost")
    assert all(np.isfinite(value) for value in gate.figures.values()), gate.figures
