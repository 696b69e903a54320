"""A question whose answer is known: does the service answer with the bundle that it was told to serve?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cryptosentinel.bundle import REFERENCE_FILE, Bundle
from cryptosentinel.errors import RolloutError, ServingError, SpecMismatchError
from cryptosentinel.predicting import Answer, BundlePredictor, Rows
from cryptosentinel.storage import RegisteredModel
from serving.client import ServedPredictor

if TYPE_CHECKING:
    from cryptosentinel.config import ServingSettings

ROWS = 8
# Of prices; another CPU adds up single-precision numbers in another order.
TOLERANCE = 1e-5
# Of the probability of a rise.
P_TOLERANCE = 1e-3
# After the last old pod has left the Service, for all nodes to know that.
PATIENCE_S = 30.0
PAUSE_S = 0.5


class Trial:
    """Rows, and a version's own answers for them.

    Attributes:
        questions: rows with features, and the same without.

    Args:
        model: the version.
        path: its bundle on this machine.

    Raises:
        BundleError: the bundle is damaged or cannot answer.
    """

    def __init__(self, model: RegisteredModel, path: Path) -> None:
        bundle = Bundle.load(path)
        self._model = model
        self.questions = _questions(bundle)
        own = BundlePredictor(bundle, model.version)
        self._answers = [own.infer(rows) for rows in self.questions]

    def hold(self, url: str, serving: ServingSettings) -> None:
        """Asks the predictor at `url`, and compares.

        Args:
            url: its address.
            serving: its model's name, and how long one answer may take.

        Raises:
            RolloutError: it answers with another bundle, or something else than the bundle itself, or not.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                # A new connection each time: one that is kept stays with a pod that is about to end.
                with ServedPredictor(url, serving.model_name, timeout_s=serving.timeout_s) as predictor:
                    problem = self._ask(predictor)
            except (ServingError, SpecMismatchError) as error:
                problem = error.message
            if not problem:
                return
            if time.monotonic() > deadline:
                raise RolloutError(f"The trial of version {self._model.version} at {url} failed: {problem}")
            time.sleep(PAUSE_S)

    def _ask(self, predictor: ServedPredictor) -> str:
        """What is wrong with what it answers; empty where nothing is."""
        info = predictor.info()
        if info.digest != self._model.digest:
            return f"it serves version {info.bundle_version} (bundle {info.digest[:8] or 'unknown'})."
        for rows, own in zip(self.questions, self._answers, strict=True):
            if problem := _difference(own, predictor.infer(rows)):
                return problem
        return ""


def _questions(bundle: Bundle) -> list[Rows]:
    """Rows that the bundle was trained on, where it has some, else seeded noise; and rows that are not warm."""
    import pandas as pd

    manifest = bundle.manifest
    if REFERENCE_FILE in manifest.files:
        frame = pd.read_parquet(bundle.file(REFERENCE_FILE))[manifest.features]
        features = frame.to_numpy(np.float64)[:ROWS]
    else:
        noise = np.random.default_rng(0)
        features = noise.normal(size=(ROWS, len(manifest.features)))
        features[:, manifest.features.index(manifest.scale_feature)] = noise.uniform(0.0005, 0.005, ROWS)
    close = np.linspace(100.0, 200.0, len(features))
    volatility = features[:, manifest.features.index(manifest.scale_feature)]
    return [
        Rows(close=close, volatility=volatility, features=features, spec_hash=manifest.spec_hash),
        Rows(close=close, volatility=volatility, features=None, spec_hash=manifest.spec_hash),
    ]


def _difference(own: Answer, served: Answer) -> str:
    ours, theirs = own.inference, served.inference
    for name in ("predicted_price", "quantiles"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if not np.allclose(mine, other, rtol=TOLERANCE, atol=0.0):
            worst = float(np.nanmax(np.abs(other / mine - 1)))
            return f"its {name} are up to {worst:.2g} off what the bundle itself answers for the same rows."
    if not np.allclose(ours.p_up, theirs.p_up, rtol=0.0, atol=P_TOLERANCE):
        worst = float(np.nanmax(np.abs(theirs.p_up - ours.p_up)))
        return f"its p_up is up to {worst:.2g} off what the bundle itself answers for the same rows."
    return ""
