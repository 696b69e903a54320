"""A store made of a backup."""

from __future__ import annotations

from collections.abc import Mapping

from cryptosentinel.errors import StorageError
from cryptosentinel.storage.backup import ALIASES_TABLE, Backup, Say, copy_all, read_from
from cryptosentinel.storage.files import Files, join
from cryptosentinel.storage.opening import MARKER, RESTORING


def restore(
    uri: str, to: str, options: Mapping[str, str], *, replace: bool = False, say: Say = lambda _done, _of: None
) -> Backup:
    """Makes a store of a backup; one that was interrupted is gone on with. Nobody can open the store until it is whole.

    Args:
        uri: of the backup.
        to: of the store.
        options: of the object store, or of both.
        replace: take the place of a store that is there, which nobody may work on.
        say: is told how many files are done, of how many.

    Raises:
        StorageError: there is a store already, the backup is none or was never finished, or a file of it is damaged.
        StoreFormatError: another release wrote the backup.
        StoreUnavailableError: the backup or the store cannot be reached, read or written.
    """
    source, store = Files(uri, options), Files(to, options)
    made = read_from(source, uri)
    identity = f"{made.market} {made.begun_at.isoformat()}".encode()
    there = {file.path for file in store.walk("")}
    if there and not replace and store.read(RESTORING) != identity:
        raise StorageError(
            f"{to} is not empty: restoring there would overwrite {'a store' if MARKER in there else 'what is there'}.",
            remedy="Name another place (--home, storage.uri), or stop everything that works on it and say --replace.",
        )
    store.write(RESTORING, identity)
    store.remove_file(MARKER)
    for path in there - made.files.keys() - {RESTORING, MARKER}:
        store.remove_file(path)
    # The alias last but for the marker: a champion is never named before its bundle is there.
    paths = sorted(made.files, key=lambda path: (path == MARKER, path.startswith(f"{ALIASES_TABLE}/"), path))
    for path, digest in copy_all(source, store, paths, say):
        if digest != made.files[path].sha256:
            raise StorageError(
                f"{join(uri, path)} is not the file that was backed up.",
                remedy="Restore another backup; `cryptosentinel restore --check` says which files are damaged.",
            )
    store.remove_file(RESTORING)
    return made
