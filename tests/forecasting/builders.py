"""Rows to train on, parts and bundles: small, and made the way the pipelines make them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cryptosentinel.bundle import Bundle, Gate
from cryptosentinel.config import Settings, load_settings
from cryptosentinel.features import SCALE_FEATURE, featurize
from cryptosentinel.forecasting import (
    Dataset,
    Evaluation,
    Snapshot,
    assemble_bundle,
    evaluate,
    judge,
    load_dataset,
    next_look,
    part_names,
    read_unseen,
    take_snapshot,
    train_part,
)
from cryptosentinel.forecasting.dataset import lay_out
from cryptosentinel.forecasting.evidence import Incumbent
from tests.builders import T0, make_random_bars
from tests.features.builders import SPEC, MemoryFeatureStore

HORIZON = 6
SNAPSHOT = Snapshot(end=T0, window_days=90, bars_version=3, features_version=4)


def make_settings(**training: Any) -> Settings:
    """Settings under which a week of rows can be trained on, and a day and a half of unseen ones judged."""
    given = {"training": {"min_rows": 100, "folds": 2, **training}, "gate": {"min_independent_labels": 50}}
    return load_settings(environ={}, overrides=given)


@cache
def make_dataset(count: int = 1_800, seed: int = 0) -> Dataset:
    """Complete rows of a random walk, about `count` of them."""
    store = MemoryFeatureStore(make_random_bars(count + SPEC.warm_up_bars + HORIZON, seed=seed))
    featurize(store, SPEC, "bitcoin")
    return load_dataset(store, SPEC, "bitcoin", take_snapshot(store, SPEC, "bitcoin", 90), HORIZON)


def with_leak(rows: Dataset, name: str = "rsi_14") -> Dataset:
    """The same rows with the future in one feature."""
    X = rows.X.copy()
    X[:, rows.names.index(name)] = rows.y / rows.scale
    return replace(rows, X=X)


def with_shuffled_targets(rows: Dataset, seed: int = 0) -> Dataset:
    """The same rows, each with some other row's future, and no trend, which shuffling would leave for all to see."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return replace(rows, y=rows.y[order] - rows.y.mean(), realised=rows.realised[order])


def last_block_of(rows: Dataset, settings: Settings) -> tuple[Dataset, Dataset]:
    """The rows before the last block that models are fitted on, and the last block."""
    last = lay_out(rows, settings.training).last
    return rows.rows(last.train), rows.rows(last.test)


def stress_rows(rows: Dataset, count: int, seed: int = 0) -> np.ndarray:
    """Rows like the ones trained on, a third of them exactly those, a third with some features far outside."""
    noise = np.random.default_rng(seed)
    X = rows.X[noise.integers(0, len(rows), count)].copy()
    nudged, wild = X[count // 3 : 2 * count // 3], X[2 * count // 3 :]
    nudged[:] = np.nextafter(nudged, noise.choice(np.array([-np.inf, np.inf], np.float32), nudged.shape))
    at = noise.integers(0, X.shape[1], (len(wild), 5))
    wild[np.arange(len(wild))[:, None], at] *= noise.choice(np.array([0, -1, 10, 1e-3], np.float32), at.shape)
    scale = rows.names.index(SCALE_FEATURE)
    X[:, scale] = np.clip(X[:, scale], 1e-6, 0.05)  # a volatility of 5% a bar is as wild as markets get
    return X


def train_all(rows: Dataset, folder: Path, settings: Settings) -> list[Path]:
    folders = [folder / name for name in part_names(settings.training)]
    for part in folders:
        train_part(part.name, rows, SNAPSHOT, settings.training, part)
    return folders


def evaluate_parts(
    folders: list[Path], rows: Dataset, settings: Settings, *, incumbent: Incumbent | None = None
) -> Evaluation:
    return evaluate(folders, read_unseen(folders, rows), settings.forecast, data_age_s=60.0, incumbent=incumbent)


def judge_first(evaluation: Evaluation, settings: Settings) -> Gate:
    """The gate's answer at its first look."""
    return judge(evaluation.evidence, next_look([], evaluation.data.end, settings.gate), settings.gate)


def make_bundle(
    path: Path, folders: list[Path], evaluation: Evaluation, settings: Settings, *, simulated: bool = True
) -> Bundle:
    return assemble_bundle(
        path,
        folders=folders,
        evaluation=evaluation,
        gate=judge_first(evaluation, settings),
        spec=SPEC,
        settings=settings,
        market="bitcoin-usd-5m-simulated",
        simulated=simulated,
    )
