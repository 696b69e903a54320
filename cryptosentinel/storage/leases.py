"""Leases in Delta tables, one a kind of work: of several schedulers that start the same work, one does it.

A lease saves work and decides nothing: what is stored is right with or without it, since every write is an upsert by
key. So it errs on the side of doing work twice rather than not at all. That a holder has died is not told by its clock,
which may differ from ours, but by its lease staying as it is for as long as one that lives would take to renew it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from cryptosentinel.errors import StorageError
from cryptosentinel.storage import delta
from cryptosentinel.storage.files import Files, join
from cryptosentinel.storage.protocols import Lease
from cryptosentinel.storage.schemas import LEASES

_FOLDER = "leases"
# Keys that are remembered as done, a kind of work.
_KEPT = 64
_POLL_S = 0.25
# Nobody reads an old version; a step that is under way may read what was the newest just now.
_RETENTION = timedelta(hours=1)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Claim:
    """Whose a key is, as stored; `beat` counts its renewals."""

    key: str
    holder: str
    taken_at: datetime
    beat: int
    done: bool


class DeltaLeases:
    """Leases (`protocols.Leases`) on Delta Lake: one conditional commit takes one, another says that it is done.

    Args:
        root_uri: a folder, or an address in an object store (s3://, gs://, az://).
        storage_options: of the object store, by Delta Lake's names, e.g. AWS_ENDPOINT_URL.
    """

    def __init__(self, root_uri: str, storage_options: Mapping[str, str] | None = None) -> None:
        self._root, self._options = root_uri, dict(storage_options or {})

    @contextmanager
    def take(self, work: str, key: str, *, lost_after_s: float) -> Iterator[Lease]:
        """Takes a key of a kind of work while the block runs; see `protocols.Leases`.

        Raises:
            StoreUnavailableError: the store cannot be reached, read or written.
            StoreConflictError: others kept committing first.
        """
        uri = join(self._root, _FOLDER, work)
        ours = _Claim(key, f"{socket.gethostname()}, process {os.getpid()}, {uuid.uuid4().hex[:8]}", _now(), 0, False)
        found = self._waited_for(uri, ours, lost_after_s)
        if found.holder != ours.holder:
            did = "did" if found.done else "is at"
            yield Lease(f"another run ({found.holder}) {did} it, begun at {found.taken_at:%H:%M:%S} UTC")
            return
        lease, ended = Lease(""), threading.Event()
        renewing = threading.Thread(target=self._renew, args=(uri, ours, lost_after_s / 3, ended), daemon=True)
        renewing.start()
        try:
            yield lease
        except BaseException:
            ended.set()
            renewing.join()
            self._end(uri, ours, done=False)
            raise
        ended.set()
        renewing.join()
        self._end(uri, ours, done=lease.done)

    def maintain(self) -> None:
        """Removes what no newest version needs."""
        for work in Files(self._root, self._options).folders(_FOLDER):
            delta.maintain(join(self._root, _FOLDER, work), self._options, _RETENTION)

    def _waited_for(self, uri: str, ours: _Claim, lost_after_s: float) -> _Claim:
        """Ours, where it could be had; else whose it is: done, or renewed while we looked."""
        seen: _Claim | None = None
        deadline = time.monotonic() + lost_after_s
        while True:
            lost = seen if time.monotonic() > deadline else None
            with delta.explained(uri):
                found = self._swap(uri, ours, lost)
            if found.holder == ours.holder or found.done:
                return found
            if seen is not None and found != seen:
                if found.holder == seen.holder:
                    return found
                deadline = time.monotonic() + lost_after_s  # it went to somebody else, whom we have not watched yet
            seen = found
            time.sleep(min(_POLL_S, lost_after_s / 8))

    @delta.retried
    def _swap(self, uri: str, ours: _Claim, lost: _Claim | None) -> _Claim:
        """Takes the key where nobody has it, or still `lost` has; returns whose it is."""
        table = delta.create_table(uri, LEASES, self._options, statistics=["key"], short_lived=True)
        claims = _claims(table)
        found = claims.get(ours.key)
        if found is not None and (found.done or found != lost):
            return found
        self._commit(table, claims | {ours.key: ours})
        return ours

    def _renew(self, uri: str, ours: _Claim, pause_s: float, ended: threading.Event) -> None:
        while not ended.wait(pause_s):
            try:
                if not self._update(uri, ours, lambda claim: replace(claim, beat=claim.beat + 1)):
                    return
            except StorageError as error:
                _log.warning("The lease of %s was not renewed: %s", ours.key, error)

    def _end(self, uri: str, ours: _Claim, *, done: bool) -> None:
        try:
            self._update(uri, ours, lambda claim: replace(claim, done=True) if done else None)
        except StorageError as error:
            # The work is done all the same; at worst somebody does it again.
            _log.warning("That %s is over could not be recorded: %s", ours.key, error)

    def _update(self, uri: str, ours: _Claim, change: Callable[[_Claim], _Claim | None]) -> bool:
        """Changes our claim, or drops it, while it is ours; False where it went to somebody else."""
        with delta.explained(uri):
            return self._change(uri, ours, change)

    @delta.retried
    def _change(self, uri: str, ours: _Claim, change: Callable[[_Claim], _Claim | None]) -> bool:
        table = DeltaTable(uri, storage_options=self._options)
        claims = _claims(table)
        claim = claims.pop(ours.key, None)
        if claim is None or claim.holder != ours.holder:
            return False
        changed = change(claim)
        self._commit(table, claims if changed is None else claims | {ours.key: changed})
        return True

    def _commit(self, table: DeltaTable, claims: Mapping[str, _Claim]) -> None:
        rows = [asdict(claim) for claim in claims.values()][-_KEPT:]
        write_deltalake(
            table,
            pa.Table.from_pylist(rows, schema=LEASES),
            mode="overwrite",
            writer_properties=delta.WRITER,
            commit_properties=delta.COMPARE_AND_SWAP,
        )


def _claims(table: DeltaTable) -> dict[str, _Claim]:
    """By key, in the order in which they were taken."""
    rows = delta.scan(table).sort_by("taken_at").to_pylist()
    return {row["key"]: _Claim(**row) for row in rows}


def _now() -> datetime:
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)  # as times are read back
