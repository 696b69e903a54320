"""A double that is served for the length of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kubeflow.double import Double
from tests.kubeflow.server import serving


@pytest.fixture
def double() -> Iterator[Double]:
    with serving(Double()) as double:
        yield double
