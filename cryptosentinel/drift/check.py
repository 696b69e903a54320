"""The check: the newest features against the champion's baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cryptosentinel.bundle import REFERENCE_FILE, Bundle
from cryptosentinel.config import DriftSettings
from cryptosentinel.drift.adjusting import Adjustment, Array, at_cadence, cadence_of, fit_adjustment
from cryptosentinel.drift.detectors import Answer, Detector, Pair, ask_detector
from cryptosentinel.drift.importance import importances
from cryptosentinel.drift.records import DriftReport, FeatureDrift, Histogram, NotChecked, WindowDrift
from cryptosentinel.drift.stretches import Single, distances, share_as_far, stretches
from cryptosentinel.features import Feature, FeatureSpec
from cryptosentinel.storage import FeatureStore

# The short window's news are what its features' means over these, before it, do not say.
SPANS = (timedelta(hours=6), timedelta(hours=24))
# A window has so many rows at least, and the baseline is so many windows long.
FEWEST_ROWS, FEWEST_WINDOWS = 8, 10
# Of the baseline, one beginning soon after another (`stretches`).
FEWEST_STRETCHES = 40
# Fewer of a window's rows do not speak for it.
ENOUGH_ROWS = 0.8
BINS = 24
# Where histograms end: what lies beyond is in their first and last bin.
TAIL = 0.005


@dataclass(frozen=True)
class _Window:
    """A window, and what the baseline says of it.

    Attributes:
        rows: that it should have.
        rate: the false discovery rate of a check.
        reference: the baseline, adjusted; `moments` are its means and standard deviations.
        usual: by feature, how far the baseline's own stretches are from the rest of it.
    """

    length: timedelta
    rows: int
    rate: float
    adjustment: Adjustment
    reference: pd.DataFrame
    moments: tuple[Array, Array]
    usual: Mapping[str, Single]

    @property
    def judges(self) -> bool:
        """Whether the baseline has enough stretches of its length."""
        return min(map(len, self.usual.values())) >= FEWEST_STRETCHES


@dataclass(frozen=True)
class Baseline:
    """All that a check needs of a baseline: it can be made once and held against many moments.

    Attributes:
        rows: `timestamp` and the features, by time.
        cadence: how far rows usually are apart.
    """

    rows: pd.DataFrame
    cadence: timedelta
    windows: tuple[_Window, ...]

    @property
    def history(self) -> timedelta:
        """How far back from the newest row a check looks."""
        return max(window.length + window.adjustment.past for window in self.windows)


def compared(spec: FeatureSpec) -> list[Feature]:
    """The features that are compared.

    Those that feed models, without the calendar, which only says when the window was, and without lags: the return
    three bars ago is distributed as the return is.
    """
    return [feature for feature in spec.features if feature.feeds_models and feature.group not in {"calendar", "lags"}]


def make_baseline(rows: pd.DataFrame, features: list[Feature], settings: DriftSettings) -> Baseline:
    """Prepares both windows.

    A window is never shorter than `FEWEST_ROWS` rows of the baseline, which for a long training are hours apart, nor
    longer than a tenth of it.

    Args:
        rows: `timestamp` and the features, by time; at least `FEWEST_ROWS * FEWEST_WINDOWS`.
        features: those to compare, from `compared`.
        settings: say how long the windows are.
    """
    rows = rows.reset_index(drop=True)
    cadence = cadence_of(rows)
    longest = len(rows) // FEWEST_WINDOWS * cadence
    short = [feature.name for feature in features if not _looks_far_back(feature)]
    every = [feature.name for feature in features]
    spans = tuple(span for span in SPANS if span <= longest)
    asked = (
        (timedelta(hours=settings.window_hours), settings.short_false_discovery_rate, short, spans),
        (timedelta(days=settings.window_days), settings.false_discovery_rate, every, ()),
    )
    windows = (
        _prepared(rows, names, min(max(length, FEWEST_ROWS * cadence), longest), rate, cadence, levels)
        for length, rate, names, levels in asked
    )
    return Baseline(rows, cadence, tuple(windows))


def _looks_far_back(feature: Feature) -> bool:
    """Of these the short window holds little that is new.

    (What has a long warm-up in the other groups is recursive or a ratio, and new with each bar.)
    """
    return feature.group in {"volatility", "returns"} and feature.warm_up_bars >= 72


def _prepared(
    rows: pd.DataFrame,
    names: list[str],
    length: timedelta,
    rate: float,
    cadence: timedelta,
    spans: tuple[timedelta, ...],
) -> _Window:
    adjustment = fit_adjustment(rows, names, window=length, cadence=cadence, spans=spans)
    reference = adjustment(rows)
    count = max(round(length / cadence), FEWEST_ROWS)
    starts = stretches(pd.DatetimeIndex(reference.index), count, cadence)
    usual = {name: distances(reference[name].to_numpy(), starts, count) for name in names}
    values = reference.to_numpy()
    spread = values.std(axis=0)
    moments = values.mean(axis=0), np.where(spread > 0, spread, 1.0)
    return _Window(length, count, rate, adjustment, reference, moments, usual)


def compare(
    baseline: Baseline,
    rows: pd.DataFrame,
    settings: DriftSettings,
    detector: Detector,
    *,
    bar: timedelta,
    weights: Mapping[str, float] | None = None,
) -> tuple[list[WindowDrift], Answer]:
    """Holds the newest rows against a baseline.

    Args:
        baseline: from `make_baseline`.
        rows: complete ones, `timestamp` and the features, a bar apart, by time; `Baseline.history` of them, or fewer.
        settings: the limits.
        detector: what compares the samples.
        bar: how far rows are apart.
        weights: of the features; none: all alike.

    Returns:
        A verdict a window, without those of which too few rows are there, and what the detector said.
    """
    newest = rows["timestamp"].iloc[-1].to_pydatetime()
    rows = at_cadence(rows, newest, bar, baseline.cadence)
    samples = []
    for window in baseline.windows:
        current = window.adjustment(rows)
        current = current[current.index > newest - window.length].tail(window.rows)
        if window.judges and len(current) >= ENOUGH_ROWS * window.rows:
            samples.append((window, current))
    answer = detector([Pair(window.reference, current) for window, current in samples])
    windows = [
        _judged(window, current, table, settings, weights)
        for (window, current), table in zip(samples, answer.tables, strict=True)
    ]
    return windows, answer


def _judged(
    window: _Window,
    current: pd.DataFrame,
    table: pd.DataFrame,
    settings: DriftSettings,
    weights: Mapping[str, float] | None,
) -> WindowDrift:
    from scipy.stats import false_discovery_control

    names = [str(name) for name in current]
    statistics, naive = table["statistic"].to_numpy(), table["p_value"].to_numpy()
    shares = np.array([share_as_far(found, window.usual[name]) for name, found in zip(names, statistics, strict=True)])
    corrected = false_discovery_control(shares)
    weigh = np.array([weights.get(name, 0.0) for name in names]) if weights else np.ones(len(names))
    weigh = weigh / weigh.sum() if weigh.sum() > 0 else np.full(len(names), 1 / len(names))
    mean, spread = window.moments
    effects = (current.to_numpy().mean(axis=0) - mean) / spread
    features = [
        FeatureDrift(
            feature=name,
            weight=weigh[number],
            statistic=statistics[number],
            p_value=shares[number],
            corrected=corrected[number],
            naive_p_value=naive[number],
            effect=effects[number],
            drifted=bool(corrected[number] <= window.rate and statistics[number] >= settings.least_distance),
        )
        for number, name in enumerate(names)
    ]
    features.sort(key=lambda each: (not each.drifted, each.corrected, -each.statistic))
    return WindowDrift(
        hours=window.length / timedelta(hours=1),
        rows=len(current),
        stretches=len(next(iter(window.usual.values()))),
        rate=window.rate,
        features=features,
    )


def _histograms(baseline: pd.DataFrame, rows: pd.DataFrame, windows: list[WindowDrift]) -> list[Histogram]:
    """Of the features as they are: what was adjusted means nothing to people."""
    newest = rows["timestamp"].iloc[-1]
    spans = [rows[rows["timestamp"] > newest - timedelta(hours=window.hours)] for window in windows]
    found = []
    for name in baseline.columns.drop("timestamp"):
        low, high = np.quantile(baseline[name].to_numpy(np.float64), [TAIL, 1 - TAIL])
        edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
        counts = [
            np.histogram(np.clip(sample[name].to_numpy(np.float64), edges[0], edges[-1]), edges)[0].tolist()
            for sample in (baseline, *spans)
        ]
        rounded = [float(f"{edge:.6g}") for edge in edges]
        found.append(Histogram(feature=str(name), edges=rounded, baseline=counts[0], windows=counts[1:]))
    return found


def check_drift(
    store: FeatureStore, spec: FeatureSpec, asset: str, bundle: Path, settings: DriftSettings, *, version: int = 0
) -> DriftReport | NotChecked:
    """Holds the newest features of a store against the baseline in a bundle. Nothing is written or moved.

    Args:
        store: has the features.
        spec: of the features.
        asset: whose.
        bundle: the champion's folder.
        settings: of the check.
        version: the champion's, for the report.

    Raises:
        BundleDamagedError: the bundle is not as it was written.
    """
    champion = Bundle.load(bundle)
    newest = store.last_timestamp(asset, spec.hash)
    reference = _reference(champion, spec)
    if isinstance(reference, NotChecked):
        return reference
    if newest is None:
        return NotChecked(reason="there are no features")
    features = compared(spec)
    names = [feature.name for feature in features]
    baseline = make_baseline(reference[["timestamp", *names]], features, settings)
    rows = store.read_features(asset, spec.hash, newest - baseline.history, columns=names)
    rows = rows[["timestamp", *names]].dropna().reset_index(drop=True)
    weights = importances(champion, reference)
    windows: list[WindowDrift] = []
    answer: Answer | None = None
    if len(rows):
        detector = partial(ask_detector, settings=settings)
        windows, answer = compare(baseline, rows, settings, detector, bar=spec.interval.delta, weights=weights)
    if not windows or answer is None:
        return NotChecked(reason=f"too few complete rows of features before {newest:%Y-%m-%d %H:%M} UTC")
    return DriftReport(
        asset=asset,
        version=version,
        data_end=newest,
        detector=answer.detector,
        note=answer.note,
        reference_rows=len(reference),
        reference_start=reference["timestamp"].iloc[0].to_pydatetime(),
        reference_end=reference["timestamp"].iloc[-1].to_pydatetime(),
        weighted=bool(weights),
        threshold=settings.threshold,
        windows=windows,
        histograms=_histograms(baseline.rows, rows, windows),
    )


def _reference(champion: Bundle, spec: FeatureSpec) -> pd.DataFrame | NotChecked:
    manifest = champion.manifest
    if manifest.spec_hash != spec.hash:
        return NotChecked(reason="the champion was trained on other features")
    if REFERENCE_FILE not in manifest.files:
        return NotChecked(reason="no baseline yet, the champion has learnt nothing")
    reference = pd.read_parquet(champion.file(REFERENCE_FILE))
    if "timestamp" not in reference:
        return NotChecked(reason="the champion's baseline says not when its rows were; the next champion's will")
    if len(reference) < FEWEST_ROWS * FEWEST_WINDOWS:
        return NotChecked(reason=f"the champion's baseline has {len(reference)} rows, too few to compare with")
    return reference
