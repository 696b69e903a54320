"""Files below a root, in a folder or an object store, through Delta Lake's own client of it.

One set of options (`storage.options`) so serves tables and files alike, with no client library for each kind of object
store. A file appears whole or not at all, in a folder too.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deltalake._internal import DeltaFileSystemHandler

from cryptosentinel.storage.delta import explained

_BLOCK = 4 * 2**20


@dataclass(frozen=True)
class StoredFile:
    """A file below the root.

    Attributes:
        path: relative to the folder that was listed.
        modified: when it was written.
        size: in bytes.
    """

    path: str
    modified: datetime
    size: int


def join(uri: str, *parts: str) -> str:
    """An address below another."""
    return "/".join([uri.rstrip("/"), *parts])


class Files:
    """Files below `uri`. Paths are relative to it, with slashes."""

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        self._uri = uri
        self._local = None if "://" in uri else Path(uri)
        with explained(uri):
            if self._local is not None:
                self._local.mkdir(parents=True, exist_ok=True)
            # Not the public DeltaStorageHandler: in 1.6 its output streams refuse the buffers that pyarrow hands them.
            # Any, since the stubs of this one lack `close`.
            self._store: Any = DeltaFileSystemHandler(uri, dict(options))

    def read(self, path: str) -> bytes | None:
        """A file's content; None where there is no such file."""
        with explained(join(self._uri, path)):
            try:
                return bytes(self._store.open_input_file(path).read())
            except FileNotFoundError:
                return None

    def write(self, path: str, content: bytes) -> None:
        """Puts a file there, or replaces it."""
        with explained(join(self._uri, path)):
            stream = self._store.open_output_stream(path)
            stream.write(content)
            stream.close()

    def digest(self, path: str) -> str | None:
        """sha256 of a file's content, in hex; None where there is no such file."""
        return self._digest(path, lambda _: None)

    def copy(self, path: str, target: Files) -> str | None:
        """Copies a file to the same path of `target`; returns its sha256, or None where there is no such file."""
        with explained(join(target._uri, path)):
            stream = None
            try:
                # Opened with the first block: a file that is not there leaves none.
                def write(block: bytes) -> None:
                    nonlocal stream
                    stream = stream or target._store.open_output_stream(path)
                    stream.write(block)

                digest = self._digest(path, write)
            finally:
                if stream is not None:
                    stream.close()
        return digest

    def _digest(self, path: str, seen: Callable[[bytes], None]) -> str | None:
        found = hashlib.sha256()
        with explained(join(self._uri, path)):
            try:
                source = self._store.open_input_file(path)
            except FileNotFoundError:
                return None
            while block := bytes(source.read(_BLOCK)):
                found.update(block)
                seen(block)
        return found.hexdigest()

    def upload(self, local: Path, path: str) -> None:
        """Copies a file of this machine in."""
        with explained(join(self._uri, path)), local.open("rb") as source:
            stream = self._store.open_output_stream(path)
            while block := source.read(_BLOCK):
                stream.write(block)
            stream.close()

    def download(self, path: str, local: Path) -> None:
        """Copies a file out, making the folders it needs."""
        with explained(join(self._uri, path)):
            local.parent.mkdir(parents=True, exist_ok=True)
            source = self._store.open_input_file(path)
            with local.open("wb") as target:
                while block := source.read(_BLOCK):
                    target.write(block)

    def walk(self, folder: str) -> list[StoredFile]:
        """All files below a folder; none where there is no such folder."""
        with explained(join(self._uri, folder)):
            infos = self._store.get_file_info_selector(folder, allow_not_found=True, recursive=True)
            return [
                StoredFile(info.path.removeprefix(folder).lstrip("/"), info.mtime.astimezone(UTC), info.size)
                for info in infos
                if info.is_file
            ]

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder."""
        with explained(join(self._uri, folder)):
            infos = self._store.get_file_info_selector(folder, allow_not_found=True, recursive=False)
            return sorted(info.base_name for info in infos if not info.is_file)

    def remove_file(self, path: str) -> None:
        """Removes a file; there may be none."""
        with explained(join(self._uri, path)), suppress(FileNotFoundError):
            self._store.delete_file(path)

    def remove(self, folder: str) -> None:
        """Removes a folder with all that is in it."""
        with explained(join(self._uri, folder)):
            if self._local is not None:  # the client would leave empty folders behind
                shutil.rmtree(self._local / folder)
            else:
                self._store.delete_dir(folder)
