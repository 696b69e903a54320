"""A trained bundle with everything that a bundle can have."""

from __future__ import annotations

import pytest

from cryptosentinel.bundle import Bundle
from tests.serving.builders import make_trained


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Tests only read it."""
    return make_trained(tmp_path_factory.mktemp("bundles") / "trained")
