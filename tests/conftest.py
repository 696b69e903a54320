"""What tests of all rooms share."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

# Whoever starts tests in the background may have them ignore Ctrl-C, and with them every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about the machine than about the code. The same examples each time, so that what
# fails was broken by a change; `search` draws others, and `thorough` more where a test has many.
settings.register_profile("house", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.register_profile("thorough", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))

# The rooms that take longest, which begin first, so that none is left over when the others end.
LONGEST = ("serving", "pipelines", "backtest", "forecasting", "rollout", "storage", "chart", "kind", "hopsworks")
# Long rooms whose files share nothing that takes time to set up: each file may run in another process.
APART = ("pipelines", "rollout", "storage")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def begins(item: pytest.Item) -> int:
        room = item.path.parent.name
        return LONGEST.index(room) if room in LONGEST else len(LONGEST)

    items.sort(key=begins)


def pytest_collection_finish() -> None:
    # What was imported stays: the garbage collector need not look through millions of objects again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope`, a room's tests all run in one process, which sets up what they share once.

    But for those of `APART`, where each file's do.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Rooms(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path, *_ = nodeid.split("::")
            alone = path.count("/") == 1 or path.split("/")[1] in APART
            return path if alone else path.rpartition("/")[0]

    return Rooms(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of recorded market data; skips where it is absent."""
    beside_the_repository = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CRYPTOSENTINEL_TEST_DATA") or beside_the_repository)
    if not folder.is_dir():
        pytest.skip(f"no recorded market data at {folder}: set CRYPTOSENTINEL_TEST_DATA (see CONTRIBUTING.md)")
    return folder


@pytest.fixture(scope="session")
def noise_parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of every part of a bundle, trained on noise with the default preset. Tests only read them.

    To train them takes seconds, so several processes of tests have the same ones.
    """
    from cryptosentinel.forecasting import part_names
    from tests.forecasting.builders import make_dataset, make_settings, train_all

    settings, folder = make_settings(), tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    made = folder / "noise-parts"
    with FileLock(folder / "noise-parts.lock"):
        if not made.exists():
            train_all(make_dataset(), folder / "noise-parts.new", settings)
            (folder / "noise-parts.new").rename(made)
    return [made / name for name in part_names(settings.training)]
