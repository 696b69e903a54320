"""What the drift check scores at many moments, quickly, and held to what it says itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from cryptosentinel.config import DriftSettings
from cryptosentinel.drift import Baseline, compare, compared, make_baseline, scipy_ks
from cryptosentinel.features import Feature, FeatureSpec, compute_features
from cryptosentinel.market.bars import Interval

BAR = timedelta(minutes=5)
SPEC = FeatureSpec(Interval("5m"))
FEATURES = compared(SPEC)
NAMES = [feature.name for feature in FEATURES]
DAY = 288
BASELINE_ROWS = 5_000  # as a training keeps
EVERY = 6  # bars from check to check
APART = 12  # checks without one, before another alarm begins
Bars, Rows = pd.DataFrame, pd.DataFrame


def features_of(bars: Bars) -> Rows:
    return compute_features(bars, SPEC)[["timestamp", *NAMES]].dropna().reset_index(drop=True)


def baseline_of(rows: Rows, settings: DriftSettings, features: list[Feature] = FEATURES) -> Baseline:
    picked = np.unique(np.linspace(0, len(rows) - 1, BASELINE_ROWS).astype(int))
    kept = rows.iloc[picked].astype(dict.fromkeys(NAMES, np.float32))
    return make_baseline(kept, features, settings)


def scores_along(baseline: Baseline, rows: Rows, ends: Sequence[int], settings: DriftSettings) -> np.ndarray:
    """What `compare` scores at each row of `ends`, a window a column; many at once, for rows without a gap."""
    step = round(baseline.cadence / BAR)
    scores = np.zeros((len(ends), len(baseline.windows)))
    for phase in {end % step for end in ends}:
        thin = rows.iloc[phase::step]
        chosen = [number for number, end in enumerate(ends) if end % step == phase]
        for column, window in enumerate(baseline.windows):
            adjusted = window.adjustment(thin)
            lost = len(thin) - len(adjusted)
            last = np.array([ends[number] // step - lost for number in chosen])
            inside = last[:, None] - np.arange(window.rows)
            samples = {name: np.sort(adjusted[name].to_numpy()[inside], axis=1) for name in adjusted}
            shares = [_shares(sample, window.reference[name], window.usual[name]) for name, sample in samples.items()]
            distances, p_values = np.stack(shares, axis=1).transpose(2, 0, 1)
            sure = false_discovery_control(p_values, axis=1) <= window.rate
            scores[chosen, column] = (sure & (distances >= settings.least_distance)).mean(axis=1)
    return scores


def _shares(samples: np.ndarray, reference: pd.Series, usual: np.ndarray) -> np.ndarray:
    """The distance of each sorted sample, and the share of the baseline's stretches as far; shape (n, 2)."""
    theirs, step = np.sort(reference.to_numpy()), np.arange(1, samples.shape[1] + 1) / samples.shape[1]
    up_to, below = (np.searchsorted(theirs, samples, side=side) / len(theirs) for side in ("right", "left"))
    found = np.maximum((step - up_to).max(axis=1), (below - step + step[0]).max(axis=1)).astype(np.float32)
    farther = len(usual) - np.searchsorted(np.sort(usual), found, side="left")
    return np.stack([found, (1 + farther) / (1 + len(usual))], axis=1)


def held_to_compare(baseline: Baseline, rows: Rows, ends: Sequence[int], settings: DriftSettings) -> None:
    """Fails where `scores_along` says something else than what the check itself does."""
    many = scores_along(baseline, rows, ends, settings)
    for end, quick in zip(ends, many, strict=True):
        first = max(end - int(baseline.history / BAR) - 1, 0)
        windows, _ = compare(baseline, rows.iloc[first : end + 1], settings, scipy_ks, bar=BAR)
        assert np.allclose(quick, [window.score for window in windows]), (end, quick, windows)


def alarms(scores: np.ndarray, threshold: float) -> int:
    found = np.flatnonzero(scores > threshold)
    return 0 if len(found) == 0 else 1 + int((np.diff(found) > APART).sum())
