"""A double that is served for the length of a test."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial

import pytest

from tests.kubeflow.double import Double
from tests.kubeflow.server import serving


@pytest.fixture(autouse=True, scope="package")
def shallow_stacks() -> Iterator[None]:
    """Kubeflow's compiler asks for the whole stack with its source to know who called it.

    From a test that is 60 frames, each looked for in all modules that the tests of other rooms left behind: seconds.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(inspect, "stack", partial(inspect.stack, 0))
        yield


@pytest.fixture
def double() -> Iterator[Double]:
    with serving(Double()) as double:
        yield double
