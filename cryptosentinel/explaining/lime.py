"""LIME (Ribeiro, Singh and Guestrin 2016): a linear model of what a bundle answers around one row."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any, Literal

import numpy as np

from cryptosentinel.bundle import BLEND, Bundle
from cryptosentinel.bundle.inference import Array
from cryptosentinel.errors import UserInputError
from cryptosentinel.explaining.records import DIRECTION_TARGET, LocalModel

SAMPLES, FEATURES = 5_000, 10
_UNITS: dict[str, Literal["log_return", "probability"]] = {BLEND: "log_return", DIRECTION_TARGET: "probability"}


def seed_of(row: Array, digest: str) -> int:
    """The same for the same row and bundle, wherever it is computed."""
    return int.from_bytes(hashlib.sha256(row.astype("<f8").tobytes() + digest.encode()).digest()[:4], "little")


def local_models(bundle: Bundle, background: Array, row: Array, *, seed: int) -> dict[str, LocalModel]:
    """Linear models of the blend's log return, where there is one, and of the probability of a rise, around a row.

    Both are fitted to the bundle's answers for the same 5,000 rows, drawn around the row with the standard deviations
    of the background. A drawn value beyond all of the background's and the row's own counts as the outermost of them:
    the models are asked nothing about volatilities below zero.

    Args:
        bundle: with trained models.
        background: rows (n, features) like those trained on.
        row: shape (features,), finite.
        seed: of the draw.

    Raises:
        UserInputError: not all of the bundle's answers there are finite, or the row lies too far out to draw around it.
    """
    from lime.lime_tabular import LimeTabularExplainer

    lowest, highest = np.minimum(background.min(axis=0), row), np.maximum(background.max(axis=0), row)
    answers: dict[str, Array] = {}

    def ask(drawn: Array, name: str) -> Array:
        if not answers:  # one seed draws the same rows for both: the bundle is asked once
            with np.errstate(over="ignore", invalid="ignore"):
                inference = bundle.infer(drawn.clip(lowest, highest), np.ones(len(drawn)))
                answers[DIRECTION_TARGET] = inference.p_up
                if BLEND in inference.by_model:
                    answers[BLEND] = np.log(inference.by_model[BLEND])
            if not all(np.isfinite(answer).all() for answer in answers.values()):
                raise UserInputError("Around this row forecasts are not finite: its values are far from any market's.")
        return answers[name]

    found = {}
    for name in [BLEND, DIRECTION_TARGET] if bundle.manifest.blend else [DIRECTION_TARGET]:
        explainer = LimeTabularExplainer(  # a new one each time: one that has drawn before draws something else
            background, mode="regression", discretize_continuous=False, sample_around_instance=True, random_state=seed
        )
        try:
            local: Any = explainer.explain_instance(
                row, partial(ask, name=name), num_features=FEATURES, num_samples=SAMPLES
            )
        except ValueError as error:  # rounding leaves no drawn row near one so far out
            raise UserInputError(
                "Around this row no linear model fits: its values are far from any market's."
            ) from error
        found[name] = LocalModel(
            unit=_UNITS[name],
            weights={bundle.manifest.features[at]: float(weight) for at, weight in local.as_map()[1]},
            intercept=float(local.intercept[1]),
            value=float(local.local_pred[0]),
            answer=float(local.predicted_value),
            r_squared=float(local.score),
        )
    return found
