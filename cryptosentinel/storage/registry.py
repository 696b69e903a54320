"""The model registry: bundles as folders of files, their versions and the champion as rows of Delta tables.

A bundle is any folder with a `manifest.json`; what that says is not the registry's business. Beside its files the
registry puts `registered.json`, for whoever is given the folder alone, as KServe's pods are. A version exists once
its row does, and the row is written after the last file, so a registration that is killed leaves files that nothing
refers to (`maintain` removes them) and never half a version. To prune a version goes the other way round: its row says
so before the first file goes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from cryptosentinel.errors import StorageError, StoreConflictError
from cryptosentinel.storage import delta
from cryptosentinel.storage.copies import fetch_copy, manifest_digest
from cryptosentinel.storage.files import Files, join
from cryptosentinel.storage.protocols import RegisteredModel
from cryptosentinel.storage.schemas import ALIASES, VERSIONS

REGISTERED = "registered.json"
_CHAMPION = "champion"
_GARBAGE_AGE = timedelta(days=1)


class DeltaModelRegistry:
    """The model registry (`protocols.ModelRegistry`).

    Bundles lie in `bundles/v<N>-<digest>/`; the tables are `registry/versions` and `registry/aliases`.

    Args:
        root_uri: a folder, or an address in an object store (s3://, gs://, az://).
        storage_options: of the object store, by Delta Lake's names, e.g. AWS_ENDPOINT_URL.
        retention_days: how long `maintain` keeps old versions of the two tables.
        clock: when versions are registered and promoted; another than the wall clock where a past is replayed.
    """

    def __init__(
        self,
        root_uri: str,
        storage_options: Mapping[str, str] | None = None,
        *,
        retention_days: float = 7.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._root = root_uri
        self._clock = clock
        self._options = dict(storage_options or {})
        self._retention = timedelta(days=retention_days)
        self._versions_uri = join(root_uri, "registry", "versions")
        self._aliases_uri = join(root_uri, "registry", "aliases")

    def at(self, now: datetime) -> DeltaModelRegistry:
        """The same registry with a clock that stands still, for whoever replays a past."""
        days = self._retention / timedelta(days=1)
        return DeltaModelRegistry(self._root, self._options, retention_days=days, clock=lambda: now)

    def register(self, bundle: Path, *, metrics: Mapping[str, float], verdict: str) -> RegisteredModel:
        """Copies a bundle in under the next version; one that is registered already keeps the version it has.

        Raises:
            StorageError: the folder has no manifest.
            StoreConflictError: other registrations kept coming first.
            StoreUnavailableError: the store cannot be reached or written.
        """
        digest = manifest_digest(bundle)
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
        return [self._model(row) for row in self._rows(self._versions_uri, VERSIONS)]

    def get(self, version: int) -> RegisteredModel:
        """One version.

        Raises:
            StorageError: there is no such version.
        """
        if (model := self._found(version)) is None:
            raise StorageError(f"The registry at {self._root} has no version {version}.")
        return model

    def newest(self) -> RegisteredModel | None:
        """The version that was registered last."""
        table = delta.open_table(self._versions_uri, self._options)
        if table is None:
            return None
        with delta.explained(self._versions_uri):
            number = pc.max(delta.scan(table, ["version"])["version"]).as_py()
        return None if number is None else self._found(number)

    def champion(self) -> RegisteredModel | None:
        """The version the alias points at: version 0 until it was first moved; None while there is no version."""
        aliases = self._rows(self._aliases_uri, ALIASES)
        return self._found(aliases[0]["version"] if aliases else 0)

    def revision(self) -> str:
        """The versions of both tables."""
        tables = [delta.open_table(uri, self._options) for uri in (self._versions_uri, self._aliases_uri)]
        return ".".join("none" if table is None else str(table.version()) for table in tables)

    def promote(self, version: int, *, expected: int | None) -> None:
        """Moves the alias, by compare-and-swap; see `protocols.ModelRegistry`.

        Before it was first moved, both None and 0 name where it points.

        Raises:
            StorageError: there is no such version, or its bundle was pruned.
            StoreConflictError: it points elsewhere by now.
        """
        _refuse_pruned(self.get(version))
        with delta.explained(self._aliases_uri):
            self._promote(version, expected)
            # Whoever prunes marks the row and then looks at the alias; here it is the other way round, so that of two
            # at the same moment one sees the other.
            model = self.get(version)
            if model.pruned_at is not None:
                self._promote(expected or 0, version)
                _refuse_pruned(model)

    def fetch(self, version: int, into: Path) -> Path:
        """Copies a version's bundle to `into` and returns its folder there; a whole copy is reused.

        Of older copies in `into` the newest few stay, for whoever is still reading one.

        Raises:
            StorageError: there is no such version, its bundle was pruned, or its manifest is not the one that was
                registered.
            StoreUnavailableError: it cannot be copied.
        """
        model = self.get(version)
        _refuse_pruned(model)
        return fetch_copy(Files(self._root, self._options), model, into)

    def sizes(self) -> dict[int, int]:
        """The bytes of each bundle that is there, by version."""
        sizes: dict[str, int] = {}
        for file in Files(self._root, self._options).walk("bundles"):
            folder = file.path.split("/")[0]
            sizes[folder] = sizes.get(folder, 0) + file.size
        folders = {model.version: Path(model.uri).name for model in self.versions()}
        return {version: sizes[folder] for version, folder in folders.items() if folder in sizes}

    def awaited(self) -> set[int]:
        """None: nobody else keeps bundles."""
        return set()

    def prune(self, versions: Collection[int]) -> None:
        """Deletes the bundles of versions; see `protocols.ModelRegistry`.

        The rows say so in one commit, since it may write all of them anew.

        Raises:
            StorageError: there is no such version, or one is the champion: that one stays, and the others are pruned.
            StoreConflictError: other writers kept coming first.
            StoreUnavailableError: they cannot be deleted.
        """
        for version in versions:
            self.get(version)
        with delta.explained(self._versions_uri):
            self._mark(versions, f"CAST('{_in_milliseconds(datetime.now(UTC)).isoformat()}' AS TIMESTAMP)")
        kept = [model.version for model in self.versions() if model.version in versions and not self._clear(model)]
        if kept:
            raise StorageError(f"Version {kept[0]} is the champion, and stays.")

    def maintain(self) -> None:
        """Compacts the tables, finishes prunings, and removes what registrations killed a day ago left behind."""
        files = Files(self._root, self._options)
        newest: dict[str, datetime] = {}
        for file in files.walk("bundles"):
            folder = file.path.split("/")[0]
            newest[folder] = max(file.modified, newest.get(folder, file.modified))
        known = {Path(model.uri).name: model for model in self.versions()}
        for folder, modified in newest.items():
            if folder in known:
                self._clear(known[folder])
            elif datetime.now(UTC) - modified > _GARBAGE_AGE:
                files.remove(f"bundles/{folder}")
        for uri in (self._versions_uri, self._aliases_uri):
            delta.maintain(uri, self._options, self._retention)

    @delta.retried
    def _register(self, bundle: Path, digest: str, metrics: str, verdict: str) -> RegisteredModel:
        table = delta.create_table(self._versions_uri, VERSIONS, self._options, statistics=["version"])
        delta.add_columns(table, VERSIONS)
        rows = _by_version(table, VERSIONS)
        for row in rows:
            if row["digest"] == digest:
                if row["pruned_at"] is not None:
                    self._upload(bundle, row["folder"], row["version"])
                    self._mark([row["version"]], "NULL")
                return self._model(row | {"pruned_at": None})
        number = rows[-1]["version"] + 1 if rows else 0
        folder = f"v{number}-{digest[:8]}"
        self._upload(bundle, folder, number)
        row = {
            "version": number,
            "folder": folder,
            "digest": digest,
            "registered_at": _in_milliseconds(self._clock()),
            "metrics": metrics,
            "verdict": verdict,
            "pruned_at": None,
        }
        _commit(table, row, VERSIONS, "append")
        return self._model(row)

    def _upload(self, bundle: Path, folder: str, version: int) -> None:
        files = Files(self._root, self._options)
        for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
            files.upload(path, f"bundles/{folder}/{path.relative_to(bundle).as_posix()}")
        files.write(f"bundles/{folder}/{REGISTERED}", json.dumps({"version": version}).encode())

    def _clear(self, model: RegisteredModel) -> bool:
        """Deletes the files of a version that its row says is pruned; where it became champion meanwhile, it is not."""
        if model.pruned_at is None:
            return True
        folder, files = f"bundles/{Path(model.uri).name}", Files(self._root, self._options)
        if not files.walk(folder):
            return True
        champion = self.champion()
        if champion is not None and champion.version == model.version:
            self._mark([model.version], "NULL")
            return False
        files.remove(folder)
        return True

    @delta.retried
    def _mark(self, versions: Collection[int], pruned_at: str) -> None:
        table = DeltaTable(self._versions_uri, storage_options=self._options)
        delta.add_columns(table, VERSIONS)
        table.update(
            updates={"pruned_at": pruned_at},
            predicate=f"version IN ({', '.join(map(str, versions))})",
            writer_properties=delta.WRITER,
            commit_properties=delta.COMPARE_AND_SWAP,
        )

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
            moved = {"alias": _CHAMPION, "version": version, "moved_at": _in_milliseconds(self._clock())}
            _commit(table, moved, ALIASES, "overwrite")

    def _found(self, version: int) -> RegisteredModel | None:
        rows = self._rows(self._versions_uri, VERSIONS, [f"version = {version}"])
        return self._model(rows[0]) if rows else None

    def _rows(self, uri: str, schema: pa.Schema, where: Sequence[str] = ()) -> list[dict[str, Any]]:
        table = delta.open_table(uri, self._options)
        if table is None:
            return []
        with delta.explained(uri):
            return _by_version(table, schema, where)

    def _model(self, row: Mapping[str, Any]) -> RegisteredModel:
        return RegisteredModel(
            version=row["version"],
            uri=join(self._root, "bundles", row["folder"]),
            digest=row["digest"],
            registered_at=row["registered_at"],
            metrics=json.loads(row["metrics"]),
            verdict=row["verdict"],
            pruned_at=row["pruned_at"],
        )


def _by_version(table: DeltaTable, schema: pa.Schema, where: Sequence[str] = ()) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = delta.scan(table, where=where, grown=schema).sort_by("version").to_pylist()
    return rows


def _refuse_pruned(model: RegisteredModel) -> None:
    if model.pruned_at is not None:
        raise StorageError(
            f"The bundle of version {model.version} was pruned on {model.pruned_at:%Y-%m-%d}; its figures and verdict"
            " are all that is left.",
            remedy="Name a version that is there (`cryptosentinel model`), restore it from a backup, or keep more: the"
            " settings `retention`.",
        )


def _commit(table: DeltaTable, row: Mapping[str, Any], schema: pa.Schema, mode: Literal["append", "overwrite"]) -> None:
    write_deltalake(
        table,
        pa.Table.from_pylist([row], schema=schema),
        mode=mode,
        writer_properties=delta.WRITER,
        commit_properties=delta.COMPARE_AND_SWAP,
    )


def _in_milliseconds(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
