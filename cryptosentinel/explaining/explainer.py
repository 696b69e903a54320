"""Explains the answers of one bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.bundle import BACKGROUND_FILE, BLEND, DIRECTION, RANDOM_WALK, Bundle, Inference, load_native
from cryptosentinel.bundle.inference import Array
from cryptosentinel.bundle.manifest import MANIFEST, file_digest
from cryptosentinel.errors import BundleDamagedError, BundleError, UserInputError
from cryptosentinel.explaining.lime import local_models, seed_of
from cryptosentinel.explaining.models import Rows, take_apart
from cryptosentinel.explaining.records import (
    DIRECTION_TARGET,
    FORECAST,
    SPREAD_TARGET,
    Attribution,
    Explanation,
    Importances,
    LocalModel,
    Unit,
)

# How far a model's answer may be from what is served: absolute, and as a share of all that is added up in it.
_ABSOLUTE, _RELATIVE = 1e-6, 1e-5
# Beyond these a price's logarithm, or what a feature adds to it, is no number any more.
_LOWEST, _HIGHEST = 1e-200, 1e200


class _Parts(NamedTuple):
    """A target's base of each row, shape (n,), and contributions, shape (n, features)."""

    unit: Unit
    base: Array
    contributions: Array

    def times(self, factor: Array | float) -> _Parts:
        by_row = np.reshape(factor, (-1, 1))
        return _Parts(self.unit, self.base * by_row[:, 0], self.contributions * by_row)


class Explainer:
    """Explains what one bundle answers.

    Making one loads its native models and asks for everything once, so that the first row is as fast as any. Nothing is
    changed afterwards: threads may share it.

    Attributes:
        bundle: that is explained.
        digest: sha256 of its manifest.
        importances: of its features, over its background rows.

    Raises:
        BundleDamagedError: the bundle lacks a model's native form, or the background.
        BundleError: it holds a model that cannot be explained.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.digest = file_digest(bundle.path / MANIFEST)
        trained = {name: entry for name, entry in manifest.models.items() if name != RANDOM_WALK}
        rows = np.empty((0, len(manifest.features)), np.float32)
        if trained:
            rows = pd.read_parquet(bundle.file(BACKGROUND_FILE))[manifest.features].to_numpy(np.float32)
        explained = {name: entry for name, entry in trained.items() if entry.target != "regime"}
        if lacking := [name for name, entry in explained.items() if not entry.file]:
            raise BundleDamagedError(f"Bundle {bundle.path} has no native form of {', '.join(lacking)} to explain.")
        self._models = {
            name: take_apart(load_native(bundle.file(entry.file)), rows) for name, entry in explained.items()
        }
        self._standardised = {name for name, entry in explained.items() if entry.target == "standardised"}
        self._candidates = [name for name in manifest.candidates if name != RANDOM_WALK]
        self._spread = [name for name, entry in explained.items() if entry.target == "log_volatility"]
        self._scale_column = manifest.features.index(manifest.scale_feature)
        self._background = rows.astype(np.float64)
        moving = self._background[:, self._scale_column]
        moving = moving[moving > 0]
        self._usual_scale = float(np.exp(np.log(moving).mean())) if len(moving) else 1.0
        self.importances = self._measured(rows)
        if trained:
            self.explain(self._background[0], 1.0, lime=True)

    def explain(self, features: Array, close: float, *, lime: bool = False) -> Explanation:
        """Why the bundle answers for a row what it answers.

        Args:
            features: shape (features,), in the manifest's order.
            close: the last price.
            lime: whether to fit linear models around the row too; that takes some hundred times as long.

        Raises:
            UserInputError: the row is not warm (a feature is not finite), is no row of this bundle's features, or lies
                so far out that its forecast is not finite.
            BundleError: the bundle's native models answer something else than what it serves.
        """
        row = self._checked(features, close)
        inference = self._inferred(row, close)
        domain = self.bundle.domain
        widening = float(domain.widening(inference.dissimilarity)[0]) if domain else 1.0
        parts = self._take_apart(row[None].astype(np.float32), row[[self._scale_column]])
        targets = {
            name: self._attribution(name, found, _served(name, inference, close, widening), close)
            for name, found in parts.items()
        }
        manifest = self.bundle.manifest
        numbers = ("predicted_price", "log_return", "sigma", "p_up", "confidence", "dissimilarity")
        bounds = ("lower_80", "upper_80", "lower_95", "upper_95")
        return Explanation(
            bundle_digest=self.digest,
            asset=manifest.asset,
            currency=manifest.currency,
            interval=manifest.interval,
            horizon_bars=manifest.horizon_bars,
            champion=manifest.champion,
            shrinkage=manifest.shrinkage,
            close=close,
            direction=str(inference.direction[0]),
            regime=str(inference.regime[0]),
            outlying=bool(inference.outlying[0]),
            widening=widening,
            features=dict(zip(manifest.features, row.tolist(), strict=True)),
            targets=targets,
            lime=self._around(row) if lime else None,
            **{name: float(getattr(inference, name)[0]) for name in (*numbers, *bounds)},
        )

    def _checked(self, features: Array, close: float) -> Array:
        names, row = self.bundle.manifest.features, np.asarray(features, dtype=np.float64)
        if row.shape != (len(names),):
            raise UserInputError(f"A row has the shape {row.shape}, not ({len(names)},).")
        cold = ~(np.abs(row) <= np.finfo(np.float32).max)  # models compute in single precision
        if cold.any():
            raise UserInputError(
                f"The feature '{names[int(np.argmax(cold))]}' is not a finite number, so that no model is asked.",
                remedy="The random walk answers for such a row: there is nothing to explain until it is warm.",
            )
        if not _LOWEST <= close <= _HIGHEST:
            raise UserInputError(f"The close is {close}, and no price of any market.")
        if row[self._scale_column] < 0:
            raise UserInputError(f"The feature '{names[self._scale_column]}' is a volatility, and cannot be below 0.")
        return row

    def _inferred(self, row: Array, close: float) -> Inference:
        with np.errstate(over="ignore", invalid="ignore"):
            answer = self.bundle.infer(row[None], np.array([close]))
        prices = np.array([answer.predicted_price, *answer.by_model.values()])
        known = (prices >= _LOWEST).all() and (prices <= _HIGHEST).all() and np.isfinite(answer.quantiles).all()
        # Far enough from any market, models say a volatility whose logarithm single precision cannot give back.
        if not known or (self._spread and not answer.sigma[0] >= _LOWEST):
            raise UserInputError("The row has no finite forecast: its values are far from any market's. Check them.")
        return answer

    def _take_apart(self, rows: Rows, scale: Array) -> dict[str, _Parts]:
        """Every target's parts: rows (n, features), and the scale feature in full precision, shape (n,)."""
        manifest, count = self.bundle.manifest, len(rows)
        nothing = _Parts("log_return", np.zeros(count), np.zeros(rows.shape))
        unit = scale * math.sqrt(manifest.horizon_bars)
        candidates = {}
        for name in self._candidates:
            found = self._ask("log_return", [name], rows)
            candidates[name] = found.times(unit) if name in self._standardised else found
        targets = {FORECAST: nothing}
        if manifest.blend:
            weighted = [candidates[name].times(weight) for name, weight in manifest.blend.items()]
            targets[BLEND] = blend = _summed("log_return", weighted)
            if manifest.champion == BLEND:
                targets[FORECAST] = blend.times(manifest.shrinkage)
        targets |= candidates
        known = DIRECTION in self._models
        targets[DIRECTION_TARGET] = (
            self._ask("log_odds", [DIRECTION], rows) if known else nothing._replace(unit="log_odds")
        )
        if self._spread:
            targets[SPREAD_TARGET] = self._ask("log_volatility", self._spread, rows)
        elif (scale >= np.finfo(np.float64).tiny).all():
            contributions = np.zeros(rows.shape)
            contributions[:, self._scale_column] = np.log(scale / self._usual_scale)
            usual = math.log(self._usual_scale * math.sqrt(manifest.horizon_bars))
            targets[SPREAD_TARGET] = _Parts("log_volatility", np.full(count, usual), contributions)
        return targets

    def _ask(self, unit: Unit, names: Sequence[str], rows: Rows) -> _Parts:
        """The parts of models' mean answer."""
        found = [self._models[name](rows) for name in names]
        return _summed(unit, [_Parts(unit, np.full(len(rows), base), added) for base, added in found]).times(
            1 / len(names)
        )

    def _attribution(self, name: str, parts: _Parts, served: float | None, close: float) -> Attribution:
        base, added = float(parts.base[0]), parts.contributions[0]
        value = base + float(added.sum())
        if served is not None:
            # Single precision rounds, here and in what is served: the base carries the difference.
            tolerance = _ABSOLUTE + _RELATIVE * (abs(base) + float(np.abs(added).sum()))
            if not abs(served - value) <= tolerance:
                raise BundleError(
                    f"Bundle {self.bundle.path} serves {served!r} as {name}, and its native models say {value!r}.",
                    remedy="Such a bundle cannot be explained: train another one.",
                )
            base, value = base + served - value, served
        contributions = _by_size(self.bundle.manifest.features, added)
        if parts.unit != "log_return":
            return Attribution(unit=parts.unit, base=base, value=value, contributions=contributions)
        per_return = close * (math.expm1(value) / value if value else 1.0)
        return Attribution(
            unit=parts.unit,
            base=base,
            value=value,
            contributions=contributions,
            price_base=base * per_return,
            price_contributions={feature: each * per_return for feature, each in contributions.items()},
        )

    def _around(self, row: Array) -> dict[str, LocalModel]:
        if not self._models:
            return {}
        return local_models(self.bundle, self._background, row, seed=seed_of(row, self.digest))

    def _measured(self, rows: Rows) -> Importances:
        if not len(rows):
            return Importances(rows=0, units={}, targets={})
        parts = self._take_apart(rows, self._background[:, self._scale_column])
        sizes = {name: np.abs(found.contributions).mean(axis=0) for name, found in parts.items()}
        return Importances(
            rows=len(rows),
            units={name: found.unit for name, found in parts.items()},
            targets={name: _by_size(self.bundle.manifest.features, size) for name, size in sizes.items()},
        )


def _summed(unit: Unit, parts: Sequence[_Parts]) -> _Parts:
    return _Parts(
        unit, np.sum([each.base for each in parts], axis=0), np.sum([each.contributions for each in parts], axis=0)
    )


def _served(name: str, inference: Inference, close: float, widening: float) -> float | None:
    """What the bundle answers for a target; None of what only its own models know, which is the classifier's margin."""
    if name == FORECAST:
        return float(inference.log_return[0])
    if name == SPREAD_TARGET:
        return math.log(inference.sigma[0] / widening)
    return math.log(inference.by_model[name][0] / close) if name in inference.by_model else None


def _by_size(features: Sequence[str], values: NDArray[np.float64]) -> dict[str, float]:
    order = np.argsort(-np.abs(values), kind="stable")
    return {features[at]: float(values[at]) for at in order}
