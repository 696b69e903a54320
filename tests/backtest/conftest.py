"""One backtest that ran through undisturbed, in two processes, for all tests."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from cryptosentinel.backtest import Backtest, run_backtest
from tests.backtest.replays import Recorded, Rehearsal, make_plan, without_progress


class Undisturbed(NamedTuple):
    """A finished backtest, its folder (for reading), and a rehearsal of it."""

    backtest: Backtest
    folder: Path
    rehearsal: Rehearsal


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder, rehearsal = tmp_path_factory.mktemp("undisturbed"), Rehearsal(tmp_path_factory.mktemp("stash"))
    with rehearsal.recorded():
        done = run_backtest(Recorded(), make_plan(), folder, jobs=2, progress=without_progress)
    return Undisturbed(done, folder, rehearsal)
