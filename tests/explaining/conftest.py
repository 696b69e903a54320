"""One trained bundle for all tests of this room, made the way the pipelines make it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptosentinel.bundle import BLEND, Bundle
from cryptosentinel.explaining import Explainer
from tests.explaining.builders import with_manifest
from tests.forecasting.builders import evaluate_parts, make_bundle, make_dataset, make_settings
from tests.serving.builders import make_random_walk


@pytest.fixture(scope="session")
def silent(noise_parts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Trained on noise, so that the random walk is its champion. Tests only read it, as the others."""
    settings = make_settings()
    evaluation = evaluate_parts(noise_parts, make_dataset(), settings)
    return make_bundle(tmp_path_factory.mktemp("silent") / "bundle", noise_parts, evaluation, settings)


@pytest.fixture(scope="session")
def loud(silent: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same, with half of its blend as its forecast."""
    path = tmp_path_factory.mktemp("loud") / "bundle"
    return with_manifest(silent, path, champion=BLEND, shrinkage=0.5)


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    """Of version 0."""
    return Explainer(make_random_walk(tmp_path_factory.mktemp("walk") / "bundle"))


@pytest.fixture(scope="session")
def silent_explainer(silent: Bundle) -> Explainer:
    return Explainer(silent)


@pytest.fixture(scope="session")
def explainer(loud: Bundle) -> Explainer:
    return Explainer(loud)
