"""How unlike the training rows a row is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cryptosentinel.bundle import CLIP, Domain

FIELDS: dict[str, Any] = {
    "means": [1.0, -1.0, 0.0],
    "deviations": [1.0, 2.0, 0.5],
    "prototypes": [[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]],
    "mean_distance": 2.0,
    "threshold": 2.5,
    "method": "for a test",
}


def by_hand(domain: Domain, row: np.ndarray) -> float:
    """The definition, slowly."""
    z = np.clip((row - np.array(domain.means)) / np.array(domain.deviations), -CLIP, CLIP)
    return min(float(np.linalg.norm(z - np.array(one))) for one in domain.prototypes) / domain.mean_distance


def test_it_is_the_distance_to_the_nearest_prototype_over_the_mean_distance() -> None:
    rows = np.array([[1.0, -1.0, 0.0], [4.0, 7.0, 0.0], [4.0, -1.0, 0.0], [1.0, -1.0, 1.0]])
    assert Domain(**FIELDS).dissimilarity(rows) == pytest.approx([0.0, 0.0, 1.5, 1.0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 64), st.integers(1, 40))
def test_the_fast_way_agrees_with_the_definition(seed: int, prototypes: int, features: int) -> None:
    noise = np.random.default_rng(seed)
    domain = Domain(
        means=noise.normal(0, 1e3, features).tolist(),
        deviations=noise.lognormal(0, 5, features).tolist(),
        prototypes=noise.normal(0, 2, (prototypes, features)).tolist(),
        mean_distance=0.7,
        threshold=1.0,
        method="",
    )
    rows = np.array(domain.means) + noise.normal(0, 30, (20, features)) * np.array(domain.deviations)
    rows[0] = np.array(domain.means) + np.array(domain.prototypes[0]) * np.array(domain.deviations)
    expected = [by_hand(domain, row) for row in rows]
    assert domain.dissimilarity(rows) == pytest.approx(expected, rel=1e-6, abs=1e-5)


def test_one_wild_value_counts_as_ten_deviations_at_most() -> None:
    far, farther = Domain(**FIELDS).dissimilarity(np.array([[11.0, -1.0, 0.0], [1e30, -1.0, 0.0]]))
    assert far == pytest.approx(np.hypot(7, 4) / 2)
    assert farther == pytest.approx(far)


@pytest.mark.parametrize(
    "changed",
    [
        {"means": [0.0]},
        {"prototypes": []},
        {"prototypes": [[0.0, 0.0]]},
        {"deviations": [1.0, 0.0, 1.0]},
        {"means": [float("nan"), 0.0, 0.0]},
        {"mean_distance": 0.0},
        {"threshold": -1.0},
        {"threshold": float("inf")},
        {"means": [], "deviations": [], "prototypes": [[]]},
        {"surprise": 1},
    ],
    ids=str,
)
def test_what_is_no_domain_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Domain(**FIELDS | changed)


def test_domains_are_equal_by_what_they_say_whatever_they_remember() -> None:
    one, same, other = Domain(**FIELDS), Domain(**FIELDS), Domain(**FIELDS | {"means": [1.0, -1.0, 0.5]})
    for domain in (one, same, other):
        domain.dissimilarity(np.zeros((1, 3)))
    assert one == same
    assert one != other


def test_a_domain_survives_being_written() -> None:
    domain = Domain(**FIELDS)
    domain.dissimilarity(np.zeros((1, 3)))  # what it remembers is not part of it
    assert Domain.model_validate_json(domain.model_dump_json()) == Domain(**FIELDS)
