"""The model registry: bundles as folders of files, their versions and the champion as rows of Delta tables.

A bundle is any folder with a `manifest.json`; what that says is not the registry's business. Beside its files the
registry puts `registered.json`, for whoever is given the folder alone, as KServe's pods are. A version exists once
its row does, and the row is written after the last file, so a registration that is killed leaves files that nothing
refers to (`maintain` removes them) and never half a version.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from cryptosentinel.errors import StorageError, StoreConflictError, StoreUnavailableError
from cryptosentinel.storage import delta
from cryptosentinel.storage.files import Files, join
from cryptosentinel.storage.protocols import RegisteredModel
from cryptosentinel.storage.schemas import ALIASES, VERSIONS

MANIFEST = "manifest.json"
REGISTERED = "registered.json"
_CHAMPION = "champion"
# Fetched copies that stay in a folder of them.
KEPT_COPIES = 3
_GARBAGE_AGE = timedelta(days=1)


class DeltaModelRegistry:
    """The model registry (`protocols.ModelRegistry`).

    Bundles lie in `bundles/v<N>-<digest>/`; the tables are `registry/versions` and `registry/aliases`.

    Args:
        root_uri: a folder, or an address in an object store (s3://, gs://, az://).
        storage_options: of the object store, by Delta Lake's names, e.g. AWS_ENDPOINT_URL.
        retention_days: how long `maintain` keeps old versions of the two tables.
    """

    def __init__(
        self, root_uri: str, storage_options: Mapping[str, str] | None = None, *, retention_days: float = 7.0
    ) -> None:
        self._root = root_uri
        self._options = dict(storage_options or {})
        self._retention = timedelta(days=retention_days)
        self._versions_uri = join(root_uri, "registry", "versions")
        self._aliases_uri = join(root_uri, "registry", "aliases")

    def register(self, bundle: Path, *, metrics: Mapping[str, float], verdict: str) -> RegisteredModel:
        """Copies a bundle in under the next version; one that is registered already keeps the version it has.

        Raises:
            StorageError: the folder has no manifest.
            StoreConflictError: other registrations kept coming first.
            StoreUnavailableError: the store cannot be reached or written.
        """
        digest = _manifest_digest(bundle)
        with delta.explained(self._versions_uri):
            return self._register(bundle, digest, json.dumps(dict(metrics), sort_keys=True), verdict)

    def amend(self, version: int, *, verdict: str) -> RegisteredModel:
        """Records another verdict; see `protocols.ModelRegistry`.

        Raises:
            StorageError: there is no such version.
            StoreConflictError: other writers kept coming first.
        """
        self.get(version)
        with delta.explained(self._versions_uri):
            self._amend(version, verdict)
        return self.get(version)

    def versions(self) -> list[RegisteredModel]:
        """All versions, oldest first."""
        return [self._model(row) for row in self._rows(self._versions_uri)]

    def get(self, version: int) -> RegisteredModel:
        """One version.

        Raises:
            StorageError: there is no such version.
        """
        for row in self._rows(self._versions_uri):
            if row["version"] == version:
                return self._model(row)
        raise StorageError(f"The registry at {self._root} has no version {version}.")

    def champion(self) -> RegisteredModel | None:
        """The version the alias points at: version 0 until it was first moved; None while there is no version."""
        aliases = self._rows(self._aliases_uri)
        versions = self.versions()
        number = aliases[0]["version"] if aliases else 0
        return next((model for model in versions if model.version == number), None)

    def promote(self, version: int, *, expected: int | None) -> None:
        """Moves the alias, by compare-and-swap; see `protocols.ModelRegistry`.

        Before it was first moved, both None and 0 name where it points.

        Raises:
            StorageError: there is no such version.
            StoreConflictError: it points elsewhere by now.
        """
        self.get(version)
        with delta.explained(self._aliases_uri):
            self._promote(version, expected)

    def fetch(self, version: int, into: Path) -> Path:
        """Copies a version's bundle to `into` and returns its folder there; a whole copy is reused.

        Of older copies in `into` the newest few stay, for whoever is still reading one.

        Raises:
            StorageError: there is no such version, or its manifest is not the one that was registered.
            StoreUnavailableError: it cannot be copied.
        """
        model = self.get(version)
        folder = Path(model.uri).name
        target = into / folder
        if _digest_or_none(target) == model.digest:
            return target
        files = Files(self._root, self._options)
        with delta.explained(str(into)):
            into.mkdir(parents=True, exist_ok=True)
            # Renamed when it is whole, so that whoever looks for `target` never finds half of it.
            with tempfile.TemporaryDirectory(dir=into, prefix=f".{folder}-") as temporary:
                copy = Path(temporary) / folder
                for file in files.walk(f"bundles/{folder}"):
                    files.download(f"bundles/{folder}/{file.path}", copy / file.path)
                if _digest_or_none(copy) != model.digest:
                    raise StorageError(
                        f"The bundle of version {version} at {model.uri} is not the one that was registered.",
                        remedy="Restore that folder from a backup.",
                    )
                _move_into_place(copy, target, model.digest, Path(temporary))
        _forget_old_copies(into, target)
        return target

    def maintain(self) -> None:
        """Compacts the tables, and removes the files of registrations that were killed more than a day ago."""
        files = Files(self._root, self._options)
        newest: dict[str, datetime] = {}
        for file in files.walk("bundles"):
            folder = file.path.split("/")[0]
            newest[folder] = max(file.modified, newest.get(folder, file.modified))
        known = {row["folder"] for row in self._rows(self._versions_uri)}
        for folder, modified in newest.items():
            if folder not in known and datetime.now(UTC) - modified > _GARBAGE_AGE:
                files.remove(f"bundles/{folder}")
        for uri in (self._versions_uri, self._aliases_uri):
            delta.maintain(uri, self._options, self._retention)

    @delta.retried
    def _register(self, bundle: Path, digest: str, metrics: str, verdict: str) -> RegisteredModel:
        table = delta.create_table(self._versions_uri, VERSIONS, self._options, statistics=["version"])
        rows = _by_version(table)
        for row in rows:
            if row["digest"] == digest:
                return self._model(row)
        number = rows[-1]["version"] + 1 if rows else 0
        folder = f"v{number}-{digest[:8]}"
        files = Files(self._root, self._options)
        for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
            files.upload(path, f"bundles/{folder}/{path.relative_to(bundle).as_posix()}")
        files.write(f"bundles/{folder}/{REGISTERED}", json.dumps({"version": number}).encode())
        row = {
            "version": number,
            "folder": folder,
            "digest": digest,
            "registered_at": _now(),
            "metrics": metrics,
            "verdict": verdict,
        }
        _commit(table, row, VERSIONS, "append")
        return self._model(row)

    @delta.retried
    def _amend(self, version: int, verdict: str) -> None:
        DeltaTable(self._versions_uri, storage_options=self._options).update(
            updates={"verdict": delta.literal(verdict)},
            predicate=f"version = {version}",
            writer_properties=delta.WRITER,
            commit_properties=delta.COMPARE_AND_SWAP,
        )

    @delta.retried
    def _promote(self, version: int, expected: int | None) -> None:
        table = delta.create_table(self._aliases_uri, ALIASES, self._options, statistics=["alias"])
        rows = delta.scan(table).to_pylist()
        current = rows[0]["version"] if rows else None
        if expected != current and not (current is None and expected == 0):
            raise StoreConflictError(
                f"The champion is version {current} by now, not {expected}, so version {version} was not promoted.",
                remedy="Compare with the present champion, then promote again.",
            )
        if current != version:
            _commit(table, {"alias": _CHAMPION, "version": version, "moved_at": _now()}, ALIASES, "overwrite")

    def _rows(self, uri: str) -> list[dict[str, Any]]:
        table = delta.open_table(uri, self._options)
        if table is None:
            return []
        with delta.explained(uri):
            return _by_version(table)

    def _model(self, row: Mapping[str, Any]) -> RegisteredModel:
        return RegisteredModel(
            version=row["version"],
            uri=join(self._root, "bundles", row["folder"]),
            digest=row["digest"],
            registered_at=row["registered_at"],
            metrics=json.loads(row["metrics"]),
            verdict=row["verdict"],
        )


def _by_version(table: DeltaTable) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = delta.scan(table).sort_by("version").to_pylist()
    return rows


def _commit(table: DeltaTable, row: Mapping[str, Any], schema: pa.Schema, mode: Literal["append", "overwrite"]) -> None:
    write_deltalake(
        table,
        pa.Table.from_pylist([row], schema=schema),
        mode=mode,
        writer_properties=delta.WRITER,
        commit_properties=delta.COMPARE_AND_SWAP,
    )


def _manifest_digest(bundle: Path) -> str:
    try:
        return hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()
    except FileNotFoundError:
        raise StorageError(f"{bundle} is not a bundle: it has no {MANIFEST}.") from None
    except OSError as error:
        raise StoreUnavailableError(f"{bundle / MANIFEST} cannot be read: {error.strerror or error}.") from error


def _digest_or_none(bundle: Path) -> str | None:
    return _manifest_digest(bundle) if (bundle / MANIFEST).is_file() else None


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


def _now() -> datetime:
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
