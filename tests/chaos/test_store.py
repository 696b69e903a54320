"""The store is slow, full, read-only or gone, in a folder and in a bucket."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.bucket import Bucket, Orders, bucket
from tests.chaos.world import START, World, at_another

pytestmark = pytest.mark.chaos
# A retry of Delta Lake's client of object stores counts, with all its pauses, as a few seconds here.


@pytest.fixture
def store() -> Iterator[Bucket]:
    with bucket() as found:
        yield found


@pytest.fixture
def far(world: World, store: Bucket, tmp_path: Path) -> World:
    """A platform in a bucket that has run for two ticks."""
    place = replace(world.place, home=str(tmp_path / "elsewhere"), uri="s3://bucket/store", options=store.options)
    found = World(place, world.gecko, world.receiver, START)
    world.gecko.clock = found.clock
    found.go_on(2)
    return found


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A file system of a folder's own; `make chaos` sees to it that one may be had, where the machine lets it."""
    folder.mkdir()
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine lets us mount nothing: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Not a byte is left on its disk."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


def test_bucket_slow(far: World, store: Bucket) -> None:
    """Each request to the object store takes 30 ms longer."""
    store.obey(Orders(delay_s=0.03))
    assert far.problems(far.go_on(1)) == ""
    store.obey()
    far.well()
    assert far.violations() == []


def test_bucket_down(far: World, store: Bucket) -> None:
    """The object store answers 503 to everything."""
    store.obey(Orders(status=503, code="ServiceUnavailable"))
    assert "cannot be reached" in far.problems(far.go_on(1))
    store.obey()
    far.well()
    assert far.violations() == []


def test_bucket_full(far: World, store: Bucket) -> None:
    """The object store can be read, and refuses each write: QuotaExceeded."""
    store.obey(Orders(status=403, code="QuotaExceeded", methods="PUT|POST"))
    assert "There is no space left" in far.problems(far.go_on(1))
    store.obey()
    far.well()
    assert far.violations() == []


def test_bucket_loses_its_answers(far: World, store: Bucket) -> None:
    """Writes are done, and answered 500: nobody can know whether they were."""
    store.obey(Orders(status=500, methods="PUT", served=True))
    far.go_on(1)
    store.obey()
    far.well()
    assert far.violations() == []


def test_disk_full(world: World, tmp_path: Path) -> None:
    """Not a byte is left on the store's disk; then there is space again."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=24m", "tmpfs"):
        world.place = at_another(world.place, tmp_path / "disk" / "home")
        ballast = tmp_path / "disk" / "ballast"
        fill(ballast)
        said = world.problems(world.go_on(2))
        assert "No space left" in said or "There is no space left" in said
        ballast.unlink()
        world.well()
        assert world.violations() == []


def test_disk_fills_up(world: World, tmp_path: Path) -> None:
    """The store's disk becomes full in the middle of a step, a little later each time."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=24m", "tmpfs"):
        world.place = at_another(world.place, tmp_path / "disk" / "home")
        ballast = tmp_path / "disk" / "ballast"
        problems = ""
        for left in (4_096, 16_384, 40_960, 81_920):
            fill(ballast)
            os.truncate(ballast, ballast.stat().st_size - left)
            problems += world.problems(world.go_on(1))
            ballast.unlink()
        assert "o space left" in problems
        world.well()
        assert world.violations() == []


def test_folder_read_only(world: World, tmp_path: Path) -> None:
    """The store's file system is remounted read-only, as Linux does with one that it has found an error in."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "tmpfs"):
        world.place = at_another(world.place, tmp_path / "disk" / "home")
        remount = ["mount", "-o"]
        subprocess.run([*remount, "remount,ro", str(tmp_path / "disk")], check=True)
        assert "may not be written to" in world.problems(world.go_on(1))
        subprocess.run([*remount, "remount,rw", str(tmp_path / "disk")], check=True)
        world.well()
        assert world.violations() == []


def test_folder_gone(world: World) -> None:
    """What the store's path leads to cannot be reached, nor made anew; then it is back."""
    store = world.workspace.root / "store"
    away = store.rename(store.with_name("away"))
    store.with_name("no-folder").write_text("")
    store.symlink_to(store.with_name("no-folder") / "store")
    results = world.go_on(2)
    assert all(result.problem for result in results)
    store.unlink()
    away.rename(store)
    world.well()
    assert world.violations() == []


def test_folder_swapped_for_an_empty_one(world: World) -> None:
    """An empty folder is where the store was, and a new store begins in it; then the old one is back."""
    store = world.workspace.root / "store"
    away = store.rename(store.with_name("away"))
    world.go_on(2)
    assert world.violations() == [], "the new one has what the source remembers"
    store.rename(store.with_name("meanwhile"))
    away.rename(store)
    world.receiver.requests.clear()  # the new store told of its own alerts
    world.well()
    assert world.violations() == []
