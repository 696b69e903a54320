"""The double, made once."""

from __future__ import annotations

import pytest

from tests.hopsworks.builders import one_double
from tests.hopsworks.double import Cluster, Double


@pytest.fixture(scope="session")
def double() -> Double:
    return one_double()


@pytest.fixture
def cluster(double: Double) -> Cluster:
    return double.begin()
