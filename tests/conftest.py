"""What tests of all rooms share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Whoever starts tests in the background may have them ignore Ctrl-C, and with them every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about the machine than about the code. The same examples each time, so that what
# fails was broken by a change; `search` draws others.
settings.register_profile("house", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of recorded market data; skips where it is absent."""
    beside_the_repository = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CRYPTOSENTINEL_TEST_DATA") or beside_the_repository)
    if not folder.is_dir():
        pytest.skip(f"no recorded market data at {folder}: set CRYPTOSENTINEL_TEST_DATA (see CONTRIBUTING.md)")
    return folder
