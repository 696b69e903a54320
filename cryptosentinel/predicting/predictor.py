"""Who answers for a row of features: a server somewhere, or a bundle in this process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle import Bundle, Inference


@dataclass(frozen=True)
class Rows:
    """What a predictor is asked: n rows.

    Attributes:
        close: the last price of each row, shape (n,).
        volatility: the spec's scale feature (`features.SCALE_FEATURE`) of each row, shape (n,).
        features: the spec's model features in its order, shape (n, features); None where they are not warm yet: then
            the random walk answers.
        spec_hash: the spec that they were computed by.
    """

    close: NDArray[np.float64]
    volatility: NDArray[np.float64]
    features: NDArray[np.float64] | None
    spec_hash: str


@dataclass(frozen=True)
class Answer:
    """A predictor's answer, and which bundle gave it.

    Attributes:
        inference: one forecast a row.
        bundle_version: in the registry.
        horizon_bars: how far ahead that bundle looks.
        data_end: when the last row opens that it was trained and measured on; None for version 0, which has seen none.
    """

    inference: Inference
    bundle_version: int
    horizon_bars: int
    data_end: datetime | None

    def of(self, part: slice) -> Answer:
        """The answer for some of the rows."""
        return replace(self, inference=self.inference.of(part))


class Predictor(Protocol):
    """Answers for rows of features."""

    def infer(self, rows: Rows) -> Answer:
        """Forecasts for the rows.

        Raises:
            ServingError: the predictor is away, or answers something that is not a forecast.
            SpecMismatchError: its bundle was built for other features.
        """


class BundlePredictor:
    """A bundle in this process as a `Predictor`."""

    def __init__(self, bundle: Bundle, version: int) -> None:
        self.bundle = bundle
        self.version = version

    def infer(self, rows: Rows) -> Answer:
        """See `Predictor.infer`."""
        return answer_with(self.bundle, self.version, rows)


def answer_with(bundle: Bundle, version: int, rows: Rows) -> Answer:
    """A bundle's answer for rows; where they have no features, the random walk's.

    Raises:
        SpecMismatchError: the bundle was built for other features.
    """
    bundle.check_spec(rows.spec_hash)
    features = rows.features
    if features is None:
        features = np.full((len(rows.close), len(bundle.manifest.features)), np.nan)
        features[:, bundle.manifest.features.index(bundle.manifest.scale_feature)] = rows.volatility
    manifest = bundle.manifest
    return Answer(bundle.infer(features, rows.close), version, manifest.horizon_bars, manifest.data_end)
