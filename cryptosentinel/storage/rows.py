"""Rows of tables that are not needed any more."""

from __future__ import annotations

from collections.abc import Mapping

from deltalake import DeltaTable

from cryptosentinel.storage import delta
from cryptosentinel.storage.files import Files, join


def tables_below(uri: str, name: str, options: Mapping[str, str]) -> list[str]:
    """The tables called `name` in the store at `uri`: that one, or those in the folder of this name; or none."""
    folder = join(uri, name)
    with delta.explained(folder):
        if DeltaTable.is_deltatable(folder, dict(options)):
            return [folder]
    return [join(folder, each) for each in Files(uri, options).folders(name)]


def count_rows(uri: str, options: Mapping[str, str], condition: str) -> int:
    """How many rows of a table fulfil an SQL condition."""
    table = delta.open_table(uri, options)
    if table is None:
        return 0
    with delta.explained(uri):
        return int(delta.scan(table, [table.schema().fields[0].name], [condition]).num_rows)


def delete_rows(uri: str, options: Mapping[str, str], condition: str) -> None:
    """Deletes them, in one commit; the files go once no version within `storage.retention_days` needs them.

    Raises:
        StoreConflictError: other writers kept committing first.
        StoreUnavailableError: the table cannot be reached or written.
    """
    with delta.explained(uri):
        _delete(uri, options, condition)


@delta.retried
def _delete(uri: str, options: Mapping[str, str], condition: str) -> None:
    table = delta.open_table(uri, options)
    if table is not None:
        table.delete(condition, writer_properties=delta.WRITER, commit_properties=delta.COMPARE_AND_SWAP)
