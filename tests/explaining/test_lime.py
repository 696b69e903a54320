"""LIME gives the same answer twice, and the one it should."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cryptosentinel.bundle import BLEND, Bundle
from cryptosentinel.explaining import Explainer
from cryptosentinel.explaining.lime import seed_of
from tests.explaining.builders import CLOSE, odd_rows, with_manifest
from tests.forecasting.builders import make_dataset


def warm_row(at: int = 0) -> np.ndarray:
    return make_dataset().X[at].astype(np.float64)


def test_the_same_request_gets_the_same_answer_from_any_process(explainer: Explainer, loud: Bundle) -> None:
    first = explainer.explain(warm_row(), CLOSE, lime=True).lime
    np.random.default_rng().normal()
    explainer.explain(warm_row(1), CLOSE, lime=True)
    assert explainer.explain(warm_row(), CLOSE, lime=True).lime == first
    assert Explainer(loud).explain(warm_row(), CLOSE, lime=True).lime == first


def test_another_row_or_bundle_draws_other_rows() -> None:
    row = np.arange(3.0)
    assert seed_of(row, "one") == seed_of(row.copy(), "one")
    assert len({seed_of(row, "one"), seed_of(row, "other"), seed_of(row + 1e-9, "one")}) == 3


def test_it_is_not_asked_for_unless_it_is(explainer: Explainer) -> None:
    assert explainer.explain(warm_row(), CLOSE).lime is None


def test_the_bundle_is_asked_once_for_both_and_nothing_beyond_what_it_knows(
    explainer: Explainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    infer = Bundle.infer
    monkeypatch.setattr(Bundle, "infer", lambda self, X, close: asked.append(X) or infer(self, X, close))
    lime = explainer.explain(warm_row(), CLOSE, lime=True).lime
    assert lime.keys() == {BLEND, "p_up"}
    _, drawn = asked
    assert drawn.shape == (5_000, make_dataset().X.shape[1])
    known = np.vstack([make_dataset().X, warm_row()])
    assert (drawn >= known.min(axis=0)).all()
    assert (drawn <= known.max(axis=0)).all()
    assert (np.ptp(drawn, axis=0) > 0).all()


def test_it_answers_for_the_row_itself(explainer: Explainer) -> None:
    explanation = explainer.explain(warm_row(), CLOSE, lime=True)
    # Among others a row is rounded in another order than alone.
    assert explanation.lime[BLEND].answer == pytest.approx(explanation.targets[BLEND].value, abs=1e-7)
    assert explanation.lime["p_up"].answer == pytest.approx(explanation.p_up, abs=1e-4)


def test_a_model_that_is_linear_around_the_row_is_found(loud: Bundle, tmp_path: Path) -> None:
    """Ridge alone, in a row in the middle of what it was clipped to: weights are its slopes, but for the scale's."""
    weights = {name: float(name == "ridge") for name in loud.manifest.blend}
    explainer = Explainer(with_manifest(loud, tmp_path / "bundle", blend=weights))
    row = np.median(make_dataset().X, axis=0).astype(np.float64)
    local = explainer.explain(row, CLOSE, lime=True).lime[BLEND]
    assert local.r_squared > 0.5
    assert len(local.weights) == 10
    assert all(map(math.isfinite, local.weights.values()))
    step, background = 0.2, make_dataset().X.std(axis=0)
    column = explainer.bundle.manifest.features.index
    scale = explainer.bundle.manifest.scale_feature
    for name, weight in local.weights.items():
        if name == scale:
            continue
        moved = row.copy()
        moved[column(name)] += step * background[column(name)]
        slopes = (
            explainer.explain(moved, CLOSE).targets[BLEND].value - explainer.explain(row, CLOSE).targets[BLEND].value
        ) / step
        assert slopes * weight > 0, name


def test_rows_far_outside_are_explained_in_finite_numbers(explainer: Explainer) -> None:
    for row in odd_rows(12)[-4:]:
        for local in explainer.explain(row, CLOSE, lime=True).lime.values():
            assert all(map(math.isfinite, [local.value, local.intercept, local.r_squared, *local.weights.values()]))
