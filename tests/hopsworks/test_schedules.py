"""Random schedules of outages and kills: every row arrives exactly once, in order."""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptosentinel.storage.protocols import Written
from tests.hopsworks.builders import MemoryFeatures, arrived, open_store
from tests.hopsworks.double import AWAY, Double, Fault, Killed
from tests.storage.builders import SPEC, features

# What a run writes: new rows, and perhaps other values for the newest of those before.
writes = st.tuples(st.integers(0, 3), st.integers(0, 2))
# None: it is killed before, or after, the embedded store has its rows.
kills = st.sampled_from(["", "", "", "", "before", "after"])
faults = st.lists(st.sampled_from([*([""] * 4), *AWAY]), max_size=4)
schedules = st.lists(st.tuples(writes, kills, faults), min_size=1, max_size=3)

# `HYPOTHESIS_PROFILE=thorough` tries ten times as many, which takes a minute.
SCHEDULES = 1000 if settings.get_current_profile_name() == "thorough" else 100
GRID = features(range(12))


class Mortal(MemoryFeatures):
    """Dies with its process."""

    def __init__(self) -> None:
        super().__init__()
        self.kill = ""

    def write_features(self, rows: pd.DataFrame, spec_hash: str) -> Written:
        if self.kill == "before":
            raise Killed
        written = super().write_features(rows, spec_hash)
        if self.kill == "after":
            raise Killed
        return written


@settings(max_examples=SCHEDULES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(schedule=schedules)
def test_every_row_arrives_exactly_once_and_in_order(
    schedule: list[tuple[tuple[int, int], str, list[Fault]]],
    double: Double,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    folder, cluster, embedded = tmp_path / uuid.uuid4().hex, double.begin(), Mortal()
    expected: list[tuple[pd.Timestamp, float]] = []
    newest, value = 0, 0.0
    for (new, revised), kill, outage in schedule:
        first = max(0, newest - revised)
        newest += new
        value += 1.0
        rows = GRID.iloc[first:newest].assign(rsi_14=value)
        expected += [(stamp, value) for stamp in rows["timestamp"]]
        cluster.faults, embedded.kill = iter(outage), kill
        with suppress(Killed):
            open_store(folder, double, embedded=embedded).features.write_features(rows, SPEC)
        embedded.kill = ""
        if kill:  # the next run finds what that one left undone, and does it again
            with suppress(Killed):
                open_store(folder, double, embedded=embedded).features.write_features(rows, SPEC)
    cluster.faults = iter(())
    delivery = open_store(folder, double, embedded=embedded).features.deliver()
    assert (delivery.waiting, delivery.problem) == (0, "")
    assert expected == (arrived(cluster.groups["crypto_features", 1]) if expected else [])
