"""A bundle's models asked the naive way: scikit-learn's and XGBoost's own `predict`, one after another."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryptosentinel.bundle import BLEND, DIRECTION, RANDOM_WALK, REGIME, Bundle, load_native

Answers = dict[str, np.ndarray]


class NaiveModels:
    """The native models of a bundle folder, and what a simple model server makes of their answers."""

    def __init__(self, path: Path) -> None:
        bundle = Bundle.load(path)
        self.manifest = bundle.manifest
        self.calibration = bundle.calibration
        self.quantiles = bundle.quantiles
        self._models = {name: load_native(path / e.file) for name, e in bundle.manifest.models.items() if e.file}

    def predict_calls(self, X: np.ndarray) -> Answers:
        """Each model's answer."""
        return {
            name: model.predict_proba(X)[:, 1] if name == DIRECTION else model.predict(X)
            for name, model in self._models.items()
        }

    def forecast(self, features: np.ndarray, close: np.ndarray) -> Answers:
        """What a server answers: less than ours does (no domain, no flags), so that what it lacks speaks for it."""
        manifest = self.manifest
        raw = self.predict_calls(features.astype(np.float32))
        scale = features[:, manifest.features.index(manifest.scale_feature)] * np.sqrt(manifest.horizon_bars)
        models = manifest.models
        returns = {
            name: raw[name].reshape(-1) * (scale if models[name].target == "standardised" else 1.0)
            for name in manifest.candidates
            if name != RANDOM_WALK
        }
        blend = np.sum([weight * returns[name] for name, weight in manifest.blend.items()], axis=0)
        volatilities = [raw[name].reshape(-1) for name, entry in models.items() if entry.target == "log_volatility"]
        sigma = np.exp(np.mean(volatilities, axis=0)) if volatilities else scale
        log_return = manifest.shrinkage * blend if manifest.champion == BLEND else np.zeros(len(close))
        return {
            "predicted_price": close * np.exp(log_return),
            "log_return": log_return,
            "sigma": sigma,
            "quantiles": close[:, None] * np.exp(self.quantiles.log_returns(log_return, sigma)),
            "p_up": self.calibration.apply(raw[DIRECTION].astype(np.float64)),
            "regime": raw[REGIME].astype(np.float64),
            **{f"price_{name}": close * np.exp(value) for name, value in returns.items()},
        }
