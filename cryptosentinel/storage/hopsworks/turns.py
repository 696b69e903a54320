"""One deliverer at a time: two would overtake each other, and an old value could replace its revision.

In a folder the operating system's lock does it. In an object store it is a row of a Delta table that says whose turn it
is and until when; who is killed keeps others waiting no longer than that.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake
from deltalake.exceptions import CommitFailedError
from filelock import FileLock, Timeout

from cryptosentinel.storage import delta, schemas
from cryptosentinel.storage.files import join

_FOLDER = "hopsworks-turns"
_TURN = pa.schema([pa.field("holder", pa.string()), pa.field("until", schemas.TIMESTAMP)])

# Says whether the turn is still ours, and makes it last.
Renew = Callable[[], bool]


@contextmanager
def turn(uri: str, options: Mapping[str, str], name: str, lease_s: float) -> Iterator[Renew | None]:
    """The turn to deliver, until the block ends; None while somebody else has it.

    Args:
        uri: the embedded store.
        options: of the object store.
        name: of what is delivered.
        lease_s: in an object store, how long the turn lasts unless it is renewed.

    Raises:
        StoreUnavailableError: the store cannot be reached or written.
    """
    if "://" not in uri:
        with delta.explained(uri):
            (Path(uri) / _FOLDER).mkdir(parents=True, exist_ok=True)
        lock = FileLock(Path(uri) / _FOLDER / f"{name}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield None
            return
        try:
            yield lambda: True
        finally:
            lock.release()
        return
    table, holder = join(uri, _FOLDER, name), uuid.uuid4().hex

    def take() -> bool:
        return _take(table, options, holder, timedelta(seconds=lease_s))

    if not take():
        yield None
        return
    try:
        yield take
    finally:
        _take(table, options, holder, timedelta(0))


def _take(uri: str, options: Mapping[str, str], holder: str, lasts: timedelta) -> bool:
    """Writes that it is the holder's turn, unless it is somebody else's; False where it is, or becomes so meanwhile."""
    table = delta.create_table(uri, _TURN, options, statistics=["holder"])
    now = datetime.now(UTC)
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as times are read back
    with delta.explained(uri):
        for row in delta.scan(table).to_pylist():
            if row["holder"] != holder and row["until"] > now:
                return False
        try:
            write_deltalake(
                table,
                pa.Table.from_pylist([{"holder": holder, "until": now + lasts}], schema=_TURN),
                mode="overwrite",
                commit_properties=delta.COMPARE_AND_SWAP,
            )
        except CommitFailedError:
            return False
    return True
