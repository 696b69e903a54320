"""One trained bundle for all tests of this room, made the way the pipelines make it."""

from __future__ import annotations

import pytest

from cryptosentinel.bundle import BLEND, Bundle
from cryptosentinel.explaining import Explainer
from tests.explaining.builders import with_manifest
from tests.forecasting.builders import evaluate_parts, make_bundle, make_dataset, make_settings, train_all
from tests.serving.builders import make_random_walk


@pytest.fixture(scope="session")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Trained on noise, so that the random walk is its champion. Tests only read it, as the others."""
    folder, rows, settings = tmp_path_factory.mktemp("silent"), make_dataset(), make_settings()
    parts = train_all(rows, folder / "parts", settings)
    return make_bundle(folder / "bundle", parts, evaluate_parts(parts, rows, settings), settings)


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
