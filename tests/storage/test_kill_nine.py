"""A few kills of the stress program `kill_nine.py`, which does as many as one likes."""

from __future__ import annotations

import pytest

from tests.storage.kill_nine import Ledger, bars, check, open_store, run


@pytest.mark.slow
def test_nothing_reported_stored_is_lost_by_kill_nine(tmp_path):
    problems, ledger, _ = run(tmp_path, kills=10, seed=7)
    assert problems == []
    assert min(len(rows) for rows in ledger.owed.values()) > 20


def test_the_check_notices_what_is_lost_changed_or_too_much(tmp_path):
    store = open_store(tmp_path)
    store.features.write_bars(bars(0, 10, 1.0))
    owed = {"features": {}, "bars": dict.fromkeys(range(10), 1.0)}
    assert check(tmp_path, Ledger(owed=dict(owed))) == []
    for rows, problem in (
        ({**owed["bars"], 10: 1.0}, "lost"),
        ({**owed["bars"], 3: 2.0}, "another value"),
        (dict.fromkeys(range(9), 1.0), "never whole"),
    ):
        assert problem in " ".join(check(tmp_path, Ledger(owed={**owed, "bars": rows})))
    assert "lost" in " ".join(check(tmp_path, Ledger(owed=dict(owed), versions={0})))
