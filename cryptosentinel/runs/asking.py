"""Requests for runs on this machine: files in the market's folder, which `cryptosentinel up` takes up.

They mean something as long as one `up` is there: it begins without any, and what it leaves behind is nobody's.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptosentinel.runs.files import read_json, write_json
from cryptosentinel.runs.processes import is_alive, this_process
from cryptosentinel.runs.records import Kind

_FOLDER = "requests"
_LISTENER = "listener.json"


@dataclass(frozen=True)
class Request:
    """A request that waits."""

    id: str
    kind: Kind
    user: str


def ask(root: Path, kind: Kind, user: str) -> Request:
    """Writes a request.

    Args:
        root: the market's folder.
        kind: what to run.
        user: who asks.

    Raises:
        OSError: it cannot be written.
    """
    request = Request(f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}", kind, user)
    write_json(_path(root, request), {"user": user})
    return request


def pending(root: Path, kind: Kind) -> list[Request]:
    """Requests that nobody has dropped yet, the oldest first."""
    found = [(path.stem, read_json(path)) for path in sorted((root / _FOLDER).glob(f"{kind}-*.json"))]
    return [Request(name, kind, str(content.get("user", ""))) for name, content in found if content is not None]


def is_pending(root: Path, kind: Kind, request_id: str) -> bool:
    """Whether a request still waits, or is being answered."""
    return any(request.id == request_id for request in pending(root, kind))


def dropped(root: Path, requests: list[Request]) -> None:
    """Requests are done with."""
    for request in requests:
        _path(root, request).unlink(missing_ok=True)


@contextmanager
def listening(root: Path) -> Iterator[None]:
    """While the block runs, requests are taken up by this process; those of the past are none any more.

    Raises:
        OSError: the market's folder cannot be written.
    """
    for old in (root / _FOLDER).glob("*.json"):
        old.unlink(missing_ok=True)
    path = root / _FOLDER / _LISTENER
    write_json(path, this_process())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def is_listened_to(root: Path) -> bool:
    """Whether somebody takes requests up."""
    listener = read_json(root / _FOLDER / _LISTENER)
    return listener is not None and is_alive(listener)


def _path(root: Path, request: Request) -> Path:
    return root / _FOLDER / f"{request.id}.json"
