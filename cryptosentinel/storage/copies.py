"""Copies of bundles on this machine: fetched whole or not at all, verified, and only the newest few kept."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from cryptosentinel.errors import StorageError, StoreUnavailableError
from cryptosentinel.storage.delta import explained
from cryptosentinel.storage.files import Files
from cryptosentinel.storage.protocols import RegisteredModel

MANIFEST = "manifest.json"
# Fetched copies that stay in a folder of them.
KEPT_COPIES = 3


def fetch_copy(files: Files, model: RegisteredModel, into: Path) -> Path:
    """Copies a version's bundle to `into`; see `protocols.ModelRegistry.fetch`."""
    folder = Path(model.uri).name
    target = into / folder
    if _digest_or_none(target) == model.digest:
        return target
    with explained(str(into)):
        into.mkdir(parents=True, exist_ok=True)
        # Renamed when it is whole, so that whoever looks for `target` never finds half of it.
        with tempfile.TemporaryDirectory(dir=into, prefix=f".{folder}-") as temporary:
            copy = Path(temporary) / folder
            for file in files.walk(f"bundles/{folder}"):
                files.download(f"bundles/{folder}/{file.path}", copy / file.path)
            if _digest_or_none(copy) != model.digest:
                raise StorageError(
                    f"The bundle of version {model.version} at {model.uri} is not the one that was registered.",
                    remedy="Restore that folder from a backup.",
                )
            _move_into_place(copy, target, model.digest, Path(temporary))
    _forget_old_copies(into, target)
    return target


def manifest_digest(bundle: Path) -> str:
    """sha256 of a bundle's manifest, which is what tells one from another.

    Raises:
        StorageError: the folder has no manifest.
        StoreUnavailableError: it cannot be read.
    """
    try:
        return hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()
    except FileNotFoundError:
        raise StorageError(f"{bundle} is not a bundle: it has no {MANIFEST}.") from None
    except OSError as error:
        raise StoreUnavailableError(f"{bundle / MANIFEST} cannot be read: {error.strerror or error}.") from error


def _digest_or_none(bundle: Path) -> str | None:
    return manifest_digest(bundle) if (bundle / MANIFEST).is_file() else None


def _forget_old_copies(into: Path, fetched: Path) -> None:
    """A new champion every half hour would fill the disk with copies."""
    copies = [path for path in into.glob("v*-*") if path.name[1:].partition("-")[0].isdigit()]
    copies.sort(key=lambda path: int(path.name[1:].partition("-")[0]))
    for old in copies[:-KEPT_COPIES]:
        if old != fetched:
            shutil.rmtree(old, ignore_errors=True)


def _move_into_place(copy: Path, target: Path, digest: str, aside: Path) -> None:
    if target.exists() and _digest_or_none(target) != digest:
        shutil.move(target, aside / "damaged")
    try:
        copy.rename(target)
    except OSError:
        # Another process fetched the same version in the meantime: its copy is as good.
        if _digest_or_none(target) != digest:
            raise
