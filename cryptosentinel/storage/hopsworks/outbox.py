"""Rows that are still to be delivered, in the order in which they were written.

An entry is one Parquet file below `hopsworks/<feature group>-<version>/`, in the embedded store's folder or bucket; its
name counts up. An entry is there whole or not at all, and goes once all of its rows were seen where they belong.
"""

from __future__ import annotations

import io
import json
import uuid
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cryptosentinel.storage import schemas
from cryptosentinel.storage.delta import explained
from cryptosentinel.storage.files import Files
from cryptosentinel.storage.frames import to_arrow, to_frame
from cryptosentinel.storage.protocols import Backlog

FOLDER = "hopsworks"
_BEGUN = "begun.json"
_SUFFIX = ".parquet"


@dataclass(frozen=True)
class Begun:
    """What a destination was begun with.

    Attributes:
        spec_hash: of the features that it holds.
        assets: those whose earlier rows were put into the outbox.
    """

    spec_hash: str
    assets: tuple[str, ...] = ()


class RowOutbox:
    """The rows that wait for one feature group.

    Args:
        files: of the embedded store.
        destination: `<feature group>-<version>`.
    """

    def __init__(self, files: Files, destination: str) -> None:
        self._files = files
        self._folder = f"{FOLDER}/{destination}"

    def put(self, rows: pd.DataFrame) -> str:
        """Adds rows behind all others; answers the entry's name."""
        entries = self.entries()
        number = int(entries[-1].partition("-")[0]) + 1 if entries else 0
        name = f"{number:09d}-{uuid.uuid4().hex[:8]}{_SUFFIX}"  # two writers may count alike
        figures = [
            pa.field(str(column), pa.float64()) for column in rows.columns if column not in {"asset", "timestamp"}
        ]
        schema = pa.schema([schemas.BARS.field("asset"), schemas.BARS.field("timestamp"), *figures])
        content = io.BytesIO()
        with explained(f"{self._folder}/{name}"):
            pq.write_table(to_arrow(rows, schema), content, compression="zstd")
        self._files.write(f"{self._folder}/{name}", content.getvalue())
        return name

    def entries(self) -> list[str]:
        """The names of all entries, first in first."""
        return sorted(file.path for file in self._files.walk(self._folder) if file.path.endswith(_SUFFIX))

    def backlog(self) -> Backlog:
        """How many entries there are, and since when the oldest waits; reads none of them."""
        written = [file.modified for file in self._files.walk(self._folder) if file.path.endswith(_SUFFIX)]
        return Backlog(len(written), min(written, default=None))

    def read(self, name: str) -> pd.DataFrame | None:
        """An entry's rows; None where it went meanwhile."""
        content = self._files.read(f"{self._folder}/{name}")
        return None if content is None else to_frame(pq.read_table(io.BytesIO(content)))

    def remove(self, name: str) -> None:
        """Takes an entry out; it may have gone."""
        self._files.remove_file(f"{self._folder}/{name}")

    def waiting(self) -> int:
        """How many rows wait."""
        contents = (self._files.read(f"{self._folder}/{name}") for name in self.entries())
        return sum(pq.ParquetFile(io.BytesIO(content)).metadata.num_rows for content in contents if content)

    def begun(self) -> Begun | None:
        """What the destination was begun with; None before its first row."""
        content = self._files.read(f"{self._folder}/{_BEGUN}")
        if content is None:
            return None
        note = json.loads(content)
        return Begun(note["spec_hash"], tuple(note["assets"]))

    def begin(self, begun: Begun) -> None:
        """Notes what the destination holds."""
        note = {"spec_hash": begun.spec_hash, "assets": begun.assets}
        self._files.write(f"{self._folder}/{_BEGUN}", json.dumps(note).encode())


def destinations(files: Files) -> list[str]:
    """All feature groups that ever had an outbox here."""
    return files.folders(FOLDER)
