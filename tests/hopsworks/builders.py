"""Stores with the double behind them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

import pandas as pd

from cryptosentinel.config import Settings, load_settings
from cryptosentinel.storage import Storage, open_storage
from cryptosentinel.storage.hopsworks import HopsworksStorage, with_hopsworks
from cryptosentinel.storage.protocols import Written
from tests.builders import MemoryStore
from tests.hopsworks.double import Double, Group

SECRET = "wonderful-key"
NEAR = {"hopsworks.host": "hopsworks.test", "hopsworks.project": "bitcoin", "hopsworks.api_key": SECRET}


def settings(**given: Any) -> Settings:
    return load_settings(environ={}, overrides={"storage.backend": "hopsworks", **NEAR, **given})


def open_store(
    folder: Path, double: Double, *, embedded: MemoryFeatures | None = None, **given: Any
) -> HopsworksStorage:
    """A store in a folder, with the double behind it; `embedded` takes the place of its feature tables."""
    if embedded is None:
        storage = open_storage(settings().storage, root=folder, market="test")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        storage = Storage(embedded, None, None, None, str(folder), None)  # type: ignore[arg-type]
    return with_hopsworks(storage, settings(**given), descriptions={"rsi_14": "Relative strength"}, login=double.login)


@cache
def one_double() -> Double:
    """For those who make no fixture of it."""
    return Double()


def open_hopsworks(folder: Path) -> HopsworksStorage:
    """A store with a project behind it that always answers."""
    one_double().begin()
    return open_store(folder, one_double())


def open_hopsworks_away(folder: Path) -> HopsworksStorage:
    """A store with a project behind it that never does."""
    one_double().begin().faults = repeat("down")
    return open_store(folder, one_double())


class MemoryFeatures(MemoryStore):
    """The features half of a feature store, in memory."""

    def __init__(self) -> None:
        self.rows: dict[pd.Timestamp, dict[str, Any]] = {}

    def write_features(self, rows: pd.DataFrame, spec_hash: str) -> Written:
        new = changed = 0
        for row in rows.to_dict("records"):
            before = self.rows.get(row["timestamp"])
            new += before is None
            changed += before is not None and before != row
            self.rows[row["timestamp"]] = row
        return Written(new, changed, len(rows) - new - changed, 0)

    def read_features(
        self,
        asset: str,
        spec_hash: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pd.DataFrame:
        return pd.DataFrame([self.rows[stamp] for stamp in sorted(self.rows)])


def arrived(group: Group, name: str = "rsi_14") -> list[tuple[pd.Timestamp, float]]:
    """Every value that a feature group ever took, in order."""
    return [(row["timestamp"], row[name]) for row in group.arrived]
