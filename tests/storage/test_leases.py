"""Of several processes that start the same work, one does it; one that was killed keeps nobody waiting for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cryptosentinel.errors import StoreUnavailableError
from cryptosentinel.storage import DeltaLeases, Lease, leases
from tests.storage.builders import open_delta

PATIENT = 60.0  # nobody is taken for dead
QUICK = 0.4


@pytest.fixture
def store(tmp_path: Path) -> DeltaLeases:
    return DeltaLeases(str(tmp_path))


def take(store: DeltaLeases, key: str, *, work: str = "ingest", lost_after_s: float = PATIENT) -> Lease:
    with store.take(work, key, lost_after_s=lost_after_s) as lease:
        return lease


def test_what_is_done_is_not_done_again(store: DeltaLeases) -> None:
    assert take(store, "12:00").elsewhere == ""
    again = take(store, "12:00")
    assert f"process {os.getpid()}" in again.elsewhere
    assert "did it" in again.elsewhere


def test_other_intervals_and_other_work_are_free(store: DeltaLeases) -> None:
    with store.take("ingest", "12:00", lost_after_s=PATIENT):
        assert take(store, "12:05").elsewhere == ""
        assert take(store, "12:00", work="predict").elsewhere == ""
    assert take(store, "12:00", work="predict").elsewhere


def test_what_failed_is_free_at_once(store: DeltaLeases) -> None:
    with pytest.raises(ZeroDivisionError), store.take("ingest", "12:00", lost_after_s=PATIENT):
        raise ZeroDivisionError
    assert take(store, "12:00").elsewhere == ""


def test_what_came_to_nothing_is_free_for_the_next(store: DeltaLeases) -> None:
    with store.take("predict", "12:00", lost_after_s=PATIENT) as lease:
        lease.done = False
    assert take(store, "12:00", work="predict").elsewhere == ""


def test_who_waits_for_one_that_lives_and_takes_long_says_so(store: DeltaLeases) -> None:
    with store.take("ingest", "12:00", lost_after_s=QUICK):
        assert "is at it" in take(store, "12:00", lost_after_s=QUICK).elsewhere


def test_who_waits_for_one_that_fails_does_the_work(store: DeltaLeases) -> None:
    begun, waiting = threading.Event(), threading.Event()

    def fail() -> None:
        with suppress(ZeroDivisionError), store.take("ingest", "12:00", lost_after_s=PATIENT):
            begun.set()
            assert waiting.wait(PATIENT)
            raise ZeroDivisionError

    thread = threading.Thread(target=fail)
    thread.start()
    assert begun.wait(PATIENT)
    threading.Timer(0.1, waiting.set).start()
    assert take(store, "12:00").elsewhere == ""
    thread.join()


_HOLD = """
import sys, time
from cryptosentinel.storage import DeltaLeases
with DeltaLeases(sys.argv[1]).take("ingest", "12:00", lost_after_s=float(sys.argv[2])) as lease:
    print(lease.elsewhere, flush=True)
    time.sleep(600)
"""


def test_a_holder_that_was_killed_is_taken_over_from(tmp_path: Path, store: DeltaLeases) -> None:
    repository = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", _HOLD, str(tmp_path), str(QUICK)]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "\n"
        holder.send_signal(signal.SIGKILL)
    began = time.monotonic()
    assert take(store, "12:00", lost_after_s=QUICK).elsewhere == ""
    assert time.monotonic() - began >= QUICK
    assert take(store, "12:00", lost_after_s=QUICK).elsewhere, "it is done by now"


def test_of_many_at_once_one_works(tmp_path: Path) -> None:
    ours: list[str] = []

    def work() -> None:
        with DeltaLeases(str(tmp_path)).take("ingest", "12:00", lost_after_s=PATIENT) as lease:
            if not lease.elsewhere:
                time.sleep(0.2)
                ours.append("worked")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ours == ["worked"]


def test_who_was_taken_for_dead_takes_nothing_back(store: DeltaLeases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeltaLeases, "_renew", lambda *_: None)  # it hangs
    with store.take("ingest", "12:00", lost_after_s=QUICK) as first:
        assert take(store, "12:00", lost_after_s=QUICK).elsewhere == ""
        first.done = False
    assert "did it" in take(store, "12:00").elsewhere


def test_only_the_last_keys_are_remembered(store: DeltaLeases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_KEPT", 3)
    for key in "abcd":
        assert take(store, key).elsewhere == ""
        time.sleep(0.002)  # the order is that of their times
    assert [bool(take(store, key).elsewhere) for key in "dcb"] == [True, True, True]
    assert take(store, "a").elsewhere == ""


def test_a_store_that_goes_away_meanwhile_fails_no_work_that_is_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there, away = tmp_path / "there", tmp_path / "away"
    with DeltaLeases(str(there)).take("ingest", "12:00", lost_after_s=PATIENT):
        there.rename(away)
    assert "That 12:00 is over could not be recorded" in caplog.text


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError):
        take(DeltaLeases(str(tmp_path / "file")), "12:00")


def test_maintenance_keeps_what_is_remembered(tmp_path: Path) -> None:
    storage = open_delta(tmp_path)
    for key in "ab":
        take(storage.leases, key)
    storage.maintain()
    assert take(storage.leases, "a").elsewhere
