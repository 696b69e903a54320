"""What is made of the field that was trained on noise (`noise_parts`), for all tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptosentinel.bundle import Bundle
from cryptosentinel.forecasting import Evaluation
from tests.forecasting.builders import evaluate_parts, make_bundle, make_dataset, make_settings


@pytest.fixture(scope="session")
def parts(noise_parts: list[Path]) -> list[Path]:
    return noise_parts


@pytest.fixture(scope="session")
def evaluation(parts: list[Path]) -> Evaluation:
    """What was chosen and measured of them, without a champion to compare with."""
    return evaluate_parts(parts, make_dataset(), make_settings())


@pytest.fixture(scope="session")
def bundle(parts: list[Path], evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle made of them. Tests only read it."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "noise", parts, evaluation, make_settings())
