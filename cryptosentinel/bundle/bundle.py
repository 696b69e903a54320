"""A model bundle: written once, verified at every load, answering for rows of features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle.answering import Models
from cryptosentinel.bundle.calibration import Calibration
from cryptosentinel.bundle.domain import Domain
from cryptosentinel.bundle.files import (
    CALIBRATION_FILE,
    DIRECTION,
    DOMAIN_FILE,
    ONNX_FILE,
    QUANTILES_FILE,
    REGIME,
    TABLES_FILE,
    onnx_session,
    read_table,
    read_verified,
)
from cryptosentinel.bundle.inference import UNKNOWN_REGIME, Array, Inference, Mask, confidences, directions
from cryptosentinel.bundle.manifest import BLEND, MANIFEST, RANDOM_WALK, Manifest
from cryptosentinel.bundle.one_row import RowForecast, RowRule
from cryptosentinel.bundle.quantiles import QuantileTable
from cryptosentinel.bundle.tables import Tables
from cryptosentinel.errors import BundleDamagedError, SpecMismatchError


class Bundle:
    """A loaded bundle. It holds no lock and no state: threads may share it.

    Attributes:
        path: its folder.
        manifest: what it says about itself.
        quantiles: of its standardised errors.
        calibration: from its classifier's score to the probability of a rise.
        domain: what its models were trained on; None where it has none.
        priced: whose prices it answers: the candidates', and where there is one their blend's.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        quantiles: QuantileTable,
        calibration: Calibration,
        domain: Domain | None,
        answers: Models,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.quantiles = quantiles
        self.calibration = calibration
        self.domain = domain
        self._models = answers
        # What a row's answer would else look up anew each time.
        models = manifest.models
        self._scale_column = manifest.features.index(manifest.scale_feature)
        self._candidates = manifest.candidates
        self.priced = [*self._candidates, BLEND] if manifest.blend else self._candidates
        self._root_horizon = math.sqrt(manifest.horizon_bars)
        self._row_rule = RowRule(manifest, quantiles, calibration, domain, answers.names)
        self._weights = np.array([[manifest.blend.get(name, 0.0)] for name in self._candidates])
        self._standardised = np.array([[models[name].target == "standardised"] for name in self._candidates])
        self._volatility_models = [name for name, entry in models.items() if entry.target == "log_volatility"]
        self._regimes = np.array([*manifest.regimes, UNKNOWN_REGIME])
        self._champions = np.array([RANDOM_WALK, manifest.champion])

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Reads and verifies a bundle folder.

        Raises:
            BundleDamagedError: a file is missing, or its digest is not the manifest's, or the manifest is no manifest
                or contradicts itself.
            BundleFormatError: this release does not know the bundle's format version.
        """
        manifest = read_verified(path)
        session = onnx_session(path, manifest) if ONNX_FILE in manifest.files else None
        domain = read_table(path, DOMAIN_FILE, Domain) if DOMAIN_FILE in manifest.files else None
        if domain is not None and len(domain.means) != len(manifest.features):
            raise BundleDamagedError(
                f"Bundle {path}: {DOMAIN_FILE} is of {len(domain.means)} features, not {len(manifest.features)}."
            )
        tables = read_table(path, TABLES_FILE, Tables) if TABLES_FILE in manifest.files else None
        outputs = set() if session is None else {output.name for output in session.get_outputs()}
        if tables is not None and tables.names() != outputs:
            raise BundleDamagedError(f"Bundle {path}: {TABLES_FILE} is of other models than {ONNX_FILE}.")
        return cls(
            path,
            manifest,
            read_table(path, QUANTILES_FILE, QuantileTable),
            read_table(path, CALIBRATION_FILE, Calibration),
            domain,
            Models(session, tables, domain),
        )

    def file(self, name: str) -> Path:
        """Where a file of this bundle lies; only what the manifest lists was verified.

        Raises:
            BundleDamagedError: the manifest does not list it.
        """
        if name not in self.manifest.files:
            raise BundleDamagedError(f"Bundle {self.path}: {MANIFEST} lists no {name}.")
        return self.path / name

    def by_graph_alone(self) -> Bundle:
        """The same bundle without its tables, as any other runtime would serve it."""
        models = Models(self._models.session, None, self.domain)
        return Bundle(self.path, self.manifest, self.quantiles, self.calibration, self.domain, models)

    def check_spec(self, spec_hash: str) -> None:
        """Refuses features of another spec.

        Raises:
            SpecMismatchError: the hashes differ.
        """
        if spec_hash != self.manifest.spec_hash:
            raise SpecMismatchError(
                f"The bundle was built for features {self.manifest.spec_hash[:12]}, not {spec_hash[:12]}.",
                remedy="Train a bundle for today's features, or serve the release that made this one.",
            )

    def infer(self, features: Array, close: Array) -> Inference:
        """Forecasts for rows of features.

        The forecast is the close times exp(shrinkage * blend), or the close itself where the champion is the random
        walk. Its quantiles are those of the table, scaled by sigma: exp of the mean answer of the volatility models, or
        the scale feature times sqrt(horizon) where there are none. An outlying row's sigma is widened by as much as its
        dissimilarity is beyond the threshold, three times at most.

        A row whose model inputs are not all finite (not warm yet, after a gap) gets the random walk's answer with a
        sigma from the scale feature, and NaN quantiles where that is unknown as well.

        A row's answer is the same to the last bit, whatever other rows are asked with it.

        Args:
            features: shape (n, len(manifest.features)), in that order.
            close: the last price of each row, shape (n,).
        """
        with np.errstate(over="ignore"):  # what float32 cannot hold is not finite, and is dealt with as such
            rows = features.astype(np.float32)
        warm: Mask = np.logical_and.reduce(np.isfinite(rows), axis=1)
        all_warm = bool(np.logical_and.reduce(warm))
        if not all_warm:
            rows[~warm] = 0.0
        if all_warm and len(rows) == 1:
            return self._infer_row(rows[0], features[0, self._scale_column].item(), close.item()).inference(self.priced)
        raw = self._models.of_rows(rows)
        scale = features[:, self._scale_column] * self._root_horizon
        sigma, dissimilarity, outlying = self._spread(rows, raw, scale, None if all_warm else ~warm)
        returns = self._returns(raw, scale)
        p_up = self.calibration.apply(raw[DIRECTION]) if DIRECTION in raw else np.full(len(close), 0.5)
        regime = raw[REGIME] if REGIME in raw else np.full(len(close), -1)
        if not all_warm:
            returns[:, ~warm] = 0.0
            p_up[~warm], regime[~warm] = 0.5, -1  # the last name is that of the unknown regime
        by_model = dict(zip(self._candidates, close * np.exp(returns), strict=True))
        log_return = np.zeros(len(close))
        if self.manifest.blend:
            blend = np.add.reduce(self._weights * returns, axis=0)  # in order, as for a row alone
            by_model[BLEND] = close * np.exp(blend)
            if self.manifest.champion == BLEND:
                log_return = self.manifest.shrinkage * blend
        return Inference(
            predicted_price=close * np.exp(log_return),
            log_return=log_return,
            sigma=sigma,
            quantiles=close[:, None] * np.exp(self.quantiles.log_returns(log_return, sigma)),
            p_up=p_up,
            direction=directions(p_up),
            confidence=confidences(p_up),
            regime=self._regimes[regime],
            champion=self._champions[warm.astype(np.intp)],
            by_model=by_model,
            dissimilarity=dissimilarity,
            outlying=outlying,
        )

    def infer_row(self, features: Sequence[float], close: float) -> RowForecast:
        """As `infer`, for one row of features that are all finite in single precision, in plain numbers."""
        return self._infer_row(np.array(features, dtype=np.float32), features[self._scale_column], close)

    def _infer_row(self, row: NDArray[np.float32], scale: float, close: float) -> RowForecast:
        return self._row_rule(*self._models.of_row(row), scale * self._root_horizon, close)

    def _returns(self, raw: dict[str, NDArray[Any]], scale: Array) -> Array:
        """Each candidate's log return, shape (candidates, n)."""
        still = np.zeros(len(scale))
        said: Array = np.array([still if name == RANDOM_WALK else raw[name] for name in self._candidates], np.float64)
        return np.where(self._standardised, said * scale, said)

    def _spread(
        self, rows: NDArray[np.float32], raw: dict[str, NDArray[Any]], scale: Array, cold: Mask | None
    ) -> tuple[Array, Array, Mask]:
        """Sigma, dissimilarity, and which rows are outlying; `cold` are the rows that are not warm, if any."""
        sigma = scale
        if self._volatility_models:
            said = np.array([raw[name] for name in self._volatility_models], dtype=np.float64)
            sigma = np.exp(np.add.reduce(said, axis=0) / len(self._volatility_models))
            if cold is not None:
                sigma[cold] = scale[cold]
        if self.domain is None:
            return sigma, np.zeros(len(scale)), np.zeros(len(scale), dtype=np.bool_)
        dissimilarity = self.domain.dissimilarity(rows)
        if cold is not None:
            dissimilarity[cold] = 0.0
        outlying = dissimilarity > self.domain.threshold
        if np.logical_or.reduce(outlying):
            sigma = sigma * self.domain.widening(dissimilarity)
        return sigma, dissimilarity, outlying
