"""The outbox: who claims deliveries, and what may be recorded of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cryptosentinel.storage import DELIVERIES, Outbox
from tests.alerting.builders import WILD, Clock, step, telling
from tests.builders import T0, open_delta


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """One with two deliveries, of which one was tried in vain."""
    storage, settings = open_delta(tmp_path), telling("http://127.0.0.1:9/closed")
    step(storage, settings, Clock(T0), volatility=WILD, drawdown=0.15)
    return storage.outbox


def test_its_rows_have_the_columns_of_its_schema(outbox: Outbox, tmp_path: Path) -> None:
    empty = open_delta(tmp_path / "empty").outbox.read("bitcoin")
    rows = outbox.read("bitcoin")
    assert list(rows) == list(empty) == DELIVERIES.names
    assert rows["attempts"].tolist() == [1, 0]


def test_a_claim_is_for_one_and_ends(outbox: Outbox) -> None:
    rows, clock, until = outbox.read("bitcoin"), Clock(T0), Clock(T0)
    until.forward(4)
    assert len(outbox.claim(rows, "one", until(), now=clock())) == 2
    assert outbox.claim(rows, "two", until(), now=clock()).empty
    assert len(outbox.claim(rows, "two", until(), now=until())) == 2


def test_who_lost_its_claim_records_what_it_delivered_and_no_failure(outbox: Outbox) -> None:
    later = Clock(T0)
    later.forward(10)
    first = outbox.claim(outbox.read("bitcoin"), "one", T0, now=T0)
    outbox.claim(first, "two", later(), now=T0)
    outbox.record(first.assign(attempts=9, answer="no"), "one")
    assert outbox.read("bitcoin")["attempts"].tolist() == [1, 0]
    outbox.record(first.head(1).assign(delivered_at=pd.Timestamp(T0)), "one")
    assert outbox.read("bitcoin")["delivered_at"].notna().tolist() == [True, False]


def test_maintenance_keeps_what_is_due(outbox: Outbox) -> None:
    outbox.maintain()
    assert len(outbox.read("bitcoin")) == 2
